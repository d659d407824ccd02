"""The servers that are compared, and how each is started: what its own manual advises for speed, one worker."""

import dataclasses
import importlib.metadata
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

TOP = Path(__file__).resolve().parent.parent
BENCH = TOP / "bench"
APPS = BENCH / "apps"
VENV = TOP / "build/bench-venv"
PGO_BIN = TOP / "build/pgo/bin"
LIMIT = TOP / "build/release/bin/green_bench_limit"


@dataclass
class Start:
    """What a command line is made from."""

    port: int
    module: str
    workers: int
    green_bin: Path


@dataclass(frozen=True)
class Kind:
    name: str
    package: str  # in the venv; "": one of ours
    command: Callable
    about: str = ""
    interfaces: tuple = ("wsgi",)


def green(start):
    return [start.green_bin / "greend", f"--bind=127.0.0.1:{start.port}", f"--workers={start.workers}", "--bus=none",
            f"--python={VENV}", f"--pythonpath={APPS}", "--log-level=warning", f"{start.module}:app"]


def green_pgo(start):
    return green(dataclasses.replace(start, green_bin=PGO_BIN))


def gunicorn(start, *options):
    return [VENV / "bin/gunicorn", f"--bind=127.0.0.1:{start.port}", f"--workers={start.workers}", *options,
            "--worker-tmp-dir=/dev/shm", "--no-control-socket", "--log-level=warning", f"{start.module}:app"]


def gunicorn_sync(start):
    return gunicorn(start, "--worker-class=sync")


def gunicorn_preload(start):
    return gunicorn(start, "--worker-class=sync", "--preload")


def gunicorn_gthread(start):
    return gunicorn(start, "--worker-class=gthread", "--threads=4")


def granian(start):
    return [VENV / "bin/granian", "--interface=wsgi", "--host=127.0.0.1", f"--port={start.port}",
            f"--workers={start.workers}", "--http=1", "--no-ws", "--blocking-threads=1", "--runtime-mode=st",
            "--log-level=warning", f"{start.module}:app"]


def gunicorn_asgi(start):
    return gunicorn(start, "--worker-class=asgi")


def granian_asgi(start):
    return [VENV / "bin/granian", "--interface=asgi", "--host=127.0.0.1", f"--port={start.port}",
            f"--workers={start.workers}", "--http=1", "--no-ws", "--loop=uvloop", "--runtime-mode=st",
            "--log-level=warning", f"{start.module}:app"]


def uvicorn(start):
    return [VENV / "bin/uvicorn", "--host=127.0.0.1", f"--port={start.port}", f"--workers={start.workers}",
            "--loop=uvloop", "--http=httptools", "--no-access-log", "--log-level=warning", f"{start.module}:app"]


def hypercorn(start):
    return [VENV / "bin/hypercorn", f"--bind=127.0.0.1:{start.port}", f"--workers={start.workers}",
            "--worker-class=uvloop", "--log-level=warning", f"{start.module}:app"]


def green_asyncio(start):
    return [*green(start)[:-1], "--loop=asyncio", green(start)[-1]]


def uwsgi(start):
    # http11-socket, without the router, keeps the worker at one connection until that closes. With 64 KiB
    # for a buffer the router breaks its own chunks; with less than 32, Nagle delays a large body's end.
    between = f"@green-bench-{start.port}"
    return [VENV / "bin/uwsgi", f"--http=127.0.0.1:{start.port}", f"--http-to={between}", f"--socket={between}",
            "--http-keepalive", "--http-auto-chunked", "--http-buffer-size=32768", "--master",
            f"--processes={start.workers}", "--single-interpreter", "--need-app", "--die-on-term", "--disable-logging",
            f"--virtualenv={VENV}", f"--pythonpath={APPS}", f"--module={start.module}:app"]


def library(name):
    def command(start):
        return [VENV / "bin/python", BENCH / "serve.py", name, str(start.port), start.module]

    return command


def limit(start):
    return [LIMIT, str(start.port), start.module]


KINDS = [
    Kind("green", "", green, interfaces=("wsgi", "asgi")),
    Kind("green-pgo", "", green_pgo, "as tools/pgo builds it", interfaces=("wsgi", "asgi")),
    Kind("green-asyncio", "", green_asyncio, "ASGI on asyncio's own loop; the others have uvloop's", interfaces=("asgi",)),
    Kind("uvicorn", "uvicorn", uvicorn, "httptools, uvloop", interfaces=("asgi",)),
    Kind("granian-asgi", "granian", granian_asgi, "ASGI, HTTP/1 only, uvloop", interfaces=("asgi",)),
    Kind("gunicorn-asgi", "gunicorn", gunicorn_asgi, "its ASGI worker", interfaces=("asgi",)),
    Kind("hypercorn", "Hypercorn", hypercorn, "uvloop", interfaces=("asgi",)),
    Kind("gunicorn-sync", "gunicorn", gunicorn_sync, "a connection for each request: it has no keep-alive"),
    Kind("gunicorn-gthread", "gunicorn", gunicorn_gthread, "4 threads"),
    Kind("granian", "granian", granian, "WSGI, HTTP/1 only, 1 blocking thread"),
    Kind("uwsgi", "uWSGI", uwsgi, "its own HTTP router beside the worker, keep-alive, chunked"),
    Kind("bjoern", "bjoern", library("bjoern")),
    Kind("fastpysgi", "fastpysgi", library("fastpysgi")),
    Kind("limit", "", limit, "no Python: epoll, llhttp, replies ready in memory"),
]
MEMORY_KINDS = [
    Kind("green", "", green),
    Kind("uwsgi", "uWSGI", uwsgi, "master, router and workers forked after the import"),
    Kind("gunicorn --preload", "gunicorn", gunicorn_preload),
]


def environment():
    """Nothing of ours or of a service manager's that a server would read."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("GREEN_", "PYTHON", "GUNICORN", "GRANIAN", "UWSGI", "LISTEN_", "NOTIFY_", "WATCHDOG_"))}
    return {**kept, "PYTHONPATH": str(APPS), "PYTHONDONTWRITEBYTECODE": "1"}


def installed(package):
    """The version in the venv; None if it is not there."""
    folders = [str(folder) for folder in (VENV / "lib").glob("python*/site-packages")]
    for found in importlib.metadata.distributions(name=package, path=folders):
        return found.version
    return None


def version(kind, green_bin):
    if kind.package == "gunicorn" and installed("gunicorn"):
        parser = installed("gunicorn_h1c")
        return f"{installed('gunicorn')} with {f'gunicorn_h1c {parser}' if parser else 'its parser in Python'}"
    if kind.package:
        return installed(kind.package)
    if kind.name == "limit":
        return "" if LIMIT.exists() else None
    if kind.name == "green-pgo":
        green_bin = PGO_BIN
    try:
        said = subprocess.run([green_bin / "greend", "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.split()[-1]


def missing(kind, green_bin):
    """Why it can't be run here, or ""."""
    if version(kind, green_bin) is not None:
        return ""
    if kind.package:
        return f"{kind.package} could not be installed"
    if kind.name == "green-pgo":
        return "tools/pgo has not built it"
    return f"{LIMIT.name} is not built" if kind.name == "limit" else f"no greend runs in {green_bin}"
