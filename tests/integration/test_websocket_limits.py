"""What bounds WebSockets of a worker: the handshake's time, and how many there may be."""

import re
import sys
import time

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import unix_connect

from waiting import PATIENCE, wait_for

LONG = 20 * PATIENCE
SITE = """
import asyncio
gate = asyncio.Event()
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["type"] == "http":
        if scope["path"] == "/wait":
            await gate.wait()
        elif scope["path"] == "/open":
            gate.set()
        await send({"type": "http.response.start", "status": 200})
        return await send({"type": "http.response.body", "body": b"http"})
    try:
        if scope["path"] == "/late":
            assert (await receive())["type"] == "websocket.connect"
            await asyncio.sleep(30)
        if scope["path"] == "/half":
            await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"begun", "more_body": True})
            await asyncio.sleep(2)
            return await send({"type": "websocket.http.response.body", "body": b" and ended"})
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
        print("ended", flush=True)
    except asyncio.CancelledError:
        print(scope["path"], "was cancelled", flush=True)
        raise
"""


@pytest.fixture(params=["asyncio", "uvloop"])
def start(request, site):
    def start(*options):
        site.code(SITE)
        return site.start(f"--python={sys.prefix}", f"--loop={request.param}", *options, workers=1)
    return start


def connect(greend, path):
    return unix_connect(greend.address, f"ws://a{path}", open_timeout=LONG, close_timeout=LONG)


def is_served(client):
    client.send("still here?")
    return client.recv(timeout=LONG) == "still here?"


def refusal(greend, path="/"):
    """The status and headers that a handshake is answered with; None: it was accepted."""
    try:
        with connect(greend, path):
            pass
    except InvalidStatus as refused:
        return refused.response.status_code, refused.response.headers
    return None


def test_a_handshake_that_is_not_answered_in_time_gets_504_and_its_task_is_cancelled(start):
    greend = start("--timeout=1")
    worker = greend.children()
    with connect(greend, "/") as other:
        began = time.monotonic()
        assert refusal(greend, "/late")[0] == 504
        assert 0.9 < time.monotonic() - began < 5 * PATIENCE
        greend.wait_log("/late was cancelled")
        greend.wait_log(r"WebSocket /late: the handshake was not answered within timeout \(1 s\)")
        # One that was accepted lives for as long as it likes, and so does a refusal that has begun.
        assert is_served(other)
        time.sleep(max(0, began + 1.5 - time.monotonic()))  # timeout itself has to pass
        assert is_served(other)
    assert refusal(greend, "/half")[0] == 401
    assert "/half was cancelled" not in greend.log()
    assert greend.children() == worker
    assert len(re.findall("was not answered within", greend.log())) == 1


def test_open_websockets_count_in_max_concurrency_beside_requests(start):
    greend = start("--max-concurrency=2")
    with connect(greend, "/") as one:
        assert greend.get("/").text == "http"
        with connect(greend, "/") as two:
            status, headers = refusal(greend)
            assert (status, headers["Retry-After"]) == (503, "1")
            reply = greend.get("/")
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            assert is_served(one)
            assert is_served(two)
        # A place is free once the application is done with the WebSocket.
        wait_for(lambda: refusal(greend) is None, "there is room again")
        with greend.socket() as waiting:
            waiting.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: (said := refusal(greend)) and said[0] == 503, "a request takes a place too")
            one.close()
            wait_for(lambda: greend.get("/open").status == 200, "a WebSocket that ends leaves its own")
            assert waiting.recv(65536).endswith(b"http")
    assert "Traceback" not in greend.log()


def test_handshakes_under_way_count_in_max_concurrency(start):
    greend = start("--max-concurrency=1", "--timeout=2")
    with greend.socket() as client:
        client.sendall(b"GET /late HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        wait_for(lambda: greend.get("/").status == 503, "the place is taken")
        assert client.recv(65536).startswith(b"HTTP/1.1 504 ")
    wait_for(lambda: refusal(greend) is None, "and free again")
