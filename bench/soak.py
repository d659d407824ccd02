"""Runs a site through everything that could lose a request, under clients that count what is lost; run by
bench/soak.

Ten clients keep their connections and idle for random moments, ten make a connection for each request; WebSockets,
if asked for, send something every few moments and expect it back, or 1012. A phase ends with a row: what they were answered, what they lost, by kind, and how large greend is. Everything that was
started is ended.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from processes import Failure
from soak_client import CLIENT_TIMEOUT, IDLE, KEEPALIVE, KINDS, Client, Tally
from soak_site import TOP, SoakSite, kill

WORKING = {
    "wsgi": "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'0 0\\n']\n",
    "asgi": "async def app(scope, receive, send):\n"
            "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
            "    await send({'type': 'http.response.body', 'body': b'0 0\\n'})\n",
}
BROKEN = {
    "import error": "import no_such_module\n",
    "syntax error": "def app(:\n",
    "sys.exit at import": "import sys\nsys.exit(0)\n",
    "segfault at import": "import ctypes\nctypes.string_at(8)\n",
    "hang at import": "import time\ntime.sleep(3600)\n",
    "killed at import": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "no memory at import": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 30, -1))\nhuge = bytearray(4 << 30)\n",
    # The kernel refuses the fork, whatever the user: root is bound by no such limit.
    "no process at fork": "import os, resource\nif os.getuid() == 0:\n    os.setresgid(65534, 65534, 65534)\n"
                          "    os.setresuid(65534, 65534, 65534)\nresource.setrlimit(resource.RLIMIT_NPROC, (0, 0))\n{working}",
    "dies once forked": "import os\nos.register_at_fork(after_in_child=lambda: os._exit(3))\n{working}",
}
BROKEN_WSGI = {"failing probe": "def app(environ, start_response):\n    raise KeyError('no such table')\n"}
BROKEN_ASGI = {
    "failing probe": "async def app(scope, receive, send):\n    raise KeyError('no such table')\n",
    "failing start-up": "async def app(scope, receive, send):\n    await receive()\n"
                        "    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})\n",
}


class Soak:
    def __init__(self, options, folder):
        self.options = options
        settings = {"workers": 4, "keepalive": KEEPALIVE, "start_timeout": options.start_timeout, "probe": "/"}
        if options.asgi:
            settings |= {"python": sys.prefix}
        else:
            settings |= {"threads": options.threads}
        if options.websockets:
            # How long they outlive their generation. Idle connections are closed from half of it on: later than any idles.
            settings |= {"graceful_timeout": f"{2 * KEEPALIVE:g}s"}
        self.site = SoakSite(options, folder, settings)
        self.tally = Tally()
        self.rows = []

    def phase(self, name, act, allowed=()):
        """Runs `act`, which returns how often it did what and how many losses by `allowed` kinds it explains."""
        self.tally.begin()
        begun = time.monotonic()
        times, explained = act()
        # A connection that was closed on an idle client is found out by its next request.
        time.sleep(IDLE + 0.5)
        self.site.settle(self.site.settings["workers"])
        counts, samples, longest = self.tally.end()
        # A proxy's connections are no client's: on each, one answer of an old worker may follow newer ones.
        lost = sum(counts[kind] for kind in KINDS if kind != "order" or not self.options.nginx)
        excusable = min(explained, sum(counts[kind] for kind in allowed))
        row = {"phase": name, "times": times, "seconds": round(time.monotonic() - begun), "answered": counts["answered"],
               "echoed": counts["echoed"], "1012": counts["1012"], **{kind: counts[kind] for kind in KINDS}, "held": explained, "lost": lost - excusable,
               "longest ms": round(longest * 1000), **self.site.size(), "samples": samples}
        self.rows.append(row)
        print_row(row)

    # Phases.

    def steady(self):
        time.sleep(2 if self.options.quick else 10)
        return 1, 0

    def reloads(self):
        for _ in range(times := self.times(100)):
            self.site.new_code()
            self.site.greenctl("reload", "soak")
        return times, 0

    def broken(self):
        interface = "asgi" if self.options.asgi else "wsgi"
        kinds = [(name, code.replace("{working}", WORKING[interface])) for name, code in BROKEN.items()]
        kinds += (BROKEN_ASGI if self.options.asgi else BROKEN_WSGI).items()
        for i in range(times := self.times(20, len(kinds))):
            name, code = kinds[i % len(kinds)]
            self.site.new_code(code)
            said = self.site.greenctl("reload", "soak", fails=True)
            if self.options.verbose:
                print(f"    {name}: {said.strip().splitlines()[-1]}")
        self.site.mend_code()
        return times, 0

    def scale(self):
        for i in range(times := self.times(50)):
            self.site.greenctl("scale", "soak", 1 if i % 2 else 16)
        self.site.greenctl("scale", "soak", self.site.settings["workers"])
        return times, 0

    def recycle(self):
        times = self.times(50)
        self.site.write_settings(max_requests=200, max_requests_jitter=50, max_lifetime="3s")
        self.site.greenctl("reload", "soak")
        before = self.site.recycled()
        self.site.wait(lambda: self.site.recycled() >= before + times, f"{times} recyclings", 600)
        done = self.site.recycled() - before
        self.site.write_settings()
        self.site.greenctl("reload", "soak")
        return done, 0

    def reexecs(self):
        for _ in range(times := self.times(20)):
            self.site.new_code()
            self.site.greenctl("reexec", "soak")
        return times, 0

    def kill_workers(self):
        held = 0
        for _ in range(times := self.times(20)):
            victim = random.choice([worker for worker in self.site.workers() if worker["state"] == "serving"])
            # What it holds when it dies: as many as its connections, and those it accepts in between.
            held += victim["connections"] + 2
            kill(victim["pid"])
            self.site.wait(lambda pid=victim["pid"]: not Path(f"/proc/{pid}").exists(), "the worker's death")
            self.site.settle(self.site.settings["workers"])
        return times, held

    def kill_zygotes(self):
        for _ in range(times := self.times(5)):
            for pid in self.site.zygotes():
                kill(pid)
            self.site.wait(lambda: "reloading" not in self.site.greenctl("status", "soak"), "another zygote")
            self.site.settle(self.site.settings["workers"])
        return times, 0

    def times(self, whole, least=3):
        return max(least, whole // 10) if self.options.quick else whole

    def run(self):
        print_head()
        # nginx tells its client of a connection that was cut: 502.
        cut_off = ("reset", "early", "5xx") if self.options.nginx else ("reset", "early")
        phases = {
            "steady": (self.steady, ()), "reloads": (self.reloads, ()), "more-reloads": (self.reloads, ()),
            "broken": (self.broken, ()), "scale": (self.scale, ()), "recycle": (self.recycle, ()),
            "reexecs": (self.reexecs, ()), "kill-workers": (self.kill_workers, cut_off),
            "kill-zygotes": (self.kill_zygotes, ()),
        }
        wanted = self.options.phases.split(",") if self.options.phases else list(phases)
        clients = [Client(self.site.connect, self.tally, i < 10, i) for i in range(20)]
        if self.options.websockets:
            from soak_websockets import WebSockets  # of a package that is not always there
            clients.append(WebSockets(self.site.connect, self.tally, self.options.websockets))
        for client in clients:
            client.start()
        try:
            for name in wanted:
                act, allowed = phases[name]
                self.phase(name, act, allowed)
        finally:
            for client in clients:
                client.stopping.set()
            for client in clients:
                client.join(CLIENT_TIMEOUT + 1)
        return 1 if any(row["lost"] for row in self.rows) else 0


HEAD = ["phase", "times", "seconds", "answered", "echoed", "1012", *KINDS, "held", "lost", "longest ms", "fds", "pss", "rss"]


def print_head():
    print(f"{HEAD[0]:<13}" + "".join(f"{name:>{max(8, len(name) + 1)}}" for name in HEAD[1:]), flush=True)


def print_row(row):
    print(f"{row['phase']:<13}" + "".join(f"{row[name]:>{max(8, len(name) + 1)}}" for name in HEAD[1:]), flush=True)
    for sample in row["samples"]:
        print(f"    {sample}", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="bench/soak", description=__doc__.split("\n\n")[1],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything: does it run?")
    parser.add_argument("--phases", help="steady, reloads, more-reloads, broken, scale, recycle, reexecs, kill-workers, "
                                         "kill-zygotes; by commas")
    parser.add_argument("--unix", action="store_true", help="greend on a unix socket in place of TCP")
    parser.add_argument("--nginx", action="store_true", help="through nginx with examples/nginx/shop.conf")
    parser.add_argument("--asgi", action="store_true", help="an ASGI application")
    parser.add_argument("--websockets", type=int, default=0, metavar="N", help="with N WebSockets open all the time; implies --asgi")
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--start-timeout", type=int, default=5, help="seconds an import may take")
    parser.add_argument("--verbose", action="store_true", help="what each broken reload was answered")
    parser.add_argument("--green-bin", default=str(TOP / "build/release/bin"), help="folder of greend and its companions")
    options = parser.parse_args()
    options.asgi = options.asgi or options.websockets > 0
    with tempfile.TemporaryDirectory(prefix="green-soak-") as folder:
        soak = Soak(options, Path(folder))
        try:
            soak.site.start()
            status = soak.run()
        except Failure as failure:
            print(f"soak: {failure}", file=sys.stderr)
            status = 2
        finally:
            soak.site.end()
        reports = soak.site.sanitizer_reports()
        for report in reports:
            print(report)
    if reports:
        status = 3
    print("Nothing was lost but what killed workers held." if status == 0 else "The soak failed.")
    return status


if __name__ == "__main__":
    sys.exit(main())
