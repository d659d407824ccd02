"""Processes that the benchmarks start: their core, CPU time, memory, and their end, however we end."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 5
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LIBC = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """One line for the person at the terminal."""


def adopt_orphans():
    """What a server leaves behind becomes a child of ours, to be found and ended."""
    if LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise Failure(f"prctl: {os.strerror(ctypes.get_errno())}")


def stop_on_signals():
    def interrupt(number, _frame):
        raise KeyboardInterrupt(number)

    for number in SIGNALS:
        signal.signal(number, interrupt)


def siblings(cpu):
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return {cpu}
    found = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def two_cores():
    """One for the server, one for the load, and what is wrong with them ("" if nothing)."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) == 1:
        return usable[0], usable[0], "server and load share the only core: figures mean little"
    for other in usable[1:]:
        if other not in siblings(usable[0]):
            return usable[0], other, ""
    return usable[0], usable[1], "server and load run on two threads of one core"


def others_at_work():
    """What is wrong with measuring now, while nothing of ours runs ("" if nothing)."""

    def times():
        fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]

    (total, idle), _ = times(), time.sleep(1)
    now_total, now_idle = times()
    busy = 1 - (now_idle - idle) / max(now_total - total, 1)
    return f"others kept {busy * 100:.0f} % of the processors busy before the first round" if busy > 0.05 else ""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def prepared(cpus):
    """For a child between fork and exec. ctrl-C reaches the whole terminal group: only we act on it."""

    def prepare():
        os.setsid()
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if cpus is not None:
            os.sched_setaffinity(0, cpus)

    return prepare


def stat_fields(pid):
    """Of /proc/PID/stat, from the state on; None if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def descendants(root):
    children = {}
    for entry in os.listdir("/proc"):
        fields = stat_fields(entry) if entry.isdigit() else None
        if fields and fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, todo = [], [root]
    while todo:
        for pid in children.get(todo.pop(), []):
            found.append(pid)
            todo.append(pid)
    return found


def cpu_times(pids):
    """Process → (user, system) in seconds."""
    times = {}
    for pid in pids:
        fields = stat_fields(pid)
        if fields:
            times[pid] = (int(fields[11]) / TICKS, int(fields[12]) / TICKS)
    return times


def pss_of(pid):
    """Bytes; shared pages count by their share."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0


def reap():
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def end_all():
    """Ends every process that descends from this one. One that forks meanwhile is met again."""
    deadline = time.monotonic() + STOP_SECONDS
    while left := descendants(os.getpid()):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        reap()
        if time.monotonic() > deadline:
            raise Failure(f"these processes can't be ended: {left}")
    reap()


@contextlib.contextmanager
def nothing_left_behind():
    """Signals interrupt what is inside; whatever it started has ended when it is left, a second ctrl-C or not."""
    adopt_orphans()
    stop_on_signals()
    try:
        yield
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        end_all()


class Server:
    """One started server with all its processes."""

    def __init__(self, command, env, log_path, cpus):
        self.log_path = log_path
        with open(log_path, "wb") as log:
            self.root = subprocess.Popen(
                command, env=env, cwd=log_path.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=prepared(cpus))

    def pids(self):
        return [self.root.pid, *descendants(self.root.pid)]

    def last_words(self):
        lines = self.log_path.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it said nothing"

    def has_ended(self):
        status = self.root.poll()
        return None if status is None else f"exited with {status}: {self.last_words()}"

    def cpu(self):
        return cpu_times(self.pids())

    def pss(self):
        return sum(pss_of(pid) for pid in self.pids())

    def stop(self):
        if self.root.poll() is None:
            self.root.terminate()
            try:
                self.root.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.root.kill()
                self.root.wait()
        end_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
