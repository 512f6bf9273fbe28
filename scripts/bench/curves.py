#!/usr/bin/env python3
"""How Anabranch scales on this machine: `make curves`.

Each curve varies one parameter: the number of shards, the number of connections, the size of a record, or the number
of records in a call. Each curve is measured with one node and with three nodes. Each point has its own servers, which
start on an empty directory. A round measures all points, so that a slow moment of the machine does not affect only
one point.

Writes every measurement as a JSON line, with the CPU seconds of the servers by component, and draws plots from those
lines. `--redraw` only draws the plots from existing lines.
"""

import json
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "e2e"))

from bench import arguments as arguments_of
from bench import curves_report, machine, threads
from bench.contestants import Running, make_led_stream
from bench.generator import Failed, measure, warm_up
from bench.install import say
from bench.loads import Load
from support.cluster import Cluster

STREAM = "bench"
MOST_CALL_BYTES = 4 << 20
MOST_RECORDS = 500
# Data bytes of a record of 1 MiB: its partition key of 16 bytes counts too.
MOST_RECORD_BYTES = (1 << 20) - 16


@dataclass(frozen=True)
class Point:
    """One point of a curve."""

    curve: str
    x: int
    shards: int = 8
    connections: int = 8
    record_bytes: int = 1024
    records_per_call: int = MOST_RECORDS

    def load(self):
        """The load that the generator sends at this point."""
        return Load(
            self.curve,
            "put",
            STREAM,
            self.connections,
            self.records_per_call,
            record_bytes=self.record_bytes,
        )


def points():
    """All points of all curves."""
    for shards in (1, 4, 16, 64, 256, 1000):
        yield Point("shards", shards, shards=shards)
    for connections in (1, 4, 16, 64, 256, 1000):
        yield Point("connections", connections, connections=connections, records_per_call=1)
    for size in (100, 1 << 10, 10 << 10, 100 << 10, MOST_RECORD_BYTES):
        records = max(min(MOST_RECORDS, MOST_CALL_BYTES // size), 1)
        yield Point("record-size", size, record_bytes=size, records_per_call=records)
    for records in (1, 5, 25, 100, MOST_RECORDS):
        yield Point("records-per-call", records, records_per_call=records)


CURVES = list(dict.fromkeys(point.curve for point in points()))


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))
    arguments = parse_arguments()
    path = arguments.out / "curves.jsonl"
    if not arguments.redraw:
        arguments.out.mkdir(parents=True, exist_ok=True)
        chosen = [point for point in points() if is_chosen(point, arguments)]
        with path.open("w") as file:
            print(json.dumps(describe(arguments)), file=file, flush=True)
            for number in range(1, arguments.rounds + 1):
                for point in chosen:
                    for nodes in arguments.nodes:
                        print(json.dumps(run_point(arguments, number, point, nodes)), file=file, flush=True)
    curves_report.draw(arguments.out, [json.loads(line) for line in path.read_text().splitlines()])


def parse_arguments():
    parser = arguments_of.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often every point is measured (3)")
    parser.add_argument("--seconds", type=float, default=4, help="seconds for which each point is measured (4)")
    parser.add_argument(
        "--warm-up", type=float, default=1, help="seconds for which the load is sent before the measurement (1)"
    )
    parser.add_argument("--only", default="", help=f"only these curves, separated by commas: {', '.join(CURVES)}")
    parser.add_argument("--most", type=int, help="leaves out points with a larger value on the x axis")
    parser.add_argument("--nodes", type=numbers, default=[1, 3], help="numbers of nodes, separated by commas (1,3)")
    parser.add_argument("--redraw", action="store_true", help="only draws the plots from existing lines")
    arguments = arguments_of.parse(parser)
    unknown = [curve for curve in arguments.only.split(",") if curve and curve not in CURVES]
    if unknown:
        parser.error(f"--only: there is no {', '.join(unknown)}")
    return arguments


def numbers(text):
    """Parses numbers that are separated by commas."""
    return [int(number) for number in text.split(",")]


def is_chosen(point, arguments):
    """Whether `--only` and `--most` select the point."""
    is_named = not arguments.only or point.curve in arguments.only.split(",")
    return is_named and (arguments.most is None or point.x <= arguments.most)


def describe(arguments):
    """The first line of the results."""
    return {
        **machine.run(arguments.data_dir),
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "warm_up_seconds": arguments.warm_up,
    }


def run_point(arguments, number, point, nodes):
    """Measures one point. Returns the result line, or a failure line with the reason."""
    line = {"round": number, "curve": point.curve, "x": point.x, "nodes": nodes, "shards": point.shards}
    where = f"round {number}: {point.curve} {point.x:,}, nodes: {nodes}"
    with tempfile.TemporaryDirectory(prefix="anabranch-bench-", dir=arguments.data_dir) as directory:
        try:
            with Cluster(Path(directory) / "data", nodes, arguments.binary) as cluster:
                result = measure_point(arguments, point, cluster)
                cluster.stop()
        except (Failed, OSError, RuntimeError, TimeoutError) as reason:
            say(f"{where}: FAILED, {reason}")
            return {"line": "failure", **line, "reason": str(reason)}
    say(f"{where}: {result['records_per_s']:,.0f} records/s, {result['mb_per_s']:,.0f} MB/s")
    return {"line": "result", **line, **result}


def measure_point(arguments, point, cluster):
    """Returns the generator's figures and the servers' CPU seconds by component."""
    make_led_stream(cluster, STREAM, point.shards)
    running = Running([node.pid for node in cluster.nodes], kinesis=[node.api for node in cluster.nodes])
    load = point.load()
    warm_up(arguments.generator, running, load, arguments.warm_up)
    before = threads.cpu_seconds(running.pids)
    result = measure(arguments.generator, running, load, arguments.seconds, arguments.data_dir)
    result["component_cpu_s"] = threads.since(before, running.pids)
    return result


if __name__ == "__main__":
    main()
