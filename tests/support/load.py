"""A steady load on one server, and the count of everything that went wrong.

As a module: `with Load(address) as load: …` then `load.failures`. As a program, where the server is in
another network namespace: `load.py ADDRESS` runs until its standard input ends and prints JSON.
"""

import collections
import http.client
import itertools
import json
import socket
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from http_client import Connection  # noqa: E402


# What the death of the process that was answering may cost: its reply may have begun.
LOST_WITH_ITS_PROCESS = {"reset", "cut"}


class Load:
    """`clients` threads, each asking for `path` again and again; every second one on kept-alive connections.
    `methods` in turn: a proxy may repeat a GET, but no POST."""

    def __init__(self, address, path="/", clients=4, most_requests=200_000, methods=("GET",)):
        self.address = address
        self.path = path
        self.methods = itertools.cycle(methods)
        self.left = most_requests
        self.counts = collections.Counter()
        self.bodies = collections.Counter()
        self.samples = []
        self.longest = 0.0
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(bool(i % 2),), daemon=True) for i in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    @property
    def failures(self):
        """What went wrong, by kind: refused, reset, cut, timeout, 5xx, …; empty when nothing was lost."""
        with self.lock:
            return {kind: count for kind, count in self.counts.items() if kind != "ok"}

    @property
    def answered(self):
        with self.lock:
            return self.counts["ok"]

    def _count(self, kind, detail=None, body=None):
        with self.lock:
            self.counts[kind] += 1
            if detail is not None and len(self.samples) < 20:
                self.samples.append(f"{kind}: {detail}")
            if body is not None and len(body) < 200:
                self.bodies[body] += 1

    def _run(self, keep_alive):
        connection = None
        while not self.stopping.is_set():
            with self.lock:
                self.left -= 1
                if self.left < 0:
                    return
                method = next(self.methods)
            started = time.monotonic()
            reused = connection is not None
            connection = connection or Connection(self.address, 30)
            try:
                reply = connection.ask(method, self.path, b"form=1" if method == "POST" else None, {} if keep_alive else {"Connection": "close"})
            except ConnectionRefusedError as error:
                self._count("refused", error)
                connection.close()
                connection = None
                self.stopping.wait(0.01)  # or the loop would do nothing else
                continue
            except (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected) as error:
                self._count("reset", f"{error!r}{' on a kept-alive connection' if reused else ''}")
                connection.close()
                connection = None
                continue
            except http.client.IncompleteRead as error:
                self._count("cut", error)
                connection.close()
                connection = None
                continue
            except socket.timeout as error:
                self._count("timeout", error)
                connection.close()
                connection = None
                continue
            except (OSError, http.client.HTTPException) as error:
                self._count("other", repr(error))
                connection.close()
                connection = None
                continue
            self.longest = max(self.longest, time.monotonic() - started)
            if reply.status >= 500:
                self._count("5xx", reply.status, reply.text)
            elif reply.status != 200:
                self._count("other", reply.status)
            else:
                self._count("ok", body=reply.text)
            if not keep_alive or reply.headers.get("connection", "").lower() == "close":
                connection.close()
                connection = None
        if connection is not None:
            connection.close()


def main():
    where, path, clients = sys.argv[1], sys.argv[2], int(sys.argv[3])
    address = where if where.startswith("/") else (where.rpartition(":")[0], int(where.rpartition(":")[2]))
    with Load(address, path, clients) as load:
        print("loading", flush=True)
        sys.stdin.read()
    print(json.dumps({
        "answered": load.answered, "failures": load.failures, "samples": load.samples,
        "bodies": dict(load.bodies), "longest": load.longest,
    }))


if __name__ == "__main__":
    main()
