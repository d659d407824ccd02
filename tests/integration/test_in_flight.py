"""greenctl requests: every request and every WebSocket of a worker, by its own word or, where it is silent, without."""

import collections
import contextlib
import json
import os
import re
import signal
import sys
import time

import pytest
from websockets.sync.client import unix_connect

from harness import greenctl
from waiting import PATIENCE, wait_for

ASGI_SITE = """
    import asyncio, contextlib, os, time
    gates = {}

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            raise RuntimeError("none")
        path = scope["path"]
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (await receive())["type"] != "websocket.disconnect":
                pass
            return
        gate = gates.setdefault(path.split("/")[1], asyncio.Event())
        if path.startswith("/open/"):
            gates[path.split("/")[2]].set()
        elif path.startswith("/late"):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"done"})
            return await gate.wait()
        elif path.startswith("/drip"):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
            await gate.wait()
            return await send({"type": "http.response.body", "body": b""})
        elif path.startswith("/block"):
            while not os.path.exists("go-on"):
                time.sleep(0.02)
        elif path.startswith("/wait"):
            await gate.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * (64 << 20 if path == "/large" else 4)})
"""

FASTAPI_SITE = """
    import asyncio
    from fastapi import FastAPI, WebSocket

    app = FastAPI()
    gate = asyncio.Event()

    @app.get("/wait/{number}")
    async def wait(number: int):
        await gate.wait()
        return number

    @app.get("/open")
    async def open_gate():
        gate.set()

    @app.websocket("/chat/{room}")
    async def chat(socket: WebSocket, room: str):
        await socket.accept()
        async for _ in socket.iter_text():
            pass
"""


@pytest.fixture
def start(site, bus):
    def start(code, *options, workers=1, **others):
        site.code(code)
        return site.start(f"--python={sys.prefix}", *options, bus=bus.address, workers=workers, **others)
    return start


@pytest.fixture
def clients():
    with contextlib.ExitStack() as stack:
        yield stack


def send(greend, clients, path, method="GET", rest="\r\n"):
    client = clients.enter_context(greend.socket())
    client.sendall(f"{method} {path} HTTP/1.1\r\nHost: a\r\n{rest}".encode())
    return client


def websocket(greend, clients, path):
    return clients.enter_context(unix_connect(greend.address, f"ws://a{path}", open_timeout=20 * PATIENCE))


def listed(bus, *options):
    done = greenctl("requests", "--json=short", *options, bus=bus)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def states(bus):
    return collections.Counter((one["path"], one["state"]) for one in listed(bus))


def test_fifty_requests_and_three_websockets_of_fastapi_have_a_row_each(start, bus, clients):
    greend = start(FASTAPI_SITE)
    for number in range(50):
        send(greend, clients, f"/wait/{number}?password=hunter2")
    for room in "abc":
        websocket(greend, clients, f"/chat/{room}?password=hunter2")
    rows = wait_for(lambda: len(found := listed(bus)) == 53 and found, "53 rows")
    assert {one["path"] for one in rows if one["state"] == "running"} == {f"/wait/{number}" for number in range(50)}
    assert {one["path"] for one in rows if one["state"] == "websocket"} == {f"/chat/{room}" for room in "abc"}
    assert {(one["worker"], one["method"], one["client"], one["requests"]) for one in rows} == {(0, "GET", "", 1)}
    assert {one["pid"] for one in rows} == {worker["PID"] for worker in bus.workers(bus_site(bus)).values()}
    ages = [one["age_usec"] for one in rows]
    assert ages == sorted(ages, reverse=True) and 0 < ages[-1] and ages[0] < 60e6 * PATIENCE
    text = greenctl("requests", "--no-pager", bus=bus).stdout
    assert len(text.splitlines()) == 54 and "hunter2" not in text
    greend.get("/open")
    wait_for(lambda: len(listed(bus)) == 3, "the WebSockets are left")


def bus_site(bus):
    return next(name for name in bus.names() if name.startswith("org.greend1.")).removeprefix("org.greend1.")


def test_each_state_is_told_apart(start, bus, clients):
    greend = start(ASGI_SITE)
    send(greend, clients, "/wait")
    send(greend, clients, "/drip")
    send(greend, clients, "/large")  # nobody takes it
    send(greend, clients, "/upload", "POST", "Content-Length: 10\r\n\r\nhalf")
    send(greend, clients, "/unfinished", rest="X-More: to come\r\n")
    late = send(greend, clients, "/late")
    assert late.recv(4096).startswith(b"HTTP/1.1 200")
    websocket(greend, clients, "/chat")
    wanted = {("/wait", "running"): 1, ("/drip", "streaming"): 1, ("/large", "replying"): 1, ("/upload", "reading"): 1,
              ("/late", "background"): 1, ("/chat", "websocket"): 1}
    wait_for(lambda: wanted.items() <= states(bus).items(), "every state")
    # Whatever of its head is known: a head is whole or it is not.
    assert sum(state == "reading" for _, state in states(bus).elements()) == 2
    greend.get("/open/late")
    greend.get("/open/wait")
    wait_for(lambda: not {"/late", "/wait"} & {path for path, _ in states(bus)}, "they end")


def test_what_is_past_the_bound_is_counted(start, bus, clients):
    """Requests come before WebSockets, the oldest first."""
    greend = start(ASGI_SITE)
    websocket(greend, clients, "/chat")
    for number in range(300):
        send(greend, clients, f"/wait/{number}")
    wait_for(lambda: bus.workers(bus_site(bus))[0]["RequestsInFlight"] == 301, "all are there")
    rows = listed(bus)
    more = [one for one in rows if one["state"] == "more"]
    assert len(rows) == 257 and [(one["requests"], one["path"]) for one in more] == [(45, "")]
    # Those of one moment have no order of their own.
    assert "/wait/0" in {one["path"] for one in rows} and "/chat" not in {one["path"] for one in rows}
    assert "(45 more)" in greenctl("requests", bus=bus).stdout


def test_a_blocked_loop_blocks_nobody_and_its_silence_is_told(start, bus, clients, site):
    greend = start(ASGI_SITE, "--timeout=0", workers=2)
    for number in range(6):
        send(greend, clients, f"/wait/{number}")
    wait_for(lambda: len(listed(bus)) == 6, "six wait")
    send(greend, clients, "/block/loop")
    # On a slow machine the other worker, too, may answer too late for once.
    rows = wait_for(lambda: (now := listed(bus)) and sum(one["state"] == "unanswered" for one in now) == 1 and now, "one is silent")
    blocked = [one for one in rows if one["state"] == "unanswered"]
    assert blocked[0]["path"] == "/block/loop" and blocked[0]["requests"] >= 1
    assert len(rows) - 1 + blocked[0]["requests"] == 7
    begun = time.monotonic()
    shown = greenctl("requests", bus=bus).stdout
    assert time.monotonic() - begun < 8 * PATIENCE
    assert f"Worker {blocked[0]['worker']} (process {blocked[0]['pid']}) did not answer" in shown
    assert "did not answer" not in greenctl("requests", "--no-legend", bus=bus).stdout
    assert bus.get(site.name, "State") == "serving"
    (site.folder / "go-on").touch()
    wait_for(lambda: states(bus).total() == 6, "it answers again")


def test_a_wsgi_worker_in_a_call_is_known_to_be_at_it(start, bus, clients, site):
    greend = start("""
        import os, time
        def app(environ, start_response):
            while environ["PATH_INFO"] == "/stuck" and not os.path.exists("go-on"):
                time.sleep(0.02)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"x" * (64 << 20 if environ["PATH_INFO"] == "/large" else 4)]
    """)
    send(greend, clients, "/large")
    wait_for(lambda: states(bus) == {("/large", "replying"): 1}, "a client that takes nothing")
    send(greend, clients, "/stuck")
    wait_for(lambda: states(bus) == {("/stuck", "running"): 1, ("", "more"): 1}, "the one that is stuck")
    assert "did not answer" not in greenctl("requests", bus=bus).stdout
    (site.folder / "go-on").touch()
    wait_for(lambda: states(bus) == {("/large", "replying"): 1}, "it goes on")


def test_requests_that_wait_for_a_thread_are_told_from_those_that_have_one(start, bus, clients, site):
    greend = start("""
        import os, time
        def app(environ, start_response):
            while not os.path.exists("go-on"):
                time.sleep(0.02)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"done"]
    """, "--threads=2")
    for number in range(5):
        send(greend, clients, f"/{number}")
    wait_for(lambda: collections.Counter(state for _, state in states(bus)) == {"running": 2, "waiting": 3}, "two of five run")
    (site.folder / "go-on").touch()
    wait_for(lambda: not listed(bus), "all are answered")


def test_version_1_of_the_method_is_as_it_was(start, bus, clients, site):
    greend = start(ASGI_SITE)
    for number in range(3):
        send(greend, clients, f"/wait/{number}")
        wait_for(lambda count=number + 1: len(listed(bus)) == count, "one more")

    def ask(*options):
        return bus.busctl("call", f"org.greend1.{site.name}", "/org/greend1", "org.greend1.Site", "ListRequests", "a{sv}",
                          *options, check=False)

    rows = json.loads(ask("0"))["data"][0]
    assert [(row[4], row[5], row[7]) for row in rows] == [(3, "GET /wait/2", "running")]
    assert len(json.loads(ask("1", "all", "b", "true"))["data"][0]) == 3
    assert len(json.loads(ask("1", "all", "b", "false"))["data"][0]) == 1
    assert ask("1", "all", "s", "true") == "" and ask("2", "all", "b", "true", "every", "b", "true") == ""


def test_a_worker_that_ends_while_it_is_asked_holds_nobody_up(start, bus, clients, site):
    greend = start(ASGI_SITE, workers=2)
    victim, other = (worker["PID"] for _, worker in sorted(bus.workers(site.name).items()))
    os.kill(victim, signal.SIGSTOP)
    wait_for(lambda: [one["pid"] for one in listed(bus) if one["state"] == "unanswered"] == [victim], "it is silent")
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: victim not in {worker["PID"] for worker in bus.workers(site.name).values()}, "its end")
    assert listed(bus) == [] and greend.get("/").status == 200 and other


def test_a_blocked_loop_is_logged_with_what_is_known_of_it(start, bus, clients):
    greend = start(ASGI_SITE, "--timeout=1")
    for number in range(2):
        send(greend, clients, f"/wait/{number}")
    wait_for(lambda: len(listed(bus)) == 2, "two wait")
    send(greend, clients, "/block")
    greend.wait_log(r"has not responded for \d+ s \(timeout\), while it served 3 requests, the latest GET /block; replacing it")


def test_a_worker_with_websockets_alone_that_ends_is_said_to_have_had_them(start, bus, clients):
    greend = start(ASGI_SITE)
    for _ in range(2):
        websocket(greend, clients, "/chat")
    os.kill(bus.workers(bus_site(bus))[0]["PID"], signal.SIGKILL)
    line = greend.wait_log(r"ended unexpectedly: .*").group()
    assert re.search(r", with 2 in flight, the latest GET /chat; replacing it", line), line
