"""The rules of the tree, as tests: who includes whom, where each library may appear, what the documents name."""

import os
import re
import subprocess
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("GREEN_BIN_DIR", TOP / "build/release/bin"))

# Folder → folders it may include besides itself.
MAY_INCLUDE = {
    "common": set(),
    "ctl": {"common"},
    "daemon/manager": {"common"},
    "daemon/http": {"common"},
    "python": {"daemon/http", "common"},
    "daemon/worker": {"python", "daemon/http", "common"},
}
# The one header of python/ that daemon/worker may see.
PYTHON_SEAM = "python/runtime.h"
# Library header → the files or folders that may include it.
CONFINED = {
    r"Python\.h|pybind11/.*": ["python/"],
    r"llhttp\.h": ["daemon/http/"],
    r"simdjson\.h": ["daemon/http/utf8_stream.cpp"],
    r"nettle/.*": ["daemon/http/websocket_handshake.cpp"],
    r"zlib\.h": ["daemon/http/websocket_deflate.cpp"],
    r"sdbus-c\+\+/.*": ["daemon/manager/manager_bus.cpp", "ctl/client.cpp"],
    r"systemd/sd-(event|daemon|bus).*": ["daemon/manager/", "common/", "ctl/client.cpp"],
    r"CLI/.*": ["daemon/manager/", "ctl/", "daemon/worker/"],
    r"toml\+\+/.*": ["common/"],
}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def tracked(*patterns):
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns], cwd=TOP,
                            capture_output=True, text=True, check=True).stdout.splitlines()
    return [path for path in listed if (TOP / path).exists()]


def folder_of(path):
    """The folder of the table that a path belongs to; "" for none."""
    return max((folder for folder in MAY_INCLUDE if path.startswith(folder + "/")), key=len, default="")


def our_sources():
    files = [path for path in tracked("*.cpp", "*.h") if folder_of(path)]
    assert len(files) > 20
    return files


def includes(path):
    return INCLUDE.findall((TOP / path).read_text())


def test_folders_include_only_what_the_table_allows():
    wrong = []
    for path in our_sources():
        own = folder_of(path)
        for included in includes(path):
            other = folder_of(included)
            if other and other != own and other not in MAY_INCLUDE[own]:
                wrong.append(f"{path} includes {included}")
            if own == "daemon/worker" and other == "python" and included != PYTHON_SEAM:
                wrong.append(f"{path} includes {included}: only {PYTHON_SEAM}")
    assert wrong == []


def test_includes_are_written_from_the_root_of_the_tree():
    wrong = []
    for path in our_sources():
        for included in re.findall(r'^\s*#\s*include\s*"([^"]+)"', (TOP / path).read_text(), re.MULTILINE):
            generated = included.startswith("org_greend1_") or included == "llhttp.h"
            if not generated and not (TOP / included).exists():
                wrong.append(f"{path} includes {included}")
    assert wrong == []


@pytest.mark.parametrize("header", CONFINED)
def test_libraries_stay_where_they_belong(header):
    uses = [(path, included) for path in our_sources() for included in includes(path) if re.fullmatch(header, included)]
    wrong = [use for use in uses if not any(use[0].startswith(place) for place in CONFINED[header])]
    assert wrong == []
    assert uses, f"nothing includes {header}: is the rule still about something?"


def test_the_seam_to_python_is_free_of_python():
    seen, todo = set(), [PYTHON_SEAM]
    while todo:
        path = todo.pop()
        if path in seen or not (TOP / path).exists():
            continue
        seen.add(path)
        assert not [name for name in includes(path) if re.match(r"Python\.h|pybind11", name)], path
        todo += includes(path)
    assert len(seen) > 2


def holds_python(program):
    """Linked with libpython, or, where that is linked in whole, offering its API to extension modules."""
    listed = subprocess.run(["readelf", "-W", "-d", "--dyn-syms", BIN / program],
                            capture_output=True, text=True, check=True).stdout
    return "libpython" in listed or " PyObject_Call\n" in listed


def test_only_the_worker_is_linked_with_python():
    assert holds_python("green-worker")
    assert not holds_python("greend")
    assert not holds_python("greenctl")


def test_every_file_says_first_what_it_owns():
    wrong = [path for path in our_sources() if path.endswith(".h") and not (TOP / path).read_text().startswith("// ")]
    assert wrong == []


def test_files_are_short_or_say_why_not():
    wrong = {}
    for path in our_sources():
        text = (TOP / path).read_text()
        first_comment = text.split("\n#")[0]
        count = len(text.splitlines())
        if count > 800 or (count > 400 and "one file because" not in first_comment):
            wrong[path] = count
    assert wrong == {}


def test_the_readme_names_paths_that_are_there():
    text = (TOP / "README.md").read_text()
    named = set(re.findall(r"`((?:[A-Za-z0-9_.@-]+/)+[A-Za-z0-9_.@-]*)`", text))
    named |= {line.split()[0] for block in re.findall(r"```tree\n(.*?)```", text, re.DOTALL) for line in block.splitlines() if line.strip()}
    assert len(named) > 10
    missing = sorted(path for path in named if not path.startswith("build/") and not (TOP / path).exists())
    assert missing == []


def test_each_package_that_configure_names_is_one_that_the_tools_install():
    cmake = (TOP / "cmake/Dependencies.cmake").read_text()
    named = set(re.findall(r"green_package\(\S+ (\S+)\)", cmake))
    named |= set(re.findall(r"green_pkg_config\(\S+ \S+ (\S+)\)", cmake))
    named |= set(re.findall(r'\|([a-z0-9+.-]+)"\)', cmake))
    assert len(named) > 8
    listed = set((TOP / "tools/packages.txt").read_text().split())
    assert named - listed == set()


def test_no_text_names_a_machine_of_ours():
    pattern = re.compile(r"/work/|/tmp/build|\blocalhost:[0-9]{4,5}/simple")
    wrong = [path for path in tracked() if Path(path).name != "test_house.py"
             and (TOP / path).is_file() and pattern.search((TOP / path).read_text(errors="ignore"))]
    assert wrong == []


def test_shell_scripts_parse():
    scripts = [path for path in tracked("tools/*", ".ci/*") if (TOP / path).read_bytes().startswith(b"#!/usr/bin/env bash")]
    assert len(scripts) >= 4
    for path in scripts:
        subprocess.run(["bash", "-n", path], cwd=TOP, check=True)


@pytest.mark.parametrize("version", ["8.1.0", "9.2.0"])
def test_an_llhttp_with_known_smuggling_bugs_is_refused_at_configure_time(tmp_path, version):
    (tmp_path / "libllhttp.pc").write_text(f"Name: libllhttp\nDescription: HTTP parser\nVersion: {version}\nLibs: -lllhttp\n")
    done = subprocess.run(
        ["cmake", "-S", TOP, "-B", tmp_path / "build", "-G", "Ninja", "-DGREEN_LLHTTP=system"],
        env={**os.environ, "PKG_CONFIG_PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    told = " ".join(done.stderr.split())
    assert version in told and "smuggling" in told


def test_configure_names_every_missing_package_at_once(tmp_path):
    done = subprocess.run(
        ["cmake", "-S", TOP, "-B", tmp_path / "build", "-G", "Ninja", "-DCMAKE_DISABLE_FIND_PACKAGE_fmt=ON",
         "-DCMAKE_DISABLE_FIND_PACKAGE_CLI11=ON", "-DCMAKE_DISABLE_FIND_PACKAGE_pybind11=ON"],
        env={**os.environ, "PKG_CONFIG_LIBDIR": "/nonexistent"}, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    line = next(line for line in done.stderr.splitlines() if "apt-get install" in line)
    for package in ("libfmt-dev", "libcli11-dev", "pybind11-dev", "libsystemd-dev", "libtomlplusplus-dev"):
        assert package in line


def as_the_manual_writes(member):
    """Reload(a{sv} options) → u job; JobRemoved(u job, …); Version (s)"""
    def arguments(direction):
        return ", ".join(f"{argument.get('type')} {argument.get('name')}" for argument in member.iter("arg")
                         if argument.get("direction", "in") == direction)
    if member.tag == "property":
        return f"{member.get('name')} ({member.get('type')})"
    return f"{member.get('name')}({arguments('in')})" + (f" → {arguments('out')}" if arguments("out") else "")


def test_the_manual_of_the_bus_interface_has_its_members_and_no_others():
    contract = [as_the_manual_writes(member) for interface in xml.parse(TOP / "common/org.greend1.xml").getroot()
                if interface.get("name").startswith("org.greend1.") for member in interface if member.tag != "annotation"]
    page = (TOP / "man/org.greend1.5").read_text()
    described = re.findall(r"^\.It Li ([A-Z]\w+ ?\(.*)$", page, re.MULTILINE)
    assert len(contract) > 30
    assert sorted(described) == sorted(contract)
