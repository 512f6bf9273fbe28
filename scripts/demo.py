#!/usr/bin/env python3
"""The demo: three nodes, a real data set, a leader that is killed in the middle, and a check of every record.

Order of events:
1. Starts three `anabranch server` processes on loopback.
2. Writes the 28,000 airports of the package airportsdata, each as one JSON record, with boto3's PutRecords. A few of
   them are written with the AWS CLI.
3. Kills the leader of a shard with SIGKILL half way.
4. Reads everything back with GetRecords. Checks that every acknowledged record exists once per acknowledgement, byte
   for byte, in order.

Afterwards no process runs and no file is left. `make demo` builds the binary and runs this script.
"""

import csv
import json
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "e2e"))

import airportsdata

from support.clients import cli, kinesis
from support.cluster import Cluster
from support.oracle import Oracle, read_stream
from support.streams import create_stream
from support.waiting import wait_until
from support.writer import Writer

STREAM = "airports"
SHARDS = 4
WRITERS = 4
RECORDS_PER_CALL = 100
BY_CLI = 5


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("demo: stopped"))
    rows = list(airports())
    by_cli, by_sdk = rows[:BY_CLI], rows[BY_CLI:]
    oracle = Oracle()
    with tempfile.TemporaryDirectory(prefix="anabranch-demo-") as directory:
        say(f"starting three nodes, their data in {directory}")
        with Cluster(directory, nodes=3) as cluster:
            figures = run(cluster, oracle, by_cli, by_sdk)
            say("stopping the nodes")
            cluster.stop()
            left = cluster.running()
            require(not left, f"these processes are still there: {left}")
    print_table(figures)
    say(f"passed: all {oracle.count:,} acknowledged records are there, once each, unchanged and in order")


def run(cluster, oracle, by_cli, by_sdk):
    """Writes, kills and reads while the nodes run. Returns the figures for the table."""
    for node in cluster.nodes:
        say(f"  node {node.id}: process {node.pid}, {node.endpoint}")
    create_stream(kinesis(cluster.nodes[0].endpoint), STREAM, SHARDS)
    before = wait_until("every shard has a leader", lambda: all_led(cluster.leaders(STREAM)))
    victim_shard = min(before)
    victim = next(node for node in cluster.nodes if node.id == before[victim_shard])
    survivors = [node for node in cluster.nodes if node.id != victim.id]

    say(f"stream `{STREAM}` has {SHARDS} shards, three replicas each; {BY_CLI} records by the AWS CLI")
    for key, data in by_cli:
        put_by_cli(survivors[0].endpoint, oracle, key, data)

    say(f"{len(by_sdk):,} records by boto3, {RECORDS_PER_CALL} a call, {WRITERS} clients")
    # A real client would reach living nodes through a load balancer. Here each client uses one node that survives.
    clients = [kinesis(survivors[n % 2].endpoint) for n in range(WRITERS)]
    batches = [by_sdk[n : n + RECORDS_PER_CALL] for n in range(0, len(by_sdk), RECORDS_PER_CALL)]
    with Writer(oracle, STREAM, clients, batches) as writer:
        half = len(by_sdk) // 2
        wait_until("half of the records are written", lambda: writer.is_over() or oracle.count > half, timeout=300)
        require(not writer.is_over(), f"the load ended before the kill: {writer.errors}")
        say(f"{oracle.count:,} records in: killing node {victim.id}, the leader of {victim_shard}, with SIGKILL")
        killed = time.monotonic()
        cluster.kill(victim)
        wait_until("every record is acknowledged", writer.is_over, timeout=300)
    require(not writer.errors, f"an error reached a client in spite of its retries: {writer.errors}")
    living = {node.id for node in survivors}
    after = wait_until(
        "every shard has a living leader",
        lambda: led_by(cluster.leaders(STREAM, survivors[0]), living),
    )

    say("reading everything back with GetRecords")
    read = read_stream(kinesis(survivors[1].endpoint), STREAM)
    verdict = oracle.judge(read)
    require(verdict, f"what was read is not what was acknowledged: {verdict}")
    return {
        "read": read,
        "before": before,
        "after": after,
        "silence": writer.longest_silence(killed),
        "seconds": sorted(writer.call_seconds),
        "acknowledged": oracle.count,
    }


def all_led(leaders):
    """The leaders by shard if every shard has one, otherwise None."""
    return leaders if len(leaders) == SHARDS and all(leaders.values()) else None


def led_by(leaders, living):
    """The leaders by shard if all of them are in `living`, otherwise None."""
    return leaders if len(leaders) == SHARDS and set(leaders.values()) <= living else None


def put_by_cli(endpoint, oracle, key, data):
    """Puts one record with the AWS CLI."""
    answer = cli(endpoint, "put-record", "--stream-name", STREAM, "--partition-key", key, "--data", data.decode())
    oracle.acknowledged(answer["ShardId"], answer["SequenceNumber"], key, data)


def airports():
    """Yields the data set as (partition key, data): one JSON object per airport."""
    path = Path(airportsdata.__file__).with_name("airports.csv")
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["icao"], json.dumps(row, ensure_ascii=False).encode()


def print_table(figures):
    """Prints the results in a few lines."""
    line = "{:<22} {:>9}  {:<13} {:<12}".format
    print()
    print(line("shard", "records", "leader before", "leader after"))
    for shard, records in sorted(figures["read"].items()):
        print(line(shard, f"{len(records):,}", f"node {figures['before'][shard]}", f"node {figures['after'][shard]}"))
    print(line("all", f"{figures['acknowledged']:,}", "", ""))
    seconds = figures["seconds"]
    hundredths = statistics.quantiles(seconds, n=100)
    print()
    print(f"fail-over: {figures['silence']:.2f} s without an acknowledgement after the kill")
    print(f"PutRecords of {RECORDS_PER_CALL}: p50 {hundredths[49] * 1000:.1f} ms, p99 {hundredths[98] * 1000:.1f} ms")
    print()


def require(condition, message):
    """Ends the demo with a message unless the condition holds."""
    if not condition:
        sys.exit(f"demo: FAILED: {message}")


def say(text):
    """Prints one line of progress."""
    print(f"demo: {text}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (TimeoutError, RuntimeError, OSError) as failure:
        sys.exit(f"demo: FAILED: {failure}")
