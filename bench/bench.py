"""Measures green beside its peers; run by bench/run, once everything is installed and built.

Round by round, every pair of application and server is started afresh on one core, checked, warmed up,
loaded by wrk from another core, and ended.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import report
import servers
from load import APPS, CONNECTIONS, WARM_UP_SECONDS, Wrong, check, wait_until_serving, wrk
from processes import Failure, Server, free_port, nothing_left_behind, others_at_work, two_cores
from servers import KINDS, TOP, VENV

OUT = TOP / "build/bench"
# What starting, checking, warming up and ending take, for the estimate alone.
OVERHEAD_SECONDS = 0.6


def chosen(kinds, names, what):
    if not names:
        return kinds
    known = {kind.name: kind for kind in kinds}
    wanted = [name for name in names.split(",") if name]
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise Failure(f"no such {what}: {', '.join(unknown)}; there are {', '.join(known)}")
    return [kind for kind in kinds if kind.name in wanted]


def say(text):
    print(text, file=sys.stderr, flush=True)


def measure(kind, app, options, cores):
    """One round of one pair; a row of figures, or {"wrong": why}."""
    port = free_port()
    module = app.limit if kind.name == "limit" else app.module
    command = kind.command(servers.Start(port, module, 1, options.green_bin))
    log = OUT / "logs" / f"{kind.name}-{app.name}.log"
    try:
        with Server(command, servers.environment(), log, {cores[0]}) as server:
            wait_until_serving(server, port)
            check(port, app, WARM_UP_SECONDS)
            before = server.cpu()
            load = wrk(port, app, options.seconds, {cores[1]})
            after = server.cpu()
            pss = server.pss()
            check(port, app)
    except Wrong as wrong:
        return {"wrong": str(wrong)}
    if load.requests == 0:
        return {"wrong": f"served nothing under load ({load.kinds_of_errors or 'no error'})"}
    if load.bytes < load.requests * len(app.answer):
        return {"wrong": f"sent {load.bytes // load.requests} bytes a reply under load, body and headers"}
    cpu = [sum(times[i] - before.get(pid, (0, 0))[i] for pid, times in after.items()) for i in (0, 1)]
    return {
        "rps": load.requests / load.seconds,
        "user": cpu[0] * 1e6 / load.requests,
        "system": cpu[1] * 1e6 / load.requests,
        "p50": load.p50,
        "p99": load.p99,
        "pss": pss / 2**20,
        "errors": load.errors,
        "note": load.kinds_of_errors + (" processes ended" if before.keys() - after.keys() else ""),
    }


def plot(path):
    if not servers.installed("matplotlib"):
        return "no plot: matplotlib could not be installed"
    done = subprocess.run([VENV / "bin/python", TOP / "bench/plot.py", path], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"no plot: {done.stderr.strip().splitlines()[-1]}"


def run(options):
    kinds = chosen(KINDS, options.servers, "server")
    apps = chosen(APPS, options.apps, "application")
    left_out = {}
    for kind in kinds:
        why = servers.missing(kind, options.green_bin)
        if why:
            left_out[kind.name] = why
    left_out_apps = {app.name: f"{app.package} could not be installed"
                     for app in apps if app.package and not servers.installed(app.package)}
    kinds = [kind for kind in kinds if kind.name not in left_out]
    apps = [app for app in apps if app.name not in left_out_apps]
    for name, why in (left_out | left_out_apps).items():
        say(f"bench: without {name}: {why}")
    pairs = [(app, kind) for app in apps for kind in kinds if kind.name != "limit" or app.limit]
    if not pairs:
        raise Failure("there is nothing to measure")
    *cores, trouble = two_cores()
    trouble = "; ".join(filter(None, [trouble, others_at_work()]))
    if trouble:
        say(f"bench: {trouble}")
    minutes = len(pairs) * options.rounds * (options.seconds + OVERHEAD_SECONDS) / 60
    say(f"bench: {len(pairs)} pairs × {options.rounds} rounds × {options.seconds} s: about {minutes:.0f} minutes")

    rounds = {}
    began = time.monotonic()
    for number in range(options.rounds):
        for app, kind in pairs:
            figures = measure(kind, app, options, cores)
            rounds.setdefault(app.name, {}).setdefault(kind.name, []).append(figures)
            told = figures.get("wrong") or f"{figures['rps']:.0f} rps, {figures['user']:.1f} µs user {figures['note']}"
            say(f"  round {number + 1}  {app.name:7} {kind.name:17} {told}")
    return {
        "about": report.about(options, cores, trouble, CONNECTIONS, time.monotonic() - began),
        "versions": {kind.name: servers.version(kind, options.green_bin) for kind in kinds},
        "configurations": {kind.name: kind.about for kind in kinds if kind.about},
        "left_out": left_out | left_out_apps,
        "apps": {app.name: app.title for app in apps},
        "rounds": rounds,
    }


def parse():
    parser = argparse.ArgumentParser(prog="bench/run", description="Measures green beside its peers.")
    parser.add_argument("--servers", default="", metavar="A,B", help=", ".join(kind.name for kind in KINDS))
    parser.add_argument("--apps", default="", metavar="A,B", help=", ".join(app.name for app in APPS))
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds; medians are over them (3)")
    parser.add_argument("--seconds", type=int, default=3, metavar="N", help="length of a round (3)")
    parser.add_argument("--quick", action="store_true", help="one round of 1 s: does everything run? No figures to trust")
    parser.add_argument("--green-bin", type=Path, default=TOP / "build/release/bin", metavar="FOLDER",
                        help="greend and green-worker; not built then (build/release/bin, built)")
    options = parser.parse_args()
    if options.quick:
        options.rounds = options.seconds = 1
    if not 1 <= options.rounds <= 100 or not 1 <= options.seconds <= 600:
        parser.error("--rounds is 1 to 100, --seconds 1 to 600")
    options.green_bin = options.green_bin.resolve()
    return options


def main():
    options = parse()
    shutil.rmtree(OUT / "logs", ignore_errors=True)
    (OUT / "logs").mkdir(parents=True)
    try:
        with nothing_left_behind():
            results = run(options)
    except KeyboardInterrupt:
        say("bench: interrupted; everything started has been ended")
        return 130
    except Failure as failure:
        say(f"bench: {failure}")
        return 1
    text = report.markdown(results)
    (OUT / "latest.json").write_text(json.dumps(results, indent=1) + "\n")
    (OUT / "latest.md").write_text(text)
    print(text)
    trouble = plot(OUT / "latest.json")
    say(f"bench: {trouble}" if trouble else "bench: the plot is build/bench/latest.svg, the table build/bench/latest.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
