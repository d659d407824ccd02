"""The site of bench/soak and bench/times: greend on a port or a unix socket of its own with a private bus, with or
without nginx before it, as processes of this one; no systemd. What it is told goes by greenctl, as a person would."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests/support"))

import nginx  # noqa: E402
from processes import Failure, free_port, pss_of  # noqa: E402

APP = """
import os
VERSION = {version}
def app(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d %d\\n" % (VERSION, os.getpid())]
"""

# Its WebSockets echo; both ends of its lifespan take part.
ASGI_APP = """
import os
VERSION = {version}
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for end in ("startup", "shutdown"):
            await receive()
            await send({{"type": f"lifespan.{{end}}.complete"}})
    elif scope["type"] == "websocket":
        await receive()
        await send({{"type": "websocket.accept"}})
        while (message := await receive())["type"] == "websocket.receive":
            await send({{"type": "websocket.send", "text": message["text"]}})
    else:
        while (await receive()).get("more_body"):
            pass
        await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}})
        await send({{"type": "http.response.body", "body": b"%d %d\\n" % (VERSION, os.getpid())}})
"""


class SoakSite:
    def __init__(self, options, folder, settings):
        self.options, self.folder = options, folder
        self.settings = {"app": "app:app", **settings}
        self.app = ASGI_APP if options.asgi else APP
        self.version = 0
        self.started = []
        self.nginx = None
        self.log_path = folder / "greend.log"
        self.address = str(folder / "http.sock") if options.unix else ("127.0.0.1", free_port())

    # Its life.

    def start(self):
        self.new_code()
        self.write_settings()
        self.start_bus()
        where = f"unix:{self.address}" if self.options.unix else f"{self.address[0]}:{self.address[1]}"
        # Of a build with sanitizers: what they find goes into files, and signals stay the program's.
        report = f"log_path={self.folder}/sanitizer"
        environment = {**os.environ, "ASAN_OPTIONS": f"{report}:handle_segv=0:handle_abort=0:detect_leaks=1",
                       "UBSAN_OPTIONS": f"{report}:print_stacktrace=1",
                       "LSAN_OPTIONS": f"suppressions={TOP}/tests/support/lsan.supp:print_suppressions=0"}
        with open(self.log_path, "wb") as log:
            self.greend = self.spawn([self.program("greend"), f"--config={self.folder}/soak.toml", f"--bind={where}",
                                      f"--bus={self.bus}"], cwd=self.folder, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.connect_to(self.address, 5).close()
                if self.workers():
                    break
            except (OSError, Failure):
                pass
            if self.greend.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"greend did not start:\n{self.log()}")
            time.sleep(0.05)
        if self.options.nginx:
            if nginx.program() is None:
                raise Failure("nginx is not here: tools/setup test unpacks it")
            self.nginx = nginx.Nginx(self.folder, self.address)

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

    def end(self):
        if self.nginx is not None:
            self.nginx.stop()
        for process in reversed(self.started):
            process.terminate()
            try:
                process.wait(45)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def sanitizer_reports(self):
        """What sanitizers found, a text each. No findings: a leak check that a signal interrupts, and a sanitizer
        that gets no memory itself, in the reload that has none."""
        texts = [path.read_text(errors="replace") for path in self.folder.glob("sanitizer.*")]
        return [text for text in texts if "runtime error" in text or ("ERROR: " in text and "ERROR: Failed to mmap" not in text)]

    # What it is made of.

    def program(self, name):
        return str(Path(self.options.green_bin).resolve() / name)

    def new_code(self, text=None):
        """Without a text: the next version of what answers."""
        if text is None:
            self.version += 1
            text = self.app.format(version=self.version)
        new = self.folder / "app.py.new"
        new.write_text(text)
        new.rename(self.folder / "app.py")

    def mend_code(self):
        self.new_code(self.app.format(version=self.version))

    def write_settings(self, **more):
        lines = [f"{name} = {json.dumps(value)}" for name, value in {**self.settings, **more}.items()]
        (self.folder / "soak.toml").write_text("\n".join(lines) + "\n")

    # What it is told, and what it says.

    def greenctl(self, *arguments, fails=False):
        done = subprocess.run([self.program("greenctl"), f"--bus={self.bus}", *map(str, arguments)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=180, check=False)
        if (done.returncode != 0) != fails:
            raise Failure(f"greenctl {' '.join(map(str, arguments))} exited with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def log(self):
        return self.log_path.read_text(errors="replace")

    def workers(self):
        listed = json.loads(self.greenctl("--json=short", "workers", "soak"))
        return listed["workers"] if isinstance(listed, dict) else listed

    def settle(self, count):
        """Until so many serve and none drains any more."""
        self.wait(lambda: [worker["state"] for worker in self.workers()] == ["serving"] * count, f"{count} workers serve, none else")

    def wait(self, condition, what, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise Failure(f"not within {seconds} s: {what}\n{self.log()[-2000:]}")
            time.sleep(0.02)

    def zygotes(self):
        workers = {worker["pid"] for worker in self.workers()}
        children = Path(f"/proc/{self.greend.pid}/task/{self.greend.pid}/children").read_text().split()
        return [int(pid) for pid in children if int(pid) not in workers]

    def recycled(self):
        return len(re.findall(r"another takes its place", self.log()))

    def size(self):
        """greend's own: open descriptors, PSS and RSS in KiB."""
        pid = self.greend.pid
        status = Path(f"/proc/{pid}/status").read_text()
        return {"fds": len(os.listdir(f"/proc/{pid}/fd")), "pss": pss_of(pid) // 1024,
                "rss": int(re.search(r"VmRSS:\s*(\d+)", status)[1])}

    # Connections.

    def connect(self, timeout):
        """To the site as its clients see it."""
        return self.connect_to(self.nginx.address if self.nginx else self.address, timeout)

    @staticmethod
    def connect_to(address, timeout):
        one = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET, socket.SOCK_STREAM)
        one.settimeout(timeout)
        try:
            one.connect(address)
        except OSError:
            one.close()
            raise
        return one


def kill(pid):
    os.kill(pid, signal.SIGKILL)
