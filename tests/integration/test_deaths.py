"""How a worker ended is told in the log, with what it was doing; and nothing of the application outlives greend."""

import os
import signal
import time
from pathlib import Path

import pytest

from harness import is_gone
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


def test_of_several_threads_the_latest_request_is_named(site):
    greend = site.start("--threads=3", workers=1)
    sleeper = greend.connection()
    sleeper.request("GET", "/sleep?s=10")
    wait_for(lambda: not time.sleep(0.3), "the first request is in the application")
    with pytest.raises(OSError):
        greend.get("/exit")
    greend.wait_log(r"exit status 3, while it served 2 requests, the latest GET /exit; replacing it")
    sleeper.close()


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
    assert time.monotonic() - begun < 1.5 * PATIENCE
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
