"""Files by wsgi.file_wrapper: sent by the kernel, whole, and holding nobody."""

import hashlib
import os

import pytest

from http_client import read_all
from waiting import wait_for

MIB = 1 << 20
SITE = """
    import os
    from urllib.parse import parse_qs

    def app(environ, start_response):
        query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
        if environ["PATH_INFO"] == "/pid":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(os.getpid()).encode()]
        headers = [("Content-Type", "application/octet-stream")]
        if "declared" in query:
            headers.append(("Content-Length", query["declared"]))
        start_response("200 OK", headers)
        file = open("data.bin", "rb")
        file.seek(int(query.get("offset", "0")))
        return environ["wsgi.file_wrapper"](file, 65536)
"""


@pytest.fixture(params=[1, 4], ids=["inline", "threads"])
def greend(request, site):
    site.code(SITE)
    return site.start(f"--threads={request.param}", workers=1)


@pytest.fixture
def data(site):
    """50 MiB."""
    content = os.urandom(MIB) * 50
    (site.folder / "data.bin").write_bytes(content)
    return content


def open_files(pid, name):
    return [link for link in (os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")) if link.endswith(name)]


def test_a_large_file_arrives_whole_and_is_closed(greend, data):
    connection = greend.connection()
    for _ in range(2):
        reply = connection.ask("GET", "/")
        assert reply.headers["content-length"] == str(50 * MIB)
        assert hashlib.sha256(reply.body).digest() == hashlib.sha256(data).digest()
    worker = int(connection.ask("GET", "/pid").text)
    wait_for(lambda: not open_files(worker, "data.bin"), "the file is closed")
    connection.close()


def test_a_file_is_sent_from_where_the_application_left_it(greend, data):
    reply = greend.get(f"/?offset={50 * MIB - 100}")
    assert reply.headers["content-length"] == "100"
    assert reply.body == data[-100:]


def test_head_gets_the_length_alone(greend, data):
    reply = greend.get("/", method="HEAD")
    assert reply.headers["content-length"] == str(50 * MIB)
    assert reply.body == b""


def test_no_more_than_the_declared_length_is_sent(greend, data):
    connection = greend.connection()
    assert connection.ask("GET", "/?declared=1000").body == data[:1000]
    assert connection.ask("GET", "/?declared=10").body == data[:10]
    connection.close()
    greend.wait_log("longer than its Content-Length")


def test_less_than_the_declared_length_cuts_the_connection(greend, data):
    client = greend.socket()
    client.sendall(f"GET /?declared=600&offset={50 * MIB - 100} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    head, _, body = read_all(client).partition(b"\r\n\r\n")
    assert b"Content-Length: 600" in head
    assert body == data[-100:]
    greend.wait_log("shorter than its Content-Length")


def test_slow_readers_of_a_file_hold_nobody(greend, data):
    slow = [greend.socket() for _ in range(8)]
    for client in slow:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    for _ in range(20):
        assert greend.get("/pid", timeout=5).status == 200
    for client in slow[:2]:
        assert read_all(client).partition(b"\r\n\r\n")[2] == data
    worker = greend.get("/pid").text
    for client in slow:
        client.close()
    assert greend.get("/pid").text == worker  # no SIGPIPE ended it
    wait_for(lambda: not open_files(int(worker), "data.bin"), "the files of clients that left are closed")
