"""Requests' bodies, which an ASGI application takes as they come: on asyncio's loop and on uvloop."""

import hashlib
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from http_client import read_all
from waiting import PATIENCE, wait_for

ECHO = (Path(__file__).parent / "asgi_echo_site.py").read_text()
FASTAPI = (Path(__file__).parent / "sites/fastapi_site.py").read_text()
MIB = 1 << 20
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(params=["asyncio", "uvloop"])
def start(request, site):
    def start(*options, code=ECHO):
        site.code(code)
        return site.start(f"--python={sys.prefix}", f"--loop={request.param}", *options, workers=1)
    return start


def counts(greend):
    return json.loads(greend.get("/counts").text)


def post(greend, path, length=None, body=b"", rest=""):
    """A client that has sent its head, and `body` with it."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    client = greend.socket()
    client.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n{rest}\r\n".encode() + body)
    return client


def read_until(client, tail):
    text = b""
    while tail not in text:
        part = client.recv(65536)
        assert part, f"the connection ended after {text!r}"
        text += part
    return text


def said(client):
    """The next line of /parts."""
    return json.loads(read_until(client, b"}\n\r\n").partition(b"}\n\r\n")[0].splitlines()[-1] + b"}")


def worker_memory(greend, what):
    status = Path(f"/proc/{greend.children()[-1]}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(what)).split()[1]) * 1024


def spare_memory(greend):
    """What a worker may grow by, whatever the size of a body; ASan keeps 16 MiB that were freed, and more around them."""
    maps = Path(f"/proc/{greend.children()[-1]}/maps").read_text()
    return (32 if "libasan" in maps else 4) * MIB


def test_bodies_arrive_whole(start):
    greend = start()
    for size in (0, 1, 65536, 5 * MIB + 3):
        body = os.urandom(size)
        reply = greend.get("/upload", method="POST", body=body, timeout=60)
        assert reply.text == f"{size} {hashlib.sha256(body).hexdigest()}"
    parts = [os.urandom(n) for n in (70_000, 1, 300_000)]
    reply = greend.get("/upload", method="POST", body=iter(parts))
    assert reply.text == f"370001 {hashlib.sha256(b''.join(parts)).hexdigest()}"
    assert counts(greend)["longest_part"] <= 128 << 10


def test_a_body_that_comes_with_its_head_is_one_message(start):
    greend = start()
    for length, body in ((16384, b"x" * 16384), (None, b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"), (0, b"")):
        with post(greend, "/first_part", length, body, "Connection: close\r\n") as client:
            size = 6 if length is None else length
            assert read_all(client).endswith(f"http.request {size} False".encode())


def test_the_application_has_each_part_as_the_client_sends_it(start):
    greend = start()
    with post(greend, "/parts", 7) as client:
        client.sendall(b"abc")
        assert said(client) == {"type": "http.request", "size": 3, "more": True}
        client.sendall(b"defg")
        assert said(client) == {"type": "http.request", "size": 4, "more": False}
    with post(greend, "/parts") as client:
        client.sendall(b"5\r\nabcde\r\n")
        assert said(client) == {"type": "http.request", "size": 5, "more": True}
        client.sendall(b"0\r\n\r\n")
        assert said(client) == {"type": "http.request", "size": 0, "more": False}


def test_a_client_that_waits_before_its_body_holds_up_nobody_else(start):
    greend = start()
    with post(greend, "/upload", 10) as client:
        assert greend.get("/").text == "hello from green\n"
        client.sendall(b"0123456789")
        assert read_until(client, hashlib.sha256(b"0123456789").hexdigest().encode())


def test_a_body_is_read_only_as_the_application_takes_it(start):
    greend = start()
    size = 48 * MIB
    with post(greend, "/upload?gate=u", size) as client:
        client.settimeout(0.5)
        sent = 0
        block = os.urandom(MIB)
        with pytest.raises(TimeoutError):
            while True:
                sent += client.send(block[sent % MIB:])
        assert sent < 16 * MIB, "what the kernel keeps for both ends, and a window"
        before = worker_memory(greend, "VmRSS")
        client.settimeout(60 * PATIENCE)
        greend.get("/open?gate=u")
        while sent < size:
            sent += client.send(block[sent % MIB:])
        reply = read_until(client, hashlib.sha256(block * 48).hexdigest().encode())
        assert reply.startswith(b"HTTP/1.1 200 OK")
        assert worker_memory(greend, "VmHWM") < before + spare_memory(greend)
    assert counts(greend)["longest_part"] <= 128 << 10


def test_many_slow_uploads_cost_a_window_each_and_no_more(start):
    greend = start()
    counts(greend)
    before = worker_memory(greend, "VmRSS")
    clients = [post(greend, "/upload?gate=many", 64 * MIB) for _ in range(50)]
    for client in clients:
        client.settimeout(0.02)
        try:
            while True:
                client.send(b"x" * MIB)
        except TimeoutError:
            pass
    wait_for(lambda: counts(greend)["tasks"] >= 50, "all are under way")
    assert worker_memory(greend, "VmHWM") < before + 50 * (192 << 10)
    for client in clients:
        client.close()
    greend.get("/open?gate=many")
    wait_for(lambda: counts(greend)["cut_uploads"] == 50, "all hear of it")


def test_an_echo_of_any_size_goes_on_in_both_directions_at_once(start):
    greend = start()
    content = os.urandom(MIB) * 16
    with post(greend, "/echo", len(content), rest="Connection: close\r\n") as client:
        sender = threading.Thread(target=client.sendall, args=[content])
        sender.start()
        text = read_all(client)
        sender.join()
    body, rest = b"", text.partition(b"\r\n\r\n")[2]
    parts = []
    while not rest.startswith(b"0\r\n"):
        size, _, rest = rest.partition(b"\r\n")
        parts.append(rest[:int(size, 16)])
        rest = rest[int(size, 16) + 2:]
    body = b"".join(parts)
    assert hashlib.sha256(body).digest() == hashlib.sha256(content).digest()


def test_a_client_that_leaves_amid_its_body_is_told_of_by_receive(start):
    greend = start()
    with post(greend, "/upload", 100, b"x" * 10):
        wait_for(lambda: counts(greend)["longest_part"] == 10, "the first part is there")
    wait_for(lambda: counts(greend)["cut_uploads"] == 1, "the application hears of it")
    assert counts(greend)["cut_at"] == 10
    with post(greend, "/upload", 100, b"x" * 20) as client:
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b""
    wait_for(lambda: counts(greend)["cut_uploads"] == 2, "half closed is no whole body either")
    assert "Traceback" not in greend.log()


def test_a_malformed_body_is_refused_while_the_application_reads_it(start):
    greend = start()
    with post(greend, "/upload", body=b"3\r\nabc\r\n") as client:
        wait_for(lambda: counts(greend)["longest_part"] == 3, "the first part is there")
        client.sendall(b"nonsense\r\n" + GET)
        text = read_all(client)
    assert text.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert text.count(b"HTTP/1.1") == 1
    wait_for(lambda: counts(greend)["cut_uploads"] == 1, "the application hears of it")
    assert "Traceback" not in greend.log()


def test_a_malformed_body_ends_a_reply_that_has_begun(start):
    greend = start()
    with post(greend, "/parts", body=b"3\r\nabc\r\n") as client:
        assert said(client)["size"] == 3
        client.sendall(b"nonsense\r\n")
        with pytest.raises(ConnectionResetError):
            while part := client.recv(65536):
                assert b"0\r\n\r\n" not in part
            raise ConnectionResetError  # an end without the last chunk, which is as plain


def test_a_body_that_grows_too_long_is_refused_while_the_application_reads_it(start):
    greend = start("--limit-request-body=100000")
    declared = greend.get("/upload", method="POST", body=b"x" * 100_001)
    assert declared.status == 413
    assert counts(greend)["cut_uploads"] == 0, "it never came to a call"
    with post(greend, "/upload") as client:
        sender = threading.Thread(target=lambda: client.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n10000\r\n" + b"x" * 65536))
        sender.start()
        text = read_all(client)
        sender.join()
    assert text.startswith(b"HTTP/1.1 413 Content Too Large\r\n")
    wait_for(lambda: counts(greend)["cut_uploads"] == 1, "the application hears of it")


def test_a_client_that_stops_amid_its_body_gets_408_and_holds_up_its_task_alone(start):
    greend = start("--request-body-timeout=1", "--timeout=30")
    with post(greend, "/upload", 100, b"x" * 10) as client:
        assert greend.get("/").status == 200
        assert read_all(client).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    wait_for(lambda: counts(greend)["cut_uploads"] == 1, "the application hears of it")


def test_timeout_does_not_count_what_the_client_takes_to_send(start):
    greend = start("--timeout=1")
    with post(greend, "/upload", 6) as client:
        for _ in range(6):
            time.sleep(0.4)  # the client is what is slow here
            client.sendall(b"x")
        assert read_until(client, hashlib.sha256(b"xxxxxx").hexdigest().encode()).startswith(b"HTTP/1.1 200 ")
    # The application's own time is counted as ever, with the body there and without.
    for length, path in ((10, "/sleep?s=30"), (10, "/upload?gate=never")):
        with post(greend, path, length, b"x" * 5) as client:
            assert read_all(client).startswith(b"HTTP/1.1 504 ")


def test_a_body_that_nobody_read_does_not_end_up_in_the_next_request(start):
    greend = start()
    body = b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n" * 1000
    with post(greend, "/", len(body), body[:10]) as client:
        text = read_until(client, b"hello from green\n")
        assert b"Connection: close" not in text
        client.sendall(body[10:] + GET)
        text = read_until(client, b"hello from green\n")
        assert text.count(b"HTTP/1.1") == 1
    with post(greend, "/") as client:
        read_until(client, b"hello from green\n")
        client.sendall(b"5\r\nabcde\r\n0\r\n\r\n" + GET)
        assert read_until(client, b"hello from green\n").count(b"HTTP/1.1") == 1
    # Too much to read for nothing.
    with post(greend, "/", 64 * MIB) as client:
        assert b"\r\nConnection: close\r\n" in read_all(client)
    with post(greend, "/", None, b"4000000\r\n") as client:
        read_until(client, b"hello from green\n")
        with pytest.raises(OSError):  # noqa: PT011
            for _ in range(64):
                client.sendall(b"x" * MIB)


def test_a_reply_without_the_body_reaches_a_client_that_sends_first_and_reads_then(start):
    greend = start()
    with post(greend, f"/large?size={16 * MIB}", MIB) as client:
        client.sendall(b"x" * MIB)
        size = len(read_until(client, b"\r\n\r\n").partition(b"\r\n\r\n")[2])
        while size < 16 * MIB:
            size += len(client.recv(65536))
        client.sendall(GET)
        assert read_until(client, b"hello from green\n")


def test_a_body_is_invited_when_the_application_asks_for_it(start):
    greend = start()
    expects = "Expect: 100-continue\r\n"
    with post(greend, "/upload?gate=e", 3, rest=expects) as client:
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(20 * PATIENCE)
        greend.get("/open?gate=e")
        assert read_until(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        assert read_until(client, hashlib.sha256(b"abc").hexdigest().encode()).startswith(b"HTTP/1.1 200 OK")
    with post(greend, "/", 3, rest=expects) as client:
        text = read_all(client)
        assert text.startswith(b"HTTP/1.1 200 OK")
        assert b"\r\nConnection: close\r\n" in text
    with post(greend, "/upload", 3, b"abc", rest=expects + "Connection: close\r\n") as client:
        assert read_all(client).startswith(b"HTTP/1.1 200 OK")


def test_uploads_under_way_count_in_max_concurrency(start):
    greend = start("--max-concurrency=2")
    with post(greend, "/upload", 10) as one, post(greend, "/upload", 10) as two:
        wait_for(lambda: greend.get("/").status == 503, "a third is refused")
        # Refused without its body, which is on its way: the connection goes on all the same.
        with post(greend, "/upload", 10) as three:
            assert read_until(three, b"at a time\n").startswith(b"HTTP/1.1 503 ")
            for client in (one, two, three):
                client.sendall(b"0123456789")
            assert read_until(one, hashlib.sha256(b"0123456789").hexdigest().encode())
            three.sendall(GET)
            assert read_until(three, b"hello from green\n")


def test_a_drain_waits_for_an_upload(start):
    greend = start()
    with post(greend, "/upload", 10, b"01234") as client:
        wait_for(lambda: counts(greend)["longest_part"] == 5, "it is under way")
        greend.send(signal.SIGTERM)
        greend.notify.wait_field("STOPPING=1")
        client.sendall(b"56789")
        text = read_all(client)
    assert text.endswith(hashlib.sha256(b"0123456789").hexdigest().encode())
    assert greend.wait_exit() == 0


def test_a_handshake_with_a_body_is_no_websocket(start):
    greend = start()
    handshake = ("GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 5\r\n"
                 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    with greend.socket() as client:
        client.sendall(handshake.encode())
        client.sendall(b"hello")
        assert read_until(client, b"\n").startswith(b"HTTP/1.1 400 ")


def test_a_file_uploaded_to_fastapi_does_not_pass_through_memory(start):
    greend = start(code=FASTAPI)
    content = os.urandom(MIB) * 20
    boundary = "green-boundary"
    head = (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="large.bin"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n").encode()

    def upload(data):
        body = head + data + f"\r\n--{boundary}--\r\n".encode()
        return greend.get("/upload", method="POST", body=body, timeout=120,
                          headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})
    assert upload(content[:2 * MIB]).status == 200  # what it imports and allocates once
    before = worker_memory(greend, "VmHWM")
    reply = upload(content)
    assert reply.text == f"large.bin {hashlib.sha256(content).hexdigest()}"
    assert worker_memory(greend, "VmHWM") < before + spare_memory(greend)
