"""Splits and merges under write load: no client sees an error, and a fault at any step loses no record."""

import itertools
import os
import random
import signal
import threading
import time

import pytest

from support.clients import kinesis
from support.cluster import Cluster
from support.fail_points import FailPoints
from support.oracle import Oracle, put_records, read_by_lineage, read_stream
from support.streams import HASH_KEYS, create_stream, shards, status
from support.waiting import wait_until
from support.writer import Writer, distinct_batches

STREAM = "reshard"
PLACES = ["reshard-prepared", "reshard-children-ready", "reshard-frozen", "reshard-committed"]


def is_open(shard):
    """Whether the shard takes records."""
    return "EndingSequenceNumber" not in shard["SequenceNumberRange"]


def open_shards(client, stream=STREAM):
    """The open shards, ordered by hash key. Checks that they cover every hash key once."""
    found = [shard for shard in shards(client, stream) if is_open(shard)]
    found.sort(key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))
    ends = [-1, *(int(shard["HashKeyRange"]["EndingHashKey"]) for shard in found)]
    assert [int(shard["HashKeyRange"]["StartingHashKey"]) for shard in found] == [end + 1 for end in ends[:-1]]
    assert ends[-1] == HASH_KEYS - 1
    return found


def split(client, shard, stream=STREAM):
    """Splits a shard in the middle of its hash key range."""
    keys = shard["HashKeyRange"]
    middle = (int(keys["StartingHashKey"]) + int(keys["EndingHashKey"])) // 2 + 1
    client.split_shard(StreamName=stream, ShardToSplit=shard["ShardId"], NewStartingHashKey=str(middle))


def merge(client, lower, upper, stream=STREAM):
    """Merges two neighbouring shards."""
    client.merge_shards(StreamName=stream, ShardToMerge=lower["ShardId"], AdjacentShardToMerge=upper["ShardId"])


def active(client, stream=STREAM, timeout=60):
    """Waits until the stream is ACTIVE."""
    wait_until(f"{stream} is ACTIVE again", lambda: status(client, stream) == "ACTIVE", timeout=timeout)


def check(oracle, cluster, stream=STREAM):
    """Checks that exactly the acknowledged records are read, and that a consumer that follows the lineage reads all."""
    client, other = (kinesis(node.endpoint) for node in cluster.nodes[:2])
    verdict = oracle.judge(read_stream(client, stream))
    assert verdict, verdict
    by_lineage = {(record.shard, record.sequence_number) for record in read_by_lineage(other, stream)}
    assert oracle.places() <= by_lineage


def test_resharding_under_load_causes_no_error_and_keeps_the_order(three, capsys):
    """No client needs a retry, and the records of a serial producer are read in their order."""
    oracle = Oracle()
    first = kinesis(three.nodes[0].endpoint)
    create_stream(first, STREAM, shards=2)
    clients = [kinesis(node.endpoint, retries={"total_max_attempts": 1}) for node in three.nodes]
    serial = SerialWriter(oracle, STREAM, kinesis(three.nodes[1].endpoint, retries={"total_max_attempts": 1}))
    began = time.monotonic()
    with Writer(oracle, STREAM, clients, distinct_batches()) as writer, serial:
        wait_until("writes flow", lambda: oracle.count > 300)
        began = time.monotonic()
        for _ in range(3):
            split(first, open_shards(first)[0])
            active(first)
            merge(first, *open_shards(first)[:2])
            active(first)
        for target in (4, 3, 5, 3):
            answer = first.update_shard_count(StreamName=STREAM, TargetShardCount=target, ScalingType="UNIFORM_SCALING")
            assert answer["TargetShardCount"] == target
            active(first)
            assert len(open_shards(first)) == target
        silence = writer.longest_silence(began)
        written = oracle.count
        wait_until("more is written", lambda: oracle.count > written + 300)
    assert not writer.errors, writer.errors
    assert not serial.errors, serial.errors
    check(oracle, three)
    serial.check(read_by_lineage(first, STREAM))
    with capsys.disabled():
        print(f"\nten reshardings under load: {silence:.3f} s without an acknowledgement, {oracle.count} records")


class SerialWriter:
    """Puts numbered records with a few keys. Each put waits for the acknowledgement of the one before."""

    KEYS = ("a", "b", "c", "d")

    def __init__(self, oracle, stream, client):
        self.errors = []
        self._oracle, self._stream, self._client = oracle, stream, client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(timeout=120)

    def _write(self):
        for number in itertools.count():
            if self._stop.is_set():
                return
            key, data = f"serial-{self.KEYS[number % len(self.KEYS)]}", f"{number:09}".encode()
            try:
                put = self._client.put_record(StreamName=self._stream, PartitionKey=key, Data=data)
            except Exception as error:  # noqa: BLE001 - the test checks every error that reaches a client
                self.errors.append(error)
                return
            self._oracle.acknowledged(put["ShardId"], put["SequenceNumber"], key, data)

    def check(self, records):
        """Checks that the records of each key are in the order of their puts, over all splits and merges."""
        for key in self.KEYS:
            numbers = [int(record.data) for record in records if record.key == f"serial-{key}"]
            assert numbers == sorted(numbers)
            assert numbers


class Mixed:
    """Threads that put through any living node. Errors are expected. The outcome of their records is unknown."""

    def __init__(self, oracle, cluster, threads=3):
        self._oracle, self._cluster = oracle, cluster
        self._batches = distinct_batches(records=10)
        self._next = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(n,), daemon=True) for n in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=120)
            assert not thread.is_alive()

    def _write(self, number):
        turn = number
        while not self._stop.is_set():
            nodes = self._cluster.nodes
            client = kinesis(nodes[turn % len(nodes)].endpoint, retries={"total_max_attempts": 2})
            try:
                while not self._stop.is_set():
                    with self._next:
                        batch = next(self._batches)
                    put_records(client, self._oracle, STREAM, batch)
            except Exception:  # noqa: BLE001 - the node was killed or stopped; the oracle knows the unknown outcomes
                turn += 1


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """A cluster under load with fail points in its reshardings, shared by all faults in turn."""
    directory = tmp_path_factory.mktemp("trial")
    points = FailPoints(directory / "points")
    with Cluster(directory / "data", nodes=3, environment=points.environment) as cluster:
        oracle = Oracle()
        create_stream(kinesis(cluster.nodes[0].endpoint), STREAM, shards=2)
        with Mixed(oracle, cluster):
            yield cluster, points, oracle
        check(oracle, cluster)


@pytest.mark.parametrize("victim", ["controller", "second", "third", "partition"])
@pytest.mark.parametrize("place", PLACES)
def test_a_fault_at_any_step_ends_in_commit_or_abort(trial, place, victim):
    """After any fault at any step the stream is ACTIVE, its shards cover every hash key, and writes go on."""
    cluster, points, oracle = trial
    client = Anyone(cluster)
    before = client.call(open_shards)
    points.arm(place)
    client.call(lambda any_node: start_resharding(any_node, before))
    controller = points.reached(place)
    others = [node for node in cluster.nodes if node.pid != controller]
    held = next(node for node in cluster.nodes if node.pid == controller)
    if victim == "partition":
        os.kill(controller, signal.SIGSTOP)
        client.without(held)
        points.release(place)
        client.call(active)
        # The old controller continues at the step where it was stopped, and must do no harm.
        os.kill(controller, signal.SIGCONT)
    else:
        victim = {"controller": held, "second": others[0], "third": others[1]}[victim]
        cluster.kill(victim)
        points.release(place)
        client.without(victim)
        client.call(active)
        cluster.restart(victim)
    client = Anyone(cluster)
    client.call(active)
    after = client.call(open_shards)
    assert len(after) in (len(before), len(before) + 1, len(before) - 1)
    count = oracle.count
    wait_until("writes go on", lambda: oracle.count > count + 50, timeout=60)


def start_resharding(client, before):
    """Merges two shards if there are more than two, otherwise splits one."""
    if len(before) > 2:
        merge(client, *before[:2])
    else:
        split(client, random.choice(before))


class Anyone:
    """Sends calls to a living node."""

    def __init__(self, cluster):
        self._nodes = list(cluster.nodes)

    def without(self, node):
        """Sends no more calls to this node."""
        self._nodes = [other for other in self._nodes if other.id != node.id]

    def call(self, function):
        """Returns `function(client)` with a client of the first remaining node."""
        return function(kinesis(self._nodes[0].endpoint))
