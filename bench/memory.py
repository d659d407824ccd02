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
from load import APPS, Wrong, check, wait_until_serving, wrk
from processes import Failure, Server, adopt_orphans, cpu_times, free_port, pss_of, stop_on_signals
from servers import MEMORY_KINDS, TOP

CONNECTIONS = 64
DJANGO = next(app for app in APPS if app.name == "django")


def measure(kind, options):
    port = free_port()
    command = kind.command(servers.Start(port, DJANGO.module, options.workers, options.green_bin))
    log = OUT / "logs" / f"memory-{kind.name.replace(' ', '')}.log"
    try:
        # On all cores, so that all workers get their share of the load.
        with Server(command, servers.environment(), log, None) as server:
            wait_until_serving(server, port)
            check(port, DJANGO, DJANGO.warm_up)
            before = server.cpu()
            load = wrk(port, DJANGO, options.seconds, os.sched_getaffinity(0), CONNECTIONS)
            pids = server.pids()
            after = cpu_times(pids)
            memory = sorted((pss_of(pid) for pid in pids), reverse=True)
            check(port, DJANGO)
    except Wrong as wrong:
        return {"wrong": str(wrong)}
    busy = sum(sum(times) > sum(before.get(pid, (0, 0))) for pid, times in after.items())
    return {"pss": sum(memory) / 2**20, "processes": [size / 2**20 for size in memory], "busy": busy,
            "requests": load.requests, "errors": load.errors, "note": load.kinds_of_errors}


def markdown(results, left_out, options):
    about = report.about(argparse.Namespace(rounds=1, seconds=options.seconds), [], "", CONNECTIONS, 0)
    green = results.get("green", {}).get("pss")
    rows = []
    for name, row in results.items():
        if "wrong" in row:
            rows.append([name, f"wrong: {row['wrong'][:120]}", "", "", "", ""])
            continue
        sizes = ", ".join(f"{size:.1f}" for size in row["processes"])
        errors = f"{row['errors']} ({row['note']})" if row["note"] else str(row["errors"])
        rows.append([name, f"{row['pss']:.1f}", report.ratio(row["pss"], green), sizes,
                     f"{row['busy']} of {len(row['processes'])}", f"{row['requests']}, {errors} errors"])
    lines = [f"## A Django site with {options.workers} workers: memory after load", "",
             f"{about['when']}, commit {about['commit'] or 'unknown'}; {about['machine']}; Python {about['python']}. "
             f"wrk for {options.seconds} s with {CONNECTIONS} keep-alive connections, then PSS of all processes.", "",
             *report.table(["server", "PSS MiB", "× green", "of each process", "processes that worked", "requests"], rows), ""]
    for name, why in left_out.items():
        lines += [f"Left out: {name}: {why}.", ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="bench/memory", description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=8, metavar="N")
    parser.add_argument("--seconds", type=int, default=5, metavar="N", help="of load (5)")
    parser.add_argument("--green-bin", type=Path, default=TOP / "build/release/bin", metavar="FOLDER",
                        help="greend and green-worker; not built then (build/release/bin, built)")
    options = parser.parse_args()
    if not 1 <= options.workers <= 64 or not 1 <= options.seconds <= 600:
        parser.error("--workers is 1 to 64, --seconds 1 to 600")
    options.green_bin = options.green_bin.resolve()
    stop_on_signals()
    adopt_orphans()
    (OUT / "logs").mkdir(parents=True, exist_ok=True)
    results, left_out = {}, {}
    try:
        if not servers.installed("Django"):
            raise Failure("Django could not be installed")
        for kind in MEMORY_KINDS:
            why = servers.missing(kind, options.green_bin)
            if why:
                left_out[kind.name] = why
                say(f"memory: without {kind.name}: {why}")
                continue
            results[kind.name] = measure(kind, options)
            told = results[kind.name].get("wrong") or f"{results[kind.name]['pss']:.1f} MiB"
            say(f"  {kind.name:20} {told}")
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
