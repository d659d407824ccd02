"""Trailers of an ASGI application's reply (http.response.trailers), as a raw client sees them."""

import sys
from pathlib import Path

import pytest

from http_client import read_all

ECHO = (Path(__file__).parent / "asgi_echo_site.py").read_text()


@pytest.fixture
def greend(site):
    site.code(ECHO)
    return site.start(f"--python={sys.prefix}", workers=1)


def exchange(greend, path, method="GET", version="1.1", rest="Connection: close\r\n"):
    """Status line and headers, and what follows them."""
    with greend.socket() as client:
        client.sendall(f"{method} {path} HTTP/{version}\r\nHost: a\r\n{rest}\r\n".encode())
        head, _, body = read_all(client).partition(b"\r\n\r\n")
    return head.decode().lower().split("\r\n"), body


def test_trailers_follow_the_body(greend):
    head, body = exchange(greend, "/trailers")
    assert head[0] == "http/1.1 200 ok"
    assert "trailer: x-digest" in head
    assert "transfer-encoding: chunked" in head
    assert body == b"3\r\nabc\r\n3\r\ndef\r\n0\r\nx-digest: sha\r\n\r\n"
    assert exchange(greend, "/trailers?messages=3")[1].endswith(b"0\r\nx-part: 0\r\nx-part: 1\r\nx-digest: sha\r\n\r\n")
    greend.wait_log("after the trailers: RuntimeError: .*after the reply was complete")


def test_the_next_request_of_the_connection_is_answered_as_ever(greend):
    _, body = exchange(greend, "/trailers", rest="\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n")
    assert b"0\r\nx-digest: sha\r\n\r\nHTTP/1.1 200 OK\r\n" in body
    assert body.endswith(b"hello from green\n")


def test_a_declared_length_gives_way_to_chunks_which_alone_have_trailers(greend):
    head, body = exchange(greend, "/trailers?content-length=6")
    assert "transfer-encoding: chunked" in head
    assert not any(line.startswith("content-length") for line in head)
    assert body.endswith(b"0\r\nx-digest: sha\r\n\r\n")


def test_where_there_is_no_place_for_trailers_they_are_left_out(greend):
    head, body = exchange(greend, "/trailers?content-length=6", version="1.0", rest="")
    assert "content-length: 6" in head
    assert not any(line.startswith("trailer") for line in head)
    assert body == b"abcdef"
    assert exchange(greend, "/trailers", version="1.0", rest="")[1] == b"abcdef"
    assert exchange(greend, "/trailers", method="HEAD")[1] == b""
    assert exchange(greend, "/trailers?status=204")[1] == b""


def test_what_is_out_of_order_or_out_of_place_raises_in_the_application(greend):
    _, body = exchange(greend, "/trailers?wrong=1")
    said = [line.partition(b": ")[2].decode() for line in body.split(b"\r\n") if line.startswith(b"x-mistake")]
    kinds = [text.partition(":")[0] for text in said]
    assert kinds == ["RuntimeError", "RuntimeError", "RuntimeError", "RuntimeError", "ValueError", "ValueError", "TypeError"]
    assert "before http.response.start" in said[0]
    assert "before the body was complete" in said[1]
    assert "pathsend" in said[2]
    assert "trailers are due" in said[3]
    assert "content-length has no place in trailers" in said[4]
    assert body.count(b"x-digest: sha") == 1
    assert b"x-early" not in body
    assert b"\r\nx-b: 2" not in body
    assert greend.get("/no_trailers").text.endswith('http.response.trailers without "trailers": True in http.response.start')


def test_a_reply_whose_trailers_never_come_is_cut(greend):
    with greend.socket() as client:
        client.sendall(b"GET /trailers?return=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        text = b""
        with pytest.raises(ConnectionResetError):
            while part := client.recv(65536):
                text += part
            raise ConnectionResetError  # an end without the last chunk, which is as plain
        assert b"\r\n0\r\n" not in text
    greend.wait_log("GET /trailers: the application returned before its reply was complete")
