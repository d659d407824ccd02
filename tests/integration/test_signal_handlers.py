"""Handlers of signals that an application sets run when the signal comes, and what they raise hurts no request."""

import os
import signal
import time

import pytest

CODE = """
    import os, signal, sys, threading, time

    def told(number, frame):
        print("handler ran on", threading.current_thread().name, flush=True)

    def angry(number, frame):
        raise RuntimeError("the handler failed on purpose")

    def leaves(number, frame):
        sys.exit(3)

    signal.signal(signal.SIGUSR1, told)
    signal.signal(signal.SIGUSR2, angry)
    signal.signal(signal.SIGCONT, leaves)

    def app(environ, start_response):
        start_response("200 OK", [])
        return [str(os.getpid()).encode()]
"""


@pytest.fixture(params=[1, 4], ids=["inline", "threads"])
def greend(site, request):
    site.code(CODE)
    return site.start(f"--threads={request.param}", workers=1)


def test_a_handler_runs_though_no_request_comes(greend):
    (worker,) = greend.worker_pids()
    os.kill(worker, signal.SIGUSR1)
    greend.wait_log("handler ran on MainThread")
    assert greend.get("/").status == 200


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGCONT])
def test_what_a_handler_raises_is_logged_and_hurts_no_request(greend, number):
    (worker,) = greend.worker_pids()
    os.kill(worker, number)
    greend.wait_log("a signal's handler raised an exception\n(.*\n)*.*(failed on purpose|SystemExit: 3)")
    assert greend.worker_pids() == {worker}


def test_a_handler_that_raises_while_the_last_call_ends_does_not_disturb_that(site):
    site.code(CODE + """
    class Reply:
        def __iter__(self):
            return iter([b"%d" % os.getpid()])
        def close(self):
            print("closing", flush=True)
            time.sleep(2)
            print("closed", flush=True)

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(str(os.getpid()))))])
        return Reply()
    """)
    greend = site.start("--threads=4", workers=1)
    worker = int(greend.get("/").text)
    greend.wait_log("closing")
    greend.send(signal.SIGTERM)
    greend.wait_log("stopping")
    time.sleep(0.5)  # whatever it does meanwhile, it is long done with all but the last call
    os.kill(worker, signal.SIGUSR2)
    assert greend.wait_exit() == 0
    assert "closed" in greend.log()
    assert "the handler failed on purpose" in greend.log()


def test_an_application_that_imports_signal_in_a_request_finds_the_defaults(site):
    site.code("""
        def app(environ, start_response):
            import signal, time
            def alarm(number, frame):
                raise TimeoutError("in time")
            before = signal.signal(signal.SIGALRM, alarm)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            try:
                time.sleep(5)
                text = "too late"
            except TimeoutError as error:
                text = str(error)
            signal.signal(signal.SIGALRM, before)
            start_response("200 OK", [])
            return [f"{text}, {signal.getsignal(signal.SIGUSR1)!s}".encode()]
    """)
    assert site.start(workers=1).get("/").text == "in time, 0"
