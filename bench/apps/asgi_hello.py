"""Raw ASGI: two messages, and nothing else to do."""

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain"), (b"content-length", b"14")]}
BODY = {"type": "http.response.body", "body": b"Hello, world!\n"}


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await send(START)
    await send(BODY)
