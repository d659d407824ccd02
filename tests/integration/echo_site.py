"""An application that shows what it got and does what it should not. Pure WSGI."""

import ctypes
import hashlib
import json
import os
import signal
import sys
import time
from urllib.parse import parse_qs


def app(environ, start_response):
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    handler = globals().get("do_" + environ["PATH_INFO"].strip("/"))
    if handler is None:
        handler = do_root
    body = handler(environ, query)
    if isinstance(body, str):
        body = [body.encode()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return body


def do_root(environ, query):
    return "hello from green\n"


def do_pid(environ, query):
    time.sleep(0.02)
    return str(os.getpid())


def do_sleep(environ, query):
    time.sleep(float(query["s"]))
    return "slept"


def do_environ(environ, query):
    return json.dumps({name: value for name, value in environ.items() if isinstance(value, (str, int, float, bool))})


def do_process(environ, query):
    """Everything a worker could misuse."""
    descriptors = {}
    for entry in os.listdir("/proc/self/fd"):
        try:
            descriptors[int(entry)] = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:
            pass  # the listing's own
    return json.dumps({
        "pid": os.getpid(), "ppid": os.getppid(), "environment": dict(os.environ), "descriptors": descriptors,
        "cwd": os.getcwd(), "path": sys.path, "prefix": sys.prefix, "base_prefix": sys.base_prefix,
        "executable": sys.executable, "version": list(sys.version_info[:2]),
        "blocked": open("/proc/self/status").read().split("SigBlk:")[1].split()[0],
        "ignored": open("/proc/self/status").read().split("SigIgn:")[1].split()[0],
    })


def do_digest(environ, query):
    """Length and SHA-256 of the request's body."""
    digest, length = hashlib.sha256(), 0
    while part := environ["wsgi.input"].read(65536):
        digest.update(part)
        length += len(part)
    return f"{length} {digest.hexdigest()}"


def do_big(environ, query):
    """`n` bytes in pieces of 64 KiB."""
    left = int(query["n"])
    piece = b"green" * 13108

    def pieces():
        nonlocal left
        while left > 0:
            part = piece[: min(left, len(piece), 65536)]
            left -= len(part)
            yield part

    return pieces()


def do_raise(environ, query):
    raise ValueError("the application failed on purpose")


def do_exit(environ, query):
    os._exit(int(query.get("status", "3")))


def do_sysexit(environ, query):
    sys.exit(4)


def do_segfault(environ, query):
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(10)
    return "still here"


def do_signal(environ, query):
    os.kill(os.getpid(), getattr(signal, query["name"]))
    time.sleep(10)
    return "still here"


def do_alarm(environ, query):
    signal.setitimer(signal.ITIMER_REAL, 0.0001)
    time.sleep(10)
    return "still here"


def do_abort(environ, query):
    os.abort()


def do_wild_pointer(environ, query):
    ctypes.string_at(8)
    return "still here"


def do_close_descriptors(environ, query):
    os.closerange(0, 11)
    return "closed"


def do_fork(environ, query):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return f"forked {child}"


def do_garbage(environ, query):
    sys.stdout.write("\x1b[31mgarbage on standard output\x00\n")
    sys.stdout.flush()
    os.write(1, b"\xff\xfe raw bytes \x80\n" * 100)
    os.write(2, b"<3>greend: forged\n\xff\n")
    return "printed"
