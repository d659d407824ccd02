"""The operator's guide, examples/guide/guide.md: every command that it shows, on a booted systemd, with the answers it
shows; and nothing lost meanwhile."""

import json
import re
import shlex
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

from host import TOP, VENV_INSIDE
from load import Load
from waiting import wait_for

GUIDE = TOP / "examples/guide/guide.md"
PROMPT = re.compile(r"(#|(?P<user>[a-z]+)\$) (?P<command>.*)")
# Those that only look may be asked again until what they are about has come.
DRAINING = 30  # seconds that a worker may take for it: graceful_timeout
# Listening is: the last change before a site is idle is told up to a fifth of a second after it.
LOOKS = re.compile(r"greenctl( --\S+)* (list|status|requests|backtrace|workers|config)\b|journalctl|busctl (tree|get)|systemctl show"
                   r"|timeout \d+ busctl --quiet monitor")
OUTPUT = "/tmp/guide.output"


def steps():
    """Each command of the guide: its line, who types it, and the answer shown."""
    found = []
    in_console = False
    for number, line in enumerate(GUIDE.read_text().splitlines(), 1):
        if line.startswith("```"):
            in_console = line == "```console"
        elif in_console and (prompt := PROMPT.fullmatch(line)):
            found.append((number, prompt["user"], prompt["command"], []))
        elif in_console:
            found[-1][3].append(line)
    return found


def pattern_of(answer):
    """Blanks count as one; "…" stands for anything in a line, and alone on its line for any lines."""
    def of_line(line):
        return ".*".join(re.escape(part) for part in " ".join(line.split()).split("…"))
    return "".join("(.*\n)*?" if line == "…" else of_line(line) + "\n" for line in answer)


def normal(text):
    return "".join(" ".join(line.split()) + "\n" for line in text.splitlines())


def test_patterns_match_what_they_shall_alone():
    assert re.fullmatch(pattern_of(["a …c", "…", "z"]), normal("a  b  c\nz\n"))
    assert re.fullmatch(pattern_of(["…", "z"]), normal("x\ny\nz\n"))
    assert not re.fullmatch(pattern_of(["z"]), normal("z\nmore\n"))
    assert not re.fullmatch(pattern_of([]), normal("something\n"))
    assert not re.fullmatch(pattern_of(["a (b)"]), normal("a b\n"))


class Operator:
    """Types on the host."""

    def __init__(self, host):
        self.host = host
        self.folder = "/"

    def type(self, user, command):
        """Exit status and all that was written. Not by a pipe: what it leaves in the background would hold it open."""
        if command.startswith("cd "):
            self.folder = command[3:]
        script = f"cd {shlex.quote(self.folder)} && {{ {command}\n}} >{OUTPUT} 2>&1 </dev/null"
        self.host.path(OUTPUT).write_text("")
        self.host.path(OUTPUT).chmod(0o666)
        who = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        status = self.host.run(*who, "bash", "-c", script, check=False).returncode
        return status, self.host.path(OUTPUT).read_text()

    def follow(self, number, user, command, answer):
        pattern = pattern_of(answer)

        def answers():
            nonlocal told
            told = self.type(user, command)
            return told[0] == 0 and re.fullmatch(pattern, normal(told[1]))

        told = (0, "")
        what = f"guide.md:{number}: {command}"
        if LOOKS.match(command):
            try:
                wait_for(answers, what, DRAINING + 5)
            except AssertionError as error:
                raise AssertionError(f"{error}\nanswered with status {told[0]}:\n{told[1]}") from None
        else:
            assert answers(), f"{what}\nanswered with status {told[0]}:\n{told[1]}"


@pytest.fixture
def operator(host):
    Path(host.path("/srv/venv")).symlink_to(VENV_INSIDE)
    yield Operator(host)
    for site in ("shop", "blog"):
        host.run("systemctl", "disable", "--now", f"green@{site}.socket", f"green@{site}.service", check=False)
        host.path(f"/etc/green/{site}.toml").unlink(missing_ok=True)
    host.path("/etc/polkit-1/rules.d/50-green.rules").unlink(missing_ok=True)
    host.path("/srv/venv").unlink()


def members(node):
    """(interface, kind, name, signature in, signature out) of an introspection."""
    found = set()
    for interface in node.findall("interface"):
        for member in interface:
            if member.tag == "annotation":
                continue
            arguments = {direction: "".join(argument.get("type") for argument in member.findall("arg") if argument.get("direction", "out") == direction)
                         for direction in ("in", "out")}
            found.add((interface.get("name"), member.tag, member.get("name"), member.get("type", arguments["in"]), member.get("access", arguments["out"])))
    return found


def the_interface_is_the_installed_xml(host):
    contract = members(xml.fromstring(host.path("/usr/share/dbus-1/interfaces/org.greend1.xml").read_text()))

    def introspection(path):
        return host.run("busctl", "introspect", "--xml-interface", "org.greend1.blog", path, check=False).stdout

    def of_a_worker():
        """Of one that serves: slots are not numbered from 0 beside workers that drain, nor while those are replaced."""
        slot = next(worker["worker"] for worker in json.loads(host.run("greenctl", "--json", "workers", "blog").stdout) if worker["state"] == "serving")
        return introspection(f"/org/greend1/worker/{slot}")

    live = members(xml.fromstring(introspection("/org/greend1")))
    live |= members(xml.fromstring(wait_for(of_a_worker, "the interface of a worker of blog")))
    ours = {member for member in live if member[0].startswith("org.greend1.")}
    assert len(ours) > 30
    assert ours == {member for member in contract if member[0].startswith("org.greend1.")}


def test_the_guide_is_what_happens_and_loses_no_request(host, operator):
    todo = steps()
    assert len(todo) > 50
    load = None
    try:
        for number, user, command, answer in todo:
            if command.startswith("systemctl disable"):
                the_interface_is_the_installed_xml(host)
                load.__exit__()
                assert load.failures == {}, load.samples
                print(f"{load.answered} requests beside {len(todo)} commands, the longest took {load.longest * 1000:.0f} ms")
            operator.follow(number, user, command, answer)
            if command.endswith("http://blog/") and load is None:
                load = Load(str(host.path("/run/green/blog.sock")), clients=2, most_requests=2_000_000)
                load.__enter__()
    finally:
        if load is not None:
            load.__exit__()
