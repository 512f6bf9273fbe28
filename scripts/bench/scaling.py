#!/usr/bin/env python3
"""Simulates how on-demand streams follow their load: `make scaling`.

Runs the example `on_demand` of the catalog, which prints the same lines in every run. Draws the number of shards and
the load of each scenario into docs/scaling.svg. Prints the figures for docs/on-demand.md.
"""

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import plots
from bench.install import say

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ["cargo", "run", "--release", "--quiet", "--package", "anabranch-catalog", "--example", "on_demand"]
# Points in each panel of the plot. More points make the file larger without a visible difference.
POINTS = 160
MIB_PER_MINUTE = 60 * (1 << 20)


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "scaling.svg"
    output = subprocess.run(EXAMPLE, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = [json.loads(line) for line in output.splitlines()]
    runs = [line for line in lines if line["line"] == "run"]
    plots.timelines(out, [panel(run, minutes_of(lines, run)) for run in runs], "shards", "MiB/s")
    for run in runs:
        say(summary(run, minutes_of(lines, run), actions_of(lines, run)))
    say(f"the plot is {out}")


def minutes_of(lines, run):
    """The lines of the run's minutes."""
    return [line for line in lines if line["line"] == "minute" and line["scenario"] == run["scenario"]]


def actions_of(lines, run):
    """The lines of the run's splits and merges."""
    return [line for line in lines if line["line"] == "action" and line["scenario"] == run["scenario"]]


def panel(run, minutes):
    """Title, hours, shards, and the offered and accepted load. In long runs a point covers several minutes."""
    size = -(-len(minutes) // POINTS)
    chunks = [minutes[first : first + size] for first in range(0, len(minutes), size)]
    hours = [chunk[0]["minute"] / 60 for chunk in chunks]
    load = {name: [mean_load(chunk, name) for chunk in chunks] for name in ("offered", "accepted")}
    return run["scenario"], hours, [chunk[-1]["shards"] for chunk in chunks], load


def mean_load(minutes, name):
    """The mean offered or accepted load in MiB/s."""
    return mean(minute[f"{name}_bytes"] for minute in minutes) / MIB_PER_MINUTE


def summary(run, minutes, actions):
    """A run in one sentence."""
    shards = [minute["shards"] for minute in minutes]
    accepted, offered = (sum(minute[f"{what}_other_bytes"] for minute in minutes) for what in ("accepted", "offered"))
    splits = sum(action["action"] == "split" for action in actions)
    shares = [minute["hot_key_share"] for minute in minutes if minute["hot_key_share"] is not None]
    narrow = f", the hot key's shard has 1/{1 / shares[-1]:,.0f} of the keys" if shares else ""
    return (
        f"{run['scenario']}: {min(shards)} to {max(shards)} shards, {splits} splits and {len(actions) - splits} merges "
        f"in {run['hours']} h; {accepted / offered:.2%} of the load without a hot key accepted{narrow}"
    )


if __name__ == "__main__":
    main()
