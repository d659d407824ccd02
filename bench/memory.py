"""Measures the memory of a Django site with 8 workers after load; run by bench/memory.

One server after the other, each alone: PSS (proportional set size) of all its processes, summed.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import report
import servers
from bench import OUT, say
from load import APPS, WARM_UP_SECONDS, Wrong, check, wait_until_serving, wrk
from processes import Failure, Server, free_port, nothing_left_behind, pss_of
from servers import MEMORY_KINDS, TOP

CONNECTIONS = 64
# A few connections may all be with the same workers; new ones may not.
MOST_LOADS = 5
DJANGO = next(app for app in APPS if app.name == "django")


def measure(kind, options):
    port = free_port()
    command = kind.command(servers.Start(port, DJANGO.module, options.workers, options.green_bin))
    log = OUT / "logs" / f"memory-{kind.name.replace(' ', '')}.log"
    try:
        # On all cores, so that all workers get their share of the load.
        with Server(command, servers.environment(), log, None) as server:
            wait_until_serving(server, port)
            check(port, DJANGO, WARM_UP_SECONDS)
            before = server.cpu()
            requests, errors = 0, 0
            for _ in range(MOST_LOADS):
                load = wrk(port, DJANGO, options.seconds, os.sched_getaffinity(0), CONNECTIONS)
                requests, errors = requests + load.requests, errors + load.errors
                after = server.cpu()
                worked = [pid for pid, times in after.items() if sum(times) > sum(before.get(pid, (0, 0)))]
                if len(worked) >= options.workers:
                    break
            pids = server.pids()
            memory = sorted((pss_of(pid) for pid in pids), reverse=True)
            check(port, DJANGO)
    except Wrong as wrong:
        return {"wrong": str(wrong)}
    return {"pss": sum(memory) / 2**20, "processes": [size / 2**20 for size in memory], "worked": len(worked),
            "requests": requests, "errors": errors}


def markdown(results, left_out, options):
    about = report.about([], "", CONNECTIONS, 0)
    green = results.get("green", {}).get("pss")
    rows = []
    for name, row in results.items():
        if "wrong" in row:
            rows.append([name, f"wrong: {row['wrong'][:120]}", "", "", "", ""])
            continue
        sizes = ", ".join(f"{size:.1f}" for size in row["processes"])
        rows.append([name, f"{row['pss']:.1f}", report.ratio(row["pss"], green), sizes,
                     f"{row['worked']} of {len(row['processes'])}", f"{row['requests']}, {row['errors']} errors"])
    lines = [f"## A Django site with {options.workers} workers: memory after load", "",
             f"{about['when']}, commit {about['commit'] or 'unknown'}; {about['machine']}; Python {about['python']}. "
             f"wrk with {CONNECTIONS} keep-alive connections, {options.seconds} s at a time and {MOST_LOADS} times at "
             "most, until every worker has worked; then PSS of all processes.", "",
             *report.table(["server", "PSS MiB", "× green", "of each process", "processes that worked", "requests"], rows),
             ""]
    for name, why in left_out.items():
        lines += [f"Left out: {name}: {why}.", ""]
    return "\n".join(lines)


def run(options):
    if not servers.installed("Django"):
        raise Failure("Django could not be installed")
    results, left_out = {}, {}
    for kind in MEMORY_KINDS:
        why = servers.missing(kind, options.green_bin)
        if why:
            left_out[kind.name] = why
            say(f"memory: without {kind.name}: {why}")
            continue
        results[kind.name] = measure(kind, options)
        told = results[kind.name].get("wrong") or f"{results[kind.name]['pss']:.1f} MiB"
        say(f"  {kind.name:20} {told}")
    return results, left_out


def main():
    parser = argparse.ArgumentParser(prog="bench/memory", description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=8, metavar="N")
    parser.add_argument("--seconds", type=int, default=3, metavar="N", help="of load at a time (3)")
    parser.add_argument("--green-bin", type=Path, default=TOP / "build/release/bin", metavar="FOLDER",
                        help="greend and green-worker; not built then (build/release/bin, built)")
    options = parser.parse_args()
    if not 1 <= options.workers <= 64 or not 1 <= options.seconds <= 600:
        parser.error("--workers is 1 to 64, --seconds 1 to 600")
    options.green_bin = options.green_bin.resolve()
    (OUT / "logs").mkdir(parents=True, exist_ok=True)
    try:
        with nothing_left_behind():
            results, left_out = run(options)
    except KeyboardInterrupt:
        say("memory: interrupted; everything started has been ended")
        return 130
    except Failure as failure:
        say(f"memory: {failure}")
        return 1
    text = markdown(results, left_out, options)
    (OUT / "memory.json").write_text(json.dumps(results, indent=1) + "\n")
    (OUT / "memory.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
