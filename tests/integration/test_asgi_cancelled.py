"""Clients that leave in the middle of a request, by the thousand: nothing of them may be left."""

import json
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import pytest

from harness import free_port
from waiting import wait_for

ECHO = (Path(__file__).parent / "asgi_echo_site.py").read_text()
AT_ONCE = 100
RESET = struct.pack("ii", 1, 0)

GET = "GET {} HTTP/1.1\r\nHost: a\r\n\r\n"
POST = "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + "x" * 10_000
CHUNKED = "POST {} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n" + "x" * 10_000
# What is asked, and whether the client waits for the first bytes of the reply.
BEFORE_THE_REPLY = [(GET.format("/wait"), False), (GET.format("/sleep?s=0.1"), False)]
AMID_THE_STREAM = [(GET.format("/endless"), True), (GET.format("/stream?parts=400"), True)]
AMID_THE_UPLOAD = [(POST.format("/upload"), False), (CHUNKED.format("/upload"), False), (CHUNKED.format("/parts"), True),
                   (POST.format("/sleep?s=0.1"), False), (GET.format("/upload").replace("\r\n\r\n", "\r\nContent-Length: 5\r\n"
                    "Expect: 100-continue\r\n\r\n"), True)]
KINDS = [*BEFORE_THE_REPLY, *AMID_THE_STREAM, *AMID_THE_UPLOAD, (POST.format("/"), True)]


def cancel(address, requests):
    """All of them at a time, half with a reset."""
    clients = []
    for request, waits in requests:
        client = socket.create_connection(address, 60)
        client.sendall(request.encode())
        clients.append((client, waits))
    for i, (client, waits) in enumerate(clients):
        if waits:
            assert client.recv(100)
        if i % 2:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()


def cancel_many(address, count):
    """In two threads: one connects while the other leaves."""
    def run(first):
        for start in range(first, count, 2 * AT_ONCE):
            cancel(address, [KINDS[i % len(KINDS)] for i in range(start, min(start + AT_ONCE, count))])
    threads = [threading.Thread(target=run, args=[first]) for first in (0, AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_ten_thousand_requests_cancelled_midway_leave_nothing(site, bus, loop):
    site.code(ECHO)
    greend = site.start(f"--python={sys.prefix}", f"--loop={loop}", bus=bus.address, workers=1,
                        bind=f"127.0.0.1:{free_port()}")

    def settled():
        """Once all that was cancelled has ended: this request is the only one."""
        def now():
            counts = json.loads(greend.get("/counts").text)
            return counts if counts["tasks"] <= 2 else None
        counts = wait_for(now, "the tasks end", 30)
        worker = wait_for(lambda: (one := next(iter(bus.workers(site.name).values())))["RequestsInFlight"] == 0
                          and one["Connections"] == 0 and one, "green counts none in flight", 30)
        return counts, worker["PID"]

    cancel_many(greend.address, 1000)
    before, pid = settled()
    began = time.monotonic()
    cancel_many(greend.address, 10_000)
    after, pid_after = settled()
    print(f"10000 requests in {time.monotonic() - began:.1f} s; before {before}, after {after}")
    assert pid_after == pid, "the worker died of it"
    assert after["tasks"] == before["tasks"]
    assert after["descriptors"] <= before["descriptors"]
    assert after["objects"] < before["objects"] + 50
    # Each kind got as far as it should have: before the reply, amid the stream, amid the upload.
    for what in ("disconnects", "lost", "cut_uploads"):
        assert after[what] >= before[what] + 500, what
    assert "Traceback" not in greend.log()
