#!/usr/bin/env python3
"""Compares Anabranch with its peers, on this machine, in one run: `make bench`.

Installs the peers into the user's cache, then runs rounds. A round runs every contestant once: it starts the servers
on an empty directory, sends each load with `anabranch-bench`, and ends the servers. Each load is first sent for a
moment without a measurement, and then measured. Only one contestant's servers run at a time, and none of their files
stay on the disk.

Writes every measurement as a JSON line, and makes a table and plots from those lines. `--redraw` only makes the table
and the plots from existing lines.
"""

import json
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "e2e"))

from bench import arguments as arguments_of
from bench import machine, peers_report
from bench.contestants import everyone
from bench.generator import Failed, measure, warm_up
from bench.install import Unavailable, say
from bench.loads import TITLES


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))
    arguments = parse_arguments()
    lines = arguments.out / "peers.jsonl"
    if arguments.redraw:
        return peers_report.write(arguments.out, peers_report.read(lines))
    contestants = [each for each in everyone(arguments.binary) if is_chosen(each.name, arguments.only)]
    if not contestants:
        sys.exit(f"bench: --only {arguments.only} matches no contestant; there are {names(everyone(arguments.binary))}")
    present, absent = prepare(contestants)
    if arguments.install_only:
        return None
    arguments.out.mkdir(parents=True, exist_ok=True)
    with lines.open("w") as file:
        record = Recorder(file)
        record(describe(arguments, present, absent))
        for number in range(1, arguments.rounds + 1):
            run_round(arguments, number, present, record)
    return peers_report.write(arguments.out, record.lines)


class Recorder:
    """Keeps the lines of results in memory and in a file."""

    def __init__(self, file):
        self.lines = []
        self._file = file

    def __call__(self, line):
        self.lines.append(line)
        print(json.dumps(line), file=self._file, flush=True)


def parse_arguments():
    parser = arguments_of.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each contestant is run (5)")
    parser.add_argument("--seconds", type=float, default=5, help="seconds for which each load is measured (5)")
    parser.add_argument(
        "--warm-up", type=float, default=1, help="seconds for which a load is sent before its measurement (1)"
    )
    parser.add_argument(
        "--only", default="", help="only contestants whose names contain one of these words, separated by commas"
    )
    parser.add_argument("--loads", default="", help=f"only these loads, separated by commas: {', '.join(TITLES)}")
    parser.add_argument("--install-only", action="store_true", help="installs the peers and measures nothing")
    parser.add_argument("--redraw", action="store_true", help="only makes table and plots from existing lines")
    arguments = arguments_of.parse(parser)
    unknown = [load for load in arguments.loads.split(",") if load and load not in TITLES]
    if unknown:
        parser.error(f"--loads: there is no {', '.join(unknown)}")
    return arguments


def is_chosen(name, words):
    """Whether `--only` selects the contestant."""
    return not words or any(word.strip().lower() in name.lower() for word in words.split(","))


def names(contestants):
    """The names of the contestants, as text."""
    return "; ".join(contestant.name for contestant in contestants)


def prepare(contestants):
    """Installs missing contestants. Returns (contestant, version) of the installed, (name, reason) of the others."""
    present, absent = [], []
    for contestant in contestants:
        try:
            present.append((contestant, contestant.prepare()))
        except Unavailable as reason:
            absent.append((contestant.name, str(reason)))
    for contestant, version in present:
        say(f"{contestant.name} {version}: {contestant.settings}")
    for name, reason in absent:
        say(f"{name}: NOT MEASURED, {reason}")
    return present, absent


def describe(arguments, present, absent):
    """The first line of the results: contestants, machine, durations."""
    return {
        **machine.run(arguments.data_dir),
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "warm_up_seconds": arguments.warm_up,
        "contestants": [
            {
                "name": contestant.name,
                "version": version,
                "settings": contestant.settings,
                "nodes": contestant.nodes,
                "durable": contestant.durable,
            }
            for contestant, version in present
        ],
        "absent": [{"name": name, "reason": reason} for name, reason in absent],
    }


def run_round(arguments, number, contestants, record):
    """Measures the machine's syncs and round trips at this moment, then runs every contestant once."""
    for line in machine.floor(arguments.generator, arguments.data_dir):
        record({"line": "floor", "round": number, **line})
    for contestant, _ in contestants:
        say(f"round {number} of {arguments.rounds}: {contestant.name}")
        with tempfile.TemporaryDirectory(prefix="anabranch-bench-", dir=arguments.data_dir) as directory:
            try:
                with contestant.serving(Path(directory) / "data") as running:
                    run_loads(arguments, number, contestant, running, record)
            except (OSError, RuntimeError, TimeoutError, Failed) as failure:
                record(failed(number, contestant, None, failure))


def run_loads(arguments, number, contestant, running, record):
    """Runs all loads of a contestant, one after another, on the same servers."""
    saturation = None
    loads = [load for load in contestant.loads if not arguments.loads or load.name in arguments.loads.split(",")]
    if contestant.settling_seconds:
        for load in loads:
            warm_up(arguments.generator, running, load, contestant.settling_seconds / len(loads))
    for load in loads:
        if load.rate_share is not None and saturation is None:
            record(
                failed(number, contestant, load.name, "the rate is a share of the load `batch`, which has no figure")
            )
            continue
        try:
            if load.command == "put":
                warm_up(arguments.generator, running, load, arguments.warm_up, saturation)
            result = measure(arguments.generator, running, load, arguments.seconds, arguments.data_dir, saturation)
        except Failed as failure:
            record(failed(number, contestant, load.name, failure))
            continue
        if load.name == "batch":
            saturation = result["records_per_s"]
        record({"line": "result", "round": number, "contestant": contestant.name, "load": load.name, **result})
        say(f"  {load.name}: {peers_report.brief(result)}")


def failed(number, contestant, load, reason):
    """The line that is recorded instead of a result."""
    say(f"  {contestant.name}, {load or 'start'}: FAILED, {reason}")
    return {"line": "failure", "round": number, "contestant": contestant.name, "load": load, "reason": str(reason)}


if __name__ == "__main__":
    main()
