"""The clients of bench/soak: threads that ask until they are stopped, and a tally that counts what they were
answered and what they lost, by kind."""

import collections
import http.client
import random
import re
import socket
import threading
import time

KINDS = ("refused", "reset", "early", "timeout", "5xx", "order", "other")
CLIENT_TIMEOUT = 20.0
KEEPALIVE = 5.0
IDLE = 4.0  # as long as a client idles at most: less than KEEPALIVE, or it would lose without any reload
SAMPLES = 8


class Tally:
    """Of one phase."""

    def __init__(self):
        self.lock = threading.Lock()
        self.begin()

    def begin(self):
        with self.lock:
            self.counts, self.samples, self.longest = collections.Counter(), [], 0.0

    def count(self, kind, detail, seconds):
        with self.lock:
            self.counts[kind] += 1
            self.longest = max(self.longest, seconds)
            if detail is not None and len(self.samples) < SAMPLES:
                self.samples.append(f"{kind}: {detail}")

    def end(self):
        with self.lock:
            return self.counts, self.samples, self.longest


class Client(threading.Thread):
    """Every third request is a POST: no proxy may repeat it, so that nothing hides its loss."""

    def __init__(self, connect, tally, keeps, seed):
        super().__init__(daemon=True)
        self.connect, self.tally, self.keeps = connect, tally, keeps
        self.random = random.Random(seed)
        self.stopping = threading.Event()
        self.newest = 0
        self.connection = None

    def run(self):
        while not self.stopping.wait(self.pause()):
            begun = time.monotonic()
            kind, detail = self.ask()
            self.tally.count(kind, detail, time.monotonic() - begun)
            if kind != "answered":
                self.drop()
        self.drop()

    def pause(self):
        # Most requests soon after one another, some after nearly as long as a connection may idle.
        if self.keeps and self.random.random() < 0.02:
            return self.random.uniform(0, IDLE)
        return self.random.uniform(0, 0.02)

    def drop(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def ask(self):
        reused = self.connection is not None
        method = "POST" if self.random.random() < 1 / 3 else "GET"
        how = f"{method} on a {'kept' if reused else 'new'} connection"
        try:
            if not reused:
                self.connection = http.client.HTTPConnection("soak.test")
                self.connection.sock = self.connect(CLIENT_TIMEOUT)
            self.connection.request(method, "/", body=b"x" * 200 if method == "POST" else None,
                                    headers={} if self.keeps else {"Connection": "close"})
            reply = self.connection.getresponse()
            body = reply.read()
        except ConnectionRefusedError as error:
            return "refused", f"{error!r} {how}"
        except (http.client.RemoteDisconnected, http.client.IncompleteRead, http.client.BadStatusLine) as error:
            return "early", f"{error!r} {how}"
        except (ConnectionResetError, BrokenPipeError) as error:
            return "reset", f"{error!r} {how}"
        except socket.timeout as error:
            return "timeout", f"{error!r} {how}"
        except (OSError, http.client.HTTPException) as error:
            return "other", f"{error!r} {how}"
        if reply.status >= 500:
            return "5xx", f"{reply.status} {body[:80]!r} {how}"
        if reply.status != 200 or not re.fullmatch(rb"\d+ \d+\n", body):
            return "other", f"{reply.status} {body[:80]!r} {how}"
        version = int(body.split()[0])
        if version < self.newest:
            return "order", f"version {version} after {self.newest} {how}"
        self.newest = version
        if not self.keeps or reply.will_close:
            self.drop()
        return "answered", None
