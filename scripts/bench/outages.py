#!/usr/bin/env python3
"""How long clients of healthy nodes notice a fault of another node: `make outages`. Needs root.

Three real nodes, each with networks and a disk of its own (`lab.py`). Before each fault the victim leads every shard
and the catalog. Then the victim has one kind of fault, which ends after some seconds. All the time single attempts,
without any retry, go through each of the other nodes: a put to each shard, a read of each shard, and a change of the
stream's tags. The next attempt of a kind begins a tenth of a second after the response to the one before.

Prints one JSON line for each kind of fault. For each fault the script takes the longest attempt that began after the
fault. The line has the median and the maximum of these, and the number of failed attempts.

`ARGS="--faults 3 --only stopped,hung-disk"` gives a quick first result.
"""

import base64
import ctypes
import http.client
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "e2e"))

from bench import arguments as arguments_of
from bench import machine
from bench.lab import CLIENT, CLIENTS, PEERS, Lab
from support.waiting import wait_until

STREAM, SHARDS = "outages", 4
LONGEST_CALL = 60.0
CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
HEADERS = {
    "Content-Type": "application/x-amz-json-1.1",
    "X-Amz-Date": "20260101T000000Z",
    "Authorization": "AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/kinesis/aws4_request, "
    "SignedHeaders=host, Signature=00",
}


class Caller:
    """Single attempts through one node, over a connection of its own."""

    def __init__(self, address, timeout=LONGEST_CALL):
        self.address, self.timeout = address, timeout
        self.connection = None

    def call(self, operation, body):
        """Makes one attempt. Returns its status and its response."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection(*self.address, timeout=self.timeout)
        headers = {**HEADERS, "X-Amz-Target": f"Kinesis_20131202.{operation}"}
        try:
            self.connection.request("POST", "/", json.dumps(body), headers)
            response = self.connection.getresponse()
            answer = response.read()
        except OSError:
            self.connection.close()
            self.connection = None
            raise
        return response.status, json.loads(answer) if answer else {}

    def must(self, operation, body):
        """Repeats a call until it succeeds. Returns its response."""
        answers = []

        def succeeds():
            try:
                status, answer = self.call(operation, body)
            except OSError:
                return False
            answers.append(answer)
            return status == 200

        wait_until(f"{operation} succeeds: {answers[-1:]}", succeeds, LONGEST_CALL, pause=0.2)
        return answers[-1]


class Probe(threading.Thread):
    """Makes attempts of one kind through one node until told to stop."""

    def __init__(self, name, node, attempt):
        super().__init__(daemon=True)
        self.label, self.attempt, self.caller = f"{name} through node {node.number}", attempt, Caller(node.api)
        self.stopped = threading.Event()
        self.made = []

    def run(self):
        number = 0
        while not self.stopped.is_set():
            began = time.monotonic()
            try:
                status, _ = self.caller.call(*self.attempt(number))
            except OSError as error:
                status = type(error).__name__
            self.made.append((began, time.monotonic() - began, status))
            number += 1
            self.stopped.wait(0.1)


def probes(lab, healthy, shards):
    """A probe for each kind of attempt through each healthy node."""
    made = []
    for node in healthy:
        caller = Caller(node.api)
        for shard in shards:
            key = shard["HashKeyRange"]["StartingHashKey"]
            put = {"StreamName": STREAM, "PartitionKey": "k", "ExplicitHashKey": key, "Data": encoded(b"x" * 100)}
            start = {"StreamName": STREAM, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
            get = {"ShardIterator": caller.must("GetShardIterator", start)["ShardIterator"], "Limit": 10}
            made.append(Probe(f"put to {shard['ShardId']}", node, lambda _, put=put: ("PutRecord", put)))
            made.append(Probe(f"get of {shard['ShardId']}", node, lambda _, get=get: ("GetRecords", get)))
        tag = f"node-{node.number}"
        tags = lambda number, tag=tag: ("AddTagsToStream", {"StreamName": STREAM, "Tags": {tag: str(number)}})  # noqa: E731
        made.append(Probe("tags", node, tags))
    return made


def encoded(data):
    """Data in base64, as the API takes it in JSON."""
    return base64.b64encode(data).decode()


# Each of these functions makes a fault on a node, waits, and repairs the node.


def killed(lab, node, seconds):
    """SIGKILL. The node is started again at the end."""
    node.kill()
    time.sleep(seconds)
    node.start()


def restarted(lab, node, seconds):
    """SIGKILL. The node is started again at once."""
    node.kill()
    node.start()
    time.sleep(seconds)


def stopped(lab, node, seconds):
    """SIGSTOP: the process hangs, and its connections stay open."""
    node.signal(signal.SIGSTOP)
    time.sleep(seconds)
    node.signal(signal.SIGCONT)


def isolated(lab, node, seconds):
    """The node is cut off from nodes and clients, without a connection reset."""
    for network in (PEERS, CLIENTS):
        node.plug(network, False)
    time.sleep(seconds)
    for network in (PEERS, CLIENTS):
        node.plug(network, True)


def cut_from_peers(lab, node, seconds):
    """The node is cut off from the other nodes. Clients still reach it."""
    node.plug(PEERS, False)
    time.sleep(seconds)
    node.plug(PEERS, True)


def hung_disk(lab, node, seconds):
    """The file system of the node's disk hangs."""
    node.freeze(True)
    time.sleep(seconds)
    node.freeze(False)


def failed_disk(lab, node, seconds):
    """Every access to the disk fails. At the end the disk is mounted again and the process started again."""
    node.fail_disk()
    time.sleep(seconds)
    node.kill()
    node.repair_disk()
    node.start()


def clock_ahead(lab, node, seconds):
    """The node's wall clock is a day ahead."""
    node.offset.write_text(str(25 * 3600 * 1000))
    time.sleep(seconds)
    node.offset.write_text("0")


def bad_bit(lab, node, seconds):
    """SIGKILL. One bit of the newest record on the disk is flipped, and the node is started again at once."""
    node.kill()
    for path in sorted((node.data / "segments").glob("*.segment"), reverse=True):
        held = path.read_bytes()
        at = held.rfind(b"x" * 50)
        if at >= 0:
            with path.open("r+b") as file:
                file.seek(at)
                file.write(bytes([held[at] ^ 1]))
            break
    else:
        raise RuntimeError(f"no record on the disk of node {node.number}")
    node.start()
    time.sleep(seconds)


FAULTS = {
    "killed": killed,
    "restarted": restarted,
    "stopped": stopped,
    "isolated": isolated,
    "cut-from-peers": cut_from_peers,
    "hung-disk": hung_disk,
    "failed-disk": failed_disk,
    "clock-ahead": clock_ahead,
    "bad-bit": bad_bit,
}


def measure(lab, shards, groups, fault, seconds, turn):
    """Makes one fault. Returns the longest attempt that began after it, and the attempts that failed."""
    victim = lab.nodes[turn % len(lab.nodes)]
    healthy = [node for node in lab.nodes if node is not victim]
    lab.lead(groups, victim)
    running = probes(lab, healthy, shards)
    for probe in running:
        probe.start()
    time.sleep(1)
    struck = time.monotonic()
    fault(lab, victim, seconds)
    time.sleep(5)
    for probe in running:
        probe.stopped.set()
    for probe in running:
        probe.join(LONGEST_CALL + 5)
    lab.wait_ready()
    after = [(took, status, probe.label) for probe in running for began, took, status in probe.made if began >= struck]
    before = [status for probe in running for began, _, status in probe.made if began < struck]
    failed = [(round(took, 1), status, label) for took, status, label in after if status != 200]
    by_kind = {}
    for took, _, label in after:
        kind = label.split()[0]
        by_kind[kind] = max(by_kind.get(kind, 0), took)
    return {
        "longest": max(took for took, _, _ in after),
        "by_kind": by_kind,
        "attempts": len(after),
        "failed": failed,
        "failed_before": sum(status != 200 for status in before),
    }


def both_killed_repeatedly(lab, shards, groups, turn):
    """Kills two of three nodes repeatedly. Returns the seconds from their last start until every shard takes a put."""
    survivor, *others = lab.nodes[turn % 3 :] + lab.nodes[: turn % 3]
    for _ in range(4):
        for node in others:
            node.kill()
        time.sleep(0.7)
        for node in others:
            node.start()
        time.sleep(1.5)
    for node in others:
        node.kill()
    time.sleep(3)
    for node in others:
        node.start()
    returned = time.monotonic()
    caller = Caller(survivor.api, timeout=20)
    for shard in shards:
        key = shard["HashKeyRange"]["StartingHashKey"]
        caller.must(
            "PutRecord", {"StreamName": STREAM, "PartitionKey": "k", "ExplicitHashKey": key, "Data": encoded(b"x")}
        )
    took = time.monotonic() - returned
    lab.wait_ready()
    return took


def main():
    parser = arguments_of.parser(__doc__)
    parser.add_argument("--faults", type=int, default=10, help="number of faults of each kind")
    parser.add_argument("--seconds", type=float, default=10, help="seconds that a fault lasts")
    parser.add_argument("--only", help="kinds of faults, separated by commas")
    arguments = arguments_of.parse(parser)
    if os.geteuid() != 0:
        parser.error("only root can make networks and disks that fail")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("outages: stopped"))
    wanted = arguments.only.split(",") if arguments.only else [*FAULTS, "two-killed"]
    arguments.out.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="anabranch-outages-", dir=arguments.data_dir))
    try:
        with (arguments.out / "outages.jsonl").open("w") as file, Lab(directory, 3, arguments.binary) as lab:
            record(file, machine.run(arguments.data_dir))
            enter_network_of(CLIENT)
            shards, groups = make_stream(lab)
            for kind in wanted:
                record(file, {"line": "outage", "fault": kind, **trials(lab, shards, groups, kind, arguments)})
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def enter_network_of(namespace):
    """Moves this thread, and the threads that it will start, into a network namespace."""
    with open(f"/run/netns/{namespace}") as file:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")


def trials(lab, shards, groups, kind, arguments):
    """Runs all faults of one kind. Returns their figures."""
    if kind == "two-killed":
        took = [both_killed_repeatedly(lab, shards, groups, turn) for turn in range(arguments.faults)]
        return {"faults": len(took), "median_s": round(statistics.median(took), 2), "longest_s": round(max(took), 2)}
    found = [measure(lab, shards, groups, FAULTS[kind], arguments.seconds, turn) for turn in range(arguments.faults)]
    longest = [one["longest"] for one in found]
    kinds = {name for one in found for name in one["by_kind"]}
    return {
        "faults": len(found),
        "median_s": round(statistics.median(longest), 2),
        "longest_s": round(max(longest), 2),
        "longest_by_kind_s": {name: round(max(one["by_kind"][name] for one in found), 2) for name in sorted(kinds)},
        "attempts": sum(one["attempts"] for one in found),
        "failed": sum(len(one["failed"]) for one in found),
        "failed_before": sum(one["failed_before"] for one in found),
        "some_failures": [failure for one in found for failure in one["failed"]][:5],
    }


def make_stream(lab):
    """Makes the stream. Returns its shards, and the groups that the victim must lead: the shards' and the catalog."""
    caller = Caller(lab.nodes[0].api)
    caller.must("CreateStream", {"StreamName": STREAM, "ShardCount": SHARDS})
    active = lambda: (  # noqa: E731
        caller.must("DescribeStreamSummary", {"StreamName": STREAM})["StreamDescriptionSummary"]["StreamStatus"]
        == "ACTIVE"
    )
    wait_until("the stream is ACTIVE", active, LONGEST_CALL, pause=0.1)
    lab.ctl("pause-balancing")
    shards = caller.must("ListShards", {"StreamName": STREAM})["Shards"]
    return shards, [0, *(shard["group"] for shard in lab.ctl("shards", STREAM)["shards"])]


def record(file, line):
    """Writes a line to the file and to stdout."""
    text = json.dumps(line)
    print(text, flush=True)
    file.write(text + "\n")
    file.flush()


if __name__ == "__main__":
    main()
