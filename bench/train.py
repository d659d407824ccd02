"""The load that a profile is taken from (tools/pgo): train.py FOLDER-OF-PROGRAMS.

Plain WSGI applications alone, from this tree: what they take in Python is not ours to optimise. Requests
with few headers and with a browser's, bodies and replies of some sizes, inline and on threads.
"""

import os
import sys
from pathlib import Path

import servers
from load import APPS, Wrong, check, wait_until_serving, wrk
from processes import Failure, Server, free_port, nothing_left_behind

SECONDS = 2
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate",
    "Cookie": "session=0123456789abcdef0123456789abcdef; theme=dark",
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
}


def train(folder, logs, app, options, headers):
    port = free_port()
    started = servers.green(servers.Start(port, app.module, 1, folder))
    # By the system's own interpreter: nothing here needs the peers' virtual environment.
    command = [word for word in started if not str(word).startswith("--python=")] + options
    with Server(command, servers.environment(), logs / f"train-{app.name}.log", None) as server:
        wait_until_serving(server, port)
        check(port, app)
        shown = wrk(port, app, SECONDS, os.sched_getaffinity(0), headers=headers)
        # Its end is awaited: that is when the profile is written.
        if shown.errors or not shown.requests:
            raise Failure(f"{app.name}: {shown.requests} answers, {shown.kinds_of_errors or 'no error'}")
    print(f"  {app.name} {' '.join(options)}: {shown.requests} requests", file=sys.stderr)


def main():
    folder = Path(sys.argv[1]).resolve()
    logs = folder.parent / "train"
    logs.mkdir(exist_ok=True)
    plain = {app.name: app for app in APPS if not app.package}
    rounds = [(app, [], {}) for app in plain.values()]
    rounds += [(plain["raw"], [], BROWSER), (plain["raw"], ["--threads=4"], BROWSER)]
    try:
        with nothing_left_behind():
            for app, options, headers in rounds:
                train(folder, logs, app, options, headers)
    except KeyboardInterrupt:
        return 130
    except (Failure, Wrong) as failure:
        print(f"train: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
