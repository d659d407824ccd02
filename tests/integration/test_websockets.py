"""WebSockets by an ASGI application, with the client of the package websockets at the other end."""

import contextlib
import json
import os
import socket
import struct
import sys
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import unix_connect

from harness import greenctl
from http_client import read_all
from waiting import PATIENCE, wait_for

SITE = (Path(__file__).parent / "websocket_site.py").read_text()
HANDSHAKE = ("GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: {version}\r\n{more}\r\n")
LONG = 20 * PATIENCE
MASK = b"\x37\xfa\x21\x3d"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request):
    return request.param


@pytest.fixture
def start(site, loop):
    site.code(SITE)

    def start(*options, **others):
        others.setdefault("workers", 1)
        return site.start(f"--python={sys.prefix}", f"--loop={loop}", *options, **others)
    return start


def connect(greend, path, **options):
    return unix_connect(greend.address, f"ws://a{path}", open_timeout=LONG, close_timeout=LONG, **options)


def frame(opcode, payload=b"", fin=True, reserved=0, masked=True):
    head = bytes([fin << 7 | reserved << 4 | opcode])
    size = len(payload)
    head += bytes([masked << 7 | (size if size < 126 else 126)])
    head += struct.pack("!H", size) if size >= 126 else b""
    if not masked:
        return head + payload
    return head + MASK + bytes(byte ^ MASK[i % 4] for i, byte in enumerate(payload))


def close_payload(code, reason=b""):
    return struct.pack("!H", code) + reason


class RawClient:
    """A WebSocket that sends whatever bytes it is told to."""

    def __init__(self, greend, path="/echo", more=""):
        self.socket = greend.socket()
        self.socket.settimeout(LONG)
        self.socket.sendall(HANDSHAKE.format(path=path, version=13, more=more).encode())
        self.file = self.socket.makefile("rb")
        assert self.file.readline().startswith(b"HTTP/1.1 101 ")
        while self.file.readline() != b"\r\n":
            pass

    def send(self, data):
        self.socket.sendall(data)

    def frame(self):
        """(first byte, payload), or None at the end."""
        head = self.file.read(2)
        if len(head) < 2:
            return None
        size = head[1]
        if size == 126:
            size, = struct.unpack("!H", self.file.read(2))
        elif size == 127:
            size, = struct.unpack("!Q", self.file.read(8))
        return head[0], self.file.read(size)

    def frames(self):
        return list(iter(self.frame, None))

    def close(self):
        self.file.close()
        self.socket.close()


@pytest.mark.parametrize("compression", ["deflate", None])
def test_messages_come_back_as_they_were_sent(start, compression):
    greend = start()
    with connect(greend, "/echo", compression=compression, max_size=None) as client:
        for message in ("hello", "", b"", b"\0\xff", "grüß €😀", "x" * 125, "x" * 126, "y" * 65536, os.urandom(1 << 20),
                        "a word " * 100_000):
            client.send(message)
            assert client.recv(timeout=LONG) == message
        client.send(["frag", "ment", "ed ", "grüß"])
        assert client.recv(timeout=LONG) == "fragmented grüß"
        client.send([b"a", b"", b"b" * 70_000])
        assert client.recv(timeout=LONG) == b"a" + b"b" * 70_000
        assert client.ping(b"still there?").wait(LONG)
    greend.wait_log(r"disconnected 1000 ''")


def test_the_scope_is_what_asgi_says(start):
    greend = start()
    with connect(greend, "/scope?a=%20b", subprotocols=["v1.chat", "v2.chat"]) as client:
        scope = json.loads(client.recv(timeout=LONG))
    assert scope["type"] == "websocket"
    assert (scope["scheme"], scope["path"], scope["raw_path"], scope["query_string"]) == ("ws", "/scope", "/scope", "a=%20b")
    assert (scope["http_version"], scope["root_path"], scope["subprotocols"]) == ("1.1", "", ["v1.chat", "v2.chat"])
    assert scope["extensions"] == {"websocket.http.response": {}}
    assert "method" not in scope
    assert ["upgrade", "websocket"] in scope["headers"]


def test_the_application_chooses_a_subprotocol_and_headers(start):
    greend = start()
    with connect(greend, "/choose?name=v2", subprotocols=["v1", "v2"]) as client:
        assert client.subprotocol == "v2"
        assert client.response.headers["x-thing"] == "one"
        assert client.response.headers["set-cookie"] == "a=b"
        assert client.recv(timeout=LONG) == "chosen"
    with connect(greend, "/choose", subprotocols=["v1"]) as client:
        assert client.subprotocol is None


def test_a_subprotocol_that_was_not_offered_is_an_error_of_the_application(start):
    greend = start()
    with pytest.raises(InvalidStatus) as refused, connect(greend, "/choose?name=v3", subprotocols=["v1"]):
        pass
    assert refused.value.response.status_code == 500
    greend.wait_log("the client did not offer the subprotocol")


def test_a_handshake_is_refused_by_403_or_by_a_reply_of_the_applications_own(start):
    greend = start()
    with pytest.raises(InvalidStatus) as refused, connect(greend, "/refuse"):
        pass
    assert refused.value.response.status_code == 403
    greend.wait_log("after the refusal: .*websocket.disconnect.*1006")
    with pytest.raises(InvalidStatus) as refused, connect(greend, "/deny"):
        pass
    reply = refused.value.response
    assert (reply.status_code, reply.headers["www-authenticate"], reply.body) == (401, "Basic", b"who are you\n")


def test_a_handshake_that_is_none_is_refused_before_the_application(start):
    greend = start()
    for change, status in ((("Version: 13", "Version: 8"), b"426"), (("dGhlI", "!"), b"400")):
        with greend.socket() as client:
            client.sendall(HANDSHAKE.format(path="/echo", version=13, more="Connection: close\r\n").replace(*change).encode())
            reply = read_all(client)
            assert reply.startswith(b"HTTP/1.1 " + status), reply
            for said in (b"Sec-WebSocket-Version: 13", b"Upgrade: websocket", b"Connection: close, upgrade"):
                assert (b"\r\n" + said + b"\r\n" in reply) == (status == b"426"), reply
    assert greend.get("/echo", headers={"Upgrade": "websocket"}).status == 200  # a plain request


def test_an_application_that_leaves_ends_its_websocket(start):
    greend = start()
    for query in ("when=asked", "when=asked&raise=1"):
        with pytest.raises(InvalidStatus) as refused, connect(greend, f"/leave?{query}"):
            pass
        assert refused.value.response.status_code == 500
    for query, code in (("when=accepted", 1000), ("when=accepted&raise=1", 1011)):
        with connect(greend, f"/leave?{query}") as client, pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=LONG)
        assert closed.value.rcvd.code == code
    greend.wait_log("WebSocket /leave: the application failed")
    greend.wait_log("ValueError: as the test asked")


def test_codes_and_reasons_travel_both_ways(start):
    greend = start()
    with connect(greend, "/close?code=4321&reason=" + quote("grüß")) as client, pytest.raises(ConnectionClosed) as closed:
        client.recv(timeout=LONG)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "grüß")
    greend.wait_log("after the close: .*websocket.disconnect.*4321")
    with connect(greend, "/echo") as client:
        client.close(3999, "enough")
    greend.wait_log("disconnected 3999 'enough'")


def test_a_client_that_vanishes_is_told_as_1006_and_sending_to_it_raises(start):
    greend = start()
    client = RawClient(greend, "/after-loss")
    client.close()
    greend.wait_log("sending raised ConnectionResetError")
    client = RawClient(greend)
    client.close()
    greend.wait_log("disconnected 1006 ''")


@pytest.mark.parametrize("steps, said", [
    ([{"type": "websocket.send", "text": "x"}], "RuntimeError: .*before websocket.accept"),
    ([{"type": "websocket.accept"}, {"type": "websocket.accept"}], "RuntimeError: .*after the handshake's answer"),
    ([{"type": "websocket.accept"}, {"type": "websocket.send"}], "ValueError: .*either text or bytes"),
    ([{"type": "websocket.accept"}, {"type": "websocket.send", "text": "x", "bytes": "x"}], "ValueError: .*either"),
    ([{"type": "websocket.accept"}, {"type": "websocket.send", "text": 5}], "TypeError: .*must be str, not int"),
    ([{"type": "websocket.accept"}, {"type": "websocket.close", "code": 1006}], "ValueError: .*1006"),
    ([{"type": "websocket.accept"}, {"type": "websocket.close"}, {"type": "websocket.send", "text": "x"}],
     "RuntimeError: .*after websocket.close"),
    ([{"type": "websocket.accept"}, {"type": "http.response.start", "status": 200}], "ValueError: .*for WebSockets"),
    ([{"type": "websocket.http.response.body", "body": "x"}], "RuntimeError: .*without websocket.http.response.start"),
])
def test_messages_out_of_order_raise_in_the_application(site, steps, said):
    site.code(SITE)
    greend = site.start(f"--python={sys.prefix}", workers=1)
    with contextlib.suppress(InvalidStatus), connect(greend, "/wrong?steps=" + quote(json.dumps(steps))):
        pass
    greend.wait_log("refused: " + said)


@pytest.mark.parametrize("sent, code", [
    (frame(3), 1002), (frame(11), 1002),
    (frame(TEXT, b"x", masked=False), 1002),
    (frame(TEXT, b"x", reserved=4), 1002), (frame(BINARY, b"x", reserved=2), 1002), (frame(PING, reserved=1), 1002),
    (frame(PING, b"x" * 126), 1002), (frame(PING, fin=False), 1002), (frame(CLOSE, b"x" * 126), 1002),
    (frame(CONTINUATION, b"x"), 1002), (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    (frame(TEXT, b"\xc0\xaf"), 1007), (frame(TEXT, b"\xed\xa0\x80"), 1007), (frame(TEXT, b"\xe2\x82"), 1007),
    (frame(TEXT, b"\xf0\x9f", fin=False) + frame(CONTINUATION, b"x"), 1007),
    (frame(CLOSE, b"\x03"), 1002), (frame(CLOSE, close_payload(1005)), 1002), (frame(CLOSE, close_payload(999)), 1002),
    (frame(CLOSE, close_payload(2000)), 1002), (frame(CLOSE, close_payload(1000, b"\xff")), 1007),
    (frame(BINARY, b"x" * 1001), 1009),
    (frame(BINARY, b"x" * 600, fin=False) + frame(CONTINUATION, b"x" * 600), 1009),
])
def test_what_breaks_the_rules_is_closed_with_its_code(site, sent, code):
    site.code(SITE)
    greend = site.start(f"--python={sys.prefix}", "--websocket-max-message-size=1000", workers=1)
    for pieces in ([sent], [sent[i:i + 1] for i in range(len(sent))][:200] + [sent[200:]]):
        client = RawClient(greend)
        client.send(frame(TEXT, b"first"))
        assert client.frame() == (0x81, b"first")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                client.send(piece)
        frames = client.frames()
        client.close()
        assert [first for first, _ in frames] == [0x88]
        assert frames[0][1][:2] == close_payload(code)
        greend.wait_log(f"disconnected {code} ")


def test_control_frames_between_fragments_and_a_character_cut_in_two(start):
    greend = start()
    client = RawClient(greend)
    client.send(frame(TEXT, b"a\xf0\x9f", fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"\x98", fin=False)
                + frame(PONG) + frame(CONTINUATION, b"\x80"))
    assert client.frame() == (0x8a, b"p")
    assert client.frame() == (0x81, b"a\xf0\x9f\x98\x80")
    client.send(frame(CLOSE, close_payload(1001, b"going")))
    assert client.frames() == [(0x88, close_payload(1001))]
    client.close()
    greend.wait_log("disconnected 1001 'going'")


def test_a_message_that_inflates_past_the_limit_is_refused(start):
    greend = start("--websocket-max-message-size=100000")
    with connect(greend, "/echo") as client:
        client.send("x" * 100_000)
        assert len(client.recv(timeout=LONG)) == 100_000
        client.send("x" * 100_001)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=LONG)
    assert closed.value.rcvd.code == 1009


def test_compression_can_be_off(start):
    greend = start("--websocket-compression=off")
    with connect(greend, "/echo") as client:
        assert "sec-websocket-extensions" not in client.response.headers
        client.send("x" * 1000)
        assert client.recv(timeout=LONG) == "x" * 1000


def test_a_silent_client_is_pinged_and_cut_where_it_does_not_answer(start):
    greend = start("--websocket-ping-interval=1", "--websocket-ping-timeout=1")
    client = RawClient(greend)
    assert client.frame() == (0x89, b"")
    client.send(frame(PONG))
    assert client.frame() == (0x89, b"")
    assert [first for first, _ in client.frames()] == [0x88]
    client.close()
    greend.wait_log("disconnected 1006 ''")


def test_sending_waits_for_a_client_that_does_not_take_it(start):
    greend = start()
    client = RawClient(greend, "/flood?count=300")

    def count():
        return json.loads(greend.get("/").text)["flood"]

    wait_for(lambda: count() > 0, "the first message")
    before = count()
    deadline = time.monotonic() + LONG
    while (now := count()) != before and time.monotonic() < deadline:
        before = now
    assert now < 200  # what the kernel and green keep, of 300 messages of 64 KiB
    frames = [client.frame() for _ in range(301)]
    assert all(one == (0x82, bytes(65536)) for one in frames[:300])
    assert frames[300] == (0x81, b"end")
    client.close()


def test_a_client_is_not_read_while_the_application_does_not_receive(start, tmp_path):
    greend = start()
    gate = tmp_path / "gate"
    client = RawClient(greend, f"/slow?gate={gate}")
    client.socket.settimeout(1.0)
    message, sent = frame(BINARY, bytes(60_000)), 0
    with pytest.raises(socket.timeout):
        while sent < 64 << 20:
            sent += client.socket.send(message[sent % len(message):])
    assert sent < 16 << 20
    gate.touch()
    client.socket.settimeout(LONG)
    client.send(message[sent % len(message):] + frame(TEXT, b"end"))
    assert client.frame() == (0x81, b"%d" % ((sent // len(message) + 1) * 60_000))
    client.close()


def test_two_tasks_may_use_a_websocket_at_a_time(start):
    greend = start()
    with connect(greend, "/two") as client:
        client.send("a")
        client.send("b")
        received = sorted(client.recv(timeout=LONG) for _ in range(7))
    assert received == sorted(["A", "B", *(f"tick {i}" for i in range(5))])


def test_a_reload_closes_open_websockets_with_1012_when_draining_ends(site, bus):
    site.code(SITE)
    greend = site.start(f"--python={sys.prefix}", "--graceful-timeout=6", workers=1, bus=bus.address)
    with connect(greend, "/echo") as client:
        assert greenctl("reload", site.name, bus=bus).returncode == 0
        client.send("old but open")
        assert client.recv(timeout=LONG) == "old but open"
        with connect(greend, "/echo") as other:
            other.send("new")
            assert other.recv(timeout=LONG) == "new"
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=LONG)
            assert closed.value.rcvd.code == 1012
            greend.wait_log("disconnected 1012 ''")
            other.send("not touched")
            assert other.recv(timeout=LONG) == "not touched"


def test_a_site_that_stops_closes_its_websockets_with_1012_at_once(start):
    greend = start()
    with connect(greend, "/echo") as client:
        greend.stop()
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=LONG)
        assert closed.value.rcvd.code == 1012
