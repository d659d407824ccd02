"""FastAPI: JSON, a form, an upload, streams, background work, middleware, a thread pool, dependencies, a chat,
and a pool of database connections that the lifespan opens."""

import asyncio
import contextvars
import hashlib
import os
import queue
import sqlite3
import tempfile
import threading
from contextlib import asynccontextmanager

from fastapi import (
    BackgroundTasks, Depends, FastAPI, Form, HTTPException, Request, UploadFile, WebSocket, WebSocketDisconnect,
)
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel
from starlette.middleware.base import BaseHTTPMiddleware

caller = contextvars.ContextVar("caller", default="nobody")
done = []
streams = {"open": 0}
guests = {}


class Pool:
    """Connections to a database in the site's state folder, for the threads of the pool."""

    def __init__(self, size):
        self.size = size
        self.free = queue.SimpleQueue()
        folder = os.environ.get("STATE_DIRECTORY") or tempfile.mkdtemp()
        for _ in range(size):
            connection = sqlite3.connect(f"{folder}/notes.db", check_same_thread=False, isolation_level=None)
            connection.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT)")
            self.free.put(connection)

    def query(self, *statement):
        connection = self.free.get()
        try:
            return connection.execute(*statement).fetchall()
        finally:
            self.free.put(connection)

    def close(self):
        for _ in range(self.size):
            self.free.get(timeout=5).close()


@asynccontextmanager
async def lifespan(app):
    app.state.pool = Pool(3)
    yield {"from_lifespan": "shared"}
    app.state.pool.close()
    print("the pool is closed", flush=True)


app = FastAPI(lifespan=lifespan)


class Timing(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        caller.set(request.headers.get("x-caller", "nobody"))
        response = await call_next(request)
        response.headers["x-middleware"] = "passed"
        return response


app.add_middleware(Timing)


class Item(BaseModel):
    name: str
    price: float


async def a_dependency():
    try:
        yield "a dependency"
    finally:
        done.append("dependency")


@app.get("/")
async def root():
    return {"hello": "green"}


@app.post("/items")
async def create(item: Item):
    return {"name": item.name, "with_tax": round(item.price * 1.25, 2)}


@app.get("/items/{number}")
async def read(number: int, needed: str = Depends(a_dependency)):
    if number == 404:
        raise HTTPException(404, "no such item")
    return {"number": number, "needed": needed}


@app.post("/form", response_class=PlainTextResponse)
async def form(name: str = Form()):
    return f"hello {name}"


@app.post("/upload", response_class=PlainTextResponse)
async def upload(file: UploadFile):
    digest = hashlib.sha256()
    while part := await file.read(1 << 20):
        digest.update(part)
    return f"{file.filename} {digest.hexdigest()}"


@app.get("/download")
async def download(parts: int):
    async def content():
        for i in range(parts):
            yield b"%08d" % i * 1024
    return StreamingResponse(content(), media_type="application/octet-stream")


@app.get("/file")
async def file(path: str):
    return FileResponse(path)


@app.get("/events")
async def events(request: Request):
    async def stream():
        streams["open"] += 1
        try:
            for i in range(1_000_000):
                yield f"id: {i}\ndata: tick\n\n"
                await asyncio.sleep(0.01)
        finally:
            streams["open"] -= 1
    return StreamingResponse(stream(), media_type="text/event-stream")


@app.get("/background")
async def background(tasks: BackgroundTasks):
    tasks.add_task(done.append, "background")
    return {"queued": True}


@app.get("/sync")
def in_the_thread_pool():
    return {"main": threading.current_thread() is threading.main_thread(), "caller": caller.get()}


@app.get("/context")
async def context(request: Request):
    task = asyncio.current_task()
    await asyncio.sleep(0.01)
    return {"caller": caller.get(), "task": task is asyncio.current_task(), "shared": request.state.from_lifespan,
            "connections": request.app.state.pool.size}


@app.post("/notes")
def write_note(text: str, request: Request):
    request.app.state.pool.query("INSERT INTO notes VALUES (?)", (text,))
    return {"written": text}


@app.get("/notes")
def notes(request: Request):
    return [text for text, in request.app.state.pool.query("SELECT text FROM notes ORDER BY rowid")]


@app.websocket("/chat/{room}")
async def chat(socket: WebSocket, room: str, name: str):
    await socket.accept()
    here = guests.setdefault(room, set())
    here.add(socket)
    try:
        while True:
            text = await socket.receive_text()
            for guest in tuple(here):
                await guest.send_json({"from": name, "text": text})
    except WebSocketDisconnect:
        here.discard(socket)


@app.get("/raise")
async def fail():
    raise RuntimeError("failed on purpose")


@app.get("/done")
async def finished():
    return {"done": done, "streams": streams["open"]}
