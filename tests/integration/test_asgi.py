"""What ASGI 3 asks of a server, by an application that speaks it bare: on asyncio's loop and on uvloop."""

import hashlib
import json
import os
import re
import signal
import socket
import sys
import textwrap
import time
from pathlib import Path

import pytest

from harness import free_port
from http_client import read_all
from waiting import PATIENCE, wait_for

ECHO = (Path(__file__).parent / "asgi_echo_site.py").read_text()
MIB = 1 << 20


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request):
    return request.param


@pytest.fixture
def asgi_site(site):
    site.code(ECHO)
    return site


@pytest.fixture
def start(asgi_site, loop):
    def start(*options, **others):
        others.setdefault("workers", 1)
        return asgi_site.start(f"--python={sys.prefix}", f"--loop={loop}", *options, **others)
    return start


def counts(greend):
    return json.loads(greend.get("/counts").text)


def send(greend, path, rest=""):
    client = greend.socket()
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n{rest}\r\n".encode())
    return client


def test_a_request_reaches_the_application_as_asgi_says(start):
    greend = start()
    reply = greend.get("/scope/caf%C3%A9%2Fx?a=%20b&c", headers={"X-Thing": "One", "X-Two": "b"})
    assert reply.status == 200
    shown = json.loads(greend.get("/scope?a=%20b&c", headers={"X-Thing": "One", "Cookie": "a=b"}).text)
    scope, types = shown["scope"], shown["types"]
    assert scope["type"] == "http"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
    assert (scope["http_version"], scope["method"], scope["scheme"]) == ("1.1", "GET", "http")
    assert (scope["path"], scope["raw_path"], scope["query_string"], scope["root_path"]) == ("/scope", "/scope", "a=%20b&c", "")
    assert types["raw_path"] == types["query_string"] == "bytes"
    assert types["headers"] == "list"
    assert ["x-thing", "One"] in scope["headers"]
    assert ["cookie", "a=b"] in scope["headers"]
    # A unix socket: no client's address, and the server's is a path.
    assert scope["client"] is None
    assert scope["server"] == [greend.address, None]
    assert scope["state"] == {"pool": "a pool", "list": []}
    assert "http.response.pathsend" in scope["extensions"]


def test_paths_are_decoded_and_kept_raw(asgi_site):
    asgi_site.code("""
        async def app(scope, receive, send):
            if scope["type"] != "http":
                raise NotImplementedError
            body = repr((scope["path"], scope["raw_path"], scope["method"], scope["http_version"])).encode()
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": body})
    """)
    greend = asgi_site.start(f"--python={sys.prefix}", workers=1)
    assert greend.get("/caf%C3%A9%2Fx%zz?q").text == repr(("/café/x%zz", b"/caf%C3%A9%2Fx%zz", "GET", "1.1"))
    assert greend.get("/%ff", method="POST", body=b"").text == repr(("/\ufffd", b"/%ff", "POST", "1.1"))
    with greend.socket() as client:
        client.sendall(b"OPTIONS / HTTP/1.0\r\n\r\n")
        assert repr(("/", b"/", "OPTIONS", "1.0")).encode() in read_all(client)


def test_client_and_server_are_addresses_over_tcp(asgi_site):
    port = free_port()
    greend = asgi_site.start(f"--python={sys.prefix}", workers=1, bind=f"127.0.0.1:{port}")
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /scope HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        scope = json.loads(read_all(client).partition(b"\r\n\r\n")[2])["scope"]
        assert scope["client"] == list(client.getsockname())
    assert scope["server"] == ["127.0.0.1", port]


def test_script_name_is_the_root_path(asgi_site):
    greend = asgi_site.start(f"--python={sys.prefix}", "--script-name=/shop", workers=1)
    asked = greend.get("/shop/scope")
    assert asked.status == 200  # "/shop/scope" is not "/scope": the echo site's root
    assert greend.get("/other").status == 404
    assert greend.get("/shopping").status == 404


def test_replies_are_framed_as_they_are_sent(start):
    greend = start()
    whole = greend.get("/")
    assert (whole.text, whole.headers["content-length"]) == ("hello from green\n", "17")
    streamed = greend.get("/stream?parts=700", timeout=60)
    assert streamed.headers["transfer-encoding"] == "chunked"
    assert streamed.body == b"".join(b"%08d" % i * 1024 for i in range(700))
    head = greend.get("/", method="HEAD")
    assert (head.headers["content-length"], head.body) == ("17", b"")
    for status in (204, 304):
        reply = greend.get(f"/status?status={status}")
        assert (reply.status, reply.body) == (status, b"")
    with send(greend, "/status?status=418") as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 418 ")


def test_connections_are_kept_alive_and_pipelined_requests_answered_in_order(start):
    greend = start()
    connection = greend.connection()
    pids = {connection.ask("GET", "/pid").text for _ in range(3)}
    assert len(pids) == 1
    connection.close()
    with greend.socket() as client:
        paths = ["/stream?parts=2", "/", "/sleep?s=0.05", "/nowhere", "/status?status=204"] * 10
        client.sendall(b"".join(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for path in paths)
                       + b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        text = read_all(client)
    assert text.count(b"HTTP/1.1 200 OK") == 41
    assert text.count(b"HTTP/1.1 204 No Content") == 10
    assert text.count(b"slept") == 10


def test_requests_are_answered_while_others_wait(start):
    greend = start()
    began = time.monotonic()
    clients = [send(greend, "/sleep?s=0.5", "Connection: close\r\n") for _ in range(50)]
    for client in clients:
        assert read_all(client).endswith(b"slept")
        client.close()
    assert time.monotonic() - began < 5 * PATIENCE


def test_mistakes_are_told_to_the_application(start):
    greend = start()
    raised = json.loads(greend.get("/mistakes").text)
    kinds = [text.partition(":")[0] for text in raised]
    assert kinds == ["TypeError", "KeyError", "TypeError", "ValueError", "ValueError", "RuntimeError", "ValueError", "ValueError",
                     "TypeError", "ValueError", "TypeError", "ValueError", "ValueError", "KeyError", "RuntimeError", "TypeError"]
    assert "before http.response.start" in raised[5]
    greend.wait_log("after the end: RuntimeError .*complete")


def test_failures_are_answered_and_logged(start):
    greend = start()
    for path, pattern in (("/raise", "GET /raise: the application failed\n(.*\n)*.*RuntimeError: failed on purpose"),
                          ("/nothing", "GET /nothing: the application returned before its reply was begun"),
                          ("/half", "GET /half: the application returned before its reply was complete"),
                          ("/exit", "GET /exit: the application failed\n(.*\n)*.*SystemExit: 3")):
        reply = greend.get(path)
        assert reply.status == 500, path
        greend.wait_log(pattern)
    with send(greend, "/raise_late") as client:
        text = b""
        with pytest.raises(ConnectionResetError):
            while part := client.recv(65536):
                text += part
            raise ConnectionResetError  # an end without the last chunk, which is as plain
        assert b"\r\n0\r\n" not in text
    greend.wait_log("RuntimeError: failed halfway on purpose")
    worker = greend.children()
    assert greend.get("/exit_in_a_task").text == "still here"
    greend.wait_log("SystemExit")
    assert greend.get("/").status == 200
    assert greend.children() == worker


def test_each_request_is_a_task_with_a_context_of_its_own(start, loop):
    greend = start()
    for _ in range(3):
        shown = json.loads(greend.get("/task").text)
        assert shown["is_task"] and shown["in_all"] and shown["main_thread"]
        assert shown["before"] is None
        assert shown["inside"] == ["/task"]
        assert shown["name"] == "GET /task"
        assert shown["loop"].startswith(loop)
        assert "app" in shown["repr"]  # the application's own coroutine, for who looks


def test_a_task_factory_of_the_application_makes_the_requests_tasks(asgi_site, start):
    asgi_site.code(ECHO + textwrap.dedent("""
        class OwnTask(asyncio.Task):
            pass

        echo = app

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                asyncio.get_running_loop().set_task_factory(lambda loop, made, **more: OwnTask(made, loop=loop, **more))
            await echo(scope, receive, send)
    """))
    shown = json.loads(start().get("/task").text)
    assert (shown["task"], shown["name"]) == ("OwnTask", "GET /task") and shown["is_task"]


@pytest.mark.parametrize("made_by", ["class Loop(asyncio.SelectorEventLoop):\n    def create_task",
                                     "class Loop(asyncio.SelectorEventLoop):\n    pass\ndef create_task",
                                     "Loop = asyncio.SelectorEventLoop\ndef create_task"],
                         ids=["a method of its class", "one put on the loop", "one put in asyncio's class"])
def test_a_loop_that_makes_tasks_its_own_way_is_asked(asgi_site, made_by):
    (asgi_site.folder / "loops.py").write_text(f"""
import asyncio, functools
made = asyncio.BaseEventLoop.create_task
{made_by}(self, coroutine, **more):
        task = made(self, coroutine, **more)
        task.set_name(f"watched {{task.get_name()}}")
        return task
def make():
    loop = Loop()
    if Loop is asyncio.SelectorEventLoop:
        asyncio.BaseEventLoop.create_task = functools.wraps(made)(create_task)
    elif "create_task" in globals():
        loop.create_task = functools.partial(create_task, loop)
    return loop
""")
    greend = asgi_site.start(f"--python={sys.prefix}", "--loop=loops:make", workers=1)
    assert json.loads(greend.get("/task").text)["name"] == "watched GET /task"


def test_messages_are_refused_on_another_thread(start):
    assert "another thread" in start().get("/thread").text


def test_a_thread_may_have_the_loop_await_what_it_called(start):
    assert start().get("/from_a_thread", method="POST", body="posted").text == "posted"


def test_a_client_that_leaves_is_told_of_by_receive(start):
    greend = start()
    with send(greend, "/wait"):
        wait_for(lambda: counts(greend)["tasks"] >= 4, "the request waits")
    wait_for(lambda: counts(greend)["disconnects"] == 1, "receive() says that the client is gone")


def test_send_raises_an_oserror_once_the_client_is_gone_and_the_log_stays_quiet(start):
    greend = start()
    client = send(greend, "/endless")
    client.recv(1024)
    # As much as fits in between, and not more: send() waits for the client.
    wait_for(lambda: counts(greend)["sent"] > 0, "something is sent")
    seen = []

    def has_stopped():
        seen.append(counts(greend)["sent"])
        return len(seen) > 20 and len(set(seen[-20:])) == 1
    wait_for(has_stopped, "it waits")
    assert seen[-1] < 64 * MIB
    client.close()
    wait_for(lambda: counts(greend)["lost"] == 1, "send() raises")
    assert "Traceback" not in greend.log()


def test_a_client_that_shuts_its_side_still_gets_its_reply(start):
    greend = start()
    with send(greend, "/sleep?s=0.3") as client:
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).endswith(b"slept")


def test_a_slow_client_gets_all_of_a_long_reply(start):
    greend = start()
    with send(greend, "/stream?parts=2000", "Connection: close\r\n") as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        time.sleep(0.3)  # the client is what is slow here
        body = read_all(client).partition(b"\r\n\r\n")[2]
    assert len(re.findall(rb"2000\r\n", body)) == 2000
    assert body.count(b"00001999") == 1024


def test_an_empty_part_sends_the_head_and_nothing_else_does(start):
    greend = start()
    with send(greend, "/head_first?gate=h") as client:
        assert client.recv(65536).endswith(b"\r\n\r\n")
        assert greend.get("/open?gate=h").text == "open"
        assert b"the body" in client.recv(65536)


def test_work_behind_the_reply_holds_up_neither_client_nor_connection(start):
    greend = start()
    connection = greend.connection()
    assert connection.ask("GET", "/background?gate=b").text == "first the reply"
    assert connection.ask("GET", "/").status == 200
    assert counts(greend)["background"] == 0
    greend.get("/open?gate=b")
    wait_for(lambda: counts(greend)["background"] == 1, "it is done")
    connection.close()


def test_early_hints_and_files(start, tmp_path):
    greend = start()
    with send(greend, "/hints", "Connection: close\r\n") as client:
        text = read_all(client)
    assert text.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n")
    content = os.urandom(3 * MIB)
    (tmp_path / "file").write_bytes(content)
    reply = greend.get(f"/path?path={tmp_path}/file", timeout=60)
    assert (reply.body, reply.headers["content-length"]) == (content, str(3 * MIB))
    assert greend.get(f"/path?path={tmp_path}").status == 500
    assert greend.get(f"/path?path={tmp_path}/none").status == 500


def test_state_is_copied_for_each_request(start):
    greend = start()
    greend.get("/keep")
    now = counts(greend)
    assert (now["state"], now["list"], now["private"]) == ("a pool", [1], None)


def test_a_request_that_is_not_answered_in_time_is_cancelled(start):
    greend = start("--timeout=1")
    worker = greend.children()
    began = time.monotonic()
    reply = greend.get("/sleep?s=30")
    assert reply.status == 504
    assert 0.9 < time.monotonic() - began < 5 * PATIENCE
    wait_for(lambda: counts(greend)["cancelled"] == 1, "its task is cancelled")
    greend.wait_log(r"GET /sleep was not answered within timeout \(1 s\)")
    assert greend.get("/deaf").status == 504
    # A reply that has begun may take its time, and the worker is as good as before.
    with send(greend, "/head_first?gate=t") as client:
        client.recv(65536)
        time.sleep(1.5)
        greend.get("/open?gate=t")
        assert b"the body" in client.recv(65536)
    assert greend.children() == worker


def test_a_blocked_loop_is_noticed_and_its_worker_replaced(start):
    greend = start("--timeout=1", workers=2)
    with send(greend, "/block?s=60") as client:
        assert read_all(client).startswith(b"HTTP/1.1 504 ")
    greend.wait_log("has not responded for . s.*; replacing it")
    greend.wait_log(r'File ".*app.py", line \d+ in do_block')
    wait_for(lambda: greend.get("/").status == 200, "another worker answers")


def test_more_requests_than_max_concurrency_are_sent_away(start):
    greend = start("--max-concurrency=2")
    with send(greend, "/wait?gate=m") as one, send(greend, "/wait?gate=m") as two:
        reply = wait_for(lambda: (one_more := greend.get("/")).status == 503 and one_more, "a third is refused")
        assert reply.headers["retry-after"] == "1"
        one.close()
        two.close()
        wait_for(lambda: greend.get("/").status == 200, "there is room again")


def test_a_drain_finishes_requests_and_the_work_behind_them_then_shuts_the_application_down(start):
    greend = start()
    with send(greend, "/sleep?s=3", "Connection: close\r\n") as client, send(greend, "/background?s=4") as other:
        other.recv(65536)
        wait_for(lambda: counts(greend)["tasks"] >= 4, "both are under way")
        greend.send(signal.SIGTERM)
        assert read_all(client).endswith(b"slept")
    assert greend.wait_exit() == 0
    assert re.search("the work behind the reply is done\n(.*\n)*the application shut down", greend.log())


def test_what_would_never_end_is_cancelled_within_graceful_timeout(start):
    greend = start("--graceful-timeout=3")
    with send(greend, "/endless") as client:
        client.recv(1024)
        began = time.monotonic()
        greend.send(signal.SIGTERM)
        assert greend.wait_exit() == 0
        assert time.monotonic() - began < 6 * PATIENCE
    greend.wait_log("the application shut down")
    assert "killing it" not in greend.log()


def test_a_start_up_that_fails_fails_the_generation(asgi_site, loop):
    greend = asgi_site.start(f"--python={sys.prefix}", f"--loop={loop}", workers=1)
    asgi_site.code("""
        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                await receive()
                await send({"type": "lifespan.startup.failed", "message": "no database today"})
    """)
    greend.send(signal.SIGHUP)
    greend.wait_log("no database today")
    assert greend.get("/").text == "hello from green\n"
    # One that raises knows no lifespan, unless it has to.
    asgi_site.code("""
        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                raise ValueError("what is a lifespan?")
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"new code"})
    """)
    greend.send(signal.SIGHUP)
    wait_for(lambda: greend.get("/").text == "new code", "the reload")
    status, log = asgi_site.run("app:app", "--bus=none", "--lifespan=on", f"--bind=unix:{asgi_site.folder}/other.sock")
    assert status != 0
    assert "ValueError: what is a lifespan?" in log


def test_a_slow_start_up_is_waited_for(asgi_site, loop):
    asgi_site.code("""
        import asyncio
        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                await receive()
                await asyncio.sleep(1.5)
                await send({"type": "lifespan.startup.complete"})
                await receive()
                raise RuntimeError("the shutdown failed on purpose")
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"ready"})
    """)
    began = time.monotonic()
    greend = asgi_site.start(f"--python={sys.prefix}", f"--loop={loop}", "--timeout=1", workers=1)
    assert time.monotonic() - began > 1.4
    assert greend.get("/").text == "ready"
    assert greend.stop() == 0
    greend.wait_log("RuntimeError: the shutdown failed on purpose")


def test_a_probe_is_a_request_like_any_other(start, asgi_site):
    greend = start("--probe=/sleep?s=0.1")
    assert greend.get("/").status == 200
    asgi_site.code("""
        async def app(scope, receive, send):
            assert scope["type"] == "http"
            assert scope["path"] != "/sleep", "the probe failed on purpose"
    """)
    greend.send(signal.SIGHUP)
    greend.wait_log("the probe failed on purpose")
    assert greend.get("/").text == "hello from green\n"


@pytest.mark.parametrize("code", [
    "class App:\n    async def __call__(self, scope, receive, send):\n        await answer(scope, send)\napp = App()",
    "async def real(text, scope, receive, send):\n    await answer(scope, send)\nimport functools\napp = functools.partial(real, 'x')",
    "class App:\n    async def serve(self, scope, receive, send):\n        await answer(scope, send)\napp = App().serve",
    "class App:\n    def __init__(self, scope, receive, send):\n        self.parts = scope, send\n"
    "    def __await__(self):\n        return answer(*self.parts).__await__()\napp = App",
    "def app(scope, receive, send):\n    return answer(scope, send)",
], ids=["instance", "partial", "method", "awaitable class", "plain function of three"])
def test_an_asgi_application_is_known_by_its_looks(site, code):
    site.code("async def answer(scope, send):\n"
              "    if scope['type'] == 'http':\n"
              "        await send({'type': 'http.response.start', 'status': 200})\n"
              "        await send({'type': 'http.response.body', 'body': b'by its looks'})\n" + code)
    assert site.start(f"--python={sys.prefix}", workers=1).get("/").text == "by its looks"


def test_an_asgi_2_application_is_refused_with_a_word(site):
    site.code("def app(scope):\n    async def inner(receive, send):\n        pass\n    return inner\n")
    status, log = site.run("app:app", "--bus=none", f"--bind=unix:{site.folder}/other.sock")
    assert status == 78
    assert "ASGI 2" in log and "guarantee_single_callable" in log


def test_interface_says_what_looks_do_not(site):
    site.code("def app(*arguments):\n    async def answer(scope, receive, send):\n"
              "        if scope['type'] == 'http':\n"
              "            await send({'type': 'http.response.start', 'status': 200})\n"
              "            await send({'type': 'http.response.body', 'body': b'as told'})\n"
              "    return answer(*arguments)\n")
    assert site.start(f"--python={sys.prefix}", "--interface=asgi", workers=1).get("/").text == "as told"


def test_a_loop_may_be_the_sites_own(asgi_site):
    (asgi_site.folder / "loops.py").write_text(textwrap.dedent("""
        import asyncio
        class Loop(asyncio.SelectorEventLoop):
            pass
        def make():
            return Loop()
    """))
    greend = asgi_site.start(f"--python={sys.prefix}", "--loop=loops:make", workers=1)
    assert json.loads(greend.get("/task").text)["loop"] == "loops"
    status, log = asgi_site.run("app:app", "--bus=none", "--loop=loops:none", f"--bind=unix:{asgi_site.folder}/other.sock")
    assert status == 78
    assert "loop = loops:none" in log


def test_a_probe_that_is_answered_at_once_counts_too(asgi_site):
    greend = asgi_site.start(f"--python={sys.prefix}", "--script-name=/shop", "--probe=/elsewhere", workers=1)
    assert greend.get("/shop/").status == 200
