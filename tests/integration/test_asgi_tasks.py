"""Tasks of an ASGI application beside a request's own: what they wait for ends, and what fails is told."""

import re
import sys
import time

import pytest

from http_client import read_all
from test_websockets import HANDSHAKE, RawClient, connect

LONG = 20


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request):
    return request.param


@pytest.fixture
def start(site, loop):
    def start(code, *options):
        site.code(code)
        return site.start(f"--python={sys.prefix}", f"--loop={loop}", *options, workers=1)
    return start


POLLS = """
    import asyncio, contextlib, gc

    def futures():
        gc.collect()
        return sum(isinstance(one, asyncio.Future) and not isinstance(one, asyncio.Task) for one in gc.get_objects())

    async def poll(receive):
        task = asyncio.ensure_future(receive_in_task(receive))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def receive_in_task(receive):
        await receive()

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await receive()
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
        before = futures()
        for _ in range(2000):
            await poll(receive)
        grown = str(futures() - before)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.send", "text": grown})
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": grown.encode()})
"""


def test_waits_that_are_cancelled_leave_nothing(start):
    greend = start(POLLS)
    assert int(greend.get("/").text) < 100
    with connect(greend, "/") as client:
        assert int(client.recv(timeout=LONG)) < 100


READERS = """
    import asyncio
    tasks = []

    async def read(receive):
        try:
            print("the reader received", await receive(), flush=True)
            print("and again", await receive(), flush=True)
        finally:
            print("the reader ended", flush=True)

    async def app(scope, receive, send):
        if scope["type"] != "websocket":
            raise NotImplementedError
        await receive()
        await send({"type": "websocket.accept"})
        tasks.append(asyncio.create_task(read(receive)))
        await asyncio.sleep(0.05)
        if scope["path"] == "/raises":
            raise ValueError("as the test asked")
        if scope["path"] == "/closes":
            await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
"""


@pytest.mark.parametrize("path, code, reason", [("/returns", 1000, ""), ("/raises", 1011, ""), ("/closes", 4001, "enough")])
def test_a_websocket_that_its_application_ends_is_over_for_its_other_tasks_too(start, path, code, reason):
    greend = start(READERS)
    client = RawClient(greend, path)
    told = re.escape(str({"type": "websocket.disconnect", "code": code, "reason": reason}))
    greend.wait_log("the reader received " + told)
    greend.wait_log("and again " + told)
    greend.wait_log("the reader ended")
    client.close()


FAILURES = """
    async def app(scope, receive, send):
        if scope["type"] != "http":
            raise NotImplementedError
        await receive()
        print("asked for", scope["path"], flush=True)
        assert (await receive())["type"] == "http.disconnect"
        try:
            await globals()[scope["path"].strip("/")](send)
        finally:
            print(scope["path"], "is over", flush=True)

    async def reply(send):
        await send({"type": "http.response.start", "status": 500})
        await send({"type": "http.response.body"})

    async def plain(send):
        await reply(send)

    async def wrapped(send):
        try:
            await reply(send)
        except OSError as error:
            raise RuntimeError("the client left") from error

    async def grouped(send):
        import asyncio
        async with asyncio.TaskGroup() as group:
            group.create_task(reply(send))

    async def answered(send):
        try:
            1 / 0
        except ZeroDivisionError:
            await reply(send)
            raise

    async def database(send):
        raise TimeoutError("the database does not answer")
"""


@pytest.mark.parametrize("path, logged", [
    ("/plain", None), ("/wrapped", None), ("/grouped", None),
    ("/answered", "ZeroDivisionError: division by zero"), ("/database", "TimeoutError: the database does not answer")])
def test_of_a_client_that_left_only_the_applications_own_failures_are_logged(start, path, logged):
    greend = start(FAILURES)
    def ask_and_leave(path):
        with greend.socket() as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            greend.wait_log(f"asked for {path}")
        greend.wait_log(f"{path} is over")
    ask_and_leave(path)
    if logged:
        greend.wait_log(f"GET {path}: the application failed")
        greend.wait_log(logged)
    else:
        ask_and_leave("/unknown")
        greend.wait_log("KeyError: 'unknown'")
        assert f"{path}: the application failed" not in greend.log() and "ConnectionReset" not in greend.log()


def test_a_request_whose_task_never_begins_ends_all_the_same(start):
    greend = start("""
        import asyncio
        held = []

        async def guarded(coroutine):
            await asyncio.Event().wait()
            return await coroutine

        def make(loop, coroutine, **more):
            if held:
                coroutine = guarded(coroutine)
                held.clear()
            return asyncio.Task(coroutine, loop=loop, **more)

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                asyncio.get_running_loop().set_task_factory(make)
                raise NotImplementedError
            if scope["path"] == "/hold_the_next":
                held.append(True)
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"served"})
    """, "--timeout=1", "--graceful-timeout=60")
    assert greend.get("/hold_the_next").text == "served"
    with greend.socket() as client:
        client.sendall(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_all(client).startswith(b"HTTP/1.1 504 ")
    assert greend.get("/").text == "served"
    begun = time.monotonic()
    assert greend.stop(seconds=30) == 0
    assert time.monotonic() - begun < 20, "the request was still there"


def test_a_loop_that_knows_no_names_of_tasks_makes_them(site):
    (site.folder / "loops.py").write_text("""
import asyncio
class Loop(asyncio.SelectorEventLoop):
    def create_task(self, coroutine):
        return super().create_task(coroutine)
def make():
    return Loop()
""")
    site.code("""
        import asyncio
        async def app(scope, receive, send):
            if scope["type"] != "http":
                raise NotImplementedError
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": asyncio.current_task().get_name().encode()})
    """)
    greend = site.start(f"--python={sys.prefix}", "--loop=loops:make", workers=1)
    assert greend.get("/some").text == "GET /some"


AT_ONCE = """
import asyncio, os

def run_at_once(loop, coroutine, **more):
    future = loop.create_future()
    try:
        coroutine.send(None)
    except StopIteration:
        future.set_result(None)
        return future
    raise RuntimeError("it waits for something")

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        asyncio.get_running_loop().set_task_factory(run_at_once)
        await send({"type": "lifespan.startup.complete"})
        return await asyncio.Event().wait()
    if scope["type"] == "websocket":
        return await send({"type": "websocket.close"})
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""


def test_tasks_that_a_factory_runs_at_once_may_be_over_then(start):
    greend = start(AT_ONCE, "--timeout=1")
    worker = greend.get("/").text
    until = time.monotonic() + 2  # past `timeout`, of which the first of them must hear nothing
    while time.monotonic() < until:
        with greend.socket() as client:
            client.sendall(HANDSHAKE.format(path="/", version=13, more="").encode())
            assert b" 403 " in client.recv(65536)
        assert greend.get("/").text == worker
    assert "not answered within timeout" not in greend.log()


def test_a_coroutine_that_is_entered_while_it_runs_refuses_that(start):
    greend = start("""
        import asyncio

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                raise NotImplementedError
            coroutine = asyncio.current_task().get_coro()
            how = {"/send": lambda: coroutine.send(None), "/throw": lambda: coroutine.throw(KeyError()),
                   "/close": coroutine.close}[scope["path"]]
            try:
                how()
                text = "it was let in"
            except ValueError as error:
                text = str(error)
            await asyncio.sleep(0)
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": text.encode()})
    """)
    workers = greend.children()
    for path in ("/send", "/throw", "/close") * 5:
        reply = greend.get(path)
        assert (reply.status, "already executing" in reply.text) == (200, True), reply.text
    assert greend.children() == workers


def test_a_task_whose_coroutine_was_closed_fails(start):
    greend = start("""
        import asyncio

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                raise NotImplementedError
            if scope["path"] == "/":
                await send({"type": "http.response.start", "status": 200})
                return await send({"type": "http.response.body", "body": b"served"})
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            print("begun", flush=True)
            loop.call_soon(task.get_coro().close)
            woken = loop.create_future()
            loop.call_later(0.1, woken.set_result, None)
            await woken
    """)
    assert greend.get("/closed").status == 500
    greend.wait_log("cannot reuse already awaited coroutine")
    assert greend.get("/").text == "served"
    assert greend.log().count("begun") == 1


def test_headers_and_bodies_that_change_while_they_are_read_are_sent_as_they_were(start):
    greend = start("""
        import gc

        class Pair:
            def __init__(self, headers):
                self.headers = headers
            def __iter__(self):
                self.headers.clear()
                gc.collect()
                return iter((b"last", b"one"))

        class Yes:
            def __init__(self, message):
                self.message = message
            def __bool__(self):
                self.message["body"] = None
                gc.collect()
                [bytes(100_000) for _ in range(10)]
                return False

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                raise NotImplementedError
            headers = [(b"first", b"y" * 1000)]
            headers.append(Pair(headers))
            headers += [(b"z%d" % i, b"q") for i in range(2000)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            message = {"type": "http.response.body", "body": b"a" * 100_000}
            message["more_body"] = Yes(message)
            await send(message)
    """)
    for _ in range(3):
        reply = greend.get("/")
        assert reply.status == 200
        assert (reply.headers["first"], reply.headers["last"]) == ("y" * 1000, "one")
        assert reply.text == "a" * 100_000


def test_a_message_that_sends_while_it_is_read_is_refused(start):
    greend = start("""
        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                raise NotImplementedError

            class Headers:
                def __iter__(self):
                    send({"type": "http.response.start", "status": 200})
                    send({"type": "http.response.body", "body": b"within"})
                    return iter(())

            try:
                await send({"type": "http.response.start", "status": 200, "headers": Headers()})
            except RuntimeError as error:
                await send({"type": "http.response.start", "status": 200})
                await send({"type": "http.response.body", "body": str(error).encode()})
    """)
    for _ in range(3):
        assert greend.get("/").text == "send() was called while it reads a message"
