#!/usr/bin/env python3
"""What delivery streams cost: `make delivery`.

One node (`anabranch dev`) on this machine, whose buckets are folders. Prints one JSON line for each measurement:
- latency: zero buffering, one record at a time: from the call of PutRecord until its object is there;
- load: records of 750 bytes of JSON by PutRecordBatch, 500 in a call, into GZIP objects of 1 MiB before compression,
  until all are there; with the CPU of the node, and as a floor the CPU of zlib at level 3 for the same bytes;
- idle: memory and CPU of delivery streams without records.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "e2e"))

from support.clients import client_of
from support.cluster import Cluster
from support.firehose import create, objects

TICKS_PER_SECOND = 100
IDLE_SECONDS = 10
RECORDS_PER_CALL = 500
PUTTERS = 2


def cpu_seconds(node):
    """CPU seconds of a node's process, user and system."""
    fields = Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def resident_mib(node):
    """Memory of a node's process."""
    [line] = [line for line in Path(f"/proc/{node.pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def latency(cluster, firehose, rounds):
    create(firehose, "latency", "latency", seconds=0)
    bucket = cluster.data_dir / "buckets" / "latency"
    times = []
    for number in range(rounds):
        began = time.monotonic()
        firehose.put_record(DeliveryStreamName="latency", Record={"Data": b"x"})
        while len(objects(bucket)) <= number:
            time.sleep(0.005)
        times.append(time.monotonic() - began)
    times.sort()
    p50, p90 = (times[int(len(times) * part)] for part in (0.5, 0.9))
    return {"line": "latency", "rounds": rounds, "p50_s": round(p50, 3), "p90_s": round(p90, 3)}


def order(randomness):
    """A record of some 750 bytes of JSON, half of it different from the others."""
    numbers = [randomness.randrange(10**9) for _ in range(40)]
    return json.dumps({"order": numbers[0], "items": numbers, "note": "x" * 280})


def load(cluster, firehose, calls, turn):
    name = f"load-{turn}"
    create(firehose, name, name, seconds=2, CompressionFormat="GZIP")
    randomness = random.Random(turn)
    batches = [[{"Data": order(randomness)} for _ in range(RECORDS_PER_CALL)] for _ in range(20)]
    [node] = cluster.nodes
    before, began = cpu_seconds(node), time.monotonic()

    def put(part):
        client = client_of("firehose", node.endpoint)
        for call in range(part, calls, PUTTERS):
            client.put_record_batch(DeliveryStreamName=name, Records=batches[call % len(batches)])

    putters = [threading.Thread(target=put, args=(part,)) for part in range(PUTTERS)]
    for putter in putters:
        putter.start()
    for putter in putters:
        putter.join()
    put_seconds = time.monotonic() - began
    bucket, total = cluster.data_dir / "buckets" / name, 0
    expected = sum(len(r["Data"]) for call in range(calls) for r in batches[call % len(batches)])
    while total < expected:
        time.sleep(0.2)
        total = sum(len(zlib.decompress(data, 31)) for data in objects(bucket).values())
    cpu = cpu_seconds(node) - before
    sample = "".join(record["Data"] for batch in batches for record in batch).encode()
    floor = time.thread_time()
    zlib.compress(sample, 3)
    floor = (time.thread_time() - floor) / len(sample) * expected
    return {
        "mb": expected / 1e6,
        "put_s": put_seconds,
        "objects": len(objects(bucket)),
        "node_cpu_s": cpu,
        "zlib_cpu_s": floor,
    }


def idle(cluster, firehose, count):
    [node] = cluster.nodes
    before = resident_mib(node)
    for number in range(count):
        create(firehose, f"idle-{number}", "idle")
    time.sleep(2)
    cpu, after = cpu_seconds(node), resident_mib(node)
    time.sleep(IDLE_SECONDS)
    percent = 100 * (cpu_seconds(node) - cpu) / IDLE_SECONDS
    return {
        "line": "idle",
        "delivery_streams": count,
        "kib_each": round(1024 * (after - before) / count),
        "cpu_percent": round(percent, 2),
    }


def main():
    """Runs the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=400)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, Cluster(Path(directory) / "data") as cluster:
        firehose = client_of("firehose", cluster.nodes[0].endpoint)
        print(json.dumps(latency(cluster, firehose, 40)), flush=True)
        rounds = [load(cluster, firehose, arguments.calls, turn) for turn in range(arguments.rounds)]
        medians = {key: round(statistics.median(r[key] for r in rounds), 2) for key in rounds[0]}
        print(json.dumps({"line": "load", "rounds": len(rounds), **medians}), flush=True)
        print(json.dumps(idle(cluster, firehose, 100)), flush=True)


if __name__ == "__main__":
    main()
