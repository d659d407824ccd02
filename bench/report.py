"""From the rounds to medians, and from those to Markdown."""

import datetime
import os
import platform
import statistics
import subprocess
from pathlib import Path

OURS = ("green", "green-pgo", "green-asyncio", "limit")
FIGURES = ("rps", "user", "system", "p50", "p99", "pss")


def cpu_model():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def commit(top):
    def git(*arguments):
        done = subprocess.run(["git", "-C", top, *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    name = git("rev-parse", "--short", "HEAD")
    return f"{name} with changes" if name and git("status", "--porcelain") else name


def about(cores, trouble, connections, seconds):
    top = Path(__file__).resolve().parent.parent
    return {
        "when": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(top),
        "machine": f"{cpu_model()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "python": platform.python_version(),
        "cores": list(cores),
        "trouble": trouble,
        "connections": connections,
        "took": round(seconds),
    }


def summary(rounds):
    """The medians of one pair, or {"wrong": why}."""
    for one in rounds:
        if "wrong" in one:
            return one
    medians = {figure: statistics.median(one[figure] for one in rounds) for figure in FIGURES}
    medians["cpu"] = statistics.median(one["user"] + one["system"] for one in rounds)
    medians["busy"] = statistics.median((one["user"] + one["system"]) * one["rps"] / 1e6 for one in rounds)
    users = [one["user"] for one in rounds]
    medians["spread"] = (max(users) - min(users)) / medians["user"] if medians["user"] else 0
    medians["errors"] = sum(one["errors"] for one in rounds)
    medians["note"] = "; ".join(sorted({one["note"].strip() for one in rounds} - {""}))
    return medians


def summaries(results):
    """Application → server → medians."""
    return {app: {server: summary(one) for server, one in servers.items()}
            for app, servers in results["rounds"].items()}


def ratio(value, of):
    return f"{value / of:.2f}" if of else "–"


def table(header, rows):
    aligned = ["---"] + ["---:"] * (len(header) - 1)
    return [f"| {' | '.join(row)} |" for row in (header, aligned, *rows)]


def app_table(title, rows):
    green = rows.get("green", {})
    header = ["server", "rps", "× green", "user µs", "× green", "system µs", "core busy", "p50 ms", "p99 ms", "PSS MiB",
              "errors", "user: spread"]
    lines = []
    for server, row in rows.items():
        if "wrong" in row:
            lines.append([server, f"wrong: {row['wrong'][:120].replace('|', '/')}"] + [""] * (len(header) - 2))
            continue
        errors = f"{row['errors']} ({row['note']})" if row["note"] else str(row["errors"])
        lines.append([
            server, f"{row['rps']:,.0f}", ratio(row["rps"], green.get("rps")), f"{row['user']:.1f}",
            ratio(row["user"], green.get("user")), f"{row['system']:.1f}", f"{row['busy'] * 100:.0f} %", f"{row['p50']:.2f}", f"{row['p99']:.2f}",
            f"{row['pss']:.1f}", errors, f"{row['spread'] * 100:.0f} %"])
    return [f"### {title}", "", *table(header, lines), ""]


def best(rows, figure, choose):
    """The peer with the best figure, of those that answered rightly."""
    peers = {server: row[figure] for server, row in rows.items() if server not in OURS and "wrong" not in row}
    return choose(peers.items(), key=lambda item: item[1]) if peers else None


def against_the_best(results, medians):
    rows = []
    for app, servers in medians.items():
        user, cpu = best(servers, "user", min), best(servers, "cpu", min)
        if user is None:
            continue
        rps, p99 = best(servers, "rps", max), best(servers, "p99", min)
        limit = servers.get("limit", {})
        for name in ("green", "green-pgo"):
            ours = servers.get(name, {"wrong": "not measured"})
            if "wrong" not in ours:
                rows.append([
                    results["apps"][app], name,
                    f"{ratio(ours['user'], user[1])} ({user[0]})",
                    f"{ratio(ours['cpu'], cpu[1])} ({cpu[0]})",
                    f"{ratio(ours['rps'], rps[1])} ({rps[0]})",
                    f"{ratio(ours['p99'], p99[1])} ({p99[0]})",
                    ratio(ours["rps"], limit.get("rps")) if limit else "–",
                ])
    if not rows:
        return []
    header = ["÷ best peer", "", "user CPU, less is better", "user and system CPU", "rps, more is better",
              "p99, less is better", "rps ÷ limit"]
    return ["### green against the best peer of each figure", "", *table(header, rows), ""]


def markdown(results):
    told = results["about"]
    medians = summaries(results)
    lines = [
        "## green beside its peers", "",
        f"{told['when']}, commit {told['commit'] or 'unknown'}; {told['machine']}; Python {told['python']}. "
        f"One worker on core {told['cores'][0]}, wrk on core {told['cores'][1]} with {told['connections']} keep-alive "
        f"connections, {told['rounds']} rounds of {told['turns']} turns of 1 s; the figures are medians of the rounds. "
        f"Took {told['took']} s."]
    if told["trouble"]:
        lines += ["", f"**{told['trouble']}.**"]
    if told["turns"] < 3:
        lines += ["", f"**Rounds of {told['turns']} s only show that everything runs: CPU time is counted in ticks of 10 ms.**"]
    lines += ["", *against_the_best(results, medians)]
    for app, rows in medians.items():
        lines += app_table(results["apps"][app], rows)
    names = []
    for server, version in results["versions"].items():
        how = results["configurations"].get(server)
        names.append(f"{server} {version}".strip() + (f" ({how})" if how else ""))
    lines += [f"Servers: {'; '.join(names)}.", ""]
    for name, why in results["left_out"].items():
        lines += [f"Left out: {name}: {why}.", ""]
    return "\n".join(lines)
