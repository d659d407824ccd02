"""How long what happens to a site takes, of a Django site; run by bench/times.

    death     SIGKILL of the only worker, until another one has answered
    scale     greenctl scale 2 → 32, until greenctl says that all 32 serve
    import    of the application, in a Python of its own: what a reload can't do without
    reload    greenctl reload, until greenctl says that the new code serves
    take-over greenctl reexec, until the new greend has taken over; its workers follow by a reload
    pause     the longest time that one of two steady clients waited for an answer, during a reload or a re-exec

The table is of medians, with the least and the most. Everything that was started is ended.
"""

import argparse
import http.client
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from processes import Failure
from servers import APPS, VENV
from soak_site import TOP, SoakSite, kill

GOALS = {"death": 20, "scale": 300, "reload - import": 100, "take-over": 100, "pause (re-exec)": 50}


class Times:
    def __init__(self, options, folder):
        self.rounds = options.rounds
        self.site = SoakSite(options, folder, {"app": "django_hello:app", "pythonpath": [str(APPS)], "python": str(VENV),
                                               "workers": 2, "timeout": 30})
        self.figures = {}

    def note(self, name, seconds):
        self.figures.setdefault(name, []).append(seconds * 1000)

    def ask(self, kept=None):
        connection = kept or http.client.HTTPConnection("times.test")
        if connection.sock is None:
            connection.sock = self.site.connect(10)
        connection.request("GET", "/")
        reply = connection.getresponse()
        if (reply.status, reply.read()) != (200, b"Hello, world!\n"):
            raise Failure(f"the site answered {reply.status}")
        if kept is None or reply.will_close:
            connection.close()

    def scale(self, workers):
        begun = time.monotonic()
        self.site.greenctl("scale", "soak", workers)
        took = time.monotonic() - begun
        self.site.settle(workers)
        return took

    def deaths(self):
        self.scale(1)
        for _ in range(self.rounds):
            victim = self.site.workers()[0]["pid"]
            self.ask()
            begun = time.monotonic()
            kill(victim)
            while True:
                try:
                    self.ask()
                    break
                except (OSError, http.client.HTTPException):
                    pass  # the victim had accepted it
            took = time.monotonic() - begun
            self.site.settle(1)
            if self.site.workers()[0]["pid"] == victim:
                raise Failure("the worker outlived SIGKILL")
            self.note("death", took)

    def scalings(self):
        for _ in range(self.rounds):
            self.scale(2)
            self.note("scale", self.scale(32))
        self.scale(2)

    def imports(self):
        code = "import time; begun = time.perf_counter(); import django_hello; print(time.perf_counter() - begun)"
        for _ in range(self.rounds):
            done = subprocess.run([VENV / "bin/python", "-c", code], env={"PYTHONPATH": str(APPS), "PYTHONDONTWRITEBYTECODE": "1"},
                                  capture_output=True, text=True, check=True)
            self.note("import", float(done.stdout))

    def reloads(self):
        for _ in range(self.rounds):
            begun = time.monotonic()
            self.site.greenctl("reload", "soak")
            self.note("reload", time.monotonic() - begun)
            self.site.settle(2)

    def with_clients(self, name, act):
        """Notes the longest wait of two steady clients in each round."""
        for _ in range(self.rounds):
            waits, ready, stopping = [], threading.Barrier(3), threading.Event()

            def ask_again_and_again(keeps, waits=waits, ready=ready, stopping=stopping):
                kept = http.client.HTTPConnection("times.test") if keeps else None
                ready.wait()
                while not stopping.wait(0.002):
                    begun = time.monotonic()
                    self.ask(kept)
                    waits.append(time.monotonic() - begun)

            clients = [threading.Thread(target=ask_again_and_again, args=(keeps,)) for keeps in (True, False)]
            for client in clients:
                client.start()
            ready.wait()
            try:
                act()
            finally:
                stopping.set()
                for client in clients:
                    client.join()
            self.note(name, max(waits))
            self.site.settle(2)

    def take_over(self):
        log = self.site.log_path
        before = log.stat().st_size
        begun = time.monotonic()
        asking = subprocess.Popen([self.site.program("greenctl"), f"--bus={self.site.bus}", "reexec", "soak"],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        with open(log, "rb") as text:
            text.seek(before)
            said = b""
            while b" took over from " not in said:
                if time.monotonic() > begun + 30:
                    raise Failure(f"no greend took over:\n{said.decode()}")
                time.sleep(0.0005)
                said += text.read()
        self.note("take-over", time.monotonic() - begun)
        out, _ = asking.communicate(timeout=60)
        if asking.returncode != 0 or not re.search("took over", out):
            raise Failure(f"greenctl reexec: {out}")
        self.note("re-exec and reload", time.monotonic() - begun)

    def run(self):
        self.site.settle(2)
        self.imports()
        self.deaths()
        self.scalings()
        self.reloads()
        self.with_clients("pause (reload)", lambda: self.site.greenctl("reload", "soak"))
        self.with_clients("pause (re-exec)", self.take_over)
        medians = {name: statistics.median(values) for name, values in self.figures.items()}
        self.figures["reload - import"] = [value - medians["import"] for value in self.figures["reload"]]
        return self.figures


def table(figures):
    lines = ["| what, in ms | median | least | most | goal |", "| --- | --- | --- | --- | --- |"]
    for name, values in figures.items():
        goal = f"≤ {GOALS[name]}" if name in GOALS else ""
        lines.append(f"| {name} | {statistics.median(values):.1f} | {min(values):.1f} | {max(values):.1f} | {goal} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="bench/times", description=__doc__.partition("\n\n")[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", help="write every figure to this file")
    parser.add_argument("--unix", action="store_true", help="greend on a unix socket in place of TCP")
    parser.add_argument("--green-bin", default=str(TOP / "build/release/bin"), help="folder of greend and its companions")
    options = parser.parse_args()
    options.nginx = False
    with tempfile.TemporaryDirectory(prefix="green-times-") as folder:
        times = Times(options, Path(folder))
        try:
            times.site.start()
            print(table(figures := times.run()))
        except Failure as failure:
            print(f"times: {failure}", file=sys.stderr)
            return 1
        finally:
            times.site.end()
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
