"""WebSockets of a bare ASGI application: each path does one thing, right or wrong."""

import asyncio
import json
from urllib.parse import parse_qs

sent = {"flood": 0}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    name = scope["path"].strip("/").replace("-", "_")
    query = {key: values[0] for key, values in parse_qs(scope["query_string"].decode()).items()}
    if scope["type"] == "http":
        body = json.dumps(sent).encode()
        await send({"type": "http.response.start", "status": 200})
        return await send({"type": "http.response.body", "body": body})
    await globals()["do_" + name](scope, receive, send, query)


async def accept(receive, send, **more):
    assert (await receive()) == {"type": "websocket.connect"}
    await send({"type": "websocket.accept", **more})


async def text(send, value):
    await send({"type": "websocket.send", "text": value})


async def do_echo(scope, receive, send, query):
    await accept(receive, send)
    while (message := await receive())["type"] == "websocket.receive":
        assert len(message) == 2
        await send({**message, "type": "websocket.send"})
    print("disconnected", message["code"], repr(message["reason"]), flush=True)


async def do_scope(scope, receive, send, query):
    await accept(receive, send)
    scope = {key: value for key, value in scope.items() if key != "state"}
    await text(send, json.dumps(scope, default=lambda value: value.decode("latin-1")))


async def do_choose(scope, receive, send, query):
    await accept(receive, send, subprotocol=query.get("name"), headers=[(b"x-thing", b"one"), (b"set-cookie", b"a=b")])
    await text(send, "chosen")


async def do_refuse(scope, receive, send, query):
    await receive()
    await send({"type": "websocket.close", "code": 4000})
    print("after the refusal:", await receive(), flush=True)


async def do_deny(scope, receive, send, query):
    assert "websocket.http.response" in scope["extensions"]
    await receive()
    await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Basic")]})
    await send({"type": "websocket.http.response.body", "body": b"who ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"are you\n"})


async def do_close(scope, receive, send, query):
    await accept(receive, send)
    await send({"type": "websocket.close", "code": int(query["code"]), "reason": query.get("reason", "")})
    print("after the close:", await receive(), flush=True)


async def do_leave(scope, receive, send, query):
    if query.get("when") == "accepted":
        await accept(receive, send)
    if "raise" in query:
        raise ValueError("as the test asked")


async def do_wrong(scope, receive, send, query):
    """What is sent, message by message; the error of the last one is told."""
    steps = json.loads(query["steps"])
    try:
        for step in steps:
            step.update({"bytes": step["bytes"].encode()} if isinstance(step.get("bytes"), str) else {})
            await send(step)
    except Exception as error:
        print(f"refused: {type(error).__name__}: {error}", flush=True)


async def do_flood(scope, receive, send, query):
    await accept(receive, send)
    for _ in range(int(query["count"])):
        await send({"type": "websocket.send", "bytes": bytes(65536)})
        sent["flood"] += 1
    await text(send, "end")


async def do_slow(scope, receive, send, query):
    """Receives nothing until the site is asked to, by a file."""
    import os
    await accept(receive, send)
    while not os.path.exists(query["gate"]):
        await asyncio.sleep(0.02)
    count = 0
    while (message := await receive())["type"] == "websocket.receive" and message.get("text") != "end":
        count += len(message["bytes"])
    await text(send, str(count))


async def do_after_loss(scope, receive, send, query):
    await accept(receive, send)
    while (await receive())["type"] != "websocket.disconnect":
        pass
    try:
        await text(send, "late")
    except OSError as error:
        print("sending raised", type(error).__name__, flush=True)


async def do_two(scope, receive, send, query):
    """Two tasks at a time: one sends of itself, one echoes."""
    await accept(receive, send)

    async def tick():
        for number in range(5):
            await text(send, f"tick {number}")
            await asyncio.sleep(0.01)

    ticking = asyncio.create_task(tick())
    while (message := await receive())["type"] == "websocket.receive":
        await text(send, message["text"].upper())
    await ticking
