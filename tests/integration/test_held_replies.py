"""Requests that arrive together: a reply leaves with those of the others, but waits for none that takes its time."""

import http.client
import os
import signal
import sys
import time

import pytest

from http_client import read_all
from waiting import wait_for


def status_of_reply(client):
    """Reads one reply whole: it may come in parts."""
    reply = http.client.HTTPResponse(client)
    reply.begin()
    reply.read()
    return reply.status


def arrive_together(greend, *paths):
    """A connection each; the only worker finds all of their requests at once, in order."""
    pid = int(greend.get("/pid").text)
    clients = [greend.socket() for _ in paths]
    for client in clients:
        client.sendall(b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status_of_reply(client) == 200
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "T", "the worker stands still")
    for client, path in zip(clients, paths):
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    os.kill(pid, signal.SIGCONT)
    return clients


def test_a_reply_does_not_wait_for_the_next_call(site):
    greend = site.start(workers=1)
    began = time.monotonic()
    quick, slow = arrive_together(greend, "/", "/sleep?s=8")
    quick.settimeout(6)
    assert status_of_reply(quick) == 200, "the reply waited for another request"
    assert time.monotonic() - began < 7
    assert status_of_reply(slow) == 200


# How the log tells them.
ENDS = {
    "/exit": "exit status 3",
    "/segfault": r"signal 11 \(SEGV\)",
    "/wild_pointer": r"signal 11 \(SEGV\)",
    "/abort": r"signal 6 \(ABRT\)",
    "/alarm": r"signal 14 \(ALRM\)",
    **{f"/signal?name=SIG{name}": rf"signal \d+ \({name}\)"
       for name in ("TRAP", "SYS", "XCPU", "USR1", "USR2", "VTALRM", "PROF")},
}


@pytest.mark.parametrize("path", ENDS)
def test_an_end_takes_no_reply_with_it_that_was_made_before(site, path):
    greend = site.start(workers=1)
    before, fatal = arrive_together(greend, "/", path)
    before.settimeout(10)
    assert status_of_reply(before) == 200
    with pytest.raises(OSError):
        if read_all(fatal) == b"":
            raise ConnectionResetError
    greend.wait_log(rf"ended unexpectedly: {ENDS[path]}")


ASGI = """
import os, signal, time

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    path = scope["path"]
    if path == "/block":
        time.sleep(8)
    if path == "/segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
    if path == "/block_after":
        time.sleep(8)
"""


@pytest.fixture(params=["asyncio", "uvloop"])
def asgi_greend(site, request):
    site.code(ASGI)
    return site.start(f"--python={sys.prefix}", f"--loop={request.param}", "--lifespan=off", workers=1)


@pytest.mark.parametrize("path", ["/block", "/block_after"])
def test_an_asgi_reply_does_not_wait_for_a_task_that_holds_up_the_loop(asgi_greend, path):
    began = time.monotonic()
    clients = arrive_together(asgi_greend, "/pid", path, "/pid")
    clients[0].settimeout(6)
    assert status_of_reply(clients[0]) == 200, "the reply waited for another request"
    if path == "/block_after":
        clients[1].settimeout(6)
        assert status_of_reply(clients[1]) == 200, "the reply waited for what its application does after it"
    assert time.monotonic() - began < 7
    assert all(status_of_reply(client) == 200 for client in clients[1 if path == "/block" else 2:])


def test_a_crash_takes_no_asgi_reply_with_it_that_was_made_before(asgi_greend):
    before, fatal, after = arrive_together(asgi_greend, "/pid", "/segfault", "/pid")
    before.settimeout(10)
    assert status_of_reply(before) == 200
    for client in (fatal, after):
        with pytest.raises(OSError):
            if read_all(client) == b"":
                raise ConnectionResetError
    asgi_greend.wait_log(r"ended unexpectedly: signal 11 \(SEGV\)")
