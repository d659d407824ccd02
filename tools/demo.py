"""Serves examples/flask-site with a private bus; run by tools/demo once everything is built.

Starts dbus-daemon and greend, both of which end with this process however it ends.
"""

import argparse
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BIN = TOP / "build/release/bin"
SITE = TOP / "examples/flask-site"
START_SECONDS = 60
PR_SET_PDEATHSIG = 1


class Failure(Exception):
    """One line for the person at the terminal."""


def ends_with_parent(sig):
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare():
        # ctrl-C reaches the whole foreground group: only this process may act on it, in order.
        os.setpgid(0, 0)
        libc.prctl(PR_SET_PDEATHSIG, sig)

    return prepare


class Demo:
    def __init__(self, port, site_copy):
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.site = site_copy
        self.run = Path(tempfile.mkdtemp(prefix="green-demo."))
        self.bus = f"unix:path={self.run}/bus"
        self.children = []
        self.is_ready = threading.Event()

    def start(self):
        reader, writer = os.pipe()
        log = self.run / "bus.log"
        with open(log, "w") as bus_log:
            self.children.append(
                subprocess.Popen(
                    ["dbus-daemon", "--session", "--nofork", f"--address={self.bus}", f"--print-address={writer}"],
                    pass_fds=[writer],
                    stdin=subprocess.DEVNULL,
                    stderr=bus_log,
                    preexec_fn=ends_with_parent(signal.SIGTERM),
                )
            )
        os.close(writer)
        with open(reader) as addresses:
            if not addresses.readline():
                raise Failure(f"dbus-daemon did not start: {log.read_text().strip()}")

        self.listen_to_greend()
        self.greend = subprocess.Popen(
            [
                BIN / "greend",
                f"--config={self.site / 'green.toml'}",
                f"--chdir={self.site}",
                f"--python={TOP / 'build/demo-venv'}",
                f"--bind=127.0.0.1:{self.port}",
                f"--bus={self.bus}",
                f"--env=GUESTBOOK={self.run}/guestbook.sqlite",
            ],
            env={**os.environ, "NOTIFY_SOCKET": f"{self.run}/notify"},
            stdin=subprocess.DEVNULL,
            preexec_fn=ends_with_parent(signal.SIGTERM),
        )
        self.children.append(self.greend)
        for _ in range(START_SECONDS):
            if self.is_ready.wait(1):
                return
            if self.greend.poll() is not None:
                raise Failure(f"greend exited with {self.greend.returncode} before it served; its reason is above")
        raise Failure(f"greend did not serve within {START_SECONDS} s")

    def listen_to_greend(self):
        """As a service manager does, to know when it serves. For as long as it runs: it waits for a listener
        that stopped reading."""
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        notify.bind(f"{self.run}/notify")

        def listen():
            while True:
                if "READY=1" in notify.recv(65536).decode().splitlines():
                    self.is_ready.set()

        threading.Thread(target=listen, daemon=True).start()

    def stop(self):
        for child in reversed(self.children):
            if child.poll() is None:
                child.terminate()
            try:
                child.wait(45)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        shutil.rmtree(self.run, ignore_errors=True)

    def greenctl(self, *arguments):
        return [str(BIN / "greenctl"), f"--bus={self.bus}", *arguments]

    def ctl(self, *arguments):
        command = self.greenctl(*arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise Failure(f"greenctl {' '.join(arguments)} exited with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def get(self, path, data=None):
        body = urllib.parse.urlencode(data).encode() if data else None
        with urllib.request.urlopen(self.url + path, body, timeout=10) as reply:
            return reply.read().decode()


def expect(what, true):
    if not true:
        raise Failure(f"check failed: {what}")
    print(f"ok: {what}", flush=True)


def check(demo):
    expect("GET / answers with the page", "<h1>Guest book</h1>" in demo.get("/"))
    expect("a form post is stored and shown", "Ada" in demo.get("/", {"name": "Ada", "message": "Hello"}))
    entries = json.loads(demo.get("/api/entries"))["entries"]
    expect("/api/entries answers JSON", [entry["name"] for entry in entries] == ["Ada"])
    status = json.loads(demo.ctl("status", "--json"))
    expect("greenctl status --json names the site", "green" in json.dumps(status))
    expect("greenctl status says 2 workers", "2 workers" in demo.ctl("status"))
    demo.ctl("scale", "4")
    expect("greenctl scale 4 makes 4 workers", "4 workers" in demo.ctl("status"))
    code = demo.site / "app.py"
    code.write_text(code.read_text().replace("<h1>Guest book</h1>", "<h1>New guest book</h1>"))
    demo.ctl("reload")
    expect("greenctl reload brings the new code", "<h1>New guest book</h1>" in demo.get("/"))
    code.write_text("raise RuntimeError('broken')\n")
    broken = subprocess.run(demo.greenctl("reload"), capture_output=True, text=True, timeout=60, check=False)
    expect("a reload onto broken code fails and shows the traceback",
           broken.returncode != 0 and "RuntimeError: broken" in broken.stdout + broken.stderr)
    expect("the old code still answers", "<h1>New guest book</h1>" in demo.get("/"))


def invitation(demo):
    greenctl = f"{os.path.relpath(BIN / 'greenctl')} --bus={demo.bus}"
    if not greenctl.startswith(("/", ".")):
        greenctl = "./" + greenctl
    return f"""
The guest book is at {demo.url}/  (ctrl-C ends it). In another terminal, try:

  curl {demo.url}/api/entries
  {greenctl} status
  {greenctl} workers
  {greenctl} scale 4
  {greenctl} reload        # after an edit of {os.path.relpath(SITE / 'app.py')}; break it, and the old code serves on
  kill -9 WORKER_PID       # it is replaced at once

As a service of systemd: README.md, "As a service".
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()

    def on_signal(number, _frame):
        raise KeyboardInterrupt(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)

    demo = Demo(arguments.port, SITE)
    try:
        if arguments.check:
            # The check edits the code: a copy of it.
            demo.site = demo.run / "site"
            shutil.copytree(SITE, demo.site, ignore=shutil.ignore_patterns("*.sqlite", "__pycache__"))
        demo.start()
        if arguments.check:
            check(demo)
            print("demo: the example site serves, scales, reloads and refuses broken code")
            return 0
        print(invitation(demo), flush=True)
        return demo.greend.wait()
    except KeyboardInterrupt:
        return 0 if not arguments.check else 130
    except (Failure, urllib.error.URLError, subprocess.TimeoutExpired) as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        demo.stop()


if __name__ == "__main__":
    sys.exit(main())
