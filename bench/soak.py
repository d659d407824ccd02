"""Runs a site through everything that could lose a request, under clients that count what is lost; run by
bench/soak.

greend serves on a port (or a unix socket) of its own, with a private bus, as a process of this one: no systemd.
Ten clients keep their connections and idle for random moments, ten make a connection for each request. A phase
ends with a row: what they were answered, and what they lost, by kind. Everything that was started is ended.
"""

import argparse
import collections
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
KINDS = ("refused", "reset", "early", "timeout", "5xx", "order", "other")
CLIENT_TIMEOUT = 20.0
KEEPALIVE = 5.0
IDLE = 4.0  # as long as a client idles at most: less than KEEPALIVE, or it would lose without any reload
START_TIMEOUT = 5

APP = """
import os
VERSION = {version}
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d %d\\n" % (VERSION, os.getpid())]
"""
BROKEN = {
    "import error": "import no_such_module\n",
    "syntax error": "def app(:\n",
    "failing probe": "def app(environ, start_response):\n    raise KeyError('no such table')\n",
    "sys.exit at import": "import sys\nsys.exit(0)\n",
    "segfault at import": "import ctypes\nctypes.string_at(8)\n",
    "hang at import": "import time\ntime.sleep(3600)\n",
}


class Failure(Exception):
    """The site did not do what it was told: the soak ends."""


class Client(threading.Thread):
    """Asks until it is stopped; counts into the soak's phase under way."""

    def __init__(self, soak, keeps, seed):
        super().__init__(daemon=True)
        self.soak, self.keeps = soak, keeps
        self.random = random.Random(seed)
        self.newest = 0
        self.connection = None

    def run(self):
        while not self.soak.stopping.wait(self.pause()):
            kind, detail = self.ask()
            self.soak.count(kind, detail)
            if kind != "answered":
                self.drop()
        self.drop()

    def pause(self):
        # Most requests soon after one another, some after nearly as long as a connection may idle.
        if self.keeps and self.random.random() < 0.02:
            return self.random.uniform(0, IDLE)
        return self.random.uniform(0, 0.02)

    def drop(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def ask(self):
        reused = self.connection is not None
        how = "on a kept connection" if reused else "on a new connection"
        try:
            if not reused:
                self.connection = http.client.HTTPConnection("soak.test")
                self.connection.sock = self.soak.connect()
            self.connection.request("GET", "/", headers={} if self.keeps else {"Connection": "close"})
            reply = self.connection.getresponse()
            body = reply.read()
        except ConnectionRefusedError as error:
            return "refused", repr(error)
        except (http.client.RemoteDisconnected, http.client.IncompleteRead, http.client.BadStatusLine) as error:
            return "early", f"{error!r} {how}"
        except (ConnectionResetError, BrokenPipeError) as error:
            return "reset", f"{error!r} {how}"
        except socket.timeout as error:
            return "timeout", f"{error!r} {how}"
        except (OSError, http.client.HTTPException) as error:
            return "other", f"{error!r} {how}"
        if reply.status >= 500:
            return "5xx", f"{reply.status} {body[:80]!r}"
        if reply.status != 200 or not re.fullmatch(rb"\d+ \d+\n", body):
            return "other", f"{reply.status} {body[:80]!r}"
        version = int(body.split()[0])
        if version < self.newest:
            return "order", f"version {version} after {self.newest} {how}"
        self.newest = version
        if not self.keeps or reply.will_close:
            self.drop()
        return "answered", None


class Soak:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.samples = []
        self.rows = []
        self.version = 0
        self.started = []
        self.log_path = folder / "greend.log"
        self.settings = {"workers": 4, "keepalive": KEEPALIVE, "start_timeout": START_TIMEOUT, "probe": "/",
                         "threads": options.threads}
        self.address = str(folder / "http.sock") if options.unix else free_address()

    # The site.

    def start(self):
        self.new_code()
        self.write_settings()
        self.start_bus()
        where = f"unix:{self.address}" if self.options.unix else f"{self.address[0]}:{self.address[1]}"
        with open(self.log_path, "wb") as log:
            self.greend = self.spawn([self.program("greend"), f"--config={self.folder}/soak.toml", f"--bind={where}",
                                      f"--bus={self.bus}"], cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.connect().close()
                if self.workers():
                    return
            except (OSError, Failure):
                pass
            if self.greend.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"greend did not start:\n{self.log_path.read_text()}")
            time.sleep(0.05)

    def start_bus(self):
        config = self.folder / "bus.conf"
        config.write_text(f"""<busconfig><type>session</type><listen>unix:path={self.folder}/bus</listen>
            <auth>EXTERNAL</auth><policy context="default"><allow user="*"/><allow own="*"/>
            <allow send_type="method_call"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>""")
        reader, writer = os.pipe()
        self.spawn(["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", f"--print-address={writer}"],
                   pass_fds=[writer], stderr=subprocess.DEVNULL)
        os.close(writer)
        with open(reader) as lines:
            if not lines.readline():
                raise Failure("dbus-daemon did not start")
        self.bus = f"unix:path={self.folder}/bus"

    def spawn(self, command, **options):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
        self.started.append(process)
        return process

    def program(self, name):
        return str(Path(self.options.green_bin).resolve() / name)

    def new_code(self, text=None):
        if text is None:
            self.version += 1
            text = APP.format(version=self.version)
        new = self.folder / "app.py.new"
        new.write_text(text)
        new.rename(self.folder / "app.py")

    def write_settings(self, **more):
        lines = ['app = "app:app"']
        for name, value in {**self.settings, **more}.items():
            lines.append(f"{name} = {json.dumps(value)}")
        (self.folder / "soak.toml").write_text("\n".join(lines) + "\n")

    def greenctl(self, *arguments, fails=False):
        done = subprocess.run([self.program("greenctl"), f"--bus={self.bus}", *map(str, arguments)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120, check=False)
        if (done.returncode != 0) != fails:
            raise Failure(f"greenctl {' '.join(map(str, arguments))} exited with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def workers(self):
        listed = json.loads(self.greenctl("--json=short", "workers", "soak"))
        return listed["workers"] if isinstance(listed, dict) else listed

    def wait(self, condition, what, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise Failure(f"not within {seconds} s: {what}")
            time.sleep(0.02)

    def settle(self, count):
        def is_settled():
            states = [worker["state"] for worker in self.workers()]
            return states.count("serving") == count
        self.wait(is_settled, f"{count} workers serve")

    def connect(self):
        family = socket.AF_UNIX if self.options.unix else socket.AF_INET
        one = socket.socket(family, socket.SOCK_STREAM)
        one.settimeout(CLIENT_TIMEOUT)
        try:
            one.connect(self.address)
        except OSError:
            one.close()
            raise
        return one

    # Counting.

    def count(self, kind, detail):
        with self.lock:
            self.counts[kind] += 1
            if detail is not None and len(self.samples) < 8:
                self.samples.append(f"{kind}: {detail}")

    def phase(self, name, act, allowed=()):
        """Runs `act`, which returns how often it did what and how many losses by `allowed` kinds it explains."""
        with self.lock:
            self.counts, self.samples = collections.Counter(), []
        begun = time.monotonic()
        times, explained = act()
        # A connection that was closed on an idle client is found out by its next request.
        time.sleep(IDLE + 0.5)
        with self.lock:
            counts, samples = self.counts, self.samples
        lost = sum(counts[kind] for kind in KINDS)
        excusable = min(explained, sum(counts[kind] for kind in allowed))
        row = {"phase": name, "times": times, "seconds": time.monotonic() - begun, "answered": counts["answered"],
               **{kind: counts[kind] for kind in KINDS}, "held": explained, "lost": lost - excusable, "samples": samples}
        self.rows.append(row)
        print_row(row)

    # Phases.

    def steady(self):
        time.sleep(2 if self.options.quick else 10)
        return 1, 0

    def reloads(self):
        for _ in range(times := self.times(100)):
            self.new_code()
            self.greenctl("reload", "soak")
        return times, 0

    def broken(self):
        kinds = list(BROKEN.items())
        for i in range(times := self.times(20, len(kinds))):
            self.new_code(kinds[i % len(kinds)][1])
            self.greenctl("reload", "soak", fails=True)
        self.new_code(APP.format(version=self.version))
        return times, 0

    def scale(self):
        for i in range(times := self.times(50)):
            self.greenctl("scale", "soak", 1 if i % 2 else 16)
        self.greenctl("scale", "soak", self.settings["workers"])
        return times + 1, 0

    def recycle(self):
        times = self.times(50)
        recycled = lambda: len(re.findall(r"another takes its place", self.log_path.read_text(errors="replace")))
        self.write_settings(max_requests=200, max_requests_jitter=50, max_lifetime="3s")
        self.greenctl("reload", "soak")
        before = recycled()
        self.wait(lambda: recycled() >= before + times, f"{times} recyclings", 600)
        done = recycled() - before
        self.write_settings()
        self.greenctl("reload", "soak")
        return done, 0

    def kill_workers(self):
        held = 0
        for _ in range(times := self.times(20)):
            victim = random.choice([worker for worker in self.workers() if worker["state"] == "serving"])
            # What it holds when it dies: as many as its connections, and those it accepts in between.
            held += victim["connections"] + 2
            os.kill(victim["pid"], signal.SIGKILL)
            self.wait(lambda pid=victim["pid"]: not Path(f"/proc/{pid}").exists(), "the worker's death")
            self.settle(self.settings["workers"])
        return times, held

    def kill_zygotes(self):
        for _ in range(times := self.times(5)):
            workers = {worker["pid"] for worker in self.workers()}
            children = Path(f"/proc/{self.greend.pid}/task/{self.greend.pid}/children").read_text().split()
            zygotes = [int(pid) for pid in children if int(pid) not in workers]
            for pid in zygotes:
                os.kill(pid, signal.SIGKILL)
            self.wait(lambda: "reloading" not in self.greenctl("status", "soak"), "another zygote")
            self.settle(self.settings["workers"])
        return times, 0

    def times(self, whole, least=3):
        return max(least, whole // 10) if self.options.quick else whole

    def run(self):
        print_head()
        cut_off = ("reset", "early")
        phases = {
            "steady": (self.steady, ()), "reloads": (self.reloads, ()), "broken": (self.broken, ()),
            "scale": (self.scale, ()), "recycle": (self.recycle, ()), "kill-workers": (self.kill_workers, cut_off),
            "kill-zygotes": (self.kill_zygotes, ()),
        }
        wanted = self.options.phases.split(",") if self.options.phases else list(phases)
        clients = [Client(self, i < 10, i) for i in range(20)]
        for client in clients:
            client.start()
        try:
            for name in wanted:
                act, allowed = phases[name]
                self.phase(name, act, allowed)
        finally:
            self.stopping.set()
            for client in clients:
                client.join(CLIENT_TIMEOUT + 1)
        return 1 if any(row["lost"] for row in self.rows) else 0

    def end(self):
        for process in reversed(self.started):
            process.terminate()
            try:
                process.wait(45)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()


HEAD = ["phase", "times", "seconds", "answered", *KINDS, "held", "lost"]


def print_head():
    print(f"{HEAD[0]:<14}" + "".join(f"{name:>9}" for name in HEAD[1:]), flush=True)


def print_row(row):
    cells = [f"{row[name]:.1f}" if name == "seconds" else str(row[name]) for name in HEAD[1:]]
    print(f"{row['phase']:<14}" + "".join(f"{cell:>9}" for cell in cells), flush=True)
    for sample in row["samples"]:
        print(f"    {sample}", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="bench/soak", description=__doc__.split("\n\n")[1],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything: does it run?")
    parser.add_argument("--phases", help="steady, reloads, broken, scale, recycle, kill-workers, kill-zygotes; by commas")
    parser.add_argument("--unix", action="store_true", help="over a unix socket in place of TCP")
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--green-bin", default=str(TOP / "build/release/bin"), help="folder of greend and its companions")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="green-soak-") as folder:
        soak = Soak(options, Path(folder))
        try:
            soak.start()
            status = soak.run()
        except Failure as failure:
            print(f"soak: {failure}", file=sys.stderr)
            status = 2
        finally:
            soak.end()
    print("Nothing was lost but what killed workers held." if status == 0 else "The soak failed.")
    return status


if __name__ == "__main__":
    sys.exit(main())
