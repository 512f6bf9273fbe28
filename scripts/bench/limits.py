#!/usr/bin/env python3
"""The cost of an idle cluster, and its behaviour under extreme loads: `make limits`.

Three nodes on this machine. Each scene has its own servers, which start on an empty directory:
- idle: a thousand shards without any load;
- overload: a hundred times the connections that saturate the nodes, for minutes, then the earlier load again;
- slow-readers: a thousand connections that take large responses a little at a time, while other clients write;
- reshard: how long a split or a merge makes puts wait, alone and beside a steady load;
- replace: one node of four is drained under load, so its replicas move to the others;
- scale: thousands of shards in one stream, and hundreds of streams: they are made, listed, split, and the nodes
  restarted.

Writes the figures of each scene as a JSON line, and prints them.
"""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "e2e"))

from bench import arguments as arguments_of
from bench import machine, protocols, threads
from bench.contestants import Running, make_kinesis_stream, make_led_stream
from bench.generator import Failed, measure, warm_up
from bench.install import say
from bench.loads import Load
from bench.processes import resident_bytes
from support.clients import kinesis
from support.cluster import Cluster
from support.streams import shards, status
from support.waiting import wait_until

STREAM = "bench"
SHARDS = 8
SATURATING = Load("batch", "put", STREAM, 8, 500)
SIGNATURE = "AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=00"
# With less free space, the figures after the flood would show the effect of the full disk, not of the flood.
LEAST_FREE_BYTES = 4 << 30
# Bytes that a slow reader takes, once per second.
SIP_BYTES = 64 << 10


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "limits.jsonl").open("w") as file:
        record(file, machine.run(arguments.data_dir))
        for name, scene in SCENES.items():
            if arguments.only and name not in arguments.only.split(","):
                continue
            say(name)
            with (
                tempfile.TemporaryDirectory(prefix="anabranch-bench-", dir=arguments.data_dir) as directory,
                Cluster(Path(directory) / "data", nodes_of(name, arguments), arguments.binary) as cluster,
            ):
                try:
                    record(file, {"line": name, "nodes": len(cluster.nodes), **scene(arguments, cluster)})
                except Failed as failure:
                    record(file, {"line": "failure", "scene": name, "reason": str(failure)})
                cluster.stop()


def nodes_of(scene, arguments):
    """The number of nodes of a scene."""
    return arguments.nodes + 1 if scene == "replace" else arguments.nodes


def parse_arguments():
    parser = arguments_of.parser(__doc__)
    parser.add_argument("--only", default="", help=f"only these scenes, separated by commas: {', '.join(SCENES)}")
    parser.add_argument("--nodes", type=int, default=3, help="number of nodes (3)")
    parser.add_argument("--shards", type=int, default=1000, help="shards of the scene `idle` (1000)")
    parser.add_argument("--idle-seconds", type=float, default=60, help="seconds for which `idle` watches them (60)")
    parser.add_argument("--overload-seconds", type=float, default=300, help="seconds of the flood (300)")
    parser.add_argument("--overload-connections", type=int, default=800, help="connections of the flood (800)")
    parser.add_argument("--readers", type=int, default=1000, help="number of slow readers (1000)")
    parser.add_argument("--seconds", type=float, default=10, help="seconds for which every other load is measured (10)")
    parser.add_argument("--reshardings", type=int, default=40, help="splits and merges of the scene `reshard` (40)")
    parser.add_argument("--steady-rate", type=int, default=10_000, help="records per second of the steady load (10000)")
    parser.add_argument("--fill-seconds", type=int, default=20, help="seconds for which `replace` writes first (20)")
    parser.add_argument("--many-shards", type=int, default=3000, help="shards of the scene `scale` (3000)")
    parser.add_argument("--many-streams", type=int, default=300, help="further streams of the scene `scale` (300)")
    return arguments_of.parse(parser)


def record(file, line):
    """Writes a line to the file and to stdout."""
    print(json.dumps(line), file=file, flush=True)
    print(json.dumps(line), flush=True)


def running(cluster):
    """The process ids and addresses of the cluster, for the generator."""
    pids = [node.pid for node in cluster.nodes]
    return Running(pids, kinesis=[node.api for node in cluster.nodes])


def run_load(arguments, cluster, load, seconds):
    """Measures a load. Returns the figures that these scenes need."""
    result = measure(arguments.generator, running(cluster), load, seconds, arguments.data_dir)
    kept = ("records_per_s", "p50_us", "p99_us", "errors", "server_peak_resident_bytes")
    return {name: result[name] for name in kept}


def idle(arguments, cluster):
    """CPU and memory of a stream without load."""
    pids = [node.pid for node in cluster.nodes]
    before = [resident_bytes([pid]) for pid in pids]
    began = time.monotonic()
    make_led_stream(cluster, STREAM, arguments.shards)
    made = time.monotonic() - began
    time.sleep(arguments.idle_seconds / 2)  # lets the work that follows the creation end
    used = [threads.cpu_seconds([pid]).total() for pid in pids]
    time.sleep(arguments.idle_seconds)
    spent = [threads.cpu_seconds([pid]).total() - at for pid, at in zip(pids, used, strict=True)]
    return {
        "shards": arguments.shards,
        "seconds_to_make": round(made, 1),
        "core_share": [round(seconds / arguments.idle_seconds, 4) for seconds in spent],
        "resident_bytes_without": before,
        "resident_bytes": [resident_bytes([pid]) for pid in pids],
    }


def overload(arguments, cluster):
    """Figures during a flood, and in each second after it."""
    make_led_stream(cluster, STREAM, SHARDS)
    warm_up(arguments.generator, running(cluster), SATURATING, arguments.seconds)
    before = run_load(arguments, cluster, SATURATING, arguments.seconds)
    flood = replace(SATURATING, name="flood", connections=arguments.overload_connections, no_retry=True)
    meanwhile = run_load(arguments, cluster, flood, arguments.overload_seconds)
    free = shutil.disk_usage(arguments.data_dir).free
    if free < LEAST_FREE_BYTES:
        raise Failed(f"the flood has filled the disk: {free:,} bytes are free; ask for less of it (--overload-seconds)")
    after = [run_load(arguments, cluster, SATURATING, 1) for _ in range(10)]
    return {
        "connections": arguments.overload_connections,
        "seconds": arguments.overload_seconds,
        "before": before,
        "meanwhile": meanwhile,
        "each_second_after": [round(second["records_per_s"]) for second in after],
    }


def slow_readers(arguments, cluster):
    """Figures of writers without slow readers and with them."""
    make_led_stream(cluster, STREAM, SHARDS)
    warm_up(arguments.generator, running(cluster), SATURATING, arguments.seconds)
    before = run_load(arguments, cluster, SATURATING, arguments.seconds)
    readers = SlowReaders(cluster, arguments.readers)
    with readers:
        time.sleep(arguments.seconds)  # all readers have sent a request, and hold a response
        meanwhile = run_load(arguments, cluster, SATURATING, arguments.seconds)
    return {
        "readers": arguments.readers,
        "before": before,
        "meanwhile": meanwhile,
        "answers_begun": readers.answers,
        "throttled": readers.throttled,
        "bytes_taken": readers.taken,
    }


class SlowReaders:
    """Connections that each request 10 MiB from the oldest record on, and take the response in small pieces."""

    def __init__(self, cluster, count):
        self.answers = self.throttled = self.taken = 0
        self._cluster = cluster
        self._count = count
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    async def _run(self):
        tasks = [asyncio.create_task(self._read(number)) for number in range(self._count)]
        while not self._stop.is_set():
            await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, number):
        node = self._cluster.nodes[number % len(self._cluster.nodes)]
        shard = f"shardId-{number % SHARDS:012}"
        while True:
            oldest = {"StreamName": STREAM, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
            got = await asyncio.to_thread(protocols.kinesis, node.endpoint, "GetShardIterator", **oldest)
            reader, writer = await asyncio.open_connection(*node.api.split(":"), limit=SIP_BYTES)
            try:
                writer.write(get_records(node.api, got["ShardIterator"]))
                head = await reader.readuntil(b"\r\n\r\n")
                if b" 200 " not in head.splitlines()[0]:
                    self.throttled += 1
                    await asyncio.sleep(1)
                    continue
                self.answers += 1
                while sip := await reader.read(SIP_BYTES):
                    self.taken += len(sip)
                    await asyncio.sleep(1)
            finally:
                writer.close()


def get_records(host, iterator):
    """A GetRecords request as bytes."""
    body = json.dumps({"ShardIterator": iterator}).encode()
    head = (
        f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-amz-json-1.1\r\n"
        f"X-Amz-Target: Kinesis_20131202.GetRecords\r\nX-Amz-Date: 20260101T000000Z\r\n"
        f"Authorization: {SIGNATURE}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def reshard(arguments, cluster):
    """How long puts wait while shards are split and merged."""
    make_led_stream(cluster, STREAM, 4)
    alone = bench(arguments, cluster, "reshard", "--connections", "4", "--count", str(arguments.reshardings))
    rate = str(arguments.steady_rate)
    steady = ["put", "--connections", "8", "--records-per-call", "100", "--rate", rate, "--duration", "600s"]
    beside = subprocess.Popen(command(arguments, cluster, *steady), stdout=subprocess.DEVNULL)
    try:
        loaded = bench(arguments, cluster, "reshard", "--connections", "4", "--count", str(arguments.reshardings))
    finally:
        beside.kill()
        beside.wait()
    return {"steady_records_per_s": arguments.steady_rate, "alone": alone, "beside_load": loaded}


def replace_node(arguments, cluster):
    """How long puts take before and while all replicas of a node move to other nodes."""
    make_kinesis_stream(cluster.nodes[0].endpoint, STREAM, 8)
    put = ["--connections", "8", "--records-per-call", "100", "--rate", str(arguments.steady_rate)]
    bench(arguments, cluster, "put", *put, "--duration", f"{arguments.fill_seconds}s")
    before = bench(arguments, cluster, "put", *put, "--duration", f"{2 * arguments.seconds}s")
    leaving = cluster.nodes[0]
    began = time.monotonic()
    ctl(arguments, cluster, "drain", str(leaving.id))
    meanwhile = []
    while replicas_on(arguments, cluster, leaving) > 0:
        meanwhile.append(bench(arguments, cluster, "put", *put, "--duration", f"{arguments.seconds}s"))
    kept = ("records_per_s", "p50_us", "p99_us", "p999_us", "errors")
    return {
        "steady_records_per_s": arguments.steady_rate,
        "seconds_to_empty": round(time.monotonic() - began, 1),
        "before": {name: before[name] for name in kept},
        "meanwhile": [{name: line[name] for name in kept} for line in meanwhile],
        "p99_ratio": round(max(line["p99_us"] for line in meanwhile) / before["p99_us"], 2),
    }


def replicas_on(arguments, cluster, node):
    """The number of replicas on a node, according to the catalog."""
    entries = ctl(arguments, cluster, "nodes")
    return next(entry["replicas"] for entry in entries if entry["node"] == node.id)


def ctl(arguments, cluster, *what):
    """The output of `anabranch ctl --json`."""
    grpc = ",".join(node.grpc for node in cluster.nodes)
    command_line = [str(arguments.binary), "ctl", "--json", "--node", grpc, *what]
    done = subprocess.run(command_line, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(done.stderr.strip())
    return json.loads(done.stdout)


def command(arguments, cluster, what, *rest):
    """A command line of `anabranch-bench` against all nodes."""
    endpoints = ",".join(node.endpoint for node in cluster.nodes)
    return [str(arguments.generator), what, "--endpoint", endpoints, "--stream", STREAM, *rest]


def bench(arguments, cluster, what, *rest):
    """Runs `anabranch-bench` and returns the line that it prints."""
    done = subprocess.run(command(arguments, cluster, what, *rest), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(done.stderr.strip())
    return json.loads(done.stdout)


def scale(arguments, cluster):
    """Times and memory with many shards and many streams."""
    client = kinesis(cluster.nodes[0].endpoint)
    pids = [node.pid for node in cluster.nodes]
    result = {"shards": arguments.many_shards, "streams": arguments.many_streams}

    def timed(name, action):
        began = time.monotonic()
        try:
            action()
        except TimeoutError as error:
            raise Failed(f"{name}: {error} (so far {result})") from error
        result[f"{name}_seconds"] = round(time.monotonic() - began, 2)

    timed("create", lambda: make_led_stream(cluster, STREAM, arguments.many_shards))
    result["resident_bytes"] = [resident_bytes([pid]) for pid in pids]
    timed("describe_all_pages", lambda: list(client.get_paginator("describe_stream").paginate(StreamName=STREAM)))
    timed("list_shards_all_pages", lambda: shards(client, STREAM))
    timed("split_100_in_a_row", lambda: split_in_a_row(client, 100))
    names = [f"stream-{number}" for number in range(arguments.many_streams)]
    timed("create_streams", lambda: make_streams(client, names))
    timed("list_streams_all_pages", lambda: list(client.get_paginator("list_streams").paginate()))
    for node in list(cluster.nodes):
        cluster.kill(node)
    timed("restart_all_until_ready", lambda: restart(cluster))
    timed("until_every_shard_takes_a_record", lambda: put_to_every_shard(cluster))
    result["resident_bytes_after_restart"] = [resident_bytes([node.pid]) for node in cluster.nodes]
    return result


def split_in_a_row(client, count):
    """Splits shards one after the other. Each split waits until the one before is done."""
    for shard in shards(client, STREAM)[:count]:
        keys = shard["HashKeyRange"]
        middle = (int(keys["StartingHashKey"]) + int(keys["EndingHashKey"])) // 2 + 1
        client.split_shard(StreamName=STREAM, ShardToSplit=shard["ShardId"], NewStartingHashKey=str(middle))
        wait_until("it is split", lambda: status(client, STREAM) == "ACTIVE", pause=0.005)


def make_streams(client, names):
    """Makes streams of one shard each, and waits until all are ACTIVE."""
    for name in names:
        client.create_stream(StreamName=name, ShardCount=1)
    for name in names:
        wait_until(f"{name} is ACTIVE", lambda name=name: status(client, name) == "ACTIVE", timeout=120)


def restart(cluster):
    """Starts all nodes at once, and waits for all of them."""
    with ThreadPoolExecutor(len(cluster.nodes)) as pool:
        list(pool.map(cluster.restart, list(cluster.nodes)))


def put_to_every_shard(cluster):
    """Puts one record to each open shard, by the shard's first hash key."""
    client = kinesis(cluster.nodes[0].endpoint)
    opened = [shard for shard in shards(client, STREAM) if "EndingSequenceNumber" not in shard["SequenceNumberRange"]]
    records = [
        {"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": shard["HashKeyRange"]["StartingHashKey"]}
        for shard in opened
    ]
    while records:
        answer = client.put_records(StreamName=STREAM, Records=records[:500])
        failed = [record for record, said in zip(records, answer["Records"], strict=False) if "ErrorCode" in said]
        records = failed + records[500:]


SCENES = {
    "idle": idle,
    "overload": overload,
    "slow-readers": slow_readers,
    "reshard": reshard,
    "replace": replace_node,
    "scale": scale,
}


if __name__ == "__main__":
    main()
