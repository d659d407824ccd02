"""Draws build/bench/latest.json as SVG beside it: user and system CPU of a request. Runs in the venv of bench/run."""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.fonttype"] = "none"  # text as text: a sixth of the size
import matplotlib.pyplot as plt

import report

GREEN = ("#1a7f37", "#8fd19e")
PEER = ("#57606a", "#c4cad0")
LIMIT = ("#9a6700", "#e6cf9a")


def colours(server):
    return {"green": GREEN, "green-pgo": GREEN, "green-asyncio": GREEN, "limit": LIMIT}.get(server, PEER)


def draw(axes, title, rows):
    right = {server: row for server, row in rows.items() if "wrong" not in row}
    names = list(reversed(right))
    for place, server in enumerate(names):
        row = right[server]
        user, system = colours(server)
        axes.barh(place, row["user"], color=user)
        axes.barh(place, row["system"], left=row["user"], color=system)
        figures = f"  {row['user']:.1f} + {row['system']:.1f}"
        axes.text(row["user"] + row["system"], place, figures, va="center", fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_title(title, fontsize=9, loc="left")
    axes.margins(x=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", labelsize=7)


def main():
    path = Path(sys.argv[1])
    results = json.loads(path.read_text())
    medians = report.summaries(results)
    columns = min(2, len(medians))
    rows = -(-len(medians) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(5.2 * columns, 2.5 * rows + 0.6), squeeze=False)
    places = list(grid.flat)
    for axes, (app, servers) in zip(places, medians.items()):
        draw(axes, results["apps"][app], servers)
    for axes in places[len(medians):]:
        axes.set_visible(False)
    told = results["about"]
    title = f"CPU µs of a request, user (dark) + system (light): less is better. One worker; {told['machine']}"
    figure.suptitle(title, fontsize=8)
    figure.tight_layout()
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
