#!/usr/bin/env python3
"""What tables cost: `make tables`.

Three nodes (`anabranch dev --nodes 3`) on this machine, each write synced by a majority. Prints one JSON line for each
measurement, with the CPU of each node in percent of one core, without that of the load generator:
- idle: a cluster without tables, and the same cluster after its first table;
- transactions: 3,000 conditional writes a second by TableService, in transactions of 20;
- single: 3,000 conditional writes a second, one in each transaction;
- most: as many writes as 8 connections can make, in transactions of 20;
- leases: 10,000 leases of the Kinesis Client Library, each renewed every 3.3 s through the DynamoDB API.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "e2e"))

from support.clients import dynamodb
from support.cluster import Cluster, release_binary

TICKS_PER_SECOND = 100
IDLE_SECONDS = 10


def cpu_seconds(node):
    """CPU seconds of a node's process, user and system."""
    fields = Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def throttled(cluster):
    """Transactions that were throttled or refused because the group is full, on all nodes."""
    total = 0.0
    for node in cluster.nodes:
        with urllib.request.urlopen(f"{node.endpoint}/metrics") as response:
            for line in response.read().decode().splitlines():
                if line.startswith("anabranch_table_transactions_total") and ("throttled" in line or "full" in line):
                    total += float(line.split()[1])
    return total


class Cpu:
    """The CPU of each node during a block, in percent of one core."""

    def __init__(self, cluster):
        self.cluster = cluster

    def __enter__(self):
        self.began, self.before = time.monotonic(), [cpu_seconds(node) for node in self.cluster.nodes]
        return self

    def __exit__(self, *_):
        seconds = time.monotonic() - self.began
        used = [cpu_seconds(node) - before for node, before in zip(self.cluster.nodes, self.before, strict=True)]
        self.percent = [round(100 * cpu / seconds, 1) for cpu in used]


def generate(cluster, *arguments):
    """Runs the load generator. Returns its report, and the CPU of each node in percent of one core.

    The report begins after the generator has made its rows, so its own count of the servers' CPU is used for the mean.
    """
    pids = ",".join(str(node.pid) for node in cluster.nodes)
    command = [str(release_binary("anabranch-bench")), *arguments, "--server-pids", pids]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(result.stdout)
    per_node = 100 * report["server_cpu_s"] / report["seconds"] / len(cluster.nodes)
    return report, per_node


def table(cluster, *arguments):
    grpc = ",".join(f"http://{node.grpc}" for node in cluster.nodes)
    return generate(cluster, "table", "--api", "grpc", "--endpoint", grpc, "--stream", "bench/rows", *arguments)


def leases(cluster, turn, *arguments):
    endpoints = ",".join(node.endpoint for node in cluster.nodes)
    return generate(cluster, "leases", "--endpoint", endpoints, "--stream", f"leases-{turn}", *arguments)


def idle(cluster):
    with Cpu(cluster) as cpu:
        time.sleep(IDLE_SECONDS)
    return cpu.percent


def line(name, rounds):
    """The medians of several rounds of one measurement."""
    reports = [report for report, _ in rounds]

    def median(key):
        return statistics.median(report[key] for report in reports)

    return {
        "line": name,
        "rounds": len(rounds),
        "writes_per_s": round(median("records_per_s")),
        "p50_ms": round(median("p50_us") / 1000, 2),
        "p99_ms": round(median("p99_us") / 1000, 2),
        "errors": sum(report["errors"] for report in reports),
        "node_cpu_percent": round(statistics.median(cpu for _, cpu in rounds), 1),
        "node_cpu_percent_max": round(max(cpu for _, cpu in rounds), 1),
    }


def main():
    """Runs the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    seconds, rounds = f"{arguments.seconds}s", range(arguments.rounds)
    directory = tempfile.TemporaryDirectory()
    with directory, Cluster(Path(directory.name) / "data", nodes=3) as cluster:
        before = idle(cluster)
        dynamodb(cluster.nodes[0].endpoint).create_table(
            TableName="first",
            KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        time.sleep(2)
        print(json.dumps({"line": "idle", "without_tables": before, "with_a_table": idle(cluster)}), flush=True)
        paced = ("--rate", "3000", "--duration", seconds)
        loads = {
            "transactions": lambda turn: table(cluster, "--connections", "8", *paced),
            "single": lambda turn: table(cluster, "--connections", "64", "--rows-per-transaction", "1", *paced),
            "most": lambda turn: table(cluster, "--connections", "8", "--duration", seconds),
            "leases": lambda turn: leases(cluster, turn, "--connections", "256", "--rounds", "4"),
        }
        for name, load in loads.items():
            refused = throttled(cluster)
            measured = [load(turn) for turn in rounds]
            print(json.dumps({**line(name, measured), "throttled": throttled(cluster) - refused}), flush=True)


if __name__ == "__main__":
    main()
