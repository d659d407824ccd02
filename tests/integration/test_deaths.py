"""How a worker ended is told in the log, with what it was doing; and nothing of the application outlives greend."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from harness import free_port, greenctl, is_gone
from http_client import read_all
from waiting import PATIENCE, wait_for


@pytest.mark.parametrize("path, how", [
    ("/exit?status=3&password=hunter2", r"exit status 3, while it served GET /exit"),
    ("/segfault", r"signal 11 \(SEGV\)(, core dumped)?, while it served GET /segfault"),
    ("/wild_pointer", r"signal 11 \(SEGV\)(, core dumped)?, while it served GET /wild_pointer"),
])
def test_a_death_is_explained_with_the_request_but_not_its_query(site, path, how):
    greend = site.start()
    with pytest.raises(OSError):
        greend.get(path)
    greend.wait_log(rf"worker \d+ \(process \d+\) ended unexpectedly: {how}; replacing it")
    assert "hunter2" not in greend.log()


def test_a_kill_from_outside_is_told_from_one_of_ours(site, bus):
    greend = site.start(workers=1, bus=bus.address)
    victim = int(greend.get("/pid").text)
    wait_for(lambda: bus.get(site.name, "BusyWorkers") == 0, "the call is over")
    os.kill(victim, signal.SIGKILL)
    greend.wait_log(rf"worker 0 \(process {victim}\) ended unexpectedly: signal 9 \(KILL\), not sent by greend[^\n]*; replacing it")
    assert "while it served" not in greend.log()


def test_a_reply_whose_end_is_the_connections_does_not_look_whole_where_its_worker_died(site):
    site.code("""
        import os, signal
        def app(environ, start_response):
            start_response("200 OK", [])
            yield b"the first half, "
            if environ["PATH_INFO"] == "/dies":
                os.kill(os.getpid(), signal.SIGKILL)
            yield b"the second half"
    """)
    greend = site.start(workers=1, bind=f"127.0.0.1:{free_port()}")
    with greend.socket() as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert read_all(client).endswith(b"the first half, the second half")
    with greend.socket() as client, pytest.raises(ConnectionResetError):
        client.sendall(b"GET /dies HTTP/1.0\r\n\r\n")
        read_all(client)
    greend.wait_log("signal 9")


def test_of_several_threads_the_latest_request_is_named(site, bus):
    greend = site.start("--threads=3", workers=1, bus=bus.address)
    sleeper = greend.connection()
    sleeper.request("GET", "/sleep?s=10")
    wait_for(lambda: bus.workers(site.name)[0]["RequestsInFlight"] == 1, "the first request is in the application")
    with pytest.raises(OSError):
        greend.get("/exit")
    greend.wait_log(r"exit status 3, while it served 2 requests, the latest GET /exit; replacing it")
    sleeper.close()


def test_a_thousand_deaths_leave_the_socket_listening_and_the_log_readable(site, bus):
    dying = site.folder / "dying"
    site.code(f"""
        import os, threading, time
        def watch():
            while not os.path.exists({str(dying)!r}):
                time.sleep(0.2)
            os._exit(7)
        os.register_at_fork(after_in_child=lambda: threading.Thread(target=watch, daemon=True).start())
        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"x"]
    """)
    greend = site.start("--preload=on", "--timeout=0", workers=300, bus=bus.address)
    dying.touch()
    begun = time.monotonic()
    wait_for(lambda: bus.get(site.name, "WorkerDeathsTotal") >= 1000, "a thousand deaths", 60)
    waiting = greend.connection()
    waiting.request("GET", "/")  # nobody is refused; who serves it is another matter
    greend.wait_status(r"workers keep dying \(exit status 7\), next start in \d+ s")
    dying.unlink()
    site.answering("mended")
    assert greenctl("scale", "--no-block", site.name, 2, bus=bus).returncode == 0
    assert greenctl("reload", site.name, bus=bus).returncode == 0
    assert greend.get("/").text == "mended"
    waiting.close()
    wait_for(lambda: "more deaths" in greend.log(), "the count of what was not logged", 20)
    wait_for(lambda: bus.get(site.name, "Generation") == 2 and len(bus.workers(site.name)) == 2, "the end of the others", 40)
    one_by_one = greend.log().count("ended unexpectedly: exit status 7")
    counted = sum(int(count) for count in re.findall(r"(\d+) more deaths of workers were not logged", greend.log()))
    assert "could not be forked" not in greend.log(), "a worker that dies at once has died, and was forked"
    named_at_most = 20 * (1 + (time.monotonic() - begun) / 10)
    assert one_by_one <= named_at_most and len(greend.log().splitlines()) < named_at_most + 150
    assert one_by_one + counted == bus.get(site.name, "WorkerDeathsTotal") >= 1000


LEAVES_CHILDREN = """
    import os, signal, subprocess, sys
    def app(environ, start_response):
        # One that ends when it is asked to, one that does not, and one whose parent is the second.
        stubborn = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork(); time.sleep(600)"
        one = subprocess.Popen(["sleep", "600"], start_new_session=True)
        two = subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True)
        start_response("200 OK", [])
        return [f"{one.pid} {two.pid}".encode()]
"""


def test_what_the_application_left_behind_ends_with_greend(site):
    site.code(LEAVES_CHILDREN)
    greend = site.start(workers=1)
    left = [int(pid) for pid in greend.get("/").text.split()]
    children = Path(f"/proc/{left[1]}/task/{left[1]}/children")
    left += [int(pid) for pid in wait_for(lambda: children.read_text().split(), "the child of the second")]
    begun = time.monotonic()
    assert greend.stop() == 0
    assert time.monotonic() - begun < 6 * PATIENCE
    assert all(is_gone(pid) for pid in left)
    for pid in left:
        assert f"process {pid}, which the application left behind, is ended" in greend.log()


def test_without_leftovers_the_end_waits_for_nothing(site):
    greend = site.start()
    begun = time.monotonic()
    assert greend.stop() == 0
    assert time.monotonic() - begun < 4 * PATIENCE
    assert "left behind" not in greend.log()


def test_a_child_that_the_application_forks_and_terminates_is_not_the_worker(site):
    site.code("""
        import multiprocessing, os, time
        def app(environ, start_response):
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
            child.start()
            child.terminate()
            child.join(10)
            start_response("200 OK", [])
            return [f"{os.getpid()} {child.exitcode}".encode()]
    """)
    greend = site.start(workers=1)
    pid, status = greend.get("/").text.split()
    assert int(status) == -signal.SIGTERM
    assert greend.get("/").text.split()[0] == pid
