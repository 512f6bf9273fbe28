"""All parts against real servers: `ANABRANCH_BIN` names the binary `anabranch`. Without it these tests are skipped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import pytest
from anabranch import (
    LATEST,
    Closed,
    Cluster,
    ConsumerGroup,
    InvalidRequest,
    OwnershipLost,
    Producer,
    StreamNotFound,
    Tls,
    Unavailable,
    tail,
)
from server import Server, create_stream, delete_stream, merge, open_shards, split
from waiting import wait_until

BINARY = os.environ.get("ANABRANCH_BIN", "")
EXAMPLES = Path(__file__).parents[1] / "examples"
KEYS = 20

pytestmark = pytest.mark.skipif(not BINARY, reason="ANABRANCH_BIN is not set")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Three nodes on loopback, shared by the tests. A test that stops a node starts it again."""
    with Server(BINARY, tmp_path_factory.mktemp("server") / "data", nodes=3) as server:
        yield server


@pytest.fixture
def cluster(server):
    with Cluster(server.seeds) as cluster:
        wait_until("all nodes are known", lambda: len(cluster.nodes) == 3)
        yield cluster


@pytest.fixture
def stream(cluster, request):
    """The name of a new stream with two shards."""
    name = re.sub("[^a-z_]", "-", request.node.name)
    create_stream(cluster, name, shards=2)
    return name


class Writer:
    """Puts records in a thread, until it is stopped. Record n has the key n % KEYS and the data n."""

    def __init__(self, cluster: Cluster, stream: str, pause: float = 0.001):
        self._producer = Producer(cluster, stream)
        self._pause = pause
        self._is_stopped = threading.Event()
        self._futures: list = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopped.set()
        self._thread.join()
        self._producer.close()

    @property
    def count(self) -> int:
        return len(self._futures)

    def puts(self, more: int) -> None:
        """Waits until `more` further records are put."""
        before = self.count
        wait_until(f"{more} more records are put", lambda: self.count >= before + more)

    def stop(self) -> list:
        """Stops, and returns where each record is. Raises if a record was not written."""
        self.__exit__()
        return [future.result(0) for future in self._futures]

    def _run(self) -> None:
        while not self._is_stopped.wait(self._pause):
            number = self.count
            self._futures.append(self._producer.put(f"key {number % KEYS}", b"%d" % number))


def check_order(numbers):
    """Checks that the numbers of each key rise."""
    of_key = defaultdict(list)
    for number in numbers:
        of_key[number % KEYS].append(number)
    assert all(of_one == sorted(of_one) for of_one in of_key.values())


def read(cluster, stream, count):
    """The first `count` records of a stream."""
    records = []
    with tail(cluster, stream) as found:
        timer = threading.Timer(60, found.close)
        timer.start()
        for record in found:
            records.append(record)
            if len(records) == count:
                break
        timer.cancel()
    return records


def check_written_once(cluster, stream, stored):
    """Checks that the stream has each record once, where its future says, and in the order of its key."""
    last = len(stored)
    with Producer(cluster, stream) as producer:  # a record too many would come before these
        for key in range(KEYS):
            producer.put(f"key {key}", b"%d" % (last - last % KEYS + KEYS + key))
    records = read(cluster, stream, last + KEYS)
    numbers = [int(record.data) for record in records]
    check_order(numbers)
    written = {int(record.data): record for record in records}
    assert sorted(numbers)[:last] == list(range(last))
    for number, place in enumerate(stored):
        record = written[number]
        assert (record.shard_id, record.log_index, record.offset) == (place.shard_id, place.log_index, place.offset)
        assert record.arrival == place.arrival
        assert record.partition_key == f"key {number % KEYS}"


def leader_of_first_shard(cluster, stream):
    """The node that the producer found as the leader of the first open shard."""
    group = open_shards(cluster, stream)[0].group
    return wait_until("a leader is known", lambda: cluster.leaders.get(group))


def test_records_come_back_as_they_were_put(cluster, stream):
    with Producer(cluster, stream) as producer:
        stored = producer.put("ключ", bytes(range(256))).result(30)
    record = read(cluster, stream, 1)[0]
    assert (record.partition_key, record.data) == ("ключ", bytes(range(256)))
    assert (record.shard_id, record.log_index, record.offset) == (stored.shard_id, stored.log_index, stored.offset)
    assert abs(record.arrival.timestamp() - time.time()) < 60


def test_records_are_written_once_and_in_order_across_splits_and_merges(cluster, stream):
    with tail(cluster, stream, LATEST) as records, Writer(cluster, stream) as writer:
        for step in range(2):
            writer.puts(100)
            split(cluster, stream, open_shards(cluster, stream)[0])
            writer.puts(100)
            lower, upper = open_shards(cluster, stream)[step : step + 2]
            merge(cluster, stream, lower, upper)
        writer.puts(100)
        stored = writer.stop()
        numbers = [int(next(records).data) for _ in stored]
    check_order(numbers)
    assert sorted(numbers) == list(range(len(stored)))
    assert len({place.shard_id for place in stored}) > 4
    check_written_once(cluster, stream, stored)


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hangs"])
def test_records_are_written_once_and_in_order_when_a_leader_is(server, cluster, stream, fault):
    with tail(cluster, stream, LATEST) as records, Writer(cluster, stream) as writer:
        wait_until("some records are put", lambda: writer.count > 200)
        node = leader_of_first_shard(cluster, stream)
        server.signal(node, fault)
        before = writer.count
        wait_until("more records are put", lambda: writer.count > before + 500)
        split(cluster, stream, open_shards(cluster, stream)[0])
        stored = writer.stop()
        numbers = [int(next(records).data) for _ in stored]
    if fault is signal.SIGKILL:
        server.restart(node)
    else:
        server.signal(node, signal.SIGCONT)
        wait_until("the node answers", lambda: server.answers(node))
    check_order(numbers)
    assert sorted(numbers) == list(range(len(stored)))
    check_written_once(cluster, stream, stored)


def test_the_catalog_is_followed_while_nodes_are_lost(server, cluster):
    for node in (1, 2, 3):
        server.signal(node, signal.SIGKILL)
        create_stream(cluster, f"lost-{node}", shards=1)
        server.restart(node)


def test_a_deleted_stream_is_not_found(cluster, stream):
    producer = Producer(cluster, stream)
    with tail(cluster, stream) as records:
        delete_stream(cluster, stream)
        with pytest.raises(StreamNotFound):
            next(records)
    with pytest.raises(StreamNotFound):
        producer.put("key", b"")
    producer.close()


class Member:
    """A member of a group in a thread. Stores a checkpoint after each batch.

    `seen` gets the numbers of the records that it was given, and `stored` those behind a checkpoint.
    """

    def __init__(self, cluster: Cluster, stream: str, seen: list, stored: list | None = None, session: float = 3.0):
        self.group = ConsumerGroup(cluster, stream, "readers", session=session)
        self._seen = seen
        self._stored = stored if stored is not None else []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self.group.close()
        self._thread.join()

    def _run(self) -> None:
        for batch in self.group:
            numbers = [int(record.data) for record in batch.records]
            self._seen.extend(numbers)
            with suppress(OwnershipLost, Unavailable, Closed):
                batch.checkpoint()
                self._stored.extend(numbers)


def check_seen(seen, stored):
    """Checks that all records were seen, and that the first sights of a key's records are in order."""
    assert set(seen) == set(range(len(stored)))
    check_order(dict.fromkeys(seen))


def test_members_share_a_stream_while_it_is_resharded(cluster, stream):
    seen: list[int] = []
    done: list[int] = []
    first = Member(cluster, stream, seen, done)
    with Writer(cluster, stream) as writer:
        wait_until("the first member reads both shards", lambda: len(first.group.shards) == 2)
        second = Member(cluster, stream, seen, done)
        wait_until("each member has a shard", lambda: len(first.group.shards) == len(second.group.shards) == 1)
        split(cluster, stream, open_shards(cluster, stream)[0])
        wait_until("the children are read", lambda: len(first.group.shards) + len(second.group.shards) == 3)
        lower, upper = open_shards(cluster, stream)[:2]
        merge(cluster, stream, lower, upper)
        wait_until("the child is read", lambda: len(first.group.shards) + len(second.group.shards) == 2)
        second.close()
        wait_until("the first member reads everything", lambda: len(first.group.shards) == 2)
        stored = writer.stop()
    wait_until("all records are processed", lambda: len(set(done)) == len(stored))
    first.close()
    check_seen(seen, stored)
    assert len(seen) - len(stored) < 100, "only records that `second` had when it closed are given twice"
    again: list[int] = []
    third = Member(cluster, stream, again)
    wait_until("the next member has the shards", lambda: len(third.group.shards) == 2)
    time.sleep(1)
    third.close()
    assert again == []


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hangs"])
def test_members_go_on_when_the_coordinator_is(server, cluster, stream, fault):
    seen: list[int] = []
    members = [Member(cluster, stream, seen, session=10) for _ in range(2)]
    with Writer(cluster, stream, pause=0.005) as writer:
        wait_until("each member has a shard", lambda: all(len(member.group.shards) == 1 for member in members))
        node = wait_until("the coordinator is known", lambda: members[0].group._coordinator)
        server.signal(node, fault)
        before = len(set(seen))
        wait_until("the members read on", lambda: len(set(seen)) > before + 500, 60)
        stored = writer.stop()
    wait_until("all records are seen", lambda: len(set(seen)) == len(stored), 60)
    if fault is signal.SIGKILL:
        server.restart(node)
    else:
        server.signal(node, signal.SIGCONT)
        wait_until("the node answers", lambda: server.answers(node))
    for member in members:
        member.close()
    check_seen(seen, stored)


def test_the_shards_of_a_silent_member_go_to_others(cluster, stream):
    with Producer(cluster, stream) as producer:
        for number in range(100):
            producer.put(f"key {number % KEYS}", b"%d" % number)
    silent = ConsumerGroup(cluster, stream, "readers", session=3)
    batch = next(silent)
    silent._heartbeat = lambda: None  # as a program that hangs
    seen: list[int] = []
    other = Member(cluster, stream, seen)
    wait_until("the other member has seen everything", lambda: set(seen) == set(range(100)), 60)
    with pytest.raises(OwnershipLost):
        batch.checkpoint()
    silent.close()
    other.close()


def test_a_new_group_begins_where_it_is_told(cluster, stream):
    with Producer(cluster, stream) as producer:
        producer.put("key", b"old").result(30)
        with ConsumerGroup(cluster, stream, "latest", start=LATEST) as group:
            producer.put("key", b"new").result(30)
            assert [record.data for record in next(group).records] == [b"new"]
        with ConsumerGroup(cluster, stream, "oldest") as group:
            assert next(group).records[0].data == b"old"


def test_what_breaks_a_rule_of_groups_is_refused(cluster, stream):
    with pytest.raises(InvalidRequest):
        ConsumerGroup(cluster, stream, "no spaces")
    with pytest.raises(InvalidRequest):
        ConsumerGroup(cluster, stream, "readers", session=1)
    with pytest.raises(StreamNotFound):
        ConsumerGroup(cluster, "no-such-stream", "readers")


def test_everything_works_over_tls(tmp_path):
    directory = tmp_path / "data"
    with Server(BINARY, directory, nodes=1, arguments=["--tls"]) as server:
        files = [str(directory / "tls" / name) for name in ("ca.pem", "client.pem", "client.key")]
        with Cluster(server.seeds, Tls(*files)) as cluster:
            create_stream(cluster, "secure", shards=1)
            with Producer(cluster, "secure") as producer:
                producer.put("key", b"data").result(30)
                for file in files:
                    Path(file).touch()  # as if it was renewed: new connections are made
                producer.put("key", b"more").result(30)
            assert [record.data for record in read(cluster, "secure", 2)] == [b"data", b"more"]
        with pytest.raises(Unavailable):
            Cluster(server.seeds, timeout=2)
        with pytest.raises(Unavailable, match=r"ame .*certificate|erification"):
            Cluster(server.seeds, Tls(*files, server_name="other.example"), timeout=2)


def test_the_examples_run(server, cluster, stream):
    def start(name, *arguments):
        command = [sys.executable, str(EXAMPLES / name), ",".join(server.seeds), stream, *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    with start("produce.py") as producer:
        output, errors = producer.communicate("alice\tone coffee\nbob\ttwo teas\n", timeout=60)
    assert (len(output.splitlines()), errors) == (2, "")
    for example in [("read.py",), ("consume.py", "readers")]:
        with start(*example) as process:
            lines = [process.stdout.readline() for _ in range(2)]
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0, process.stderr.read()
        assert "one coffee" in "".join(lines) and "two teas" in "".join(lines)
