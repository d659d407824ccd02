"""How greend ends: by draining, at once, or when nobody waits."""

import signal
import threading
import time

import pytest

from harness import is_gone
from waiting import PATIENCE, wait_for


class Asking:
    """A request in a thread of its own, known to have begun."""

    def __init__(self, greend, path):
        self.result = None
        self.error = None

        def run():
            try:
                self.result = greend.get(path)
            except Exception as error:  # whatever it is, the test looks at it
                self.error = error

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def wait(self):
        self.thread.join(30 * PATIENCE)
        assert not self.thread.is_alive()
        return self


def begin(greend, path, flag):
    asking = Asking(greend, path)
    wait_for(flag.exists, "the request reached the application")
    return asking


@pytest.fixture
def slow_site(site):
    site.code(f"""
        import time, pathlib
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/slow":
                pathlib.Path({str(site.folder / 'begun')!r}).touch()
                time.sleep(float(environ["QUERY_STRING"] or 2))
            start_response("200 OK", [])
            return [b"whole answer"]
    """)
    return site


def test_sigterm_finishes_a_request_of_two_seconds(slow_site):
    greend = slow_site.start()
    asking = begin(greend, "/slow", slow_site.folder / "begun")
    greend.send(signal.SIGTERM)
    greend.notify.wait_field("STOPPING=1")
    assert asking.wait().result.text == "whole answer"
    assert greend.wait_exit() == 0


def test_while_draining_nothing_new_is_accepted(slow_site):
    greend = slow_site.start()
    asking = begin(greend, "/slow", slow_site.folder / "begun")
    greend.send(signal.SIGTERM)
    greend.notify.wait_field("STOPPING=1")
    late = Asking(greend, "/")
    assert asking.wait().result.text == "whole answer"
    greend.wait_exit()
    assert late.wait().result is None or late.result.status in (200, 503)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_sigint_and_sigquit_do_not_wait(slow_site, number):
    greend = slow_site.start()
    asking = begin(greend, "/slow?20", slow_site.folder / "begun")
    begun = time.monotonic()
    assert greend.stop(number) == 0
    assert time.monotonic() - begun < 8 * PATIENCE
    assert asking.wait().error is not None


def test_a_second_signal_hurries_a_drain(slow_site):
    greend = slow_site.start()
    begin_ = begin(greend, "/slow?20", slow_site.folder / "begun")
    greend.send(signal.SIGTERM)
    greend.notify.wait_field("STOPPING=1")
    begun = time.monotonic()
    assert greend.stop(signal.SIGINT) == 0
    assert time.monotonic() - begun < 8 * PATIENCE
    begin_.wait()


def test_the_drain_ends_with_the_graceful_timeout(slow_site):
    greend = slow_site.start("--graceful-timeout=1", "--timeout=60")
    asking = begin(greend, "/slow?30", slow_site.folder / "begun")
    begun = time.monotonic()
    assert greend.stop() == 0
    assert 0.8 < time.monotonic() - begun < 6 * PATIENCE
    assert asking.wait().result.status == 504


def test_an_idle_site_stops_quickly(site):
    greend = site.start()
    connection = greend.connection()
    assert connection.ask("GET", "/").status == 200
    begun = time.monotonic()
    assert greend.stop() == 0
    assert time.monotonic() - begun < 5 * PATIENCE
    connection.close()


def test_a_stop_during_the_import_is_quick(site):
    site.code("import time\ntime.sleep(60)\n")
    greend = site.start(ready=False)
    greend.notify.wait_status("importing")
    begun = time.monotonic()
    greend.stop()
    assert time.monotonic() - begun < 8 * PATIENCE


def test_nothing_is_left_after_the_exit(site):
    greend = site.start()
    pids = greend.worker_pids(2) | set(greend.children())
    assert greend.stop() == 0
    assert all(is_gone(pid) for pid in pids)


def test_atexit_handlers_of_the_application_run(site):
    site.code(f"""
        import atexit, os
        atexit.register(lambda: open({str(site.folder / 'ended')!r}, "a").write(f"{{os.getpid()}}\\n"))
        def app(environ, start_response):
            start_response("200 OK", [])
            return [str(os.getpid()).encode()]
    """)
    greend = site.start(workers=1)
    worker = greend.get("/").text
    assert greend.stop() == 0
    assert worker in (site.folder / "ended").read_text().split()
