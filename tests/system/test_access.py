"""Who may do what on the system bus: users, polkit, group green-admin, squatters, application code; and that
greend is a quiet neighbour there."""

import contextlib
import os
import pty
import re
import select
import termios
import textwrap
import time

import pytest

from host import ENVIRONMENT
from load import Load
from waiting import wait_for


@pytest.fixture(scope="module")
def deploy(host):
    """A user with no rights at all."""
    host.run("useradd", "--create-home", "deploy")
    return as_user("deploy")


def as_user(name, *groups):
    return ["setpriv", f"--reuid={name}", f"--regid={name}", *(["--groups=" + ",".join(groups)] if groups else ["--init-groups"])]


def restart_polkit(host):
    # Some tests after one another are more starts than PID 1's limit allows; this begins its count anew. It fails where
    # polkit was never started, and there is nothing to count.
    host.run("systemctl", "reset-failed", "polkit.service", check=False)
    host.run("systemctl", "restart", "polkit.service")


@pytest.fixture
def rule(host):
    path = host.path("/etc/polkit-1/rules.d/10-green-test.rules")

    def write(text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.parent.chmod(0o755)
        path.chmod(0o644)
        restart_polkit(host)

    yield write
    path.unlink(missing_ok=True)
    restart_polkit(host)


def test_a_user_may_look_and_may_not_steer(site, host, deploy):
    site.start()
    assert "serving" in host.run(*deploy, "greenctl", "status", site.name).stdout
    assert host.run(*deploy, "greenctl", "workers", site.name).stdout.count("\n") == 3
    for verb in (["scale", site.name, "3"], ["reload", site.name], ["recycle", site.name, "all"], ["drain", site.name], ["reexec", site.name]):
        denied = host.run(*deploy, "greenctl", "--no-ask-password", *verb, check=False)
        assert denied.returncode == 1 and "denied" in denied.stderr, (verb, denied.stderr)
    assert "2 workers ready" in site.show("StatusText")
    uid = host.run("id", "-u", "deploy").stdout.strip()
    site.wait_journal(rf"uid {uid}, process \d+ was denied Scale")


def test_polkit_lets_whom_its_rules_let_and_the_journal_says_who(site, host, deploy, rule):
    site.start()
    rule(f"""
        polkit.addRule(function(action, subject) {{
            if (action.id == "org.greend1.manage-workers" && action.lookup("site") == "{site.name}" && subject.user == "deploy")
                return polkit.Result.YES;
        }});
    """)
    granted = host.run(*deploy, "greenctl", "scale", site.name, "3", check=False)
    assert granted.returncode == 0, granted.stderr + host.run("journalctl", "-u", "polkit", "-n", "20", "--no-pager").stdout
    site.wait_status("3 workers ready")
    uid = host.run("id", "-u", "deploy").stdout.strip()
    site.wait_journal(rf"scale from 2 to 3 workers asked by uid {uid}, process \d+")
    other = host.run(*deploy, "greenctl", "--no-ask-password", "reload", site.name, check=False)
    assert other.returncode == 1 and "denied" in other.stderr


def is_silent(terminal):
    with open(os.open(terminal, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK), "rb", buffering=0) as file:
        return not termios.tcgetattr(file)[3] & termios.ECHO


class Terminal:
    """What a user types on a terminal, in a session of logind's: without one, polkit asks no agent that is there for
    want of a better."""

    def __init__(self, host, user, *command):
        self.host = host
        self.shown = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            arguments = host.command("systemd-run", "--quiet", "--pty", "--wait", "--collect", f"--property=User={user}",
                                     "--property=PAMName=green-test", *command)
            os.execvpe(arguments[0], arguments, ENVIRONMENT)

    def read(self):
        """False at the end."""
        try:
            part = os.read(self.fd, 4096) if select.select([self.fd], [], [], 30)[0] else None
        except OSError:  # Linux's way to say that the other end is closed
            part = b""
        assert part is not None, f"nothing came after: {self.shown}"
        self.shown += part.decode(errors="replace")
        return part != b""

    def wait_for(self, text):
        while text not in self.shown:
            assert self.read(), f"no {text!r} in: {self.shown}"

    def type_secret(self, line):
        """Once the echo is off: what was typed before that is thrown away."""
        self.wait_for("assword:")
        wait_for(lambda: any(map(is_silent, self.host.path("/dev/pts").glob("[0-9]*"))), "a terminal without echo")
        os.write(self.fd, f"{line}\n".encode())

    def end(self):
        while self.read():
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def admin(host, rule):
    """Whose password polkit asks for."""
    host.run("useradd", "--create-home", "boss")
    host.run("sh", "-c", "echo boss:open-sesame | chpasswd")
    host.path("/etc/pam.d/green-test").write_text("account required pam_permit.so\nsession required pam_systemd.so\n")
    rule('polkit.addAdminRule(function(action, subject) { return ["unix-user:boss"]; });')
    yield "open-sesame"
    host.run("userdel", "--remove", "boss")


def test_the_password_of_an_administrator_typed_at_the_prompt_makes_the_change(site, host, deploy, admin):
    site.start()
    terminal = Terminal(host, "deploy", "greenctl", "scale", site.name, "3")
    terminal.wait_for("assword:")
    assert f"change the workers of {site.name}" in terminal.shown
    assert "2 workers ready" in site.show("StatusText")
    terminal.type_secret(admin)
    assert terminal.end() == 0, terminal.shown
    assert admin not in terminal.shown
    site.wait_status("3 workers ready")
    uid = host.run("id", "-u", "deploy").stdout.strip()
    site.wait_journal(rf"scale from 2 to 3 workers asked by uid {uid}, process \d+")


def test_a_wrong_password_at_the_prompt_changes_nothing(site, host, deploy, admin):
    site.start()
    terminal = Terminal(host, "deploy", "greenctl", "scale", site.name, "3")
    terminal.type_secret("open-barley")
    assert terminal.end() == 1, terminal.shown
    assert "scale was denied" in terminal.shown
    assert "2 workers ready" in site.show("StatusText")
    site.wait_journal(r"was denied Scale")
    # Nobody is asked who does not want to be.
    quiet = Terminal(host, "deploy", "greenctl", "--no-ask-password", "scale", site.name, "3")
    assert quiet.end() == 1 and "assword:" not in quiet.shown, quiet.shown


def test_a_user_whose_calls_wait_for_polkit_does_not_keep_root_out(site, host, deploy):
    site.start()
    restart_polkit(host)
    polkit = site.show("MainPID", "polkit.service")
    host.run("kill", "-STOP", polkit)  # as for a password that nobody types
    try:
        asking = host.start(*deploy, "bash", "-c", f"for i in {{1..80}}; do greenctl --no-ask-password reload {site.name} & done; wait")
        site.wait_journal("too many others are being authorized", 60)
        assert "generation 2 serves" in site.greenctl("reload", site.name).stdout
    finally:
        host.run("kill", "-CONT", polkit)
    told = asking.communicate(timeout=120)[0]
    assert "generation" not in told and told.count("denied") >= 80, told


def test_application_code_is_denied_whatever_polkit_says(site, host, rule):
    rule('polkit.addRule(function(action, subject) { if (action.id.indexOf("org.greend1.") == 0) return polkit.Result.YES; });')
    site.edit('@app.get("/process")', textwrap.dedent(f"""\
        @app.get("/steer")
        def steer():
            import subprocess
            done = subprocess.run(["greenctl", "scale", "{site.name}", "5"], capture_output=True, text=True)
            return str(done.returncode) + " " + done.stderr

        @app.get("/process")"""))
    site.start()
    assert site.get("/steer").text.startswith("1 ") and "denied" in site.get("/steer").text
    # A root site's code is root's, and is told from an operator by its descent.
    site.drop_in(site.service, "[Service]\nUser=root\n")
    site.systemctl("restart", site.service)
    told = site.get("/steer").text
    assert told.startswith("1 ") and "code of the site itself" in told, told
    assert "2 workers ready" in site.show("StatusText")
    assert site.systemctl("reload", site.service, check=False).returncode == 0


def test_requests_and_stacks_are_for_root_and_group_green_admin(site, host, deploy):
    site.start()
    stuck = site.connection()
    stuck.request("GET", "/sleep/20")
    wait_for(lambda: "/sleep/20" in site.greenctl("requests", site.name).stdout, "the request")
    assert "in sleep" in site.greenctl("backtrace", site.name).stdout
    for verb in ("requests", "backtrace"):
        denied = host.run(*deploy, "greenctl", verb, site.name, check=False)
        assert denied.returncode == 1 and "/sleep" not in denied.stdout + denied.stderr and "green-admin" in denied.stderr
    assert "/sleep" not in host.run(*deploy, "busctl", "call", f"org.greend1.{site.name}", "/org/greend1",
                                    "org.freedesktop.DBus.ObjectManager", "GetManagedObjects").stdout
    member = as_user("deploy", "green-admin")
    assert "/sleep/20" in host.run(*member, "greenctl", "requests", site.name).stdout
    assert "in sleep" in host.run(*member, "greenctl", "backtrace", site.name).stdout
    stuck.close()


@contextlib.contextmanager
def squatter(host, name):
    """A process of group green that takes a site's name: another greend, in no unit."""
    host.path("/tmp/squat").mkdir(exist_ok=True)
    host.path("/tmp/squat").chmod(0o777)
    host.path("/tmp/squat/app.py").write_text("def app(environ, start_response):\n    start_response('200 OK', [])\n    return []\n")
    process = host.start("setpriv", "--reuid=nobody", "--regid=green", "--clear-groups", "sh", "-c",
                         f"cd /tmp/squat && echo $$ >pid && exec greend --bus=system --config=/tmp/squat/{name}.toml --bind=127.0.0.1:0 app:app")
    try:
        yield process
    finally:
        # Of its own PID namespace, where nsenter(1) that we started is not.
        host.run("kill", host.path("/tmp/squat/pid").read_text().strip())
        process.communicate(timeout=20)


def test_a_squatted_name_is_refused_by_greenctl_and_noticed_by_greend(site, host):
    host.path("/tmp/squat").mkdir(exist_ok=True)
    host.path(f"/tmp/squat/{site.name}.toml").write_text('app = "app:app"\n')
    with squatter(host, site.name):
        wait_for(lambda: f"org.greend1.{site.name}" in host.run("busctl", "list", "--no-legend").stdout, "the squatted name")
        for verb in (["status"], ["scale", "3"]):
            refused = host.run("greenctl", verb[0], site.name, *verb[1:], check=False)
            assert refused.returncode == 1 and f"is not green@{site.name}.service" in refused.stderr, refused.stderr
        assert "squatted" in host.run("greenctl", "list", check=False).stdout
        site.start()
        assert site.get("/").status == 200
        site.wait_journal(rf"the name org\.greend1\.{site.name} is taken by uid 65534, process \d+")
    wait_for(lambda: host.run("greenctl", "status", site.name, check=False).returncode == 0, "the name is the site's", 30)


def test_settings_that_the_caller_may_not_read_are_not_called_wrong(host, deploy):
    host.path("/etc/green/unread.toml").write_text("nonsense\n")
    host.path("/etc/green/unread.toml").chmod(0o600)
    try:
        refused = host.run(*deploy, "greenctl", "config", "check", "unread", check=False)
        assert refused.returncode == 1 and "may not be read by you; try it as root" in refused.stderr, refused.stderr
        assert host.run("greenctl", "config", "check", "unread", check=False).returncode == 78
    finally:
        host.path("/etc/green/unread.toml").unlink()


def test_systemctl_sets_the_log_level(site, host):
    site.start()
    assert site.systemctl("service-log-level", site.service).stdout.strip() == "info"
    site.systemctl("service-log-level", site.service, "debug")
    assert site.systemctl("service-log-level", site.service).stdout.strip() == "debug"
    assert site.systemctl("service-log-target", site.service).stdout.strip() == "journal"
    assert "org/greend1/worker/0" in host.run("busctl", "tree", f"org.greend1.{site.name}").stdout


def test_the_bus_restarted_under_load_costs_no_request_and_the_name_comes_back(site, host):
    site.start()
    with Load(site.address, clients=2) as load:
        host.run("systemctl", "restart", "dbus.service")
        answered = load.answered
        wait_for(lambda: load.answered > answered + 200, "load goes on")
        wait_for(lambda: site.greenctl("status", site.name, check=False).returncode == 0, "the name on the new bus", 45)
        site.greenctl("scale", site.name, "3")
    assert load.failures == {}, load.samples


def test_an_idle_greend_is_silent_small_and_asleep(site, host):
    site.start()
    for _ in range(20):
        site.get("/")
    pid = site.main_pid()
    wait_for(lambda: "2 workers ready" in site.show("StatusText"), "it is settled")

    def monitor(seconds):
        heard = host.run("timeout", str(seconds), "busctl", "--json=short", "monitor", f"org.greend1.{site.name}", check=False)
        return [line for line in heard.stdout.splitlines() if line.startswith("{")]

    def switches():
        text = host.path(f"/proc/{pid}/status").read_text()
        return sum(int(line.split()[1]) for line in text.splitlines() if "ctxt_switches" in line)

    monitor(2)  # what its start had to say
    before, begun = switches(), time.monotonic()
    assert monitor(10) == []
    rate = (switches() - before) / (time.monotonic() - begun)
    pss = next(int(line.split()[1]) for line in host.path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
    print(f"idle greend: PSS {pss} KiB, {rate:.2f} wake-ups a second")
    assert pss <= 6 * 1024
    assert rate <= 2


def test_status_ends_with_the_last_lines_of_the_journal(site, host):
    site.start()
    wait_for(lambda: "serves app:app" in site.greenctl("status", site.name).stdout, "its log's lines")
    assert "serves app:app" not in site.greenctl("status", "--lines=0", site.name).stdout
    assert "serves app:app" in site.greenctl("logs", site.name).stdout
    listed = site.greenctl("list", "--json=short").stdout
    assert f'"site":"{site.name}"' in listed
    site.systemctl("stop", site.service, site.socket)
    row = next(line for line in site.greenctl("list").stdout.splitlines() if line.startswith(site.name))
    assert row.split()[1] == "inactive"
    assert "serves app:app" in site.greenctl("logs", "--lines=20", site.name).stdout


def test_logs_are_followed(site, host):
    site.start()
    # Ends by itself, whatever becomes of this test.
    follower = host.start("timeout", "60", "greenctl", "logs", "--follow", site.name)
    os.set_blocking(follower.stdout.fileno(), False)
    text = b""

    def is_followed_to(what):
        nonlocal text
        with contextlib.suppress(BlockingIOError):
            text += os.read(follower.stdout.fileno(), 65536)
        return what in text

    wait_for(lambda: is_followed_to(b"generation 1 serves app:app"), "what is there already")
    assert b"generation 2" not in text
    site.systemctl("reload", site.service)
    wait_for(lambda: is_followed_to(b"generation 2 serves app:app"), "what is written next")
    follower.terminate()
    follower.wait()
