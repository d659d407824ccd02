"""Completion of greenctl, in each shell itself: verbs, sites and workers that are there."""

import contextlib
import os
import pty
import re
import shutil
import subprocess

import pytest

from harness import BIN, TOP

COMPLETION = TOP / "ctl/completion"


@pytest.fixture
def environment(bus, tmp_path):
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "GREEN_BUS": bus.address, "HOME": str(tmp_path), "TERM": "xterm", "LC_ALL": "C.UTF-8"}


@pytest.fixture
def greend(site, bus):
    return site.start(bus=bus.address)


def in_bash(line, environment):
    words = line.split(" ")
    script = (f"source {COMPLETION}/greenctl.bash; COMP_WORDS=({' '.join(word or chr(39) * 2 for word in words)}); "
              f"COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; _greenctl; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
    return subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True).stdout.split()


def in_fish(line, environment):
    done = subprocess.run(["fish", "--no-config", "-c", f"source {COMPLETION}/greenctl.fish; complete -C '{line}'"],
                          env=environment, capture_output=True, text=True, check=True)
    return [row.split("\t")[0] for row in done.stdout.splitlines()]


def in_zsh(line, environment):
    """zsh completes in its line editor alone: one is given a terminal, the line, and a TAB."""
    folder = environment["HOME"] + "/functions"
    os.makedirs(folder, exist_ok=True)
    shutil.copy(COMPLETION / "_greenctl", folder)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], environment)
    shown = b""

    def until(mark):
        nonlocal shown
        shown = b""
        while mark not in shown:
            shown += os.read(terminal, 4096)

    os.write(terminal, f"fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -d {folder}/dump; "
                       "setopt AUTO_LIST LIST_ROWS_FIRST NO_ALWAYS_LAST_PROMPT; LISTMAX=1000; PS1='at''tent> '\n".encode())
    until(b"attent> ")
    # Twice: the first inserts what is common to all, the second lists them.
    os.write(terminal, f"{line}\t\t".encode())
    os.write(terminal, b"\x15echo en''ded\n")
    until(b"ended")
    os.close(terminal)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)
    os.waitpid(pid, 0)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x09\x0b-\x1f]", "", shown.decode(errors="replace"))


SHELLS = {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}


@pytest.mark.parametrize("shell", SHELLS)
def test_verbs_sites_and_workers_are_completed(site, bus, greend, environment, shell):
    complete = SHELLS[shell]
    pids = {str(worker["PID"]) for worker in bus.workers(site.name).values()}
    for verb in ("requests", "backtrace", "undrain"):
        assert verb in complete(f"greenctl {verb[:-2]}", environment), verb
    for verb in ("status", "reload", "scale", "logs"):
        assert site.name in complete(f"greenctl {verb} ", environment), verb
    offered = complete(f"greenctl backtrace {site.name} ", environment)
    assert all(pid in offered for pid in pids), (pids, offered)
    assert "all" in complete("greenctl recycle ", environment)
    assert all(word in complete("greenctl config ", environment) for word in ("check", "show", "diff"))
    assert site.name in complete("greenctl config diff ", environment)
    assert "--no-block" in complete("greenctl reload --no", environment)


def test_completions_are_clean_by_shellcheck_and_parse():
    subprocess.run(["shellcheck", COMPLETION / "greenctl.bash"], check=True)
    subprocess.run(["zsh", "-n", COMPLETION / "_greenctl"], check=True)
    subprocess.run(["fish", "--no-execute", COMPLETION / "greenctl.fish"], check=True)


@pytest.mark.parametrize("file", ["greenctl.bash", "_greenctl", "greenctl.fish"])
def test_every_verb_is_in_every_completion(file):
    text = (COMPLETION / file).read_text()
    shown = subprocess.run([BIN / "greenctl", "--help"], capture_output=True, text=True, check=True).stdout
    verbs = [line.split()[0] for line in shown.split("Subcommands:")[1].splitlines() if line.startswith("  ") and line.strip()]
    assert len(verbs) >= 15
    assert [verb for verb in verbs if verb not in text] == []
