"""Measures green beside its peers; run by bench/run, once everything is installed and built.

Application by application: measure.py tells how, report.py makes the table.
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
from load import APPS, CONNECTIONS
from measure import TURN_SECONDS, measure_all
from processes import Failure, nothing_left_behind, others_at_work, two_cores
from servers import KINDS, TOP, VENV

OUT = TOP / "build/bench"
# What starting, checking, warming up and ending take, twice, and the turn for the memory, for the estimate alone.
OVERHEAD_SECONDS = 2.2


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
    pairs = [(app, kind) for app in apps for kind in kinds
             if app.interface in kind.interfaces and (kind.name != "limit" or app.limit)]
    if not pairs:
        raise Failure("there is nothing to measure")
    *cores, trouble = two_cores()
    trouble = "; ".join(filter(None, [trouble, others_at_work()]))
    if trouble:
        say(f"bench: {trouble}")
    minutes = len(pairs) * (options.rounds * options.turns * TURN_SECONDS + OVERHEAD_SECONDS) / 60
    say(f"bench: {len(pairs)} pairs × {options.rounds} rounds × {options.turns} turns of {TURN_SECONDS} s: "
        f"about {minutes:.0f} minutes")

    rounds = {}
    began = time.monotonic()
    for app in apps:
        with_it = [kind for of, kind in pairs if of is app]
        if with_it:
            rounds[app.name] = measure_all(app, with_it, options, cores, OUT / "logs", say)
    return {
        "about": report.about(cores, trouble, CONNECTIONS, time.monotonic() - began)
        | {"rounds": options.rounds, "turns": options.turns},
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
    parser.add_argument("--turns", type=int, default=3, metavar="N", help="turns of 1 s a server has in a round (3)")
    parser.add_argument("--quick", action="store_true", help="one round of one turn: does everything run? No figures to trust")
    parser.add_argument("--green-bin", type=Path, default=TOP / "build/release/bin", metavar="FOLDER",
                        help="greend and green-worker; not built then (build/release/bin, built)")
    options = parser.parse_args()
    if options.quick:
        options.rounds = options.turns = 1
    if not 1 <= options.rounds <= 100 or not 1 <= options.turns <= 100:
        parser.error("--rounds and --turns are 1 to 100")
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
