"""Runs the real greend, green-worker and greenctl, with every outside party faked or private.

The service manager is a datagram socket, the bus a dbus-daemon of our own, socket activation a small
program that sets LISTEN_*. Each greend carries a marker in its environment, by which everything that
descends from it is found: what is left at the end fails the test.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from code_files import replace_code
from http_client import Connection, answering_pids, ask, connect
from waiting import PATIENCE, wait_for

TOP = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("GREEN_BIN_DIR", TOP / "build/release/bin")).resolve()
# What the address sanitizer holds back of freed memory, in a build that has it.
QUARANTINE_MB = 16
IS_SANITIZED = b"__asan_init" in (BIN / "greend").read_bytes()
ECHO_SITE = Path(__file__).parent / "echo_site.py"
# Set: the echo site and the frameworks' are wrapped in wsgiref.validate, so that both sides of PEP 3333 are watched.
VALIDATE = os.environ.get("GREEN_TEST_VALIDATE") == "1"
VALIDATOR = """
if callable(globals().get("app")):
    from wsgiref.validate import validator
    app = validator(app)
"""


@dataclass
class Datagram:
    when: float
    fields: list

    def get(self, name):
        return next((field.partition("=")[2] for field in self.fields if field.startswith(name + "=")), None)


class ServiceManager:
    """What systemd is to a Type=notify service: a socket that hears everything, with the time it was said."""

    def __init__(self, path):
        self.path = str(path)
        self.heard = []
        self.arrival = threading.Condition()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.bind(self.path)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            try:
                text = self.socket.recv(65536)
                if not text:
                    return  # shut down
            except OSError:
                return
            with self.arrival:
                self.heard.append(Datagram(time.monotonic(), text.decode().splitlines()))
                self.arrival.notify_all()

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def count(self, field):
        with self.arrival:
            return sum(field in datagram.fields for datagram in self.heard)

    def statuses(self):
        with self.arrival:
            return [datagram.get("STATUS") for datagram in self.heard if datagram.get("STATUS") is not None]

    def wait(self, matches, what, seconds=20.0, unless=lambda: None):
        """The first datagram that matches, past ones included. `unless`: a reason to give up at once."""
        deadline = time.monotonic() + seconds * PATIENCE
        with self.arrival:
            seen = 0
            while True:
                for datagram in self.heard[seen:]:
                    if matches(datagram):
                        return datagram
                seen = len(self.heard)
                left = deadline - time.monotonic()
                reason = unless()
                if left <= 0 or reason:
                    heard = [datagram.fields for datagram in self.heard]
                    raise AssertionError(f"the service manager never heard {what} ({reason or 'time is up'}); it heard {heard}")
                self.arrival.wait(min(left, 0.2))

    def wait_field(self, field, **options):
        return self.wait(lambda datagram: field in datagram.fields, field, **options)

    def wait_status(self, pattern, **options):
        return self.wait(lambda d: re.search(pattern, d.get("STATUS") or ""), f"STATUS=~{pattern}", **options)


class Greend:
    """One greend and all it starts."""

    def __init__(self, folder, arguments, env, launcher, pass_fds, sanitizer_log, programs=BIN):
        self.marker = f"GREEN_TEST_MARKER={uuid.uuid4()}"
        self.log_path = folder / f"greend-{uuid.uuid4().hex[:6]}.log"
        self.notify = ServiceManager(folder / f"notify-{uuid.uuid4().hex[:6]}")
        self.address = None
        name, _, value = self.marker.partition("=")
        environment = {
            **os.environ,
            "ASAN_OPTIONS": f"log_path={sanitizer_log}:handle_segv=0:handle_abort=0:detect_leaks=1:quarantine_size_mb={QUARANTINE_MB}",
            "UBSAN_OPTIONS": f"log_path={sanitizer_log}:print_stacktrace=1",
            "LSAN_OPTIONS": f"suppressions={TOP / 'tests/support/lsan.supp'}:print_suppressions=0",
            "NOTIFY_SOCKET": self.notify.path,
            name: value,
            **env,
        }
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [*launcher, str(programs / "greend"), *arguments],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=folder, start_new_session=True, pass_fds=pass_fds,
            )
        self.pid = self.process.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_log(self, pattern, seconds=10.0):
        return wait_for(lambda: re.search(pattern, self.log()), f"log =~ {pattern}\n{self.log()}", seconds)

    def _has_ended(self):
        status = self.process.poll()
        return None if status is None else f"greend exited with {status}:\n{self.log()}"

    def wait_ready(self, seconds=20.0):
        return self.notify.wait_field("READY=1", seconds=seconds, unless=self._has_ended)

    def wait_status(self, pattern, seconds=20.0):
        return self.notify.wait_status(pattern, seconds=seconds, unless=self._has_ended)

    def wait_exit(self, seconds=20.0):
        try:
            return self.process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"greend did not exit:\n{self.log()}") from None

    def send(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM, seconds=20.0):
        self.send(number)
        return self.wait_exit(seconds)

    def get(self, path="/", **options):
        return ask(self.address, path, **options)

    def connection(self):
        return Connection(self.address)

    def socket(self):
        return connect(self.address)

    def family(self):
        """Pids of all that carry the marker, greend included. Zombies have no environment: see zombies()."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    if self.marker.encode() in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                        found.append(int(entry))
        return found

    def children(self):
        with contextlib.suppress(OSError):
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []

    def zombies(self):
        """Children of greend that ended and that nobody has waited for."""
        return [pid for pid in self.children() if process_state(pid) == "Z"]

    def worker_pids(self, at_least=1):
        """Pids seen to answer."""
        return answering_pids(self.address, at_least)

    def clean_up(self):
        """Ends what is left; returns the pids that should have been gone."""
        if self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGINT)
            try:
                self.process.wait(15 * PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        left = []
        try:
            wait_for(lambda: not self.family(), "everything greend started is gone", 5)
        except AssertionError:
            left = [(pid, _command_line(pid)) for pid in self.family()]
            for pid, _ in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.notify.close()
        return left


def process_state(pid):
    """"R", "S", "T", "Z" …; None once it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_gone(pid):
    return process_state(pid) in (None, "Z")


def _command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "?"


class Bus:
    """A dbus-daemon of our own."""

    CONFIG = """<busconfig><type>session</type><listen>{address}</listen><auth>EXTERNAL</auth>
    <policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/>
    <allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>"""

    def __init__(self, folder):
        self.folder = folder
        self.address = f"unix:path={folder}/bus"
        self.process = None
        self.start()

    def start(self):
        config = self.folder / "bus.conf"
        config.write_text(self.CONFIG.format(address=self.address))
        reader, writer = os.pipe()
        self.process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", f"--print-address={writer}"],
            pass_fds=[writer], stdin=subprocess.DEVNULL,
        )
        os.close(writer)
        with open(reader) as addresses:
            assert addresses.readline(), "dbus-daemon did not start"

    def stop(self):
        self.process.terminate()
        self.process.wait()
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "bus").unlink()

    def busctl(self, *arguments, check=True):
        done = subprocess.run(
            ["busctl", f"--address={self.address}", "--json=short", *arguments],
            capture_output=True, text=True, timeout=30, check=False,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def names(self):
        return [entry["name"] for entry in json.loads(self.busctl("list"))]

    def get(self, site, name, path="/org/greend1", interface="org.greend1.Site"):
        return json.loads(self.busctl("get-property", f"org.greend1.{site}", path, interface, name))["data"]

    def workers(self, site):
        """Slot → properties, by ObjectManager."""
        reply = self.busctl("call", f"org.greend1.{site}", "/org/greend1", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
        found = {}
        for interfaces in json.loads(reply)["data"][0].values():
            worker = interfaces.get("org.greend1.Worker")
            if worker:
                values = {name: value["data"] for name, value in worker.items()}
                found[values["Slot"]] = values
        return found


class Site:
    """A folder with an application, and what runs it."""

    def __init__(self, folder, sanitizer_log):
        self.folder = folder
        self.name = f"site{uuid.uuid4().hex[:8]}"
        self.sanitizer_log = sanitizer_log
        self.started = []
        self.echo()

    def echo(self):
        """The application that shows and does everything: echo_site.py."""
        self.code(ECHO_SITE.read_text(), is_valid=True)

    def code(self, text, is_valid=False):
        """New code, as an editor writes it: a new file in the place of the old. `is_valid`: it keeps to PEP 3333
        itself, so that the validator may watch."""
        replace_code(self.folder / "app.py", textwrap.dedent(text) + (VALIDATOR if VALIDATE and is_valid else ""))

    def answering(self, text):
        """Code that answers `text` to everything."""
        self.code(f"""
            def app(environ, start_response):
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [{text!r}.encode()]
        """, is_valid=True)

    def config(self, text):
        path = self.folder / f"{self.name}.toml"
        path.write_text(textwrap.dedent(text))
        return path

    def launch(self, *arguments, env=None, launcher=(), pass_fds=(), programs=BIN):
        greend = Greend(self.folder, [str(argument) for argument in arguments], env or {}, launcher, pass_fds, self.sanitizer_log, programs)
        self.started.append(greend)
        return greend

    def start(self, *options, bind=None, workers=2, bus="none", config=None, ready=True, **launch):
        """greend serving app:app on a unix socket, with READY heard."""
        socket_path = str(self.folder / f"http-{uuid.uuid4().hex[:6]}.sock")
        arguments = [f"--bus={bus}", f"--workers={workers}", *options]
        arguments.append(f"--bind={bind or 'unix:' + socket_path}")
        path = config if config is not None else self.config('app = "app:app"')
        greend = self.launch(f"--config={path}", *arguments, **launch)
        if bind is None:
            greend.address = socket_path
        else:
            host, _, port = bind.rpartition(":")
            greend.address = (host.strip("[]"), int(port))
        if ready:
            greend.wait_ready()
        return greend

    def run(self, *arguments, env=None, seconds=20.0):
        """greend to its end: for what refuses to start and what only prints."""
        greend = self.launch(*arguments, env=env)
        return greend.wait_exit(seconds), greend.log()


def greenctl(*arguments, bus=None, env=None):
    environment = {**os.environ, **(env or {})}
    command = [str(BIN / "greenctl")] + ([f"--bus={bus.address}"] if bus else [])
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True,
                          timeout=60 * PATIENCE, env=environment, check=False)


def free_port():
    """A port that was free a moment ago, on 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


ACTIVATOR = """
import os, sys
names, given = sys.argv[1], [int(fd) for fd in sys.argv[2].split(",")]
# Out of the way first: a given descriptor may be one of 3, 4, …
for i, fd in enumerate(given):
    os.dup2(fd, 200 + i)
    os.close(fd)
for i in range(len(given)):
    os.dup2(200 + i, 3 + i, inheritable=True)
    os.close(200 + i)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(given)), LISTEN_FDNAMES=names)
os.execv(sys.argv[3], sys.argv[3:])
"""


def activation(sockets):
    """launcher and pass_fds for greend started as systemd would with these (name, socket) pairs."""
    given = tuple(one.fileno() for _, one in sockets)
    launcher = [sys.executable, "-c", ACTIVATOR, ":".join(name for name, _ in sockets), ",".join(map(str, given))]
    return {"launcher": launcher, "pass_fds": given}
