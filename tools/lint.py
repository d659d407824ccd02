"""clang-format and clang-tidy over the tree; run by tools/lint, which made the tools.

A file that clang-tidy found clean is remembered, for every checkout, by the hash of what the verdict depends
on: the tool, its settings, the compile command, the file, and the headers of ours that it includes, followed
by their #include lines.
"""

import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
TOOLS = TOP / "build/tools-venv/bin"
DATABASE = TOP / "build/release/compile_commands.json"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "green/clang-tidy"
CACHE_DAYS = 30
FOLDERS = ("common", "ctl", "daemon", "python")  # clang-tidy's; tests are only formatted
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def sources():
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.cpp", "*.h"],
                            cwd=TOP, capture_output=True, text=True, check=True).stdout.split()
    return [path for path in listed if (TOP / path).exists()]


def clang_format(files, fix):
    mode = ["-i"] if fix else ["--dry-run", "--Werror"]
    done = subprocess.run([TOOLS / "clang-format", *mode, *files], cwd=TOP, capture_output=True, text=True, check=False)
    bad = sorted({line.split(":")[0] for line in done.stderr.splitlines() if "clang-format-violations" in line})
    for path in bad:
        print(f"{path}: not formatted; tools/lint --fix")
    if done.returncode != 0 and not bad:
        print(done.stderr)
        bad = ["clang-format"]
    return len(files) - len(bad), len(bad)


def headers_of(path, known):
    """The file and all of ours that it includes, by path."""
    found, todo = set(), [path]
    while todo:
        one = todo.pop()
        if one in found:
            continue
        found.add(one)
        if one not in known:
            text = (TOP / one).read_text()
            known[one] = (hashlib.sha256(text.encode()).hexdigest(),
                          [name for name in INCLUDE.findall(text) if (TOP / name).exists()])
        todo += known[one][1]
    return sorted(found)


def clang_tidy(files):
    commands = {os.path.relpath(entry["file"], TOP): entry["command"] for entry in json.loads(DATABASE.read_text())}
    version = subprocess.run([TOOLS / "clang-tidy", "--version"], capture_output=True, text=True, check=True).stdout
    always = hashlib.sha256((version + (TOP / ".clang-tidy").read_text() + (TOP / "common/org.greend1.xml").read_text()).encode())
    CACHE.mkdir(parents=True, exist_ok=True)
    known = {}
    work = {}
    for path in files:
        if path.split("/")[0] not in FOLDERS or not path.endswith(".cpp"):
            continue
        if path not in commands:
            print(f"{path}: not part of the release build; configure again")
            return 0, 1
        key = always.copy()
        key.update(commands[path].replace(str(TOP), "").encode())
        for one in headers_of(path, known):
            key.update(f"{one} {known[one][0]}".encode())
        work[path] = CACHE / key.hexdigest()

    def check(path):
        done = subprocess.run(
            [TOOLS / "clang-tidy", "-p", DATABASE.parent, "--quiet", "--extra-arg=-w", path],
            cwd=TOP, capture_output=True, text=True, check=False)
        # Warnings are the compiler's, which is gcc (-w); what fails here is a check, or code clang can't read.
        if done.returncode == 0:
            work[path].touch()
        return path, done

    todo = [path for path in work if not work[path].exists()]
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, done in pool.map(check, todo):
            if done.returncode != 0:
                bad += 1
                print(f"--- {path}\n{done.stdout}{done.stderr if not done.stdout else ''}")
    for verdict in work.values():
        if verdict.exists():
            verdict.touch()
    for verdict in CACHE.iterdir():
        if verdict.stat().st_mtime < time.time() - CACHE_DAYS * 86400:
            verdict.unlink()
    return len(work) - bad, bad


def main():
    files = sources()
    passed, failed = clang_format(files, "--fix" in sys.argv)
    tidy_passed, tidy_failed = clang_tidy(files)
    print(f"lint: {passed + tidy_passed} passed, {failed + tidy_failed} failed")
    return 1 if failed + tidy_failed else 0


if __name__ == "__main__":
    sys.exit(main())
