"""Quart: the same few things."""

import hashlib

from quart import Quart, request

app = Quart(__name__)
app.config["MAX_CONTENT_LENGTH"] = None


@app.get("/user")
async def user():
    return request.cookies.get("user", "nobody")


@app.post("/form")
async def form():
    return f"hello {(await request.form)['name']}"


@app.post("/upload")
async def upload():
    file = (await request.files)["file"]
    return f"{file.filename} {hashlib.sha256(file.read()).hexdigest()}"


@app.get("/download")
async def download():
    parts = int(request.args["parts"])

    async def content():
        for i in range(parts):
            yield b"%08d" % i * 1024
    return content(), {"Content-Type": "application/octet-stream"}


@app.get("/raise")
async def fail():
    raise RuntimeError("failed on purpose")
