"""Counts the instructions that a request takes, with valgrind's callgrind; run by bench/instructions.

Times differ from run to run, by machine and by what else it does. This hardly does where nobody else works: what
differs is how many requests a server finds waiting when it looks, so 32 connections ask at once, again and again. It
knows nothing of caches, of the kernel's part or of how long a system call takes. "alone" is the application, called by
a loop in Python: what no server of that interpreter can go below.
"""

import argparse
import http.client
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import servers
from bench import OUT, say
from load import APPS, CONNECTIONS, Wrong, check, wait_until_serving
from processes import Failure, Server, free_port, nothing_left_behind
from servers import BENCH, TOP, VENV

WARM_UP_ROUNDS = 20
START_SECONDS = 180  # fifty times slower than without callgrind
STOP_SECONDS = 60
# In one process, or a worker that is forked: what callgrind can follow.
SERVERS = ["green", "bjoern", "fastpysgi", "uvicorn"]
DEFAULT_APPS = ["raw", "flask", "django", "asgi", "fastapi"]


def callgrind(log):
    return ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--log-file={log}"]


def green_under_callgrind(folder, green_bin, log):
    """A folder with greend, which valgrind can't run (pidfd_open), and a green-worker that runs under it."""
    shutil.copy(green_bin / "greend", folder / "greend")
    worker = folder / "green-worker"
    words = " ".join(f"'{word}'" for word in callgrind(log))
    worker.write_text(f"#!/bin/sh\nexec {words} '{green_bin}/green-worker' \"$@\"\n")
    worker.chmod(0o755)
    return folder


def collected(folder):
    """Of the process that worked most: a forked one's count goes on from its parent's."""
    counts = [int(found.group(1)) for log in folder.glob("*.callgrind")
              if (found := re.search(r"Collected : (\d+)", log.read_text()))]
    if not counts:
        raise Wrong("callgrind has counted nothing")
    return max(counts)


def ask_by_rounds(port, app, rounds):
    connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=STOP_SECONDS) for _ in range(CONNECTIONS)]
    headers = {"Content-Type": "application/octet-stream"} if app.post else {}
    for _ in range(rounds):
        for connection in connections:
            connection.request("POST" if app.post else "GET", "/", b"x" * app.post or None, headers)
        for connection in connections:
            reply = connection.getresponse()
            if (reply.status, reply.read()) != (200, app.answer):
                raise Wrong(f"answered {reply.status}")
    for connection in connections:
        connection.close()


def count_of_server(kind, app, rounds, green_bin):
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="instructions-") as name:
        folder = Path(name)
        log = folder / "%p.callgrind"
        if kind.name == "green":
            command = kind.command(servers.Start(port, app.module, 1, green_under_callgrind(folder, green_bin, log)))
        else:
            command = [*callgrind(log), *kind.command(servers.Start(port, app.module, 1, green_bin))]
        with Server(command, servers.environment(), folder / "log", None) as server:
            wait_until_serving(server, port, START_SECONDS)
            check(port, app)
            ask_by_rounds(port, app, WARM_UP_ROUNDS + rounds)
            server.root.terminate()
            server.root.wait(STOP_SECONDS)
        return collected(folder)


def count_of_application(app, rounds):
    calls = (WARM_UP_ROUNDS + rounds) * CONNECTIONS
    with tempfile.TemporaryDirectory(prefix="instructions-") as name:
        folder = Path(name)
        done = subprocess.run([*callgrind(folder / "%p.callgrind"), VENV / "bin/python", BENCH / "serve.py", "alone",
                               str(calls), app.module], env=servers.environment(), capture_output=True, text=True)
        if done.returncode != 0:
            raise Wrong(done.stderr.strip().splitlines()[-1])
        return collected(folder)


def per_request(count, rounds):
    """Start and end of a process take part in both counts alike."""
    return round((count(2 * rounds) - count(rounds)) / (rounds * CONNECTIONS))


def run(options):
    rounds = max(1, options.requests // CONNECTIONS)
    kinds = [kind for kind in servers.KINDS if kind.name in options.servers]
    results = {}
    for app in [app for app in APPS if app.name in options.apps]:
        row = results[app.name] = {}
        if app.interface == "wsgi":
            row["alone"] = per_request(lambda n, app=app: count_of_application(app, n), rounds)
            say(f"  {app.name:10} {'alone':12} {row['alone']:>10,}")
        for kind in kinds:
            if app.interface not in kind.interfaces:
                continue
            try:
                why = servers.missing(kind, options.green_bin)
                if why:
                    raise Wrong(why)
                row[kind.name] = per_request(
                    lambda n, app=app, kind=kind: count_of_server(kind, app, n, options.green_bin), rounds)
                say(f"  {app.name:10} {kind.name:12} {row[kind.name]:>10,}")
            except (Wrong, OSError, subprocess.TimeoutExpired) as error:
                say(f"  {app.name:10} {kind.name:12} left out: {error}")
    return results


def markdown(results):
    names = ["alone", *SERVERS]
    lines = ["| application | " + " | ".join(names) + " | green ÷ best peer |", "| --- |" + " ---: |" * (len(names) + 1)]
    for app, row in results.items():
        peers = [count for name, count in row.items() if name not in ("alone", "green")]
        ratio = f"{row['green'] / min(peers):.2f}" if peers and "green" in row else "–"
        cells = [f"{row[name]:,}" if name in row else "–" for name in names]
        lines.append(f"| {app} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines)


def names(of):
    def parse(text):
        wrong = [name for name in text.split(",") if name not in of]
        if wrong:
            raise argparse.ArgumentTypeError(f"{wrong[0]} is none of {', '.join(of)}")
        return text.split(",")

    return parse


def main():
    parser = argparse.ArgumentParser(prog="bench/instructions", description=__doc__.splitlines()[0])
    parser.add_argument("--servers", type=names(SERVERS), default=SERVERS, metavar="A,B", help=", ".join(SERVERS))
    apps = [app.name for app in APPS]
    parser.add_argument("--apps", type=names(apps), default=DEFAULT_APPS, metavar="A,B",
                        help=f"{', '.join(apps)} ({','.join(DEFAULT_APPS)})")
    parser.add_argument("--requests", type=int, default=1920, metavar="N", help="that are counted (1920)")
    parser.add_argument("--green-bin", type=Path, default=TOP / "build/release/bin", metavar="FOLDER",
                        help="greend and green-worker; not built then (build/release/bin, built)")
    options = parser.parse_args()
    if not CONNECTIONS <= options.requests <= 100_000:
        parser.error(f"--requests is {CONNECTIONS} to 100000")
    options.green_bin = options.green_bin.resolve()
    OUT.mkdir(parents=True, exist_ok=True)
    try:
        with nothing_left_behind():
            results = run(options)
    except KeyboardInterrupt:
        say("instructions: interrupted; everything started has been ended")
        return 130
    except Failure as failure:
        say(f"instructions: {failure}")
        return 1
    (OUT / "instructions.json").write_text(json.dumps(results, indent=1) + "\n")
    print(markdown(results))
    return 0 if results else 1


if __name__ == "__main__":
    sys.exit(main())
