import json
import re
import textwrap
import uuid

import pytest

from code_files import replace_code
from host import VENV_INSIDE, Host
from http_client import Connection, answering_pids, ask
from waiting import wait_for

FLASK_SITE = """
    import json, os, time
    from flask import Flask

    app = Flask(__name__)
    TEXT = "one"

    @app.route("/", methods=["GET", "POST"])
    def root():
        return TEXT

    @app.get("/pid")
    def pid():
        time.sleep(0.02)
        return str(os.getpid())

    @app.get("/sleep/<int:seconds>")
    def sleep(seconds):
        time.sleep(seconds)
        return "slept"

    @app.get("/process")
    def process():
        descriptors = {}
        for entry in os.listdir("/proc/self/fd"):
            try:
                descriptors[entry] = os.readlink("/proc/self/fd/" + entry)
            except OSError:
                pass
        return json.dumps({"environment": dict(os.environ), "descriptors": descriptors})
"""


@pytest.fixture(scope="session")
def host():
    machine = Host()
    yield machine
    machine.stop()


class Site:
    """green@NAME on the host: its files, its units, its socket."""

    def __init__(self, host):
        self.host = host
        self.name = f"s{uuid.uuid4().hex[:8]}"
        self.service = f"green@{self.name}.service"
        self.socket = f"green@{self.name}.socket"
        self.folder = f"/srv/{self.name}"
        host.path(self.folder).mkdir(parents=True)
        self.code(FLASK_SITE)
        self.config("")

    def write(self, inside, text):
        path = self.host.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_code(path, textwrap.dedent(text))

    def code(self, text):
        self.write(f"{self.folder}/app.py", text)

    def edit(self, old, new):
        text = self.host.path(f"{self.folder}/app.py").read_text()
        assert old in text
        self.code(text.replace(old, new))

    def config(self, more, base=True):
        text = f'app = "app:app"\nchdir = "{self.folder}"\npython = "{VENV_INSIDE}"\n' if base else ""
        if "workers" not in more:
            text += "workers = 2\n" if base else ""
        self.write(f"/etc/green/{self.name}.toml", text + more)

    def drop_in(self, unit, text):
        self.write(f"/etc/systemd/system/{unit}.d/test.conf", text)
        self.systemctl("daemon-reload")

    def systemctl(self, *arguments, check=True, seconds=120):
        return self.host.run("systemctl", *arguments, check=check, seconds=seconds)

    def greenctl(self, *arguments, check=True):
        return self.host.run("greenctl", *arguments, check=check)

    def start(self):
        self.systemctl("start", self.socket)
        self.systemctl("start", self.service)

    @property
    def address(self):
        return str(self.host.path(f"/run/green/{self.name}.sock"))

    def get(self, path="/", **options):
        return ask(self.address, path, **options)

    def connection(self):
        return Connection(self.address)

    def show(self, name, unit=None):
        return self.systemctl("show", "--value", f"--property={name}", unit or self.service).stdout.strip()

    def main_pid(self):
        """As the host's own PID namespace has it."""
        return int(self.show("MainPID"))

    def signal(self, number, pid):
        self.host.run("kill", f"-{number}", pid)

    def worker_pids(self, at_least=1):
        return answering_pids(self.address, at_least)

    def is_gone(self, pid):
        return not self.host.path(f"/proc/{pid}").exists()

    def journal(self):
        self.host.run("journalctl", "--sync")
        return self.host.run("journalctl", "--unit", self.service, "--output=cat", "--no-pager", "--quiet").stdout

    def wait_journal(self, pattern, seconds=20):
        """Who logs does not wait for the journal, nor a reply for the log."""
        return wait_for(lambda: re.search(pattern, self.journal()), f"journal =~ {pattern}", seconds)

    def journal_entries(self):
        self.host.run("journalctl", "--sync")
        lines = self.host.run("journalctl", "--unit", self.service, "--output=json", "--no-pager", "--quiet", "--all").stdout
        return [json.loads(line) for line in lines.splitlines()]

    def start_times(self):
        """When the service was started, in seconds, by PID 1's word."""
        return [int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6 for entry in self.journal_entries()
                if entry.get("MESSAGE_ID") == "7d4958e842da4a758f6c1cdc7b36dcc5"]

    # What greend says to PID 1 is heard there a moment later than what it says to others.
    def wait_active(self):
        wait_for(lambda: self.show("ActiveState") == "active", "the service to be active")

    def wait_status(self, pattern, seconds=20):
        wait_for(lambda: re.search(pattern, self.show("StatusText")), f"StatusText =~ {pattern}", seconds)

    def clean_up(self):
        self.systemctl("stop", self.socket, self.service, check=False)
        self.systemctl("reset-failed", self.socket, self.service, check=False)
        self.host.path(f"/etc/green/{self.name}.toml").unlink(missing_ok=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    setattr(item, "report_" + outcome.get_result().when, outcome.get_result())


@pytest.fixture
def site(request, host):
    one = Site(host)
    yield one
    report = getattr(request.node, "report_call", None)
    if report is None or report.failed:
        print(f"--- {one.service} ---")
        print(one.systemctl("status", one.service, one.socket, check=False).stdout)
        print(one.journal())
    one.clean_up()
