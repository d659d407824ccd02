"""Applications that misbehave: greend and the next request do not suffer for it."""

import json
import os

import pytest

from harness import is_gone
from waiting import wait_for


def test_an_application_that_raises_is_a_500_and_a_traceback_in_the_log(site):
    greend = site.start(workers=1)
    worker = greend.worker_pids()
    reply = greend.get("/raise")
    assert reply.status == 500
    assert "on purpose" not in reply.text, "a client learns nothing of the inside"
    greend.wait_log("ValueError: the application failed on purpose")
    assert greend.worker_pids() == worker


def test_sys_exit_in_a_request_is_a_500_or_a_replaced_worker(site):
    greend = site.start(workers=1)
    try:
        assert greend.get("/sysexit").status == 500
    except OSError:
        pass
    wait_for(lambda: greend.get("/").status == 200, "an answer")


def test_closing_descriptors_0_to_10_is_survived(site):
    greend = site.start(workers=2)
    try:
        greend.get("/close_descriptors", timeout=5)
    except OSError:
        pass
    wait_for(lambda: len(greend.worker_pids(2)) == 2, "two workers that answer", 30)
    assert greend.process.poll() is None


def test_an_application_may_fork(site):
    greend = site.start(workers=1)
    worker = greend.worker_pids()
    assert greend.get("/fork").text.startswith("forked")
    assert greend.worker_pids() == worker


def test_a_child_of_the_application_ends_with_greend_and_does_not_hold_it_up(site):
    site.code("""
        import os, time
        def app(environ, start_response):
            child = os.fork()
            if child == 0:
                time.sleep(3600)
                os._exit(0)
            start_response("200 OK", [])
            return [str(child).encode()]
    """)
    greend = site.start(workers=1)
    child = int(greend.get("/").text)
    assert greend.stop() == 0
    assert is_gone(child)


def test_garbage_on_the_standard_streams_harms_nobody_and_forges_no_line(site):
    greend = site.start(workers=1)
    worker = greend.worker_pids()
    for _ in range(5):
        assert greend.get("/garbage").text == "printed"
    assert greend.worker_pids() == worker
    assert greend.process.poll() is None


@pytest.mark.parametrize(
    "body",
    [
        "start_response('200 OK', [('X-Evil', 'a\\r\\nSet-Cookie: b')])",
        "start_response('200', [('Content-Type', 'text/plain')])",
        "start_response('abc', [])",
        "start_response('200 OK', [('Content-Type', 5)])",
        "return None",
        "return ['text, not bytes']",
        "start_response('200 OK', [('Content-Length', 'many')])",
        "start_response(200, [])",
        "pass",
        "start_response('200 OK', None)",
    ],
)
def test_answers_that_break_pep_3333_are_a_500_or_well_formed(site, body):
    site.code(f"""
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/bad":
                {body}
                return [b"x"]
            start_response("200 OK", [])
            return [b"fine"]
    """)
    greend = site.start(workers=1)
    reply = greend.get("/bad")
    assert reply.status in (200, 500)
    assert "set-cookie" not in reply.headers
    assert greend.get("/").text == "fine"


def test_an_answer_that_fails_in_its_middle_is_cut_not_completed(site):
    site.code("""
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/":
                start_response("200 OK", [])
                return [b"fine"]
            start_response("200 OK", [("Content-Length", "2000000")])
            def parts():
                yield b"x" * 1000000
                raise OSError("lost the rest")
            return parts()
    """)
    greend = site.start(workers=1)
    with pytest.raises(Exception):  # IncompleteRead or a reset: never a whole answer
        greend.get("/half")
    greend.wait_log("lost the rest")
    assert greend.get("/").text == "fine"


def test_close_of_the_answer_is_called(site):
    site.code(f"""
        class Answer:
            def __init__(self): self.parts = iter([b"a", b"b"])
            def __iter__(self): return self
            def __next__(self): return next(self.parts)
            def close(self): open({str(site.folder / 'closed')!r}, "w").close()
        def app(environ, start_response):
            start_response("200 OK", [])
            return Answer()
    """)
    greend = site.start(workers=1)
    assert greend.get("/").text == "ab"
    wait_for(lambda: os.path.exists(site.folder / "closed"), "close()")


def test_a_worker_holds_nothing_of_the_service(site, bus):
    greend = site.start(bus=bus.address, env={
        "WATCHDOG_USEC": "60000000", "LISTEN_FDNAMES": "x", "FDSTORE": "5", "KEPT": "yes"})
    process = json.loads(greend.get("/process").text)
    environment = process["environment"]
    assert environment["KEPT"] == "yes"
    gone = [name for name in environment if name.startswith(("NOTIFY_", "LISTEN_", "WATCHDOG_")) or name == "GREEN_BUS"]
    assert gone == []
    mine = {os.readlink(e.path) for e in os.scandir(f"/proc/{greend.pid}/fd") if os.readlink(e.path).startswith("socket:")}
    theirs = {name for name in process["descriptors"].values() if name.startswith("socket:")}
    listening = 1
    assert len(theirs & mine) == listening, "only the listening socket is shared with greend"
    assert not [name for name in process["descriptors"].values() if "pidfd" in name or "signalfd" in name or "inotify" in name]
    assert process["ppid"] == greend.pid
    assert int(process["blocked"], 16) == 0, "no signal is blocked for the application"


def test_standard_input_is_empty(site):
    site.code("""
        import sys
        def app(environ, start_response):
            start_response("200 OK", [])
            return [repr(sys.stdin.read()).encode()]
    """)
    assert site.start(workers=1).get("/").text == "''"
