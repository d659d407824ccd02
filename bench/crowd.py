"""Measures what many slow or idle clients of one worker cost the others; run by bench/crowd.

A server is started on one core, loaded by wrk from another, alone and then beside a crowd that this process
holds: uploads that stall after their first KiB, readers that take nothing of a reply of 1 MiB, kept-alive
connections that ask nothing. Each time it is loaded twice: by all that it can answer, for its throughput, and by
64 connections that wait 1 to 3 ms before they ask again, for p99. With both cores busy to the last, p99 is how
often the host of a virtual machine takes a core away for some milliseconds, with a crowd or without.
"""

import argparse
import contextlib
import json
import resource
import socket
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import servers
from bench import OUT, chosen, say
from load import HELLO, WARM_UP_SECONDS, App, Wrong, check, wait_until_serving, wrk
from processes import Failure, Server, free_port, nothing_left_behind, two_cores
from servers import KINDS, TOP

SITE = App("crowd", "crowd_site", "Hello beside a crowd", HELLO, limit="hello")
PACED_CONNECTIONS = 64
PACE = (1, 3)  # milliseconds
PATIENCE_SECONDS = 20
# So that a reader that takes nothing fills what the kernel holds for it soon.
READER_BUFFER = 4096
STALLED = (b"POST / HTTP/1.1\r\nHost: crowd\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1024, 0)
READER = (b"GET /large HTTP/1.1\r\nHost: crowd\r\n\r\n", 1)
IDLE = (b"GET / HTTP/1.1\r\nHost: crowd\r\n\r\n", len(HELLO))
COLUMNS = ["crowd", "server", "rps alone", "rps beside it", "throughput ×", "p99 µs alone", "p99 µs beside it", "p99 ×",
           "KiB each", "crowd left", "errors"]


@dataclass(frozen=True)
class Crowd:
    name: str
    title: str
    request: bytes
    awaited: int  # bytes of an answer that show that the request is under way
    limit: bool = True  # the limit has an answer to it


CROWDS = [
    Crowd("uploads", "stalled uploads", *STALLED),
    Crowd("readers", "readers of 1 MiB that take nothing", *READER, limit=False),
    Crowd("idle", "idle kept-alive connections", *IDLE),
]


def join(port, crowd):
    client = socket.socket()
    try:
        if crowd.name == "readers":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READER_BUFFER)
        client.settimeout(PATIENCE_SECONDS)
        client.connect(("127.0.0.1", port))
        client.sendall(crowd.request)
        if crowd.awaited and not client.recv(crowd.awaited):
            raise Wrong("closed a connection of the crowd at once")
    except OSError as error:
        client.close()
        raise Wrong(f"the crowd: {type(error).__name__}: {error}") from error
    except Wrong:
        client.close()
        raise
    return client


def is_open(client):
    """Whether the server still holds its end."""
    client.setblocking(False)
    try:
        return client.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


@dataclass(frozen=True)
class Load:
    rps: float
    p99: float  # µs
    errors: int


def load(port, options, core):
    """Medians over the turns."""
    full = [wrk(port, SITE, options.seconds, {core}) for _ in range(options.turns)]
    paced = [wrk(port, SITE, options.seconds, {core}, PACED_CONNECTIONS, pace=PACE) for _ in range(options.turns)]
    return Load(
        statistics.median(turn.requests / turn.seconds for turn in full),
        statistics.median(turn.p99 * 1000 for turn in paced),
        sum(turn.errors for turn in full + paced),
    )


def measure(kind, crowd, count, options, cores):
    port = free_port()
    module = SITE.limit if kind.name == "limit" else SITE.module
    command = kind.command(servers.Start(port, module, 1, options.green_bin))
    log = OUT / "logs" / f"crowd-{kind.name}-{crowd.name}.log"
    try:
        with Server(command, servers.environment(), log, {cores[0]}) as server, contextlib.ExitStack() as held:
            wait_until_serving(server, port)
            check(port, SITE, WARM_UP_SECONDS)
            alone = load(port, options, cores[1])
            memory = server.pss()
            clients = [held.enter_context(contextlib.closing(join(port, crowd))) for _ in range(count)]
            beside = load(port, options, cores[1])
            grown = server.pss() - memory
            left = sum(map(is_open, clients))
    except Wrong as wrong:
        return {"wrong": str(wrong)}
    if alone.rps == 0:
        return {"wrong": "served nothing when alone"}
    return {
        "alone": alone.rps,
        "beside": beside.rps,
        "throughput": beside.rps / alone.rps,
        "p99 alone": alone.p99,
        "p99 beside": beside.p99,
        "p99": beside.p99 / alone.p99 if alone.p99 and beside.rps else 0.0,
        "kib": grown / 1024 / count,
        "left": left / count,
        "errors": beside.errors,
    }


def row(kind, crowd, count, rounds):
    names = [f"{count} {crowd.title}", kind.name]
    wrong = [one["wrong"] for one in rounds if "wrong" in one]
    if wrong:
        return [*names, f"wrong: {wrong[0][:100]}", *[""] * (len(COLUMNS) - len(names) - 1)]
    middle = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    served = middle["beside"] > 0
    return [*names, f"{middle['alone']:.0f}", f"{middle['beside']:.0f}", f"{middle['throughput']:.2f}",
            f"{middle['p99 alone']:.0f}", f"{middle['p99 beside']:.0f}" if served else "-",
            f"{middle['p99']:.2f}" if served else "-", f"{middle['kib']:.1f}", f"{middle['left'] * 100:.0f} %",
            str(sum(one["errors"] for one in rounds))]


def markdown(rows):
    return "\n".join("| " + " | ".join(line) + " |" for line in [COLUMNS, ["---"] * len(COLUMNS), *rows]) + "\n"


def arguments():
    parser = argparse.ArgumentParser(prog="bench/crowd", description=__doc__.split("\n")[0])
    parser.add_argument("--servers", metavar="A,B", default="green,limit", help=f"{', '.join(k.name for k in KINDS)} (green,limit)")
    parser.add_argument("--crowds", metavar="A,B", help=f"{', '.join(crowd.name for crowd in CROWDS)} (all)")
    parser.add_argument("--clients", metavar="N", type=int, default=1000, help="that stall or read slowly (1000)")
    parser.add_argument("--idle", metavar="N", type=int, default=10000, help="idle connections (10000)")
    parser.add_argument("--rounds", metavar="N", type=int, default=3, help="medians are over them (3)")
    parser.add_argument("--turns", metavar="N", type=int, default=5, help="of each of a round's loads (5)")
    parser.add_argument("--seconds", metavar="N", type=int, default=1, help="of a turn (1)")
    parser.add_argument("--green-bin", metavar="FOLDER", type=lambda path: Path(path).resolve(),
                        default=TOP / "build/release/bin", help="greend and green-worker; not built then")
    return parser.parse_args()


def main():
    options = arguments()
    kinds = chosen([kind for kind in KINDS if "wsgi" in kind.interfaces], options.servers, "server")
    crowds = chosen(CROWDS, options.crowds, "crowd")
    most = max(options.clients, options.idle) + 512
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < most:
        raise Failure(f"{most} open files are needed and {hard} allowed (ulimit -Hn): ask for fewer --idle")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    first, second, warning = two_cores()
    if warning:
        say(warning)
    (OUT / "logs").mkdir(parents=True, exist_ok=True)
    results = {}
    for number in range(options.rounds):
        for crowd in crowds:
            for kind in kinds:
                if kind.name == "limit" and not crowd.limit:
                    continue
                say(f"round {number + 1} of {options.rounds}: {crowd.title}, {kind.name}")
                count = options.idle if crowd.name == "idle" else options.clients
                results.setdefault((crowd, kind, count), []).append(
                    measure(kind, crowd, count, options, (first, second)))
    text = markdown([row(kind, crowd, count, rounds) for (crowd, kind, count), rounds in results.items()])
    (OUT / "crowd.md").write_text(text)
    (OUT / "crowd.json").write_text(json.dumps(
        [{"crowd": crowd.name, "server": kind.name, "clients": count, "rounds": rounds}
         for (crowd, kind, count), rounds in results.items()], indent=1))
    print(text)


if __name__ == "__main__":
    try:
        with nothing_left_behind():
            main()
    except Failure as failure:
        sys.exit(f"bench/crowd: {failure}")
    except KeyboardInterrupt:
        sys.exit("bench/crowd: interrupted")
