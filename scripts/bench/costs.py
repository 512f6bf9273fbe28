#!/usr/bin/env python3
"""The cost of one record: counts system calls, copies and sleeps, and measures CPU time: `make costs`.

Each load is sent twice. The first time measures CPU seconds without perf. The second time perf records the servers'
system calls with their bytes, and the copies of memory by the C library. The kernel reports how often the threads of
the servers went to sleep. Needs root, linux-perf and libc6-dbg. `make guard` counts the instructions and allocations
of single pieces.

Writes a JSON line for each load, and a table.
"""

import json
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "e2e"))

from bench import arguments as arguments_of
from bench import machine, tracing
from bench.contestants import Running, make_led_stream
from bench.generator import measure, warm_up
from bench.install import say
from bench.loads import Load
from bench.processes import wait_until_written
from support.cluster import Cluster

STREAM = "bench"
# The stream that the load `get` reads from its oldest record to the end. It is separate, so that its length depends
# only on its own filling and not on the other loads.
READ_STREAM = "read"
FILLING_SECONDS = 1
SHARDS = 8
LOADS = {
    "PutRecords × 500": Load("batch", "put", STREAM, 8, 500),
    "gRPC append × 500": Load("native", "put", STREAM, 8, 500, "grpc"),
    "PutRecord, 32 connections": Load("single-32", "put", STREAM, 32),
    "PutRecord, 1 connection": Load("single-1", "put", STREAM),
    "GetRecords": Load("get", "get", READ_STREAM),
}
READING = ("recvfrom", "read", "readv", "pread64", "preadv")
SENDING = ("sendto", "sendmsg", "writev", "write")
STORING = ("pwrite64", "pwritev", "pwritev2")
SYNCING = ("fdatasync", "fsync")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / f"{arguments.name}.jsonl").open("w") as file:
        print(json.dumps(machine.run(arguments.data_dir)), file=file, flush=True)
        lines = []
        for line in measured(arguments):
            print(json.dumps(line), file=file, flush=True)
            say(f"{line['nodes']} nodes, {line['load']}: {json.dumps(line)}")
            lines.append(line)
    (arguments.out / f"{arguments.name}.md").write_text(table(lines))


def measured(arguments):
    """Yields a line for each load and each number of nodes."""
    for nodes in arguments.nodes:
        with (
            tempfile.TemporaryDirectory(prefix="anabranch-bench-", dir=arguments.data_dir) as directory,
            Cluster(Path(directory) / "data", nodes, arguments.binary) as cluster,
        ):
            make_led_stream(cluster, STREAM, SHARDS)
            make_led_stream(cluster, READ_STREAM, SHARDS)
            wait_until_written([node.pid for node in cluster.nodes])
            for name, load in LOADS.items():
                yield {"line": "cost", "nodes": nodes, "load": name, **cost(arguments, cluster, load)}
            cluster.stop()


def parse_arguments():
    parser = arguments_of.parser(__doc__)
    parser.add_argument(
        "--seconds", type=float, default=4, help="seconds for which each load is measured, and then counted (4)"
    )
    parser.add_argument(
        "--nodes",
        type=lambda text: [int(n) for n in text.split(",")],
        default=[1, 3],
        help="numbers of nodes, separated by commas (1,3)",
    )
    parser.add_argument("--name", default="costs", help="name of the result files (costs)")
    return arguments_of.parse(parser)


def cost(arguments, cluster, load):
    """Measures a load and then counts it. All figures are per record."""
    pids = [node.pid for node in cluster.nodes]
    apis = {"kinesis": [node.api for node in cluster.nodes], "grpc": [node.grpc for node in cluster.nodes]}
    running = Running(pids, **apis)
    if load.command == "put":
        warm_up(arguments.generator, running, load, arguments.seconds / 2)
    else:
        filling = replace(LOADS["PutRecords × 500"], stream=load.stream)
        warm_up(arguments.generator, running, filling, FILLING_SECONDS)
    timed = measure(arguments.generator, running, load, arguments.seconds, arguments.data_dir)
    slept = sleeps(pids)
    with tracing.Counters(pids, arguments.data_dir) as seen:
        counted = measure(arguments.generator, running, load, arguments.seconds, arguments.data_dir)
    slept = sleeps(pids) - slept
    records = counted["records"]

    def total(counter, names):
        return sum(counter[name] for name in names) / records

    return {
        "records_per_call": records / counted["calls"],
        "cpu_us": timed["server_cpu_s"] / timed["records"] * 1e6,
        "system_calls": seen.calls.total() / records,
        "by_call": {name: count / records for name, count in seen.calls.most_common(8)},
        "sleeps": slept / records,
        "syncs": total(seen.calls, SYNCING),
        "bytes_received": total(seen.bytes, READING),
        "bytes_sent": total(seen.bytes, SENDING),
        "bytes_stored": total(seen.bytes, STORING),
        "copies": seen.copies / records,
        "bytes_copied": seen.copied / records,
    }


def sleeps(pids):
    """How often the threads of the processes have waited for something so far."""
    statuses = (task / "status" for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())
    fields = (line.split() for status in statuses for line in status.read_text().splitlines())
    return sum(int(field[1]) for field in fields if field[0] == "voluntary_ctxt_switches:")


COLUMNS = {
    "CPU µs": "cpu_us",
    "system calls": "system_calls",
    "sleeps": "sleeps",
    "syncs": "syncs",
    "KiB received": "bytes_received",
    "KiB sent": "bytes_sent",
    "KiB to files": "bytes_stored",
    "copies": "copies",
    "KiB copied": "bytes_copied",
}


def table(lines):
    """A Markdown table of all figures for a record of 1 KiB."""
    rows = ["| load | nodes | " + " | ".join(COLUMNS) + " |", "| --- | --- |" + " --- |" * len(COLUMNS)]
    for line in lines:
        cells = (figure(line[key] / (1024 if title.startswith("KiB") else 1)) for title, key in COLUMNS.items())
        rows.append(f"| {line['load']} | {line['nodes']} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def figure(value):
    """The value with three significant digits, or as a whole number from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
