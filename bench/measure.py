"""Measures all servers with one application: each alone for its memory, then all by turns for what a request costs.

What else the machine and its host do comes and goes by seconds. A server that had three seconds in one
piece would be measured by its luck: turns of one second, one server after the other, give all the same.
"""

import contextlib
from dataclasses import dataclass

import servers
from load import WARM_UP_SECONDS, Wrong, check, wait_until_serving, wrk
from processes import Server, free_port

TURN_SECONDS = 1  # wrk knows no shorter time


@dataclass
class Pair:
    """A server with an application, and what it showed so far."""

    kind: object
    app: object
    log: object
    port: int = 0
    server: Server = None
    pss: int = 0
    rounds: list = None
    wrong: str = ""

    def command(self, green_bin):
        self.port = free_port()
        module = self.app.limit if self.kind.name == "limit" else self.app.module
        return self.kind.command(servers.Start(self.port, module, 1, green_bin))

    @contextlib.contextmanager
    def started(self, green_bin, core):
        with Server(self.command(green_bin), servers.environment(), self.log, {core}) as server:
            wait_until_serving(server, self.port)
            check(self.port, self.app, WARM_UP_SECONDS)
            self.server = server
            yield server


def load(pair, core):
    """One turn. CPU times in seconds, of all the server's processes."""
    before = pair.server.cpu()
    shown = wrk(pair.port, pair.app, TURN_SECONDS, {core})
    after = pair.server.cpu()
    if shown.requests == 0:
        raise Wrong(f"served nothing under load ({shown.kinds_of_errors or 'no error'})")
    if shown.bytes < shown.requests * len(pair.app.answer):
        raise Wrong(f"sent {shown.bytes // shown.requests} bytes a reply under load, body and headers")
    user, system = (sum(times[i] - before.get(pid, (0, 0))[i] for pid, times in after.items()) for i in (0, 1))
    note = shown.kinds_of_errors + (" processes ended" if before.keys() - after.keys() else "")
    return shown, user, system, note


def measure_memory(pair, options, cores):
    """Alone: a page that several servers have in common would count for each by its share."""
    try:
        with pair.started(options.green_bin, cores[0]) as server:
            load(pair, cores[1])
            pair.pss = server.pss()
            check(pair.port, pair.app)
    except Wrong as wrong:
        pair.wrong = str(wrong)


def figures(turns, pss):
    """Of a round."""
    requests = sum(shown.requests for shown, *_ in turns)
    middle = len(turns) // 2
    return {
        "rps": requests / sum(shown.seconds for shown, *_ in turns),
        "user": sum(user for _, user, _, _ in turns) * 1e6 / requests,
        "system": sum(system for _, _, system, _ in turns) * 1e6 / requests,
        "p50": sorted(shown.p50 for shown, *_ in turns)[middle],
        "p99": sorted(shown.p99 for shown, *_ in turns)[middle],
        "pss": pss / 2**20,
        "errors": sum(shown.errors for shown, *_ in turns),
        "note": " ".join(sorted({note for *_, note in turns} - {""})),
    }


def measure_round(pairs, options, cores):
    """Adds a round to each pair that is not wrong yet."""
    turns = {id(pair): [] for pair in pairs}
    for _ in range(options.turns):
        for pair in pairs:
            if pair.wrong:
                continue
            try:
                turns[id(pair)].append(load(pair, cores[1]))
            except Wrong as wrong:
                pair.wrong = str(wrong)
    for pair in pairs:
        if not pair.wrong:
            pair.rounds.append(figures(turns[id(pair)], pair.pss))


def measure_all(app, kinds, options, cores, logs, tell):
    """Server → its rounds, or one {"wrong": why}. `tell` is given a line for each round of each."""
    pairs = [Pair(kind, app, logs / f"{kind.name}-{app.name}.log", rounds=[]) for kind in kinds]
    for pair in pairs:
        measure_memory(pair, options, cores)
    with contextlib.ExitStack() as stack:
        for pair in pairs:
            if pair.wrong:
                continue
            try:
                stack.enter_context(pair.started(options.green_bin, cores[0]))
            except Wrong as wrong:
                pair.wrong = str(wrong)
        for number in range(options.rounds):
            measure_round(pairs, options, cores)
            for pair in pairs:
                last = pair.rounds[-1] if pair.rounds else None
                told = pair.wrong or f"{last['rps']:.0f} rps, {last['user']:.1f} µs user {last['note']}"
                tell(f"  {app.name:7} round {number + 1}  {pair.kind.name:17} {told}")
        for pair in pairs:
            if not pair.wrong:
                try:
                    check(pair.port, app)
                except Wrong as wrong:
                    pair.wrong = str(wrong)
    return {pair.kind.name: [{"wrong": pair.wrong}] if pair.wrong else pair.rounds for pair in pairs}
