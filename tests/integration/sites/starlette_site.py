"""Starlette by itself: the same few things."""

import hashlib

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route


def user(request):
    return PlainTextResponse(request.cookies.get("user", "nobody"))


async def form(request):
    return PlainTextResponse(f"hello {(await request.form())['name']}")


async def upload(request):
    async with request.form() as fields:
        file = fields["file"]
        digest = hashlib.sha256()
        while part := await file.read(1 << 20):
            digest.update(part)
        return PlainTextResponse(f"{file.filename} {digest.hexdigest()}")


async def download(request):
    async def content():
        for i in range(int(request.query_params["parts"])):
            yield b"%08d" % i * 1024
    return StreamingResponse(content(), media_type="application/octet-stream")


async def fail(request):
    raise RuntimeError("failed on purpose")


app = Starlette(routes=[
    Route("/user", user), Route("/form", form, methods=["POST"]), Route("/upload", upload, methods=["POST"]),
    Route("/download", download), Route("/raise", fail),
])
