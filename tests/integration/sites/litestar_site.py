"""Litestar: the same few things."""

import hashlib

from litestar import Litestar, Request, get, post
from litestar.response import Stream


@get("/user", sync_to_thread=False)
def user(request: Request) -> str:
    return request.cookies.get("user", "nobody")


@post("/form", status_code=200)
async def form(request: Request) -> str:
    return f"hello {(await request.form())['name']}"


@post("/upload", status_code=200)
async def upload(request: Request) -> str:
    file = (await request.form())["file"]
    return f"{file.filename} {hashlib.sha256(await file.read()).hexdigest()}"


@get("/download")
async def download(parts: int) -> Stream:
    async def content():
        for i in range(parts):
            yield b"%08d" % i * 1024
    return Stream(content(), media_type="application/octet-stream")


@get("/raise", sync_to_thread=True)
def fail() -> str:
    raise RuntimeError("failed on purpose")


app = Litestar([user, form, upload, download, fail], logging_config=None, request_max_body_size=None)
