"""Requests as a client sees them: sizes, speeds, keep-alive, and what is malformed."""

import hashlib
import json
import os
import threading

import pytest

from http_client import ask, read_all
from waiting import wait_for

MIB = 1 << 20


def test_a_request_reaches_the_application_as_pep_3333_says(site):
    greend = site.start()
    environ = json.loads(greend.get("/environ?a=1&b=%20", headers={"X-Some-Header": "value"}).text)
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["PATH_INFO"] == "/environ"
    assert environ["QUERY_STRING"] == "a=1&b=%20"
    assert environ["HTTP_X_SOME_HEADER"] == "value"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["wsgi.multiprocess"] is True
    assert environ["wsgi.multithread"] is False
    assert environ["SCRIPT_NAME"] == ""
    assert environ["SERVER_NAME"]
    assert isinstance(environ["SERVER_PORT"], str)


def test_the_application_is_told_of_threads_and_of_no_other_processes(site):
    greend = site.start("--threads=2", workers=1)
    environ = json.loads(greend.get("/environ").text)
    assert (environ["wsgi.multiprocess"], environ["wsgi.multithread"]) == (False, True)


@pytest.mark.parametrize("size", [0, 1, 65_536, 3 * MIB, 40 * MIB])
def test_a_body_of_any_size_arrives_whole(site, size):
    greend = site.start(workers=1)
    body = os.urandom(size)
    reply = greend.get("/digest", method="POST", body=body, timeout=60)
    assert reply.text == f"{size} {hashlib.sha256(body).hexdigest()}"


def test_a_chunked_body_arrives_whole(site):
    greend = site.start(workers=1)
    parts = [os.urandom(n) for n in (1, 70_000, 5, 2 * MIB)]
    reply = greend.get("/digest", method="POST", body=iter(parts))  # of unknown length: chunked
    whole = b"".join(parts)
    assert reply.text == f"{len(whole)} {hashlib.sha256(whole).hexdigest()}"


@pytest.mark.parametrize("size", [0, 1, 65_536, 3 * MIB, 64 * MIB])
def test_an_answer_of_any_size_arrives_whole(site, size):
    greend = site.start(workers=1)
    reply = greend.get(f"/big?n={size}", timeout=60)
    assert len(reply.body) == size
    assert reply.body == (b"green" * (size // 5 + 1))[:size] or size > 65_536


def test_a_kept_alive_connection_answers_many_requests(site):
    greend = site.start(workers=1)
    connection = greend.connection()
    for i in range(50):
        body = bytes([i]) * i
        reply = connection.ask("POST", "/digest", body)
        assert reply.text == f"{i} {hashlib.sha256(body).hexdigest()}"
    connection.close()


def test_pipelined_requests_are_answered_in_order(site):
    greend = site.start(workers=1)
    client = greend.socket()
    client.sendall(b"GET /environ?n=1 HTTP/1.1\r\nHost: a\r\n\r\nGET /environ?n=2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = read_all(client)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.index(b'"n=1"') < answer.index(b'"n=2"')


def test_http_1_0_closes(site):
    greend = site.start(workers=1)
    client = greend.socket()
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = read_all(client)
    assert b" 200 " in answer and answer.endswith(b"hello from green\n")
    assert b"chunked" not in answer


def test_expect_100_continue_is_answered(site):
    greend = site.start(workers=1)
    client = greend.socket()
    client.sendall(b"POST /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
    assert client.recv(1000).startswith(b"HTTP/1.1 100")
    client.sendall(b"abc")
    assert b"3 ba7816bf" in read_all(client)


def test_a_half_closed_client_still_gets_its_answer(site):
    greend = site.start(workers=1)
    client = greend.socket()
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    client.shutdown(1)
    # By its length, or in one chunk and the last.
    assert read_all(client).endswith((b"\r\n\r\nhello from green\n", b"\r\n\r\n11\r\nhello from green\n\r\n0\r\n\r\n"))


@pytest.mark.parametrize(
    "text",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS\r\n\r\n",
    ],
    ids=["no request line", "space in a name", "folded header", "length and chunked", "two lengths", "negative length",
         "bad chunk", "NUL in a value", "no host", "TLS"],
)
def test_a_malformed_request_is_answered_400_and_closed_and_harms_nobody(site, text):
    greend = site.start(workers=1)
    worker = greend.worker_pids()
    client = greend.socket()
    client.sendall(text)
    answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:100]
    assert b"\r\nconnection: close" in answer.lower()
    assert greend.worker_pids() == worker


def test_slow_readers_block_nobody(site):
    greend = site.start(workers=1)
    slow = [greend.socket() for _ in range(8)]
    for client in slow:
        client.sendall(b"GET /big?n=20000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    for _ in range(20):
        assert greend.get("/", timeout=5).status == 200
    for client in slow:
        head, _, body = read_all(client).partition(b"\r\n\r\n")
        assert b" 200 " in head and len(body) >= 20_000_000
        client.close()


def test_slow_writers_block_nobody(site):
    greend = site.start(workers=1)
    slow = []
    for _ in range(50):
        client = greend.socket()
        client.sendall(b"POST /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nX-Slow")
        slow.append(client)
    for _ in range(20):
        assert greend.get("/", timeout=5).status == 200
    for client in slow:
        client.sendall(b": yes\r\nConnection: close\r\n\r\n0123456789")
        assert b"10 84d898" in read_all(client)
        client.close()


def test_a_client_that_goes_away_in_the_middle_harms_nobody(site):
    greend = site.start(workers=1)
    worker = greend.worker_pids()
    for text in (b"GET / HT", b"POST /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc",
                 b"GET /big?n=50000000 HTTP/1.1\r\nHost: a\r\n\r\n"):
        client = greend.socket()
        client.sendall(text)
        client.close()
    assert greend.worker_pids() == worker


def test_many_connections_at_once_are_all_answered(site):
    greend = site.start(workers=2)
    failures = []

    def run():
        try:
            for _ in range(5):
                assert ask(greend.address, "/").status == 200
        except Exception as error:  # every kind counts
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_idle_connections_do_not_keep_a_worker_from_answering(site):
    greend = site.start(workers=1)
    idle = [greend.socket() for _ in range(300)]
    assert greend.get("/").status == 200
    for client in idle:
        client.close()
    wait_for(lambda: greend.get("/").status == 200, "an answer")
