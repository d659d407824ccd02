"""A client of one request at a time, over TCP or a unix socket, that hides nothing."""

import concurrent.futures
import http.client
import socket
from dataclasses import dataclass, field

from waiting import PATIENCE


@dataclass
class Reply:
    status: int
    headers: dict
    body: bytes = field(repr=False)

    @property
    def text(self):
        return self.body.decode()


def connect(address, timeout=20.0):
    """`address`: ("127.0.0.1", 8000) or a unix socket's path."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    client = socket.socket(family, socket.SOCK_STREAM)
    client.settimeout(timeout * PATIENCE)
    try:
        client.connect(address)
    except OSError:
        client.close()
        raise
    return client


class Connection(http.client.HTTPConnection):
    """A kept-alive connection."""

    def __init__(self, address, timeout=20.0):
        super().__init__("green.test")
        self.address = address
        self.seconds = timeout

    def connect(self):
        self.sock = connect(self.address, self.seconds)

    def ask(self, method, path, body=None, headers=None):
        self.request(method, path, body, headers or {})
        reply = self.getresponse()
        data = reply.read()
        return Reply(reply.status, {name.lower(): value for name, value in reply.getheaders()}, data)


def ask(address, path="/", method="GET", body=None, headers=None, timeout=20.0):
    connection = Connection(address, timeout)
    try:
        return connection.ask(method, path, body, {"Connection": "close", **(headers or {})})
    finally:
        connection.close()


def answering_pids(address, at_least, path="/pid", bursts=40):
    """Pids of the workers that answer. Asked in bursts of requests that take a moment each: an idle worker
    that takes every connection is no fault."""
    seen = set()
    for _ in range(bursts):
        with concurrent.futures.ThreadPoolExecutor(3 * at_least) as pool:
            seen.update(int(reply.text) for reply in pool.map(lambda _: ask(address, path), range(3 * at_least)))
        if len(seen) >= at_least:
            break
    return seen


def read_all(client):
    """All that comes until the server closes."""
    parts = []
    while part := client.recv(65536):
        parts.append(part)
    return b"".join(parts)
