"""Sites of the asynchronous frameworks people use, on both loops: what they build on has to be there."""

import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path
from urllib.parse import urlencode

import pytest
from websockets.sync.client import unix_connect

from http_client import read_all
from waiting import PATIENCE, wait_for

SITES = Path(__file__).parent / "sites"
MIB = 1 << 20
LONG = 20 * PATIENCE
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


def multipart(content):
    boundary = "green-boundary"
    body = b"".join([
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="large.bin"\r\n'.encode(),
        b"Content-Type: application/octet-stream\r\n\r\n", content, f"\r\n--{boundary}--\r\n".encode()])
    return {"body": body, "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"}}


@pytest.fixture(params=["asyncio", "uvloop"])
def start(request, site):
    def start(name):
        site.code((SITES / f"{name}_site.py").read_text())
        return site.start(f"--python={sys.prefix}", f"--loop={request.param}", workers=1)
    return start


@pytest.mark.parametrize("name", ["django_asgi", "falcon_asgi", "fastapi", "flask_asgi", "litestar", "quart", "starlette"])
def test_a_form_an_upload_a_download_and_a_failure(start, name):
    greend = start(name)
    worker = sorted(greend.children())
    reply = greend.get("/form", method="POST", body=urlencode({"name": "Zoë & co="}), headers=FORM)
    assert (reply.status, reply.text) == (200, "hello Zoë & co=")
    content = os.urandom(MIB) * 20
    reply = greend.get("/upload", method="POST", **multipart(content), timeout=120)
    assert (reply.status, reply.text) == (200, f"large.bin {hashlib.sha256(content).hexdigest()}")
    reply = greend.get("/download?parts=2560", timeout=120)
    assert reply.headers["transfer-encoding"] == "chunked"
    assert reply.body == b"".join(b"%08d" % i * 1024 for i in range(2560))
    if name != "fastapi":
        assert greend.get("/user", headers={"Cookie": "other=1; user=zoe"}).text == "zoe"
    assert greend.get("/raise").status == 500
    if name != "litestar":  # it logs nothing unless it is told to
        greend.wait_log("RuntimeError: failed on purpose")
    assert sorted(greend.children()) == worker


@pytest.fixture
def fastapi(start):
    return start("fastapi")


def test_fastapi_answers_json_and_says_what_is_wrong_with_a_request(fastapi):
    assert fastapi.get("/").text == '{"hello":"green"}'
    item = json.dumps({"name": "tea", "price": 4})
    reply = fastapi.get("/items", method="POST", body=item, headers=JSON)
    assert json.loads(reply.text) == {"name": "tea", "with_tax": 5.0}
    reply = fastapi.get("/items", method="POST", body=json.dumps({"name": "tea"}), headers=JSON)
    assert reply.status == 422
    assert json.loads(reply.text)["detail"][0]["loc"] == ["body", "price"]
    assert json.loads(fastapi.get("/items/3").text) == {"number": 3, "needed": "a dependency"}
    assert fastapi.get("/items/404").status == 404
    assert fastapi.get("/items/three").status == 422
    assert fastapi.get("/openapi.json").status == 200


def test_fastapi_runs_middleware_background_tasks_and_dependencies(fastapi):
    reply = fastapi.get("/background")
    assert reply.headers["x-middleware"] == "passed"
    fastapi.get("/items/3")
    wait_for(lambda: set(json.loads(fastapi.get("/done").text)["done"]) == {"background", "dependency"}, "both are done")


def test_fastapi_runs_plain_functions_in_its_thread_pool_and_keeps_contexts_apart(fastapi):
    shown = json.loads(fastapi.get("/sync", headers={"X-Caller": "zoe"}).text)
    assert shown == {"main": False, "caller": "zoe"}
    for caller in ("a", "b"):
        shown = json.loads(fastapi.get("/context", headers={"X-Caller": caller}).text)
        assert shown == {"caller": caller, "task": True, "shared": "shared", "connections": 3}
    assert json.loads(fastapi.get("/sync").text)["caller"] == "nobody"


def test_fastapi_asks_the_database_its_lifespan_connected_to(fastapi):
    for text in ("milk", "bread"):
        assert fastapi.get(f"/notes?text={text}", method="POST").status == 200
    assert json.loads(fastapi.get("/notes").text) == ["milk", "bread"]


def test_fastapi_chats(fastapi):
    with contextlib.ExitStack() as stack:
        zoe, ada, elsewhere = (stack.enter_context(unix_connect(fastapi.address, f"ws://a/chat/{room}?name={name}"))
                               for room, name in (("tea", "zoe"), ("tea", "ada"), ("coffee", "bob")))
        ada.send("hello")
        assert [json.loads(guest.recv(timeout=LONG)) for guest in (ada, zoe)] == [{"from": "ada", "text": "hello"}] * 2
        zoe.close()
        ada.send("still here?")
        assert json.loads(ada.recv(timeout=LONG))["text"] == "still here?"
        elsewhere.send("quiet")
        assert json.loads(elsewhere.recv(timeout=LONG))["text"] == "quiet"


def test_fastapi_sends_files(fastapi, tmp_path):
    content = os.urandom(2 * MIB)
    (tmp_path / "picture.png").write_bytes(content)
    reply = fastapi.get(f"/file?path={tmp_path}/picture.png", timeout=60)
    assert reply.body == content
    assert reply.headers["content-type"] == "image/png"


def test_fastapi_ends_an_event_stream_whose_client_leaves(fastapi):
    with fastapi.socket() as client:
        client.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        text = b""
        while b"id: 5\n" not in text:
            text += client.recv(65536)
        assert b"text/event-stream" in text
        assert json.loads(fastapi.get("/done").text)["streams"] == 1
    wait_for(lambda: json.loads(fastapi.get("/done").text)["streams"] == 0, "the stream ends")
    assert "Traceback" not in fastapi.log()


def test_fastapi_closes_what_its_lifespan_opened(fastapi):
    with fastapi.socket() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b"green" in read_all(client)
    assert fastapi.stop() == 0
    assert "the pool is closed" in fastapi.log()
