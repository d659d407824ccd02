"""What greend does about its workers: replace, hold back, scale, time out."""

import collections
import contextlib
import os
import re
import signal
import time

import pytest

from harness import greenctl, is_gone
from http_client import Connection
from load import LOST_WITH_ITS_PROCESS, Load
from waiting import wait_for


def test_a_killed_worker_is_replaced(site):
    greend = site.start()
    victim = greend.worker_pids(2).pop()
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: victim not in (pids := greend.worker_pids(2)) and len(pids) == 2, "two workers without the killed one")
    assert not greend.zombies()
    greend.wait_log("SIGKILL|signal 9|[Kk]illed")


def test_killing_a_worker_under_load_loses_at_most_its_own_requests(site):
    greend = site.start(workers=3)
    with Load(greend.address, "/pid", clients=4) as load:
        wait_for(lambda: load.answered > 200, "load is under way")
        victims = list(greend.worker_pids(3))[:2]
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda: is_gone(victim), "the worker's death")
        answered = load.answered
        wait_for(lambda: load.answered > answered + 500, "load goes on")
    assert sum(load.failures.values()) <= 4 * len(victims), load.samples
    assert set(load.failures) <= LOST_WITH_ITS_PROCESS, load.failures


def test_every_way_to_die_is_survived(site):
    greend = site.start()
    for way in ("/exit", "/segfault", "/wild_pointer"):
        with pytest.raises(OSError):
            greend.get(way)
        assert wait_for(lambda: len(greend.worker_pids(2)) == 2, f"two workers after {way}", 20)


def test_a_crash_loop_is_held_back_and_the_status_says_so(site):
    # Each worker ends a moment after its start, by itself.
    site.code("""
        import os, threading
        def end():
            os._exit(7)
        os.register_at_fork(after_in_child=lambda: threading.Timer(0.2, end).start())
        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"x"]
    """)
    greend = site.start("--preload=on", workers=1)
    greend.wait_status(r"(?i)(fail|crash|exit|back|restart|next)", seconds=30)
    begun = time.monotonic()
    seen = set()

    def starts():
        seen.update(pid for pid in greend.children() if not is_gone(pid))
        return time.monotonic() - begun > 5

    wait_for(starts, "five seconds of watching", 6)
    assert len(seen) <= 8, "a crash loop starts workers without pause"
    assert greend.process.poll() is None
    one_line = greend.notify.statuses()[-1]
    assert "\n" not in one_line


def test_a_stopped_worker_is_replaced_after_the_timeout(site):
    greend = site.start("--timeout=2")
    victim = greend.worker_pids(2).pop()
    os.kill(victim, signal.SIGSTOP)
    wait_for(lambda: is_gone(victim), "the end of the stopped worker", 15)
    wait_for(lambda: len(greend.worker_pids(2)) == 2, "two workers")


def test_a_request_that_outlives_the_timeout_ends_its_worker_and_shows_the_stack(site):
    greend = site.start("--timeout=1", workers=1)
    victim = greend.worker_pids().pop()
    with pytest.raises(OSError):
        reply = greend.get("/sleep?s=30")
        if reply.status == 504:
            raise ConnectionResetError
    wait_for(lambda: is_gone(victim), "the end of the worker", 15)
    greend.wait_log(r"do_sleep")
    assert greend.get("/").status == 200


def test_a_request_within_the_timeout_is_left_alone(site):
    greend = site.start("--timeout=4", workers=1)
    victim = greend.worker_pids().pop()
    assert greend.get("/sleep?s=2").text == "slept"
    assert greend.worker_pids() == {victim}


def test_workers_are_children_of_greend(site):
    greend = site.start()
    pids = greend.worker_pids(2)
    assert pids <= set(greend.children())


def test_workers_that_end_themselves_by_sigterm_are_held_back_and_the_log_says_so(site):
    # While they serve: one that has not come so far is simply killed by it, which other tests are about.
    site.code("""
        import os, signal
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/leave":
                os.kill(os.getpid(), signal.SIGTERM)
            start_response("200 OK", [])
            return [b"x"]
    """)
    greend = site.start("--preload=on", workers=2)
    held_back = re.compile(r"workers keep dying \(it ended itself: SIGTERM, not sent by greend\), next start in \d+ s")
    asked = 0
    while not any(map(held_back.search, greend.notify.statuses())):
        assert greend.get("/leave").text == "x"
        asked += 1
        assert asked <= 50, greend.log()
    assert len(re.findall("finishes what it has: it ended itself", greend.log())) <= 20


def test_the_death_of_the_zygote_loses_no_worker(site):
    greend = site.start()
    workers = greend.worker_pids(2)
    zygotes = [pid for pid in greend.children() if pid not in workers]
    assert len(zygotes) == 1
    with Load(greend.address) as load:
        os.kill(zygotes[0], signal.SIGKILL)
        wait_for(lambda: is_gone(zygotes[0]), "the zygote's death")
        # There is a zygote again, and a dead worker is replaced again.
        greend.wait_status("generation 2: 2 workers ready$")
        answered = load.answered
        wait_for(lambda: load.answered > answered + 300, "load goes on")
        assert load.failures == {}, load.samples
        victim = greend.worker_pids().pop()
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: len(greend.worker_pids(2)) == 2, "two workers", 20)
    # The zygote's death cost nothing; the worker's, at most the connections it had.
    assert set(load.failures) <= LOST_WITH_ITS_PROCESS and sum(load.failures.values()) <= 4, load.samples


def test_workers_end_when_greend_is_killed(site):
    greend = site.start()
    pids = greend.worker_pids(2)
    greend.process.kill()
    greend.process.wait()
    wait_for(lambda: all(is_gone(pid) for pid in pids), "the workers' end")


@pytest.mark.parametrize("preload", ["on", "off", "auto"])
def test_every_kind_of_preload_serves(site, preload):
    greend = site.start(f"--preload={preload}")
    assert len(greend.worker_pids(2)) == 2
    os.kill(greend.worker_pids().pop(), signal.SIGKILL)
    wait_for(lambda: len(greend.worker_pids(2)) == 2, "two workers")


def test_an_import_that_leaves_a_thread_is_not_forked_from(site):
    site.code("""
        import os, threading
        imported_by = os.getpid()
        threading.Thread(target=threading.Event().wait, name="poller", daemon=True).start()
        def app(environ, start_response):
            alive = any(thread.name == "poller" and thread.is_alive() for thread in threading.enumerate())
            start_response("200 OK", [])
            return [f"{imported_by == os.getpid()} {alive}".encode()]
    """)
    greend = site.start()
    assert greend.get("/").text == "True True"
    greend.wait_log("warning.*poller")


@pytest.mark.parametrize("threads", [1, 2])
def test_a_worker_imports_nothing_of_its_own(site, threads):
    site.code("""
        import os, sys
        at_the_fork = set()
        os.register_at_fork(after_in_child=lambda: at_the_fork.update(sys.modules))
        def app(environ, start_response):
            start_response("200 OK", [])
            return [" ".join(sorted(set(sys.modules) - at_the_fork)).encode()]
    """)
    greend = site.start(f"--threads={threads}")
    assert greend.get("/").text == ""


def test_memory_is_shared_by_default(site):
    site.code("""
        import os
        imported_by = os.getpid()
        def app(environ, start_response):
            start_response("200 OK", [])
            return [f"{imported_by == os.getpid()}".encode()]
    """)
    assert site.start().get("/").text == "False"


def test_scaling_changes_who_answers_and_loses_nothing(site, bus):
    greend = site.start(bus=bus.address)
    with Load(greend.address, "/pid", clients=4) as load:
        for count in (6, 1, 4):
            done = greenctl("scale", site.name, count, bus=bus)
            assert done.returncode == 0, done.stderr
            assert len(greend.worker_pids(count)) == count
            assert bus.get(site.name, "ReadyWorkers") == count
            wait_for(lambda: len(bus.workers(site.name)) == count, f"{count} worker objects")
        assert load.answered > 0
    assert load.failures == {}, load.samples
    greend.wait_status(r"4 workers ready")


def test_status_lines_are_one_line_each(site):
    greend = site.start()
    greend.stop()
    for status in greend.notify.statuses():
        assert re.fullmatch(r"[^\n]{1,200}", status)


@pytest.mark.parametrize("at_once", [True, False])
def test_connections_are_spread_evenly(site, at_once):
    greend = site.start(workers=4)
    greend.worker_pids(4)
    served = collections.Counter()
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(contextlib.closing(Connection(greend.address))) for _ in range(64)]
        for connection in connections:
            connection.connect()
            if not at_once:
                served[connection.ask("GET", "/pid").text] += 1
        for _ in range(10):
            for connection in connections:
                served[connection.ask("GET", "/pid").text] += 1
    assert len(served) == 4
    assert max(served.values()) <= 1.5 * sum(served.values()) / 4, served
