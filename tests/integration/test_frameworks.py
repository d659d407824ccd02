"""Sites of the frameworks people use: forms, large uploads, streamed downloads, sessions, failures."""

import hashlib
import os
import sys
from pathlib import Path
from urllib.parse import urlencode

import pytest

SITES = Path(__file__).parent / "sites"
MIB = 1 << 20
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(params=["bottle", "django", "falcon", "flask", "pyramid"])
def greend(request, site):
    # Werkzeug reads without a size, as PEP 3333 allows and the validator does not.
    site.code((SITES / f"{request.param}_site.py").read_text(), is_valid=request.param != "flask")
    return site.start(f"--python={sys.prefix}", workers=1)


def test_a_form_a_session_and_a_failure(greend):
    worker = sorted(greend.children())
    name = "Zoë & co="
    reply = greend.get("/form", method="POST", body=urlencode({"name": name}), headers=FORM)
    assert (reply.status, reply.text) == (200, f"hello {name}")

    assert greend.get("/user").text == "nobody"
    reply = greend.get("/login", method="POST", body=urlencode({"name": "zoe"}), headers=FORM)
    assert reply.text == "welcome"
    cookie = reply.headers["set-cookie"].partition(";")[0]
    assert greend.get("/user", headers={"Cookie": f"other=1; {cookie}"}).text == "zoe"

    assert greend.get("/raise").status == 500
    greend.wait_log("RuntimeError: failed on purpose")
    assert "Traceback (most recent call last)" in greend.log()
    assert greend.get("/user").text == "nobody"
    assert sorted(greend.children()) == worker


def test_a_form_in_chunks(greend):
    # Of unknown length, which http.client sends in chunks; the application sees a form like any other.
    parts = [b"name=z", b"o", b"e%20" * 20_000, b"z"]
    reply = greend.get("/form", method="POST", body=iter(parts), headers=FORM)
    assert (reply.status, reply.text) == (200, f"hello zo{'e ' * 20_000}z")


def test_an_upload_and_a_download_of_50_mib(greend):
    content = os.urandom(MIB) * 50
    boundary = "green-boundary"
    body = b"".join([
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="large.bin"\r\n'.encode(),
        b"Content-Type: application/octet-stream\r\n\r\n", content, f"\r\n--{boundary}--\r\n".encode()])
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    reply = greend.get("/upload", method="POST", body=body, headers=kind, timeout=120)
    assert (reply.status, reply.text) == (200, f"large.bin {hashlib.sha256(content).hexdigest()}")

    reply = greend.get("/download?parts=6400", timeout=120)
    assert reply.headers["transfer-encoding"] == "chunked"
    assert reply.body == b"".join(b"%08d" % i * 1024 for i in range(6400))
