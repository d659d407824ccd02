"""A machine with a real, booted systemd, for tests: a throwaway copy of this one.

systemd-nspawn boots the running system's own files; every write goes to a tmpfs overlay, the network is
private, and mounts live in a namespace of their own. nspawn is the first process of a PID namespace too: with
it every process inside ends, however it ends, and it ends with this process.

By hand: tools/test-host shell
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from waiting import wait_for  # noqa: E402

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("GREEN_BUILD_DIR", TOP / "build/release")).resolve()
VENV = TOP / "build/test-venv"
VENV_INSIDE = "/opt/green-test/venv"  # the checkout may be where only root can go
PR_SET_PDEATHSIG = 1
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "TERM": "dumb"}


def _ends_with_parent():
    os.setsid()  # ctrl-C is for us alone; we end nspawn
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Host:
    def __init__(self):
        if os.geteuid() != 0:
            raise SystemExit("system tests boot a systemd of their own, which needs root")
        self.folder = Path(tempfile.mkdtemp(prefix="green-test-host."))
        self.console = self.folder / "console.log"
        (self.folder / "root").mkdir()
        self.leader = None
        self.nspawn = None
        try:
            self._boot()
            self._install_green()
        except BaseException:
            self.stop()
            raise

    def _boot(self):
        # basic.target: journal, bus and sockets, and none of the services this machine runs.
        script = (
            'mount --bind / "$1/root" && exec systemd-nspawn --quiet --directory="$1/root" --volatile=overlay'
            ' --register=no --keep-unit --machine="$2" --console=pipe --private-network --link-journal=no'
            ' --bind="$3" --bind-ro="$4:$5" --boot systemd.unit=basic.target'
        )
        with open(self.console, "wb") as console:
            self.nspawn = subprocess.Popen(
                ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc",
                 "sh", "-c", script, "sh",
                 self.folder, f"green-{os.getpid()}", TOP, VENV, VENV_INSIDE],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, preexec_fn=_ends_with_parent,
                env={**ENVIRONMENT, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )
        self.leader = wait_for(self._find_leader, "systemd to be started in the container", 20)
        wait_for(self._is_up, "systemd to have booted", 60)

    def _must_run(self):
        if self.nspawn.poll() is not None:
            raise SystemExit(f"systemd-nspawn ended with {self.nspawn.returncode}:\n{self.console.read_text(errors='replace')}")

    def _find_leader(self):
        self._must_run()
        pids = [self.nspawn.pid]
        while pids:
            pid = pids.pop()
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                    return pid
                pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return None

    def _is_up(self):
        self._must_run()
        done = self.run("systemctl", "is-system-running", check=False)
        return done.stdout.strip() in ("running", "degraded")

    def _install_green(self):
        self.run("cmake", "--install", BUILD, "--prefix", "/usr")
        self.run("systemd-sysusers")
        self.run("systemd-tmpfiles", "--create", "/usr/lib/tmpfiles.d/green.conf")
        self.run("journalctl", "--update-catalog")
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "start", "dbus.service", "systemd-journald.service")
        self.run("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "ReloadConfig")

    def command(self, *arguments):
        return ["nsenter", f"--target={self.leader}", "--mount", "--pid", "--net", "--cgroup", "--uts", "--ipc",
                "--root", "--wd=/", "--", *map(str, arguments)]

    def run(self, *arguments, check=True, seconds=120):
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, errors="replace",
                              stdin=subprocess.DEVNULL, env=ENVIRONMENT, timeout=seconds, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, arguments))} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def start(self, *arguments):
        return subprocess.Popen(self.command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT)

    def path(self, inside):
        """A path of the container, as seen from here."""
        return Path(f"/proc/{self.leader}/root") / str(inside).lstrip("/")

    def stop(self):
        if self.nspawn is not None and self.nspawn.poll() is None:
            # unshare takes its child along, the first of the PID namespace: nothing inside needs saving.
            self.nspawn.kill()
            self.nspawn.wait()
            wait_for(lambda: not self.leader or not Path(f"/proc/{self.leader}").exists(), "the container's end", 20)
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in ("shell", "run"):
        raise SystemExit("tools/test-host shell | run COMMAND…")
    host = Host()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the shell's
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        command = sys.argv[2:] if sys.argv[1] == "run" else ["bash", "-l"]
        environment = {**ENVIRONMENT, "TERM": os.environ.get("TERM", "dumb")}
        return subprocess.run(host.command(*command), env=environment, check=False).returncode
    finally:
        host.stop()


if __name__ == "__main__":
    sys.exit(main())
