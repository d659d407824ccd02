"""A reload is a transaction: the new code serves when it is over, or the old code never stopped."""

import json
import os
import pty
import signal
import subprocess

import pytest

from harness import BIN, greenctl, is_gone
from load import Load
from waiting import wait_for

BROKEN = "def broken():\n    raise RuntimeError('half an edit')\nbroken()\n"


def test_a_reload_brings_the_new_code_and_loses_nothing(site, bus):
    site.answering("one")
    greend = site.start(bus=bus.address)
    with Load(greend.address, clients=4) as load:
        for text in ("two", "three"):
            site.answering(text)
            done = greenctl("reload", site.name, bus=bus)
            assert done.returncode == 0, done.stderr
            assert {greend.get("/").text for _ in range(20)} == {text}
    assert load.failures == {}, load.samples
    assert set(load.bodies) == {"one", "two", "three"}
    greend.wait_status("generation 3: 2 workers ready")


def test_edits_of_one_size_and_one_second_are_each_taken(site, bus):
    """What a compiled file of Python's can't tell apart (size and whole seconds) a reload must."""
    site.answering("one")
    moment = int(os.stat(site.folder / "app.py").st_mtime)
    os.utime(site.folder / "app.py", (moment, moment))
    greend = site.start(bus=bus.address)
    for text in ("two", "six"):
        site.answering(text)
        os.utime(site.folder / "app.py", (moment, moment))
        assert greenctl("reload", site.name, bus=bus).returncode == 0
        assert greend.get("/").text == text


def test_broken_code_is_refused_with_its_traceback_while_the_old_serves_on(site, bus):
    site.answering("one")
    greend = site.start(bus=bus.address)
    workers = {worker["PID"] for worker in bus.workers(site.name).values()}
    with Load(greend.address, clients=2) as load:
        site.code(BROKEN)
        done = greenctl("reload", site.name, bus=bus)
        assert done.returncode == 1
        assert "RuntimeError: half an edit" in done.stderr + done.stdout
        assert "app.py" in done.stderr + done.stdout
        greend.wait_log("RuntimeError: half an edit")
        assert greend.get("/").text == "one"
        assert {worker["PID"] for worker in bus.workers(site.name).values()} == workers
        assert bus.get(site.name, "LastReloadResult") == "failed"
        site.answering("mended")
        assert greenctl("reload", site.name, bus=bus).returncode == 0
        assert greend.get("/").text == "mended"
        assert bus.get(site.name, "LastReloadResult") == "done"
    assert load.failures == {}, load.samples


def test_sighup_reloads(site):
    site.answering("one")
    greend = site.start()
    site.answering("two")
    greend.send(signal.SIGHUP)
    wait_for(lambda: greend.get("/").text == "two", "the new code")
    greend.wait_status("generation 2: 2 workers ready")


@pytest.mark.parametrize("code", [None, BROKEN], ids=["good code", "broken code"])
def test_the_service_manager_hears_of_a_reload_and_of_its_end(site, code):
    site.answering("one")
    greend = site.start()
    if code:
        site.code(code)
    greend.send(signal.SIGHUP)
    begun = greend.notify.wait_field("RELOADING=1")
    assert int(begun.get("MONOTONIC_USEC")) > 0, "newer systemd waits for it in the same datagram"
    ended = greend.notify.wait(lambda d: "READY=1" in d.fields and d.when > begun.when, "READY=1 after RELOADING=1")
    assert ended.when >= begun.when
    assert greend.get("/").status == 200


def test_a_bad_configuration_is_refused_by_a_reload(site, bus):
    greend = site.start(bus=bus.address)
    site.config("app = 'app:app'\nwokers = 3\n")
    done = greenctl("reload", site.name, bus=bus)
    assert done.returncode == 1
    assert f"{site.name}.toml:2" in done.stderr and "wokers" in done.stderr
    assert greend.get("/").status == 200


def test_a_reload_reads_the_configuration_again(site, bus):
    greend = site.launch(f"--config={site.config(APP_WITH.format(2))}", f"--bind=unix:{site.folder}/s", f"--bus={bus.address}")
    greend.address = f"{site.folder}/s"
    greend.wait_ready()
    site.config(APP_WITH.format(3))
    assert greenctl("reload", site.name, bus=bus).returncode == 0
    assert len(greend.worker_pids(3)) == 3


APP_WITH = "app = 'app:app'\nworkers = {}\n"


ANSWERS_HEALTH = """
    import sys, time
    sys.stderr.write("")
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/health":
            {health}
        start_response("200 OK", [])
        return [b"two"]
"""

# As the kernel does when there is no memory for a process: fork(2) and its kin fail with ENOMEM.
NO_MEMORY_TO_FORK = """
    import ctypes, os, struct
    assert os.uname().machine == "x86_64"
    ALLOW, ENOMEM = 0x7FFF0000, 0x00050000 | 12
    def instruction(code, yes, no, value):
        return struct.pack("HBBI", code, yes, no, value)
    calls = [56, 57, 58, 435]  # clone, fork, vfork, clone3
    program = instruction(0x20, 0, 0, 0)  # load the number of the call
    for i, call in enumerate(calls):
        program += instruction(0x15, len(calls) - i, 0, call)
    program += instruction(0x06, 0, 0, ALLOW) + instruction(0x06, 0, 0, ENOMEM)
    buffer = ctypes.create_string_buffer(program, len(program))
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]
    filter = Program(len(calls) + 3, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, ctypes.byref(filter), 0, 0) == 0, ctypes.get_errno()  # PR_SET_SECCOMP
    def app(environ, start_response):
        start_response("200 OK", [])
        return [b"two"]
"""

# What is deployed, and what the one who deployed it is told.
REFUSED = {
    "import error": ("import nosuchmodule_of_ours\n", ["ModuleNotFoundError", "nosuchmodule_of_ours"]),
    "syntax error": ("def app(:\n", ["SyntaxError", "app.py"]),
    "probe that raises": (ANSWERS_HEALTH.format(health='raise KeyError("no such table")'), ["no such table", "/health"]),
    "probe with 500": (ANSWERS_HEALTH.format(health='start_response("500 Broken", []); return [b""]'), ["status 500"]),
    "probe that hangs": (ANSWERS_HEALTH.format(health="time.sleep(60)"), ["probe_timeout (2 s)"]),
    "sys.exit at import": ("import sys\nsys.exit(3)\n", ["SystemExit: 3"]),
    "end at import": ("import os\nos._exit(3)\n", ["exit status 3"]),
    "segfault at import": ("import ctypes\nctypes.string_at(8)\n", ["signal 11 (SEGV)"]),
    "hang at import": ("import time\ntime.sleep(600)\n", ["start_timeout (4 s)", "still importing"]),
    "no memory to fork": (NO_MEMORY_TO_FORK, ["fork: Cannot allocate memory"]),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("reload", ["whole", "rolling"])
def test_a_deployment_that_fails_is_rolled_back_wholly(site, bus, kind, reload):
    site.answering("one")
    greend = site.start("--probe=/health", "--probe-timeout=2", "--start-timeout=4", f"--reload={reload}", bus=bus.address)
    zygote = next(pid for pid in greend.children() if pid not in greend_workers(bus, site))
    before = greend_workers(bus, site)
    code, told = REFUSED[kind]
    with Load(greend.address, clients=2) as load:
        site.code(code)
        done = greenctl("reload", site.name, bus=bus)
        assert done.returncode == 1
        for words in told:
            assert words in done.stderr
        assert {greend.get("/").text for _ in range(20)} == {"one"}
        assert greend_workers(bus, site) >= before, "the old workers never stopped"
        assert bus.get(site.name, "State") == "serving" and bus.get(site.name, "LastReloadResult") == "failed"
        wait_for(lambda: set(greend.children()) == before | {zygote}, "nothing is left of the new generation")
        site.answering("mended")
        assert greenctl("reload", site.name, bus=bus).returncode == 0
        assert greend.get("/").text == "mended"
    assert load.failures == {}, load.samples
    assert set(load.bodies) <= {"one", "mended"}


def greend_workers(bus, site):
    return {worker["PID"] for worker in bus.workers(site.name).values()}


def test_a_hang_at_import_shows_where_it_hangs(site, bus):
    greend = site.start("--start-timeout=4", bus=bus.address)
    site.code("import time\ndef wait_for_godot():\n    time.sleep(600)\nwait_for_godot()\n")
    assert greenctl("reload", site.name, bus=bus).returncode == 1
    greend.wait_log("in wait_for_godot")


@pytest.mark.parametrize("threads", [1, 4])
def test_a_probe_is_a_request_to_the_new_code_that_names_its_host(site, bus, threads):
    site.code("""
        def app(environ, start_response):
            probed = environ["PATH_INFO"] == "/health"
            start_response("204 None" if probed else "200 OK", [])
            return [] if probed else [b"one"]
    """)
    greend = site.start("--probe=/health?deep=1", "--probe-host=www.example.org", "--probe-status=204",
                        f"--threads={threads}", bus=bus.address)
    site.code("""
        import json
        def app(environ, start_response):
            seen = {name: environ.get(name) for name in ("PATH_INFO", "QUERY_STRING", "HTTP_HOST", "REQUEST_METHOD", "SERVER_PROTOCOL")}
            if environ["PATH_INFO"] == "/health":
                raise ValueError("probed with " + json.dumps(seen))
    """)
    done = greenctl("reload", site.name, bus=bus)
    seen = json.loads(done.stderr.rpartition("ValueError: probed with ")[2].splitlines()[0])
    assert seen == {"PATH_INFO": "/health", "QUERY_STRING": "deep=1", "HTTP_HOST": "www.example.org",
                    "REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1"}
    site.answering("two")
    done = greenctl("reload", site.name, bus=bus)
    assert done.returncode == 1 and "status 200 (probe_status = 204)" in done.stderr
    assert greend.get("/").text == "one"


def test_reloads_asked_while_one_imports_join_one_that_takes_the_newest_code(site, bus):
    slow = "import time\ntime.sleep(1.5)\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'{}']\n"
    site.answering("one")
    greend = site.start(bus=bus.address)
    reload = [BIN / "greenctl", f"--bus={bus.address}", "reload", site.name]
    site.code(slow.format("two"))
    first = subprocess.Popen(reload, stdout=subprocess.PIPE, text=True)
    greend.wait_status("starting generation 2: importing")
    waiting = [subprocess.Popen(reload, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    wait_for(lambda: greend.log().count("reload asked by") == 4, "all are asked for")
    site.answering("three")
    assert first.wait(20) == 0
    assert "generation 2 serves" in first.stdout.read()
    for other in waiting:
        assert other.wait(20) == 0
        assert "generation 3 serves" in other.stdout.read()
        other.stdout.close()
    first.stdout.close()
    assert greend.get("/").text == "three"
    assert bus.get(site.name, "Generation") == 3


def test_a_reload_s_answer_names_what_changed_and_what_needs_a_restart(site, bus):
    config = "app = 'app:app'\nworkers = 2\nbind = 'unix:{}'\n"
    socket = f"{site.folder}/s"
    greend = site.launch(f"--config={site.config(config.format(socket))}", f"--bus={bus.address}")
    greend.address = socket
    greend.wait_ready()
    site.config(config.format("/run/elsewhere.sock") + "timeout = 11\n")
    done = greenctl("reload", site.name, bus=bus)
    assert done.returncode == 0
    assert done.stdout == "generation 2 serves with 2 workers; changed: timeout; bind changed: needs a restart\n"
    assert greend.get("/").status == 200


def test_a_reload_shows_its_progress_on_a_terminal(site, bus):
    greend = site.start("--probe=/", bus=bus.address, workers=3)
    terminal, end = pty.openpty()
    done = subprocess.run([BIN / "greenctl", f"--bus={bus.address}", "reload", site.name],
                          stdout=subprocess.PIPE, stderr=end, check=True, timeout=60)
    os.close(end)
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:
        pass  # how a terminal ends
    os.close(terminal)
    line = shown.decode()
    phases = ["importing app:app…", "starting workers: ", "probing /…", "switched…", "draining 3…"]
    assert [line.find(phase) for phase in phases] == sorted(line.find(phase) for phase in phases)
    assert all(phase in line for phase in phases), line
    assert done.stdout == b"generation 2 serves with 3 workers\n"
    assert greend.get("/").status == 200


def test_a_rolling_reload_never_has_more_than_one_worker_more(site, bus):
    site.answering("one")
    greend = site.start("--reload=rolling", bus=bus.address, workers=4)
    site.answering("two")
    most, seen = 0, set()
    with Load(greend.address, clients=4) as load:
        reload = subprocess.Popen([BIN / "greenctl", f"--bus={bus.address}", "reload", site.name], stdout=subprocess.PIPE)
        while reload.poll() is None:
            workers = bus.workers(site.name).values()
            most = max(most, len(workers))
            seen.add(tuple(sorted(worker["Generation"] for worker in workers)))
        assert reload.communicate()[0] == b"generation 2 serves with 4 workers\n"
        assert reload.returncode == 0
        assert {greend.get("/").text for _ in range(20)} == {"two"}
    assert load.failures == {}, load.samples
    assert 4 <= most <= 5, seen
    wait_for(lambda: len(greend.children()) == 5, "one zygote and four workers")


def test_requests_in_flight_are_finished_by_the_old_code(site, bus):
    greend = site.start("--timeout=20", bus=bus.address, workers=1)
    connection = greend.connection()
    connection.request("GET", "/sleep?s=2")
    wait_for(lambda: bus.get(site.name, "BusyWorkers") == 1, "the request is in the application")
    old = bus.workers(site.name).popitem()[1]["PID"]
    site.answering("two")
    assert greenctl("reload", site.name, bus=bus).returncode == 0
    assert greend.get("/").text == "two"
    assert connection.getresponse().read() == b"slept"
    connection.close()
    wait_for(lambda: is_gone(old), "the old worker's end")


def test_a_keep_alive_connection_is_told_of_the_close(site, bus):
    greend = site.start(bus=bus.address, workers=1)
    connection = greend.connection()
    assert connection.ask("GET", "/").headers.get("connection", "keep-alive").lower() != "close"
    connection.request("GET", "/sleep?s=3")
    wait_for(lambda: bus.get(site.name, "BusyWorkers") == 1, "the request is in the application")
    greenctl("reload", "--no-block", site.name, bus=bus)
    greend.wait_status("generation 2")
    reply = connection.getresponse()
    assert reply.read() == b"slept"
    connection.close()


def test_old_processes_are_gone_after_a_reload(site, bus):
    greend = site.start(bus=bus.address)
    old = set(greend.children())
    assert greenctl("reload", site.name, bus=bus).returncode == 0
    wait_for(lambda: all(is_gone(pid) for pid in old), "the end of zygote and workers of generation 1")
    wait_for(lambda: not greend.zombies(), "no zombie")


def test_many_reloads_at_once_end_and_leave_one_generation(site, bus):
    greend = site.start(bus=bus.address)
    for _ in range(20):
        greend.send(signal.SIGHUP)
        assert greenctl("reload", "--no-block", site.name, bus=bus).returncode == 0
    assert greenctl("reload", site.name, bus=bus).returncode == 0
    wait_for(lambda: bus.get(site.name, "State") == "serving", "the end of all reloads", 30)
    wait_for(lambda: len(greend.children()) == 3, "one zygote and two workers", 20)
    assert os.path.exists(f"/proc/{greend.pid}")


def test_a_crash_of_the_new_zygote_during_a_reload_is_a_failed_reload(site, bus):
    site.answering("one")
    greend = site.start(bus=bus.address)
    site.code("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    done = greenctl("reload", site.name, bus=bus)
    assert done.returncode == 1
    assert greend.get("/").text == "one"
