"""Draining ends, and on the way no client loses a request: idle connections are closed late and not all at once."""

import contextlib
import http.client
import os
import random
import re
import signal
import threading
import time

import pytest

from harness import free_port, greenctl, is_gone
from waiting import PATIENCE, open_gate, wait_for


class IdlingClient:
    """Asks on a kept connection, and idles for a random moment between requests; counts what it loses."""

    def __init__(self, greend, longest_idle, seed):
        self.random = random.Random(seed)
        self.longest_idle = longest_idle
        self.greend = greend
        self.answered = 0
        self.failures = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        connection = self.greend.connection()
        while not self.stopping.wait(self.random.uniform(0, self.longest_idle)):
            try:
                reply = connection.ask("GET", "/")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
                connection = self.greend.connection()
                continue
            if reply.status == 200:
                self.answered += 1
            else:
                self.failures.append(reply.status)
            if reply.headers.get("connection", "").lower() == "close":
                connection.close()
                connection = self.greend.connection()
        connection.close()

    def stop(self):
        self.stopping.set()
        self.thread.join(30 * PATIENCE)


def test_what_drains_gets_back_the_time_in_which_the_machine_stood_still(site):
    site.code("""
        import os
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/gate":
                open("begun", "w").close()
                open("gate").close()  # a FIFO: until somebody opens it to write
            start_response("200 OK", [])
            return [b"done"]
    """)
    os.mkfifo(site.folder / "gate")
    greend = site.start("--graceful-timeout=5s", workers=1)
    client = greend.socket()
    client.sendall(b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_for((site.folder / "begun").exists, "the request to be under way")
    os.kill(greend.pid, signal.SIGHUP)
    greend.wait_status("^generation 2: .* draining")
    processes = [*greend.children(), greend.pid]

    def send_all(number):
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):  # the old generation's zygote ends just now
                os.kill(pid, number)

    send_all(signal.SIGSTOP)
    time.sleep(6)  # that it passes is the point
    send_all(signal.SIGCONT)
    time.sleep(1.5)  # the deadlines are looked at each second
    open_gate(site.folder / "gate")
    assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
    client.close()
    assert "did not finish" not in greend.log()


@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_clients_that_idle_at_random_lose_nothing_through_20_reloads(site, bus, over):
    bind = f"127.0.0.1:{free_port()}" if over == "tcp" else None
    # Idle for less than keepalive, as a client must be.
    greend = site.start("--keepalive=6s", bus=bus.address, bind=bind)
    clients = [IdlingClient(greend, 2.5 if i % 2 else 0.5, i) for i in range(12)]
    try:
        for number in range(20):
            site.answering(f"code {number}")
            assert greenctl("reload", site.name, bus=bus).returncode == 0
            answered = sum(client.answered for client in clients)
            wait_for(lambda: sum(client.answered for client in clients) > answered + 12, "clients go on")
    finally:
        for client in clients:
            client.stop()
    assert [failure for client in clients for failure in client.failures] == []
    assert all(client.answered > 3 for client in clients)


def test_clients_that_idle_lose_nothing_by_scaling_and_recycling(site, bus):
    greend = site.start("--keepalive=6s", "--max-lifetime=1s", workers=3, bus=bus.address)
    clients = [IdlingClient(greend, 2 if i % 2 else 0.3, i) for i in range(12)]
    try:
        for count in (1, 4, 2, 3):
            assert greenctl("scale", site.name, count, bus=bus).returncode == 0
            answered = sum(client.answered for client in clients)
            wait_for(lambda: sum(client.answered for client in clients) > answered + 50, "clients go on")
    finally:
        for client in clients:
            client.stop()
    assert [failure for client in clients for failure in client.failures] == []


def test_an_idle_connection_of_the_old_code_is_served_once_more_and_told_to_close(site, bus):
    site.answering("one")
    greend = site.start(bus=bus.address, workers=1)
    kept, unused = greend.connection(), greend.connection()
    assert kept.ask("GET", "/").text == "one"
    unused.connect()
    time.sleep(0.2)  # nothing tells that it was accepted
    site.answering("two")
    assert greenctl("reload", site.name, bus=bus).returncode == 0
    time.sleep(2)
    for connection in (kept, unused):
        reply = connection.ask("GET", "/")
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        connection.close()
    assert greend.get("/").text == "two"


def test_connections_that_never_send_hold_a_draining_worker_no_longer_than_idle_ones(site, bus):
    greend = site.start("--keepalive=1s", bus=bus.address, workers=1)
    unused = [greend.socket() for _ in range(5)]
    wait_for(lambda: sum(worker["Connections"] for worker in bus.workers(site.name).values()) == 5, "they are accepted")
    old = next(iter(bus.workers(site.name).values()))["PID"]
    assert greenctl("reload", site.name, bus=bus).returncode == 0
    wait_for(lambda: is_gone(old), "the old worker's end")
    for one in unused:
        assert one.recv(1) == b""
        one.close()


def ask_on(client):
    """The whole reply is read; the client's end stays open."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    reply = http.client.HTTPResponse(client)
    reply.begin()
    reply.read()
    return reply


@pytest.mark.parametrize("kind", ["unused", "kept", "closed by us only"])
def test_a_stop_waits_a_second_for_idle_connections(site, kind):
    greend = site.start("--keepalive=60s", workers=1)
    clients = [greend.socket() for _ in range(10)]
    for client in clients:
        if kind != "unused":
            assert ask_on(client).status == 200
    if kind == "closed by us only":
        greend.send(signal.SIGTERM)
        for client in clients:
            while (reply := ask_on(client)).headers["Connection"] != "close":
                assert reply.status == 200  # the first may be answered before the signal
    begun = time.monotonic()
    if kind != "closed by us only":
        greend.send(signal.SIGTERM)
    assert greend.wait_exit() == 0
    took = time.monotonic() - begun
    assert took < 5 * PATIENCE
    if kind != "closed by us only":
        assert took > 0.45
    assert "did not finish" not in greend.log()
    for client in clients:
        client.close()


def test_idle_connections_are_closed_one_after_the_other_before_graceful_timeout(site, bus):
    greend = site.start("--keepalive=60s", "--graceful-timeout=4s", bus=bus.address, workers=1)
    clients = [greend.socket() for _ in range(20)]
    for client in clients:
        assert ask_on(client).status == 200
    old = next(iter(bus.workers(site.name).values()))["PID"]
    begun = time.monotonic()
    assert greenctl("reload", site.name, bus=bus).returncode == 0
    ended = []

    def wait_end(client):
        assert client.recv(1) == b""
        ended.append(time.monotonic() - begun)

    threads = [threading.Thread(target=wait_end, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(ended) == 20
    assert min(ended) > 1.9 and max(ended) < 6 * PATIENCE
    assert max(ended) - min(ended) > 0.8
    wait_for(lambda: is_gone(old), "the old worker's end")
    assert "did not finish" not in greend.log()
    for client in clients:
        client.close()


def test_a_long_request_is_bounded_by_graceful_timeout_and_its_stack_is_shown(site, bus):
    greend = site.start("--graceful-timeout=1s", "--timeout=60", bus=bus.address, workers=1)
    connection = greend.connection()
    connection.request("GET", "/sleep?s=30")
    wait_for(lambda: bus.get(site.name, "BusyWorkers") == 1, "the request is in the application")
    old = next(iter(bus.workers(site.name).values()))["PID"]
    assert greenctl("reload", site.name, bus=bus).returncode == 0
    reply = connection.getresponse()
    assert reply.status == 504
    connection.close()
    wait_for(lambda: is_gone(old), "the old worker's end", 5)
    assert re.search(rf"process {old}\) did not finish within graceful_timeout, while it served GET /sleep;", greend.log())
    assert "do_sleep" in greend.log()
