"""timeout: however a request is stuck, its client is answered, its worker replaced, and nobody else notices."""

import os
import re
import signal
import threading
import time

import pytest

from harness import is_gone, process_state
from http_client import read_all
from load import Load
from waiting import PATIENCE, wait_for

STUCK_SITE = r"""
    import ctypes, os, re, time
    libc, holding = ctypes.CDLL(None), ctypes.PyDLL(None)

    def do_sleep():
        time.sleep(60)
    def do_loop():
        while True:
            pass
    def do_c_code():
        # The handler of a signal ends each call early.
        while True:
            libc.usleep(10_000_000)
    def do_c_code_with_the_gil():
        while True:
            holding.usleep(10_000_000)
    def do_regex():
        re.match(r"(a+)+$", "a" * 60 + "b")
    def do_uninterruptible():
        # As vfork(2): the caller is in state D until the child ends, and handles no signal.
        stack = ctypes.create_string_buffer(1 << 16)
        top = (ctypes.addressof(stack) + (1 << 16) - 256) & ~15
        CLONE_VM, CLONE_VFORK, SIGCHLD = 0x100, 0x4000, 17
        libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
        libc.clone(ctypes.cast(libc.sleep, ctypes.c_void_p), top, CLONE_VM | CLONE_VFORK | SIGCHLD, 8)
    def do_nap():
        time.sleep(1.5)
    def do_rest():
        time.sleep(3)
    def do_interrupted():
        libc.usleep(10_000_000)
    def do_pid():
        pass

    def app(environ, start_response):
        path = environ["PATH_INFO"]
        with open("calls", "a") as calls:
            print(path, file=calls)
        if path == "/partial":
            start_response("200 OK", [("Content-Length", "100")])(b"the beginning")
            time.sleep(60)
        globals()["do_" + path.strip("/")]()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""


@pytest.fixture
def stuck_site(site):
    site.code(STUCK_SITE)
    return site


class Asking:
    """A request in a thread of its own."""

    def __init__(self, greend, path):
        self.reply = self.error = None
        self.calls = greend.log_path.parent / "calls"
        self.path = path

        def run():
            try:
                self.reply = greend.get(path)
            except OSError as error:
                self.error = error

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def wait_call(self):
        """Until the application has it."""
        wait_for(lambda: self.calls.exists() and self.path in self.calls.read_text().split(), f"the call of {self.path}")

    def wait(self):
        self.thread.join(30 * PATIENCE)
        assert not self.thread.is_alive()
        return self


WAYS = ["sleep", "loop", "c_code", "c_code_with_the_gil", "regex"]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_a_stuck_request_is_answered_with_504_and_its_worker_replaced(stuck_site, way, threads):
    greend = stuck_site.start("--timeout=1", f"--threads={threads}", workers=1)
    victim = int(greend.get("/pid").text)
    begun = time.monotonic()
    reply = greend.get(f"/{way}?secret=hunter2")
    took = time.monotonic() - begun
    assert (reply.status, reply.headers["connection"]) == (504, "close")
    assert reply.text.startswith("504 Gateway Timeout")
    assert 0.95 < took < 6 * PATIENCE
    # By then a replacement is there, or about to be.
    assert int(greend.get("/pid").text) != victim
    wait_for(lambda: is_gone(victim), "the end of the stuck worker", 8)
    greend.wait_log(rf"\bGET /{way}\b")
    greend.wait_log(rf"do_{way}")
    assert "hunter2" not in greend.log()


@pytest.mark.parametrize("way", [*WAYS, "uninterruptible"])
def test_while_one_worker_is_stuck_the_others_lose_nothing(stuck_site, way):
    greend = stuck_site.start("--timeout=1", workers=3)
    greend.worker_pids(3)
    asking = Asking(greend, f"/{way}")
    greend.wait_log(r"process (\d+)\) has not responded")
    victim = int(re.search(r"process (\d+)\) has not responded", greend.log()).group(1))
    with Load(greend.address, "/pid", clients=4) as load:
        wait_for(lambda: is_gone(victim), "the end of the stuck worker", 12)
        wait_for(lambda: len(load.bodies) >= 3, "three workers again")
    assert load.failures == {}, load.samples
    assert str(victim) not in load.bodies
    assert asking.wait().error or asking.reply.status == 504


def test_a_worker_in_uninterruptible_sleep_is_replaced_before_it_ends(stuck_site):
    greend = stuck_site.start("--timeout=2", workers=1)
    victim = int(greend.get("/pid").text)
    asking = Asking(greend, "/uninterruptible")
    wait_for(lambda: process_state(victim) == "D", "a worker that no signal reaches")
    greend.wait_log(rf"process {victim}\) has not responded for 2 s \(timeout\), while it served GET /uninterruptible")
    assert int(greend.get("/pid").text) != victim
    # It can't answer its client, whose connection ends with it.
    assert asking.wait().error is not None


def test_a_stopped_worker_wakes_to_answer_its_client(stuck_site):
    greend = stuck_site.start("--timeout=2", workers=1)
    victim = int(greend.get("/pid").text)
    asking = Asking(greend, "/nap")
    asking.wait_call()
    os.kill(victim, signal.SIGSTOP)
    assert asking.wait().reply.status == 504
    greend.wait_log(r"do_nap")
    wait_for(lambda: is_gone(victim), "the end of the stopped worker", 8)
    assert int(greend.get("/pid").text) != victim


def test_other_requests_of_its_pool_are_finished_first(stuck_site):
    greend = stuck_site.start("--timeout=4", "--threads=3", "--graceful-timeout=10", workers=1)
    victim = int(greend.get("/pid").text)
    kept = greend.connection()
    assert kept.ask("GET", "/pid").text == str(victim)
    stuck = Asking(greend, "/sleep")
    time.sleep(2.5)  # its limit comes later, and it takes long enough to see the other one's
    other = Asking(greend, "/rest")
    assert stuck.wait().reply.status == 504
    assert other.thread.is_alive()
    # The worker drains: it serves a connection that it kept alive once more.
    reply = kept.ask("GET", "/pid")
    assert (reply.text, reply.headers["connection"]) == (str(victim), "close")
    kept.close()
    assert other.wait().reply.text == str(victim)
    wait_for(lambda: is_gone(victim), "the worker's end, without waiting for the stuck call", 5)


def test_who_waits_behind_a_call_that_holds_the_gil_is_answered_in_time_too(stuck_site):
    greend = stuck_site.start("--timeout=1", "--threads=2", workers=1)
    kept = greend.connection()
    victim = kept.ask("GET", "/pid").text
    begun = time.monotonic()
    stuck = Asking(greend, "/regex")
    stuck.wait_call()
    kept.request("GET", "/pid")  # no thread of that worker will ever take it
    assert stuck.wait().reply.status == 504
    assert greend.get("/pid").text != victim
    assert time.monotonic() - begun < 6 * PATIENCE
    assert kept.getresponse().status == 504
    kept.close()
    wait_for(lambda: is_gone(int(victim)), "the worker's end", 8)


def test_a_loop_that_turns_again_is_drained_and_not_killed(stuck_site):
    greend = stuck_site.start("--timeout=1", workers=1)
    kept = greend.connection()
    victim = kept.ask("GET", "/pid").text
    stuck = Asking(greend, "/interrupted")
    stuck.wait_call()
    kept.request("GET", "/pid")
    assert stuck.wait().reply.status == 504
    reply = kept.getresponse()
    assert (reply.status, reply.read().decode(), reply.headers["connection"]) == (200, victim, "close")
    kept.close()
    wait_for(lambda: is_gone(int(victim)), "the drained worker's end", 8)
    assert int(greend.get("/pid").text) != int(victim)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_reply_that_has_begun_is_cut_and_nothing_is_added_to_it(stuck_site, threads):
    greend = stuck_site.start("--timeout=1", f"--threads={threads}", workers=1)
    with greend.socket() as client:
        client.sendall(b"GET /partial HTTP/1.1\r\nHost: a\r\n\r\n")
        received = b""
        try:
            while part := client.recv(65536):
                received += part
        except ConnectionResetError:
            pass
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.endswith(b"\r\n\r\nthe beginning")


@pytest.mark.parametrize("threads", [1, 2])
def test_of_pipelined_requests_one_504_answers_the_stuck_one_and_no_other(stuck_site, threads):
    greend = stuck_site.start("--timeout=1", f"--threads={threads}", workers=1)
    with greend.socket() as client:
        one = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
        client.sendall(one % b"pid" + one % b"sleep" + one % b"pid" * 3)
        received = read_all(client)
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"504"]
    assert received.endswith(b"did not answer in time\n")


@pytest.mark.parametrize("threads", [1, 2])
def test_a_504_to_head_has_no_body(stuck_site, threads):
    greend = stuck_site.start("--timeout=1", f"--threads={threads}", workers=1)
    with greend.socket() as client:
        client.sendall(b"HEAD /sleep HTTP/1.1\r\nHost: a\r\n\r\n")
        received = read_all(client)
    assert received.startswith(b"HTTP/1.1 504 ") and received.endswith(b"\r\n\r\n")


def test_each_request_has_the_whole_timeout(stuck_site):
    """A connection's age, or a busy worker's, is no request's."""
    greend = stuck_site.start("--timeout=4", workers=1)
    connection = greend.connection()
    pids = {connection.ask("GET", "/nap").text for _ in range(4)}
    assert len(pids) == 1
    connection.close()


def test_a_request_at_the_end_of_a_graceful_stop_is_answered_too(stuck_site):
    greend = stuck_site.start("--timeout=0", "--graceful-timeout=1", workers=1)
    asking = Asking(greend, "/sleep")
    asking.wait_call()
    assert greend.stop() == 0
    assert asking.wait().reply.status == 504
    assert "do_sleep" in greend.log()


def test_a_call_longer_than_keepalive_leaves_its_client_the_connection(site):
    site.code("""
        import time
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/slow":
                time.sleep(1.5)
            start_response("200 OK", [])
            return [b"done"]
    """)
    greend = site.start("--keepalive=1s", workers=1)
    client = greend.connection()
    for path in ("/slow", "/", "/slow", "/"):
        client.request("GET", path)
        reply = client.getresponse()
        assert (reply.status, reply.read()) == (200, b"done")
        # For long enough that the loop would have closed it, were the call's time counted.
        time.sleep(0.2)
    client.close()
