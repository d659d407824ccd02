"""Measures the WebSockets of all ASGI servers; run by bench/websockets.

Each server alone for the memory of idle WebSockets; then all by turns of a second for what an echo costs. No server
compresses here: the clients don't offer it.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import report
import servers
from bench import OUT, say
from load import Wrong, wait_until_serving
from processes import Failure, Server, free_port, nothing_left_behind, others_at_work, prepared, two_cores
from servers import TOP, Kind, Start

LOAD = TOP / "build/release/bin/green_bench_websocket_load"
MODULE = "asgi_websocket"
SIZE = 64  # bytes of a message
CONNECTIONS = (1, 1000)
TURN_MILLISECONDS = 1000


def uvicorn_wsproto(start):
    return [*servers.uvicorn(start)[:-1], "--ws=wsproto", f"{start.module}:app"]


def uvicorn_websockets(start):
    return [*servers.uvicorn(start)[:-1], "--ws=websockets-sansio", f"{start.module}:app"]


def granian(start):
    return [word for word in servers.granian_asgi(start) if word != "--no-ws"]


KINDS = [
    Kind("green", "", servers.green),
    Kind("green-asyncio", "", servers.green_asyncio, "on asyncio's own loop; the others have uvloop's"),
    Kind("uvicorn", "uvicorn", uvicorn_websockets, "websockets, sans-I/O"),
    Kind("uvicorn-wsproto", "uvicorn", uvicorn_wsproto, "wsproto"),
    Kind("granian", "granian", granian),
    Kind("gunicorn", "gunicorn", servers.gunicorn_asgi, "its ASGI worker"),
    Kind("hypercorn", "Hypercorn", servers.hypercorn, "wsproto"),
]


@dataclass
class Row:
    kind: object
    server: object = None
    port: int = 0
    bytes_each: float = 0
    idle_cpu: float = 0
    rounds: dict = field(default_factory=lambda: {count: [] for count in CONNECTIONS})
    wrong: str = ""


@contextlib.contextmanager
def started(row, options, core):
    row.port = free_port()
    command = row.kind.command(Start(row.port, MODULE, 1, options.green_bin))
    with Server(command, servers.environment(), OUT / "logs" / f"websockets-{row.kind.name}.log", {core}) as server:
        wait_until_serving(server, row.port)
        row.server = server
        yield server


def client(row, connections, how, core):
    return subprocess.Popen([LOAD, str(row.port), str(connections), str(SIZE), str(how)], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=prepared({core}))


def echo(row, connections, core):
    """One turn: (messages, seconds, user and system seconds of the server, p50, p99 in µs)."""
    before = row.server.cpu()
    process = client(row, connections, TURN_MILLISECONDS, core)
    said, _ = process.communicate(timeout=60)
    after = row.server.cpu()
    if process.returncode != 0:
        raise Wrong(said.strip())
    shown = json.loads(said)
    user, system = (sum(times[i] - before.get(pid, (0, 0))[i] for pid, times in after.items()) for i in (0, 1))
    if shown["messages"] == 0:
        raise Wrong("echoed nothing under load")
    return shown["messages"], shown["seconds"], user, system, shown["p50"], shown["p99"]


def measure_idle(row, options, cores):
    """Of a WebSocket that has echoed once: what a server allocates only then is counted."""
    with started(row, options, cores[0]) as server:
        echo(row, 1, cores[1])
        before = server.pss()
        process = client(row, options.idle, "idle", cores[1])
        try:
            if process.stdout.readline() != "open\n":
                raise Wrong(f"{options.idle} WebSockets could not be opened: {process.stdout.read().strip()}")
            row.bytes_each = (server.pss() - before) / options.idle
            then = server.cpu()
            time.sleep(options.watch)  # the measured time itself
            row.idle_cpu = (sum(map(sum, server.cpu().values())) - sum(map(sum, then.values()))) / options.watch
        finally:
            process.stdin.close()
            process.wait()


def measure(rows, options, cores):
    for row in rows:
        try:
            measure_idle(row, options, cores)
            say(f"  {row.kind.name:16} {row.bytes_each:.0f} bytes an idle WebSocket")
        except Wrong as wrong:
            row.wrong = str(wrong)
            say(f"  {row.kind.name:16} {row.wrong}")
    with contextlib.ExitStack() as stack:
        for row in rows:
            if not row.wrong:
                stack.enter_context(started(row, options, cores[0]))
        for number in range(options.rounds):
            for connections in CONNECTIONS:
                measure_round(rows, connections, options, cores, number)


def measure_round(rows, connections, options, cores, number):
    turns = {row.kind.name: [] for row in rows}
    for _ in range(options.turns):
        for row in rows:
            if row.wrong:
                continue
            try:
                turns[row.kind.name].append(echo(row, connections, cores[1]))
            except Wrong as wrong:
                row.wrong = str(wrong)
    for row in rows:
        if row.wrong:
            say(f"  {connections:5} round {number + 1}  {row.kind.name:16} {row.wrong}")
            continue
        done = turns[row.kind.name]
        messages = sum(turn[0] for turn in done)
        one = {"rate": messages / sum(turn[1] for turn in done), "user": sum(turn[2] for turn in done) * 1e6 / messages,
               "system": sum(turn[3] for turn in done) * 1e6 / messages,
               "p50": statistics.median(turn[4] for turn in done), "p99": statistics.median(turn[5] for turn in done)}
        row.rounds[connections].append(one)
        say(f"  {connections:5} round {number + 1}  {row.kind.name:16} {one['rate']:.0f} echoes/s, {one['user']:.1f} µs user")


def medians(row, connections):
    return {name: statistics.median(one[name] for one in row.rounds[connections]) for name in row.rounds[connections][0]}


def markdown(rows, left_out, options, cores, trouble, seconds):
    about = report.about(cores, trouble, 0, seconds)
    lines = ["## WebSockets", "",
             f"{about['when']}, commit {about['commit'] or 'unknown'}; {about['machine']}; Python {about['python']}. One worker on "
             f"core {cores[0]}, load on core {cores[1]}; messages of {SIZE} bytes, a connection sends the next one when the echo is "
             f"there; medians of {options.rounds} rounds of {options.turns} turns of 1 s. Memory: PSS with {options.idle} open "
             f"WebSockets that have echoed once, less the PSS before. The whole run took {about['took'] / 60:.0f} min.", ""]
    if trouble:
        lines += [f"**{trouble}**", ""]
    fine = [row for row in rows if not row.wrong]
    for connections in CONNECTIONS:
        best = max((medians(row, connections)["rate"] for row in fine if row.kind.package), default=None)
        table = []
        for row in fine:
            one = medians(row, connections)
            table.append([row.kind.name, f"{one['rate']:.0f}", report.ratio(one["rate"], best), f"{one['user']:.1f}",
                          f"{one['system']:.1f}", f"{one['p50']:.0f}", f"{one['p99']:.0f}"])
        lines += [f"### {connections} connection{'s' if connections > 1 else ''}", "",
                  *report.table(["server", "echoes/s", "× best peer", "user µs", "system µs", "p50 µs", "p99 µs"], table), ""]
    least = min((row.bytes_each for row in fine if row.kind.package), default=None)
    lines += [f"### {options.idle} idle", "", *report.table(
        ["server", "bytes each", "× best peer", "% of a core"],
        [[row.kind.name, f"{row.bytes_each:.0f}", report.ratio(row.bytes_each, least), f"{row.idle_cpu * 100:.1f}"] for row in fine]), ""]
    for row in rows:
        if row.wrong:
            lines += [f"{row.kind.name}: {row.wrong[:200]}", ""]
    for name, why in left_out.items():
        lines += [f"Left out: {name}: {why}.", ""]
    versions = [f"{row.kind.name} {servers.version(row.kind, options.green_bin)}" + (f" ({row.kind.about})" if row.kind.about else "")
                for row in fine]
    return "\n".join([*lines, "; ".join(versions) + ".", ""])


def run(options):
    if not LOAD.exists():
        raise Failure(f"{LOAD.name} is not built")
    left_out = {kind.name: why for kind in KINDS if (why := servers.missing(kind, options.green_bin))}
    rows = [Row(kind) for kind in KINDS if kind.name not in left_out]
    *cores, trouble = two_cores()
    trouble = "; ".join(filter(None, [trouble, others_at_work()]))
    begun = time.monotonic()
    measure(rows, options, cores)
    return markdown(rows, left_out, options, cores, trouble, time.monotonic() - begun)


def main():
    parser = argparse.ArgumentParser(prog="bench/websockets", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="medians are over them (3)")
    parser.add_argument("--turns", type=int, default=3, metavar="N", help="turns of 1 s a server has in a round (3)")
    parser.add_argument("--idle", type=int, default=5000, metavar="N", help="idle WebSockets, for their memory (5000)")
    parser.add_argument("--watch", type=float, default=5, metavar="SECONDS", help="how long their CPU time is watched (5)")
    parser.add_argument("--quick", action="store_true", help="one round of one turn: does everything run? No figures to trust")
    parser.add_argument("--green-bin", type=Path, default=TOP / "build/release/bin", metavar="FOLDER",
                        help="greend and green-worker; not built then (build/release/bin, built)")
    options = parser.parse_args()
    if options.quick:
        options.rounds = options.turns = options.watch = 1
        options.idle = 100
    if not 1 <= options.rounds <= 100 or not 1 <= options.turns <= 100 or not 1 <= options.idle <= 10000:
        parser.error("--rounds and --turns are 1 to 100, --idle 1 to 10000")
    options.green_bin = options.green_bin.resolve()
    (OUT / "logs").mkdir(parents=True, exist_ok=True)
    try:
        with nothing_left_behind():
            text = run(options)
    except KeyboardInterrupt:
        say("websockets: interrupted; everything started has been ended")
        return 130
    except Failure as failure:
        say(f"websockets: {failure}")
        return 1
    (OUT / "websockets.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
