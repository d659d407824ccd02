"""An application that shows what it got and does what it should not. Pure ASGI."""

import asyncio
import contextvars
import gc
import hashlib
import json
import os
import sys
import threading
import time
from urllib.parse import parse_qs

request_path = contextvars.ContextVar("request_path", default=None)
seen = {"cut_uploads": 0, "cut_at": None, "longest_part": 0, "disconnects": 0, "lost": 0, "cancelled": 0, "background": 0, "lifespan": []}
gates = {}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    before = request_path.get()
    request_path.set(scope["path"])
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    handler = globals().get("do_" + scope["path"].strip("/"), do_root)
    await handler(Request(scope, receive, send, query, before))


class Request:
    def __init__(self, scope, receive, send, query, before):
        self.scope, self.receive, self.send, self.query, self.before = scope, receive, send, query, before

    async def start(self, status=200, headers=()):
        await self.send({"type": "http.response.start", "status": status,
                         "headers": [(b"content-type", b"text/plain"), *headers]})

    async def reply(self, body, status=200):
        await self.start(status)
        await self.send({"type": "http.response.body", "body": body if isinstance(body, bytes) else body.encode()})


async def lifespan(scope, receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    seen["lifespan"].append("startup")
    scope["state"]["pool"] = "a pool"
    scope["state"]["list"] = []
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    print("the application shut down", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def do_root(request):
    await request.reply("hello from green\n")


async def do_pid(request):
    await asyncio.sleep(0.02)
    await request.reply(str(os.getpid()))


async def do_scope(request):
    def shown(value):
        if isinstance(value, bytes):
            return value.decode("latin-1")
        if isinstance(value, dict):
            return {key: shown(one) for key, one in value.items()}
        return [shown(one) for one in value] if isinstance(value, (list, tuple)) else value
    types = {key: type(value).__name__ for key, value in request.scope.items()}
    await request.reply(json.dumps({"scope": shown(request.scope), "types": types}))


async def do_digest(request):
    digest, parts, more = hashlib.sha256(), 0, True
    while more:
        message = await request.receive()
        assert message["type"] == "http.request"
        digest.update(message["body"])
        parts += 1
        more = message["more_body"]
    await request.reply(f"{digest.hexdigest()} {parts}")


async def do_parts(request):
    """What receive() gives, told at once: for a client that sends by and by."""
    await request.start()
    while True:
        message = await request.receive()
        said = {"type": message["type"], "size": len(message.get("body", b"")), "more": message.get("more_body")}
        await request.send({"type": "http.response.body", "body": json.dumps(said).encode() + b"\n", "more_body": True})
        if not message.get("more_body"):
            break
    await request.send({"type": "http.response.body"})


async def do_upload(request):
    """Reads to the end or to the disconnect, and remembers which it was."""
    if "gate" in request.query:
        await gate(request.query["gate"])
    size, digest = 0, hashlib.sha256()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            seen["cut_uploads"] += 1
            seen["cut_at"] = size
            return
        size += len(message["body"])
        seen["longest_part"] = max(seen["longest_part"], len(message["body"]))
        digest.update(message["body"])
        if not message["more_body"]:
            break
    await request.reply(f"{size} {digest.hexdigest()}")


async def do_first_part(request):
    """One message, whatever it is; then the reply."""
    message = await request.receive()
    await request.reply(f"{message['type']} {len(message.get('body', b''))} {message.get('more_body')}")


async def do_echo(request):
    await request.start()
    more = True
    while more:
        message = await request.receive()
        more = message["more_body"]
        await request.send({"type": "http.response.body", "body": message["body"], "more_body": more})


async def do_large(request):
    """A long reply, given at once."""
    await request.reply(b"l" * int(request.query["size"]))


async def do_sleep(request):
    try:
        await asyncio.sleep(float(request.query["s"]))
    except asyncio.CancelledError:
        seen["cancelled"] += 1
        raise
    await request.reply("slept")


async def do_deaf(request):
    """Does not listen to its cancellation."""
    end = time.monotonic() + 3
    while time.monotonic() < end:
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            seen["cancelled"] += 1
    await request.reply("too late")


async def do_block(request):
    time.sleep(float(request.query["s"]))
    await request.reply("blocked")


async def do_raise(request):
    raise RuntimeError("failed on purpose")


async def do_raise_late(request):
    await request.start()
    await request.send({"type": "http.response.body", "body": b"the beginning", "more_body": True})
    raise RuntimeError("failed halfway on purpose")


async def do_exit(request):
    sys.exit(3)


async def do_exit_in_a_task(request):
    async def leave():
        sys.exit(3)
    asyncio.get_running_loop().create_task(leave())
    await asyncio.sleep(0.05)
    await request.reply("still here")


async def do_nothing(request):
    pass


async def do_half(request):
    await request.start()


async def do_mistakes(request):
    """Messages that no application may send: what they raise."""
    def start(**values):
        return {"type": "http.response.start", "status": 200, "headers": [], **values}
    mistakes = [
        "a str", {}, {"type": 7}, {"type": "http.response.nonsense"}, {"type": "websocket.accept"},
        {"type": "http.response.body", "body": b"early"},
        start(status="200"), start(status=99), start(headers=[("a", "b")]), start(headers=[(b"a",)]), start(headers=7),
        start(headers=[(b"a b", b"c")]), start(headers=[(b"a", b"b\r\nc: d")]), {"type": "http.response.start"},
    ]
    raised = []
    for message in mistakes:
        try:
            await request.send(message)
            raised.append("nothing")
        except Exception as error:
            raised.append(f"{type(error).__name__}: {error}")
    await request.start()
    for message in [start(), {"type": "http.response.body", "body": "text"}]:
        try:
            await request.send(message)
            raised.append("nothing")
        except Exception as error:
            raised.append(f"{type(error).__name__}: {error}")
    await request.send({"type": "http.response.body", "body": json.dumps(raised).encode()})
    try:
        await request.send({"type": "http.response.body", "body": b"more"})
    except Exception as error:
        print("after the end:", type(error).__name__, error, flush=True)


async def do_stream(request):
    await request.start()
    for i in range(int(request.query["parts"])):
        await request.send({"type": "http.response.body", "body": b"%08d" % i * 1024, "more_body": True})
    await request.send({"type": "http.response.body"})


async def do_endless(request):
    """Tells by its pace whether send() waits for the client."""
    seen["sent"] = 0
    await request.start()
    try:
        while True:
            await request.send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            seen["sent"] += 65536
    except OSError:
        seen["lost"] += 1


async def do_head_first(request):
    """An empty part sends the head alone."""
    await request.start()
    await request.send({"type": "http.response.body", "body": b"", "more_body": True})
    await gate(request.query["gate"])
    await request.send({"type": "http.response.body", "body": b"the body"})


async def gate(name):
    await gates.setdefault(name, asyncio.Event()).wait()


async def do_open(request):
    gates.setdefault(request.query["gate"], asyncio.Event()).set()
    await request.reply("open")


async def do_wait(request):
    """Until the client goes, or the gate opens."""
    assert (await request.receive())["type"] == "http.request"
    gone = asyncio.ensure_future(request.receive())
    opened = asyncio.ensure_future(gate(request.query.get("gate", "none")))
    await asyncio.wait([gone, opened], return_when=asyncio.FIRST_COMPLETED)
    opened.cancel()
    if gone.done():
        assert gone.result() == {"type": "http.disconnect"}
        seen["disconnects"] += 1
        assert (await request.receive())["type"] == "http.disconnect"
    else:
        gone.cancel()
    try:
        await request.reply("waited")
    except OSError:
        seen["lost"] += 1


async def do_background(request):
    await request.reply("first the reply")
    if "s" in request.query:
        await asyncio.sleep(float(request.query["s"]))
    else:
        await gate(request.query["gate"])
    seen["background"] += 1
    print("the work behind the reply is done", flush=True)


async def do_task(request):
    task = asyncio.current_task()
    inside = []

    async def child():
        inside.append(request_path.get())
    await asyncio.create_task(child())
    await request.reply(json.dumps({
        "task": type(task).__name__, "is_task": isinstance(task, asyncio.Task), "in_all": task in asyncio.all_tasks(),
        "before": request.before, "inside": inside, "loop": type(asyncio.get_running_loop()).__module__,
        "name": task.get_name(), "main_thread": threading.current_thread() is threading.main_thread(), "repr": repr(task)}))


async def do_thread(request):
    def in_thread():
        try:
            request.send({"type": "http.response.start", "status": 200}).send(None)
        except RuntimeError as error:
            return str(error)
    await request.reply(await asyncio.to_thread(in_thread))


async def do_from_a_thread(request):
    loop = asyncio.get_running_loop()

    def in_thread():
        message = asyncio.run_coroutine_threadsafe(request.receive(), loop).result()
        for part in ({"type": "http.response.start", "status": 200}, {"type": "http.response.body", "body": message["body"]}):
            asyncio.run_coroutine_threadsafe(request.send(part), loop).result()
    await asyncio.to_thread(in_thread)


async def do_hints(request):
    await request.send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
    await request.reply("hinted")


async def do_path(request):
    await request.start()
    await request.send({"type": "http.response.pathsend", "path": request.query["path"]})


async def do_trailers(request):
    """A reply in two parts, and trailers in as many messages as asked; with a mistake where one is asked for."""
    mistakes = []

    async def attempt(message):
        try:
            await request.send(message)
            mistakes.append("nothing")
        except Exception as error:
            mistakes.append(f"{type(error).__name__}: {error}")

    def trailers(*headers, more=False):
        return {"type": "http.response.trailers", "headers": headers, "more_trailers": more}
    assert "http.response.trailers" in request.scope["extensions"]
    if "wrong" in request.query:
        await attempt(trailers())
    headers = [(name.encode(), value.encode()) for name, value in request.query.items() if name.startswith("content-")]
    await request.send({"type": "http.response.start", "status": int(request.query.get("status", 200)), "trailers": True,
                        "headers": [(b"trailer", b"x-digest"), *headers]})
    await request.send({"type": "http.response.body", "body": b"abc", "more_body": True})
    if "wrong" in request.query:
        await attempt(trailers((b"x-early", b"1")))
        await attempt({"type": "http.response.pathsend", "path": "/etc/hostname"})
    await request.send({"type": "http.response.body", "body": b"def"})
    if "return" in request.query:
        return
    if "wrong" in request.query:
        await attempt({"type": "http.response.body", "body": b"more"})
        await attempt(trailers((b"content-length", b"6")))
        await attempt(trailers((b"x-a", b"1\r\nx-b: 2")))
        await attempt(trailers(("x-text", b"1")))
    for i in range(int(request.query.get("messages", 1)) - 1):
        await request.send(trailers((b"x-part", b"%d" % i), more=True))
    await request.send(trailers((b"x-digest", b"sha"), *((b"x-mistake", text.encode()) for text in mistakes)))
    mistakes.clear()
    await attempt(trailers())
    print("after the trailers:", mistakes[0], flush=True)


async def do_no_trailers(request):
    await request.start()
    try:
        await request.send({"type": "http.response.trailers", "headers": []})
    except RuntimeError as error:
        await request.send({"type": "http.response.body", "body": str(error).encode()})


async def do_status(request):
    await request.reply(b"a body", int(request.query["status"]))


async def do_counts(request):
    gc.collect()
    await request.reply(json.dumps({
        **seen, "tasks": len(asyncio.all_tasks()), "descriptors": len(os.listdir("/proc/self/fd")),
        "objects": len(gc.get_objects()), "state": request.scope["state"].get("pool"),
        "list": request.scope["state"].setdefault("list", []), "private": request.scope["state"].get("private")}))


async def do_keep(request):
    """State: what a request puts there is its own, what it changes of the lifespan's is shared."""
    request.scope["state"]["private"] = 1
    request.scope["state"]["list"].append(1)
    await request.reply("kept")
