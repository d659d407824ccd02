"""Starts that fail one after the other: the service manager keeps their number, and greend waits longer each time."""

import contextlib
import os
import signal
import socket
import time
from dataclasses import dataclass

import pytest

from harness import IS_SANITIZED, activation
from http_client import ask
from waiting import PATIENCE, wait_for

APP = 'app = "app:app"\n'


@dataclass
class Kept:
    """What a greend before left with the service manager: how often it failed to start."""

    descriptor: int

    def fileno(self):
        return self.descriptor

    def count(self):
        return int.from_bytes(os.pread(self.descriptor, 4, 0), "little")


@pytest.fixture
def restarted(site):
    """Starts greend as the service manager does after so many failures; gives (greend, kept, address)."""
    with contextlib.ExitStack() as stack:
        def start(failures):
            listening = stack.enter_context(socket.socket())
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            kept = Kept(os.memfd_create("green-failed-starts"))
            stack.callback(os.close, kept.fileno())
            os.pwrite(kept.fileno(), failures.to_bytes(4, "little"), 0)
            greend = site.launch("--config=" + str(site.config(APP)), "--bus=none", "--workers=1",
                                 **activation([("http", listening), ("green-failed-starts", kept)]))
            greend.address = listening.getsockname()
            return greend, kept
        yield start


def test_the_first_failed_start_ends_at_once_and_is_counted(site):
    site.code("raise RuntimeError('no database')")
    greend = site.start(ready=False)
    assert greend.wait_exit() == 1
    assert greend.notify.count("FDSTORE=1") == 1 and greend.notify.count("FDNAME=green-failed-starts") == 1
    assert "failed to start: RuntimeError: no database" in greend.notify.statuses()
    assert "in a row" not in greend.log()
    # A process that is killed as the sanitizer looks for its leaks leaves the one that looks.
    assert IS_SANITIZED or "left behind" not in greend.log()


def test_a_later_one_waits_answers_503_and_says_what_failed_how_often_and_when_it_is_tried_again(site, restarted):
    site.code("raise RuntimeError('no database')")
    begun = time.monotonic()
    greend, kept = restarted(3)
    greend.wait_status(r"^failed to start 4 times in a row: RuntimeError: no database; next try in 4 s$")
    reply = ask(greend.address)
    assert reply.status == 503 and 2 <= int(reply.headers["retry-after"]) <= 4
    assert reply.text == "The site does not start at the moment (green).\n"
    greend.wait_status(r"next try in 2 s$")
    greend.notify.wait(lambda d: int(d.get("EXTEND_TIMEOUT_USEC") or 0) >= 5_000_000, "more time")
    assert greend.wait_exit() == 1
    assert time.monotonic() - begun >= 4
    assert kept.count() == 4
    assert greend.log().count("RuntimeError: no database") == 1


def test_sigterm_ends_the_wait_and_the_number(site, restarted):
    site.code("raise RuntimeError('no database')")
    greend, _ = restarted(20)
    greend.wait_status("failed to start 21 times")
    begun = time.monotonic()
    assert greend.stop(signal.SIGTERM) == 0
    assert time.monotonic() - begun < 6 * PATIENCE
    wait_for(lambda: greend.notify.count("FDSTOREREMOVE=1") == 1, "the number is forgotten")


def test_a_start_that_succeeds_ends_the_number(site, restarted):
    greend, _ = restarted(3)
    greend.wait_ready()
    assert greend.get("/").status == 200
    greend.notify.wait_field("FDSTOREREMOVE=1")
    assert "descriptor" not in greend.log()


def test_the_status_of_a_long_import_says_how_long_it_has_taken(site):
    site.code("""
        import time
        time.sleep(12)
        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"late"]
    """)
    greend = site.start(ready=False)
    greend.wait_status(r"^starting generation 1: importing app:app, for 10 s now$", 30)
    greend.wait_ready()
