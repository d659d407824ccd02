"""A spool folder on a file system that is really full: who needs it fails, with a word in the log; nobody else does.
An access log on one: no request fails."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from http_client import read_all
from waiting import wait_for

MIB = 1 << 20
# A mount of its own, in a mount namespace of its own. exec: greend is the process that is started.
LAUNCHER = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]),
            "sh", "-c", 'mount -t tmpfs -o size=1m,mode=1777 spool "$PWD/spool" && exec "$@"', "sh"]


@pytest.fixture(params=[1, 4], ids=["inline", "threads"])
def greend(request, site):
    (site.folder / "spool").mkdir()
    return site.start(f"--spool-directory={site.folder / 'spool'}", f"--threads={request.param}", workers=1, launcher=LAUNCHER)


def test_a_body_that_does_not_fit_is_refused(greend):
    client = greend.socket()
    client.sendall(f"POST /digest HTTP/1.1\r\nHost: a\r\nContent-Length: {3 * MIB}\r\n\r\n".encode() + os.urandom(MIB + MIB // 2))
    assert read_all(client).startswith(b"HTTP/1.1 500 ")
    greend.wait_log("(?i)no space left on device")
    fits = os.urandom(MIB // 2)
    for _ in range(3):  # and its room is free again
        assert greend.get("/digest", method="POST", body=fits).text == f"{len(fits)} {hashlib.sha256(fits).hexdigest()}"


def test_a_reply_that_does_not_fit_ends_early_and_is_not_taken_for_whole(greend):
    slow = greend.socket()
    slow.sendall(b"GET /big?n=67108864 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    greend.wait_log("(?i)no space left on device")
    assert greend.get("/").text == "hello from green\n"
    received = read_all(slow)
    assert len(received) < 64 * MIB
    assert greend.get("/").text == "hello from green\n"


def test_an_access_log_that_has_no_room_is_done_without_until_it_has(site):
    folder = site.folder / "spool"
    folder.mkdir()
    full = [word.replace("size=1m", "size=1m,nr_inodes=1") for word in LAUNCHER]  # not even an empty file
    greend = site.start(f"--access-log={folder / 'log'}", "--access-log-format=%(U)s", workers=1, launcher=full)
    assert greend.get("/unlogged").status == 200
    greend.wait_log("access log: 1 lines were dropped: .*(?i:no space left on device)")
    greend.stop()

    greend = site.start(f"--access-log={folder / 'log'}", "--access-log-format=%(U)s", workers=1, launcher=full)
    inside = ["nsenter", f"--target={greend.pid}", "--mount", *([] if os.geteuid() == 0 else ["--user", "--preserve-credentials"])]
    subprocess.run([*inside, "mount", "-o", "remount,size=1m,nr_inodes=10", folder], check=True)
    assert greend.get("/dropped").status == 200
    greend.wait_log("access log: 1 lines were dropped")
    assert greend.get("/logged").status == 200
    log = Path(f"/proc/{greend.pid}/root{folder / 'log'}")
    wait_for(lambda: log.exists() and log.read_text() == "/logged\n", "the line")
