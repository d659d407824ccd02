"""What operators do: see requests and stacks, recycle, drain, compare settings, wait. And who may not."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import xml.etree.ElementTree as ElementTree

import pytest

from harness import BIN, TOP, greenctl
from load import Load
from waiting import PATIENCE, open_gate, wait_for

BUSY_SITE = """
    import ctypes, os, re, subprocess, threading, time
    holding = ctypes.PyDLL(None)

    def spin():
        end = time.monotonic() + 60
        while time.monotonic() < end:
            pass  # on and on

    def app(environ, start_response):
        path = environ["PATH_INFO"]
        body = b"done"
        if path == "/spin":
            spin()
        elif path == "/gil":
            while True:
                holding.usleep(10_000_000)
        elif path == "/sleep":
            time.sleep(30)  # a query
        elif path == "/deaf":
            import signal
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN + 6})
            time.sleep(30)
        elif path == "/nap":
            time.sleep(3)
        elif path == "/gate":
            open("gate").close()  # a FIFO: until somebody opens it to write
        elif path == "/steer":
            done = subprocess.run(os.environ["STEER"], shell=True, capture_output=True, text=True)
            body = f"{done.returncode} {done.stdout}{done.stderr}".encode()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]
"""


@pytest.fixture
def greend(site, bus):
    site.code(BUSY_SITE)
    return site.start(bus=bus.address)


@contextlib.contextmanager
def under_way(greend, path):
    """A request that nobody waits for."""
    client = greend.socket()
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nX-Secret: s\r\n\r\n".encode())
    try:
        yield client
    finally:
        client.close()


def requests(bus):
    done = greenctl("requests", "--json=short", bus=bus)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def wait_for_request(bus, path):
    return wait_for(lambda: next((one for one in requests(bus) if one["path"] == path and one["state"] == "running"), None),
                    f"{path} under way")


def test_requests_in_flight_are_listed_without_their_query(site, bus, greend):
    with under_way(greend, "/sleep?password=hunter2"):
        one = wait_for_request(bus, "/sleep")
        assert one["method"] == "GET" and one["age_usec"] > 0 and one["pid"] in greend_workers(bus, site)
        shown = greenctl("requests", bus=bus).stdout
        assert "/sleep" in shown and "hunter2" not in shown
        assert shown.splitlines()[0].split() == ["AGE", "WORKER", "PID", "METHOD", "PATH", "CLIENT", "STATE"]
        assert len(greenctl("requests", "--no-legend", bus=bus).stdout.splitlines()) == 1


def greend_workers(bus, site):
    return {worker["PID"]: worker for worker in bus.workers(site.name).values()}


STUCK_AT = {"/spin": ("while time.monotonic", "pass  #"), "/gil": ("holding.usleep",), "/sleep": ("time.sleep(30)  #",)}


@pytest.mark.parametrize("path", STUCK_AT)
def test_a_backtrace_names_the_line_and_stops_nothing(site, bus, greend, path):
    code = (site.folder / "app.py").read_text().splitlines()
    lines = [number for number, one in enumerate(code, 1) if any(word in one for word in STUCK_AT[path])]
    with under_way(greend, path):
        one = wait_for_request(bus, path)
        for _ in range(3):
            done = greenctl("backtrace", site.name, one["pid"], bus=bus)
            assert done.returncode == 0, done.stderr
            assert any(f"app.py\", line {number} in " in done.stdout for number in lines), done.stdout
            assert f"with GET {path}" in done.stdout
        assert greend_workers(bus, site)[one["pid"]]["State"] == "serving"
    assert "most recent call" not in greend.log()


def test_a_backtrace_shows_every_thread_of_a_worker_with_threads(site, bus):
    site.code(BUSY_SITE)
    greend = site.start("--threads=3", bus=bus.address, workers=1)
    with under_way(greend, "/sleep"), under_way(greend, "/spin"):
        wait_for(lambda: len(requests(bus)) == 2 and "in spin" in greenctl("backtrace", bus=bus).stdout, "two requests")
        for _ in range(20):
            shown = greenctl("backtrace", bus=bus)
            assert shown.returncode == 0, shown.stderr
            assert "in spin" in shown.stdout and "time.sleep" not in shown.stdout
            assert shown.stdout.count("hread 0x") >= 3
    assert greend.get("/").status == 200


def test_a_worker_that_can_not_answer_is_told_apart(site, bus, greend):
    victim = next(iter(greend_workers(bus, site)))
    os.kill(victim, signal.SIGSTOP)
    wait_for(lambda: open(f"/proc/{victim}/stat").read().rpartition(")")[2].split()[0] == "T", "it is stopped")
    done = greenctl("backtrace", site.name, victim, bus=bus)
    assert done.returncode == 1 and "it is stopped (state T)" in done.stdout + done.stderr
    again = greenctl("backtrace", site.name, victim, bus=bus)
    assert again.returncode == 1 and "asked already" in again.stdout + again.stderr
    os.kill(victim, signal.SIGCONT)
    wait_for(lambda: greenctl("backtrace", site.name, victim, bus=bus).returncode == 0, "its stacks")


@pytest.mark.parametrize("all_are_asked", [True, False])
def test_a_worker_that_ends_while_it_is_asked_is_named_and_the_others_stacks_are_shown(site, bus, all_are_asked):
    site.code(BUSY_SITE)
    greend = site.start(bus=bus.address, workers=3)
    victim, *others = (worker["PID"] for _, worker in sorted(bus.workers(site.name).items()))
    os.kill(victim, signal.SIGSTOP)
    asking = subprocess.Popen([BIN / "greenctl", f"--bus={bus.address}", "backtrace", *([] if all_are_asked else [site.name, str(victim)])],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    greend.wait_log(f"stacks of process {victim} asked by")
    os.kill(victim, signal.SIGKILL)
    shown, said = asking.communicate(timeout=8 * PATIENCE)
    assert f"process {victim} has ended meanwhile" in shown
    if all_are_asked:
        assert (asking.returncode, said) == (0, "")
        assert all(f"(process {pid}, " in shown for pid in others) and shown.count("hread 0x") >= 2
    else:
        assert asking.returncode == 1 and f"process {victim} has ended meanwhile" in said and len(said.splitlines()) == 1


def test_a_worker_that_blocks_the_signal_is_told_apart(site, bus, greend):
    with under_way(greend, "/deaf"):
        one = wait_for_request(bus, "/deaf")
        done = greenctl("backtrace", site.name, one["pid"], bus=bus)
        assert done.returncode == 1 and "blocks the signal" in done.stderr


def test_a_worker_whose_interpreter_has_ended_is_told_apart_and_not_ended_by_the_question(site, bus):
    site.code(BUSY_SITE + """
    import atexit
    libc = ctypes.CDLL(None)
    # What C code registers runs after Python is gone: here it waits for ever.
    atexit.register(lambda: ctypes.pythonapi.Py_AtExit(libc.pause))
""")
    greend = site.start("--graceful-timeout=60", bus=bus.address)
    victim = min(greend_workers(bus, site))
    assert greenctl("recycle", "--no-block", site.name, victim, bus=bus).returncode == 0
    wait_for(lambda: "pause" in open(f"/proc/{victim}/wchan").read(), "it waits")
    done = greenctl("backtrace", site.name, victim, bus=bus)
    assert done.returncode == 1 and "its interpreter has ended" in done.stderr
    assert victim in greend_workers(bus, site)
    os.kill(victim, signal.SIGKILL)
    greend.wait_log(f"process {victim}")


def test_a_worker_that_outlives_a_replacement_of_greend_still_shows_its_stacks(site, bus, greend):
    with under_way(greend, "/sleep"):
        one = wait_for_request(bus, "/sleep")
        done = greenctl("reexec", bus=bus)
        assert done.returncode == 0, done.stderr
        assert greend_workers(bus, site)[one["pid"]]["State"] == "draining"
        shown = greenctl("backtrace", site.name, one["pid"], bus=bus)
        assert shown.returncode == 0 and "in app" in shown.stdout, shown.stderr


def test_a_stranger_s_pid_has_no_backtrace_and_is_not_signalled(site, bus, greend):
    done = greenctl("backtrace", site.name, os.getpid(), bus=bus)
    assert done.returncode == 1 and "no worker" in done.stderr
    told = bus.busctl("call", f"org.greend1.{site.name}", "/org/greend1", "org.greend1.Site", "Backtrace", "ua{sv}",
                      str(greend.pid), "0", check=False)
    assert told == ""


def test_a_recycled_worker_is_replaced_and_no_request_is_lost(site, bus, greend):
    before = set(greend_workers(bus, site))
    with Load(greend.address, clients=4) as load:
        victim = min(before)
        done = greenctl("recycle", site.name, victim, bus=bus)
        assert done.returncode == 0, done.stderr
        wait_for(lambda: victim not in greend_workers(bus, site), "its end")
        assert before - {victim} <= set(greend_workers(bus, site))
        assert greenctl("recycle", "all", "--timeout=60", bus=bus).returncode == 0
        wait_for(lambda: not before & set(greend_workers(bus, site)), "all of them are others")
    assert load.failures == {}, load.samples
    assert bus.get(site.name, "WorkerDeathsTotal") == 0
    refused = greenctl("recycle", "1", bus=bus)
    assert refused.returncode == 1 and "no worker" in refused.stderr


def test_a_drained_site_finishes_what_it_has_and_lets_the_rest_wait(site, bus, greend):
    with under_way(greend, "/nap") as client:
        wait_for_request(bus, "/nap")
        done = greenctl("drain", bus=bus)
        assert done.returncode == 0, done.stderr
        assert b"200 OK" in client.recv(4096)
    assert bus.get(site.name, "State") == "drained" and bus.workers(site.name) == {}
    for verb in (["reload"], ["scale", "3"], ["reexec"]):
        refused = greenctl(*verb, bus=bus)
        assert refused.returncode == 1 and "undrain it first" in refused.stderr
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(greend.get("/")))
    waiting.start()
    assert greenctl("undrain", bus=bus).returncode == 0
    waiting.join(20)
    assert [one.status for one in answers] == [200]
    assert bus.get(site.name, "State") == "serving" and bus.get(site.name, "ReadyWorkers") == 2
    assert greenctl("undrain", bus=bus).returncode == 1


def test_scale_takes_a_difference(site, bus, greend):
    assert greenctl("scale", "+2", bus=bus).returncode == 0
    assert bus.get(site.name, "TargetWorkers") == 4
    assert greenctl("scale", site.name, "-3", bus=bus).returncode == 0
    assert bus.get(site.name, "TargetWorkers") == 1
    refused = greenctl("scale", "-1", bus=bus)
    assert refused.returncode == 2 and "between 1 and" in refused.stderr


def test_settings_are_shown_checked_and_compared_with_the_disk(site, bus, greend):
    assert "What runs is what is on disk" in greenctl("config", "diff", bus=bus).stdout
    assert greenctl("config", "check", bus=bus).returncode == 0
    site.config('app = "app:app"\nkeepalive = 7\n[env]\nPASSWORD = "hunter2"\n')
    compared = json.loads(greenctl("config", "diff", site.name, "--json", bus=bus).stdout)
    changed = next(one for one in compared if one["setting"] == "keepalive")
    assert changed["disk"].startswith("7") and changed["takes"] == "reload"
    assert changed["origin"].endswith(f"{site.name}.toml:2")
    shown = greenctl("config", "show", bus=bus).stdout
    assert "PASSWORD" not in shown and "command line" in shown and "default" in shown
    assert greenctl("reload", bus=bus).returncode == 0
    shown = greenctl("config", "show", bus=bus).stdout
    assert "PASSWORD" in shown and "hunter2" not in shown
    # A secret that has changed is told of, though not what it was or is.
    site.config('app = "app:app"\nkeepalive = 7\n[env]\nPASSWORD = "hunter3"\n')
    compared = json.loads(greenctl("config", "diff", site.name, "--json", bus=bus).stdout)
    assert [(one["setting"], one["running"], one["disk"]) for one in compared] == [
        ("env", '{ "PASSWORD" = "***" }', '{ "PASSWORD" = "*** (another)" }')]
    site.config('app = "app:app"\nkeepalvie = 7\n')
    refused = greenctl("config", "check", bus=bus)
    assert refused.returncode == 1 and "keepalive" in refused.stderr
    hash_before = bus.get(site.name, "ConfigHash")
    site.config('app = "app:app"\nkeepalive = 8\n')
    assert greenctl("reload", bus=bus).returncode == 0
    assert bus.get(site.name, "ConfigHash") != hash_before


def test_wait_returns_when_the_site_is_idle_or_ready(site, bus, greend):
    os.mkfifo(site.folder / "gate")
    with under_way(greend, "/gate"):
        wait_for_request(bus, "/gate")
        assert greenctl("wait", "--until=idle", "--timeout=0.05", bus=bus).returncode == 1
        open_gate(site.folder / "gate")
        assert greenctl("wait", "--until=idle", "--timeout=20", bus=bus).returncode == 0
    assert greenctl("wait", "--until=ready", site.name, bus=bus).returncode == 0
    assert greenctl("wait", "--until=lunch", bus=bus).returncode == 2


def test_wait_waits_for_a_site_that_does_not_run_yet(site, bus):
    waiting = subprocess.Popen([BIN / "greenctl", f"--bus={bus.address}", "wait", site.name, "--timeout=30"])
    site.start(bus=bus.address)
    assert waiting.wait(30) == 0


def test_list_shows_every_running_site(site, bus, greend):
    shown = greenctl("list", bus=bus).stdout
    assert shown.splitlines()[0].startswith("SITE") and site.name in shown and "serving" in shown
    assert json.loads(greenctl("list", "--json", bus=bus).stdout)[0]["site"] == site.name


def test_a_quiet_change_says_nothing_and_a_misspelt_site_is_guessed(site, bus, greend):
    done = greenctl("scale", "3", "-q", bus=bus)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    wrong = site.name[:-1] + "x" + site.name[-1]
    asked = greenctl("status", wrong, bus=bus)
    assert asked.returncode == 3 and f"did you mean {site.name}?" in asked.stderr


def test_top_shows_workers_and_ends_on_q(site, bus, greend):
    import pty
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(BIN / "greenctl", ["greenctl", f"--bus={bus.address}", "top", "--delay=0.2"])
    shown = b""
    while b"keys: c CPU" not in shown or str(min(greend_workers(bus, site))).encode() not in shown:
        shown += os.read(terminal, 65536)
    os.write(terminal, b"mq")
    with contextlib.suppress(OSError):
        while os.read(terminal, 65536):
            pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)


def test_code_of_the_site_may_look_but_not_steer(site, bus):
    """Whatever its user: here it is the same as the operator's, and as greend's own."""
    site.code(BUSY_SITE)
    call = f"{BIN}/greenctl --bus={bus.address}"
    greend = site.start(bus=bus.address, env={"STEER": f"{call} status && {call} scale 5"})
    told = greend.get("/steer").text
    assert told.startswith("1 ") and "serving" in told and "code of the site itself" in told
    assert bus.get(site.name, "TargetWorkers") == 2
    greend.wait_log(r"uid \d+, process \d+ \(greenctl\) was denied Scale: code of the site itself")
    assert greenctl("scale", "3", bus=bus).returncode == 0
    greend.wait_log(r"scale from 2 to 3 workers asked by uid \d+, process \d+ \(greenctl\)")


def interface_of(node):
    """Everything an interface says of itself, but for what the code generator alone is told."""
    annotations = lambda element: sorted((one.get("name"), one.get("value")) for one in element.findall("annotation")
                                         if one.get("name") != "org.freedesktop.DBus.Method.Async")
    members = []
    for member in node:
        if member.tag not in ("method", "signal", "property"):
            continue
        arguments = [(arg.get("name"), arg.get("type"), arg.get("direction") or ("out" if member.tag == "signal" else "in"))
                     for arg in member.findall("arg")]
        if member.tag == "method":  # sd-bus lists what goes in first
            arguments.sort(key=lambda one: one[2] == "out")
        members.append((member.tag, member.get("name"), arguments, member.get("type"), member.get("access"), annotations(member)))
    return sorted(members, key=str)


def test_what_the_bus_introspects_is_the_installed_xml_as_a_whole(site, bus, greend):
    wanted = {one.get("name"): interface_of(one) for one in ElementTree.parse(TOP / "common/org.greend1.xml").getroot().findall("interface")}
    slot = next(iter(bus.workers(site.name)))
    found, others = {}, set()
    for path in ("/org/greend1", f"/org/greend1/worker/{slot}"):
        text = subprocess.run(
            ["busctl", f"--address={bus.address}", "introspect", "--xml-interface", f"org.greend1.{site.name}", path],
            capture_output=True, text=True, check=True).stdout
        for one in ElementTree.fromstring(text).findall("interface"):
            if one.get("name").startswith("org.greend1."):
                found[one.get("name")] = interface_of(one)
            else:
                others.add(one.get("name"))
    assert found == wanted
    assert others == {f"org.freedesktop.DBus.{name}" for name in ("Peer", "Introspectable", "Properties", "ObjectManager")}


def test_the_log_level_is_set_over_the_bus(site, bus, greend):
    def call(*arguments):
        return subprocess.run(["busctl", f"--address={bus.address}", *arguments], capture_output=True, text=True, check=False)

    where = [f"org.greend1.{site.name}", "/org/freedesktop/LogControl1", "org.freedesktop.LogControl1"]
    assert call("get-property", *where, "SyslogIdentifier").stdout == 's "greend"\n'
    assert call("get-property", *where, "LogTarget").stdout == 's "console"\n'
    assert call("set-property", *where, "LogLevel", "s", "debug").returncode == 0
    assert call("get-property", *where, "LogLevel").stdout == 's "debug"\n'
    assert call("set-property", *where, "LogLevel", "s", "loud").returncode != 0
    assert call("set-property", *where, "LogLevel", "s", "err").returncode == 0
    assert call("get-property", *where, "LogLevel").stdout == 's "err"\n'


def test_the_log_level_set_over_the_bus_is_that_of_workers_too(site, bus):
    """Those that are there, and those that are forked later; until a reload."""
    greend = site.start("--proxy-protocol=on", "--forwarded-allow-ips=*", "--log-level=warning", bus=bus.address, workers=1)

    def set_level(name):
        bus.busctl("set-property", f"org.greend1.{site.name}", "/org/freedesktop/LogControl1", "org.freedesktop.LogControl1",
                   "LogLevel", "s", name)

    def lines():
        return greend.log().count("without a valid PROXY header")

    def connect_badly():
        with greend.socket() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(100) == b""

    connect_badly()
    assert lines() == 0
    set_level("debug")
    wait_for(lambda: connect_badly() or lines(), "the worker's word")
    pid = bus.workers(site.name)[0]["PID"]
    assert greenctl("recycle", pid, bus=bus).returncode == 0
    wait_for(lambda: [one["PID"] for one in bus.workers(site.name).values()] != [pid], "another worker")
    wait_for(lambda: pid not in [one["PID"] for one in bus.workers(site.name).values()], "the end of the first")
    said = lines()
    connect_badly()
    wait_for(lambda: lines() > said, "the word of its replacement")
    assert greenctl("reload", bus=bus).returncode == 0
    wait_for(lambda: len(bus.workers(site.name)) == 1, "the reload's own")
    said = lines()
    connect_badly()
    assert lines() == said


def test_an_idle_site_is_silent_on_the_bus(site, bus, greend):
    for _ in range(50):
        greend.get("/")
    def monitor(seconds):
        with pytest.raises(subprocess.TimeoutExpired) as heard:
            subprocess.run(["busctl", f"--address={bus.address}", "monitor", f"org.greend1.{site.name}"],
                           capture_output=True, timeout=seconds, check=False)
        return heard.value.stdout

    monitor(1)  # what its start had to say
    assert not monitor(10)


def test_another_machine_s_site_is_reached_by_ssh(site, bus, greend, tmp_path):
    """ssh itself is played; what runs at its other end is systemd's own bridge to the bus."""
    ssh = tmp_path / "ssh"
    ssh.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\nexec systemd-stdio-bridge --bus-path={bus.address}\n')
    ssh.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for option in (["-H", "deploy@web1"], ["--host=deploy@web1"]):
        done = greenctl(*option, "workers", site.name, env=environment)
        assert done.returncode == 0, done.stderr
        assert all(str(pid) in done.stdout for pid in greend_workers(bus, site))
    assert greenctl("-H", "deploy@web1", "scale", site.name, "3", env=environment).returncode == 0
    assert bus.get(site.name, "TargetWorkers") == 3
    assert "deploy@web1" in (tmp_path / "asked").read_text()
    ssh.write_text("#!/bin/sh\nexit 255\n")
    failed = greenctl("-H", "web2", "status", env=environment)
    assert failed.returncode == 1 and "web2" in failed.stderr


def test_json_is_json_for_every_verb_that_shows_something(site, bus, greend):
    verbs = (["list"], ["status"], ["workers"], ["requests"], ["backtrace"], ["config", "show"], ["config", "diff"],
                 ["config", "check"], ["scale", "2"], ["recycle", "all"], ["drain"], ["undrain"], ["reload"])
    for style in ("pretty", "short"):
        for verb in verbs:
            done = greenctl(*verb, f"--json={style}", bus=bus)
            assert done.returncode == 0, (verb, done.stderr)
            json.loads(done.stdout)
            assert style == "pretty" or done.stdout.count("\n") == 1
        # Of a sanitizer build, one that ends may be stopped for longer than backtrace waits for it.
        wait_for(lambda: len(greend_workers(bus, site)) == 2, "those before the reload have ended")


def test_colour_and_pager_are_for_terminals_alone(site, bus, greend, tmp_path):
    import pty
    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\ncat >{tmp_path}/paged\n")
    pager.chmod(0o755)

    def on_terminal(*arguments, **env):
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ.update({"TERM": "xterm", "GREENCTL_PAGER": str(pager), **env})
            os.execv(BIN / "greenctl", ["greenctl", f"--bus={bus.address}", *arguments])
        shown = b""
        with contextlib.suppress(OSError):
            while part := os.read(terminal, 65536):
                shown += part
        os.waitpid(pid, 0)
        os.close(terminal)
        return shown

    assert on_terminal("status") == b"" and "\x1b[32m" in (tmp_path / "paged").read_text()
    # By sudo, nobody gets a shell of root's out of a pager, nor chooses another program.
    (tmp_path / "paged").unlink()
    less = tmp_path / "less"
    less.write_text(f"#!/bin/sh\necho secure=$LESSSECURE >{tmp_path}/paged_by_less; cat >/dev/null\n")
    less.chmod(0o755)
    on_terminal("status", SUDO_UID="1000", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (tmp_path / "paged_by_less").read_text() == "secure=1\n" and not (tmp_path / "paged").exists()
    assert b"\x1b[32m" in on_terminal("--no-pager", "status")
    assert b"\x1b" not in on_terminal("--no-pager", "status", NO_COLOR="1")
    assert "\x1b" not in greenctl("status", bus=bus).stdout
