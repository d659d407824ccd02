"""The applications, what each must answer, and the load that wrk puts on it."""

import http.client
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from processes import Failure, prepared

START_SECONDS = 30
WARM_UP_SECONDS = 0.2
CONNECTIONS = 32
MIB = 1024 * 1024
WRK_SCRIPT = Path(__file__).resolve().parent / "wrk.lua"


@dataclass(frozen=True)
class App:
    name: str
    module: str
    title: str
    answer: bytes
    package: str = ""  # a framework
    post: int = 0  # size of the body sent
    interface: str = "wsgi"
    limit: str = ""  # what the limit is asked for instead; "": it has nothing like it


HELLO = b"Hello, world!\n"
APPS = [
    App("raw", "hello", "Raw WSGI", HELLO, limit="hello"),
    App("flask", "flask_hello", "Flask", HELLO, package="Flask"),
    App("django", "django_hello", "Django", HELLO, package="Django"),
    App("echo", "echo", "POST of 16 KiB, echoed", b"x" * 16384, post=16384, limit="echo"),
    App("large", "large", "1 MiB in one piece", b"x" * MIB, limit="large"),
    App("stream", "stream", "1 MiB from a generator, 64 × 16 KiB", b"x" * MIB, limit="stream"),
    App("asgi", "asgi_hello", "Raw ASGI", HELLO, interface="asgi"),
    App("fastapi", "fastapi_hello", "FastAPI", b'{"hello":"world"}', package="fastapi", interface="asgi"),
    App("asgi-echo", "asgi_echo", "ASGI: POST of 16 KiB, echoed", b"x" * 16384, post=16384, interface="asgi"),
    App("asgi-stream", "asgi_stream", "ASGI: 1 MiB in 64 parts of 16 KiB", b"x" * MIB, interface="asgi"),
]


class Wrong(Exception):
    """The server did not answer, or not what it should."""


def ask(connection, app):
    body = b"x" * app.post if app.post else None
    connection.request("POST" if app.post else "GET", "/", body)
    reply = connection.getresponse()
    answer = reply.read()
    if reply.status != 200:
        raise Wrong(f"answered {reply.status} {reply.reason}")
    if answer != app.answer:
        raise Wrong(f"answered {len(answer)} bytes that are not the {len(app.answer)} expected")


def wait_until_serving(server, port, seconds=START_SECONDS):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended = server.has_ended()
        if ended:
            raise Wrong(ended)
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
            connection.connect()
            connection.close()
            return
        except OSError:
            # Nothing tells when a foreign server listens.
            time.sleep(0.01)
    raise Wrong(f"did not listen within {seconds} s")


def check(port, app, seconds=0.0):
    """Compares an answer, or all that come within this time, one after the other: a warm-up."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    deadline = time.monotonic() + seconds
    try:
        ask(connection, app)
        while time.monotonic() < deadline:
            ask(connection, app)
    except (OSError, http.client.HTTPException) as error:
        raise Wrong(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()


@dataclass
class Load:
    requests: int
    seconds: float
    bytes: int
    p50: float  # milliseconds
    p99: float
    errors: int
    kinds_of_errors: str


def wrk(port, app, seconds, cpus, connections=CONNECTIONS, headers=None, pace=None):
    """Loads a server; `pace`: the least and the most ms that a connection waits before each request."""
    program = shutil.which("wrk")
    if not program:
        raise Failure("wrk is not installed (Debian package wrk)")
    command = [program, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", WRK_SCRIPT]
    command += [word for name, value in (headers or {}).items() for word in ("-H", f"{name}: {value}")]
    command += [f"http://127.0.0.1:{port}/", "--"]
    if app.post:
        command.append(f"post={app.post}")
    if pace:
        command.append(f"pace={pace[0]}-{pace[1]}")
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, preexec_fn=prepared(cpus), env={**os.environ, "LC_ALL": "C"})
    try:
        out, _ = process.communicate(timeout=seconds + 20)
    except subprocess.TimeoutExpired:
        raise Wrong("wrk did not end") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    lines = [line for line in out.splitlines() if line.startswith("RESULT ")]
    if process.returncode != 0 or not lines:
        raise Wrong(f"wrk failed: {out.strip().splitlines()[-1:]}")
    result = json.loads(lines[0].removeprefix("RESULT "))
    errors = {kind: result[kind] for kind in ("connect", "read", "write", "timeout", "status") if result[kind]}
    return Load(result["requests"], result["microseconds"] / 1e6, result["bytes"], result["p50"] / 1000,
                result["p99"] / 1000, sum(errors.values()), ", ".join(f"{count} {kind}" for kind, count in errors.items()))
