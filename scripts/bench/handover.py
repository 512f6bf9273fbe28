#!/usr/bin/env python3
"""How long a function mapping pauses when the node that works on its shards is lost, hangs, stops or is drained: `make
handover`.

Three nodes (`anabranch dev --nodes 3`) and a function on this machine. A record is put to each of three shards every
20 ms. The gap is the longest time between two records of one shard that reach the function, from two seconds before the
fault to six seconds after it.

Prints one JSON line for each kind of fault: median and maximum of the gaps of shards whose owner was the victim, of all
other shards, records that were lost and that came twice, and the median time from the put to the function.
"""

import argparse
import base64
import itertools
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "e2e"))

from support.clients import kinesis
from support.cluster import Cluster
from support.ctl import ctl
from support.function import Function
from support.streams import create_stream
from support.waiting import wait_until

SHARDS, KEYS = 3, 2**128
BEFORE, AFTER = 2.0, 6.0
EVERY = 0.02


def kill(cluster, node):
    """The node's process is killed."""
    cluster.kill(node)


def hang(_cluster, node):
    """The node's process is stopped with SIGSTOP, and goes on at the end of the trial."""
    os.kill(node.pid, signal.SIGSTOP)


def stop(cluster, node):
    """The node is stopped with SIGTERM, as for a restart."""
    cluster.terminate(node)


def drain(cluster, node):
    """`anabranch ctl drain`."""
    ctl(cluster.binary, node, "drain", str(node.id))


def back(cluster, node, fault):
    """Ends the fault."""
    if fault is hang:
        os.kill(node.pid, signal.SIGCONT)
        cluster.wait_ready(node)
    elif fault is drain:
        ctl(cluster.binary, node, "undrain", str(node.id))
    else:
        cluster.restart(node)


class Puts(threading.Thread):
    """Puts records to every shard, each with the time of its call as data."""

    def __init__(self, node, stream):
        super().__init__(daemon=True)
        self.client, self.stream = kinesis(node.endpoint), stream
        self.put, self.over = set(), threading.Event()

    def run(self):
        """Puts until `over` is set."""
        number = 0
        while not self.over.wait(EVERY):
            for shard in range(SHARDS):
                data = f"{shard} {number} {time.monotonic()}"
                self.put.add(data)
                key = str(shard * (KEYS // SHARDS) + 1)
                self.client.put_record(StreamName=self.stream, PartitionKey="k", ExplicitHashKey=key, Data=data)
            number += 1


def arrivals(function):
    """Time of arrival and data of each record."""
    for at, event in zip(function.times, function.events, strict=False):
        for record in event["Records"]:
            yield at, base64.b64decode(record["kinesis"]["data"]).decode()


def trial(cluster, run, fault, turn):
    """One fault. Returns the gaps of the victim's shards and of the others, lost, repeated, and latencies."""
    name = f"{fault.__name__}-{turn}"
    create_stream(kinesis(cluster.nodes[0].endpoint), name, shards=SHARDS)
    with Function() as function:
        run("function", "put", name, "--url", function.url)
        [mapping] = run("mapping", "create", "--stream", name, "--function", name)

        def owners():
            jobs = [job for job in run("jobs") if job.get("resource") == mapping["id"]]
            return len(jobs) == SHARDS and all(job["node"] for job in jobs) and [job["node"] for job in jobs]

        before = wait_until("owners", owners)
        victim = next(node for node in cluster.nodes if node.id == before[turn % SHARDS])
        other = next(node for node in cluster.nodes if node.id != victim.id)
        puts = Puts(other, name)
        puts.start()
        time.sleep(BEFORE)
        fault(cluster, victim)
        time.sleep(AFTER)
        puts.over.set()
        puts.join()
        wait_until("all records", lambda: puts.put <= {data for _, data in arrivals(function)})
        back(cluster, victim, fault)
        records = list(arrivals(function))
        first = {}
        for at, data in records:
            first.setdefault(data, at)
        gaps = ([], [])
        for shard in range(SHARDS):
            times = sorted(at for data, at in first.items() if data.startswith(f"{shard} "))
            gap = max(b - a for a, b in itertools.pairwise(times))
            gaps[before[shard] != victim.id].append(gap)
        latencies = [at - float(data.split()[2]) for data, at in first.items()]
        run("mapping", "delete", mapping["id"])
    return gaps, len(puts.put - set(first)), len(records) - len(first), latencies


def main():
    """Runs the trials."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--only", default="", help="only these faults, separated by commas")
    arguments = parser.parse_args()
    faults = [f for f in (kill, hang, stop, drain) if not arguments.only or f.__name__ in arguments.only.split(",")]
    directory = tempfile.TemporaryDirectory()
    with directory, Cluster(Path(directory.name) / "data", nodes=3) as cluster:

        def run(*command):
            for node in cluster.nodes:
                try:
                    return ctl(cluster.binary, node, *command)
                except (RuntimeError, OSError) as error:
                    failed = error
            raise failed

        for fault in faults:
            of_victim, of_others, lost, twice, latencies = [], [], 0, 0, []
            for turn in range(arguments.trials):
                gaps, missing, repeated, waits = trial(cluster, run, fault, turn)
                of_victim += gaps[0]
                of_others += gaps[1]
                lost, twice = lost + missing, twice + repeated
                latencies += waits
            line = {
                "fault": fault.__name__,
                "trials": arguments.trials,
                "gap_s_median": round(statistics.median(of_victim), 2),
                "gap_s_max": round(max(of_victim), 2),
                "others_gap_s_max": round(max(of_others, default=0), 2),
                "lost": lost,
                "repeated": twice,
                "put_to_function_ms_p50": round(statistics.median(latencies) * 1000, 1),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
