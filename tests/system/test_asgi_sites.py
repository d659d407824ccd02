"""ASGI sites as units of a booted systemd, in the sandbox they come with: those of tests/integration/sites."""

import hashlib
import json
import os
from pathlib import Path
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import unix_connect

from http_client import connect
from waiting import wait_for

SITES = Path(__file__).resolve().parents[1] / "integration/sites"
MIB = 1 << 20
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def start(site):
    def start(name, more=""):
        site.code((SITES / f"{name}_site.py").read_text())
        site.config(more)
        site.start()
        return site
    return start


def upload(site, content):
    body = b"".join([
        b'--line\r\nContent-Disposition: form-data; name="file"; filename="large.bin"\r\n',
        b"Content-Type: application/octet-stream\r\n\r\n", content, b"\r\n--line--\r\n"])
    return site.get("/upload", method="POST", body=body, headers={"Content-Type": "multipart/form-data; boundary=line"}, timeout=60)


@pytest.mark.parametrize("name", ["django_asgi", "falcon_asgi", "fastapi", "flask_asgi", "litestar", "quart", "starlette"])
def test_a_site_of_each_framework_serves_and_is_reloaded(start, name):
    site = start(name)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = site.get("/form", method="POST", body=urlencode({"name": "Zoë & co="}), headers=form)
    assert (reply.status, reply.text) == (200, "hello Zoë & co=")
    content = os.urandom(8 * MIB)
    assert upload(site, content).text == f"large.bin {hashlib.sha256(content).hexdigest()}"
    assert site.get("/download?parts=256").body == b"".join(b"%08d" % i * 1024 for i in range(256))
    assert site.get("/raise").status == 500
    if name != "litestar":  # it logs nothing unless it is told to
        site.wait_journal("RuntimeError: failed on purpose")
    site.edit("hello {", "goodbye {")
    site.systemctl("reload", site.service)
    assert site.get("/form", method="POST", body=urlencode({"name": "Zoë"}), headers=form).text == "goodbye Zoë"
    site.wait_status("generation 2: 2 workers ready")


def test_a_fastapi_site_does_what_fastapi_sites_do(start):
    site = start("fastapi", 'graceful_timeout = "2s"\nworkers = 1\n')
    item = json.dumps({"name": "tea", "price": 4})
    assert json.loads(site.get("/items", method="POST", body=item, headers=JSON).text) == {"name": "tea", "with_tax": 5.0}
    wrong = site.get("/items", method="POST", body=json.dumps({"name": "tea"}), headers=JSON)
    assert (wrong.status, json.loads(wrong.text)["detail"][0]["loc"]) == (422, ["body", "price"])
    assert site.get("/background").status == 200
    wait_for(lambda: "background" in json.loads(site.get("/done").text)["done"], "the background task is done")
    assert json.loads(site.get("/sync", headers={"X-Caller": "zoe"}).text) == {"main": False, "caller": "zoe"}
    # The database is in the unit's StateDirectory, and outlives what a reload replaces.
    assert site.get("/notes?text=milk", method="POST").status == 200
    assert site.host.path(f"/var/lib/green/{site.name}/notes.db").exists()

    with connect(site.address) as stream, unix_connect(site.address, "ws://a/chat/tea?name=zoe") as chat:
        stream.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        text = b""
        while b"id: 5\n" not in text:
            text += stream.recv(65536)
        chat.send("before")
        assert json.loads(chat.recv(timeout=20)) == {"from": "zoe", "text": "before"}
        site.systemctl("reload", site.service)
        chat.send("the old code still listens")
        assert json.loads(chat.recv(timeout=20))["text"] == "the old code still listens"
        with pytest.raises(ConnectionClosed) as closed:
            chat.recv(timeout=20)
        assert closed.value.rcvd.code == 1012
    with unix_connect(site.address, "ws://a/chat/tea?name=zoe") as chat:
        chat.send("after")
        assert json.loads(chat.recv(timeout=20)) == {"from": "zoe", "text": "after"}
    assert json.loads(site.get("/notes").text) == ["milk"]
    site.wait_journal("the pool is closed")


def test_a_start_up_that_fails_fails_the_reload_with_its_traceback(start):
    site = start("fastapi")
    site.edit("    app.state.pool = Pool(3)\n", "    raise RuntimeError('no database')\n")
    failed = site.systemctl("reload", site.service, check=False)
    assert failed.returncode != 0
    site.wait_journal("RuntimeError: no database")
    assert site.get("/").text == '{"hello":"green"}'
    site.wait_status("generation 1: 2 workers ready")
