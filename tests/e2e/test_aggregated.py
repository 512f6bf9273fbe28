"""Aggregated records of the Kinesis Producer Library: stored unchanged, taken apart by `anabranch stream tail`."""

import base64
import hashlib
import json
import subprocess

import pytest
from aws_kinesis_agg.aggregator import RecordAggregator
from aws_kinesis_agg.deaggregator import iter_deaggregate_records

from support.clients import kinesis
from support.streams import HASH_KEYS, create_stream, iterator, status
from support.waiting import wait_until

FIRST, SECOND = "shardId-000000000000", "shardId-000000000001"
USER_RECORDS = [(f"key-{number % 7}", f"record {number} \u00e4".encode() + bytes([number])) for number in range(40)]


def aggregate(records):
    """One aggregated record of (partition key, data) or (partition key, data, explicit hash key)."""
    aggregator = RecordAggregator()
    for key, data, *explicit in records:
        assert aggregator.add_user_record(key, data, *explicit) is None
    return aggregator.clear_and_get().get_contents()[2]


def put(client, stream, data, hash_key="0"):
    """Puts like the Kinesis Producer Library: to the shard that the producer expects."""
    return client.put_record(StreamName=stream, PartitionKey="a", ExplicitHashKey=hash_key, Data=data)


class Tail:
    """A running `anabranch stream tail` that has begun to read."""

    def __init__(self, cluster, stream, *arguments):
        command = [cluster.binary, "stream", "--node", cluster.nodes[0].grpc, "tail", stream, *arguments]
        self.process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said = self.process.stderr.readline()
        assert self.said.startswith("reading"), self.said + self.process.stderr.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def lines(self):
        """All lines that the command prints until it ends by itself."""
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return out.splitlines()

    def records(self):
        """The printed lines, parsed as JSON."""
        return [json.loads(line) for line in self.lines()]


def data_of(records):
    return [base64.b64decode(record["data"]) for record in records]


def test_aggregated_records_are_stored_and_returned_byte_for_byte(client, stream):
    data = aggregate(USER_RECORDS)
    put(client, stream, data)
    client.put_records(
        StreamName=stream, Records=[{"Data": data, "PartitionKey": "a", "ExplicitHashKey": str(HASH_KEYS - 1)}]
    )
    for shard in (FIRST, SECOND):
        page = client.get_records(ShardIterator=iterator(client, stream, "TRIM_HORIZON", shard))
        (record,) = page["Records"]
        assert record["Data"] == data
        apart = iter_deaggregate_records([record], "Boto3")
        told = [(user["kinesis"]["partitionKey"], base64.b64decode(user["kinesis"]["data"])) for user in apart]
        assert told == USER_RECORDS


def test_tail_prints_the_user_records_of_an_aggregated_record(one, client, stream_name):
    stream = create_stream(client, stream_name, shards=1)
    placed = put(client, stream, aggregate(USER_RECORDS))
    put(client, stream, b"alone")
    count = len(USER_RECORDS) + 1
    with Tail(one, stream, "--from", "trim-horizon", "--json", "--count", str(count)) as tail:
        records = tail.records()
    *users, alone = records
    assert [(user["partition_key"], base64.b64decode(user["data"])) for user in users] == USER_RECORDS
    assert [user["sub_sequence_number"] for user in users] == list(range(len(USER_RECORDS)))
    assert {user["sequence_number"] for user in users} == {placed["SequenceNumber"]}
    assert (alone["sub_sequence_number"], alone["partition_key"]) == (None, "a")
    assert data_of([alone]) == [b"alone"]


def test_tail_prints_damaged_records_unchanged_and_all_records_with_raw(one, client, stream_name):
    stream = create_stream(client, stream_name, shards=1)
    data = aggregate(USER_RECORDS)
    message = b"\x0a\x01k\x1a\x04\x08\x09\x1a\x00"  # the key's index is outside the table
    broken = [
        data[:-1] + bytes([data[-1] ^ 1]),
        data[:-1],
        data[:4],
        data[:4] + message + hashlib.md5(message).digest(),
    ]
    for wrong in broken:
        put(client, stream, wrong)
    arguments = ["--from", "trim-horizon", "--json", "--count"]
    with Tail(one, stream, *arguments, str(len(broken))) as tail:
        assert data_of(tail.records()) == broken
    put(client, stream, data)
    with Tail(one, stream, *arguments, str(len(broken) + 1), "--raw") as tail:
        assert data_of(tail.records()) == [*broken, data]


def test_tail_leaves_out_user_records_that_belong_to_another_shard(one, client, stream):
    low, high = str(1), str(HASH_KEYS - 1)
    both = aggregate([("k", b"low", low), ("k", b"high", high), ("k", b"low too", low)])
    put(client, stream, both, low)
    put(client, stream, both, high)
    expected = {FIRST: [b"low", b"low too"], SECOND: [b"high"]}
    for shard, data in expected.items():
        with Tail(one, stream, "--from", "trim-horizon", "--json", "--shard", shard, "--count", str(len(data))) as tail:
            assert data_of(tail.records()) == data


def test_tail_follows_splits_and_merges_and_prints_children_after_their_parents(one, client, stream_name):
    stream = create_stream(client, stream_name, shards=1)
    oracle = []

    def put_some(prefix):
        for number in range(50):
            data = f"{prefix}-{number}".encode()
            client.put_record(StreamName=stream, PartitionKey=f"key-{number}", Data=data)
            oracle.append(data)

    def reshard(change):
        change()
        wait_until("the stream is ACTIVE again", lambda: status(client, stream) == "ACTIVE")

    split = {"StreamName": stream, "ShardToSplit": FIRST, "NewStartingHashKey": str(HASH_KEYS // 2)}
    merge = {
        "StreamName": stream,
        "ShardToMerge": "shardId-000000000001",
        "AdjacentShardToMerge": "shardId-000000000002",
    }
    client.put_record(StreamName=stream, PartitionKey="k", Data=b"before")
    with Tail(one, stream, "--json", "--count", "150") as tail:
        put_some("parent")
        reshard(lambda: client.split_shard(**split))
        put_some("children")
        reshard(lambda: client.merge_shards(**merge))
        put_some("grandchild")
        records = tail.records()
    assert sorted(data_of(records)) == sorted(oracle)
    generations = [data.decode().split("-")[0] for data in data_of(records)]
    order = ["parent", "children", "grandchild"]
    assert generations == sorted(generations, key=order.index)
    # Reads all records again, from the oldest one on, through shards that are now closed.
    with Tail(one, stream, "--json", "--from", "trim-horizon", "--count", "151") as tail:
        again = data_of(tail.records())
    assert (again[0], sorted(again[1:])) == (b"before", sorted(oracle))
    # The requested shard is closed, so the command ends at its end.
    with Tail(one, stream, "--json", "--from", "trim-horizon", "--shard", "0") as tail:
        assert len(tail.records()) == 51


def test_stream_put_and_tail_keep_lines_unchanged(one, client, stream):
    lines = [f"line {number} \u00e4".encode() for number in range(1_200)] + [b"", b"\x1b[31mred\x00\xff"]
    command = [str(one.binary), "stream", "--node", one.nodes[0].grpc, "put", stream]
    done = subprocess.run(command, input=b"\n".join(lines) + b"\n", capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert b"1202 records are acknowledged" in done.stderr
    with Tail(one, stream, "--json", "--from", "trim-horizon", "--count", str(len(lines))) as tail:
        assert sorted(data_of(tail.records())) == sorted(lines)
    keyed = [*command, "--partition-key", "one"]
    subprocess.run(keyed, input=b"last \x1b[31m\nlast too", capture_output=True, timeout=60, check=True)
    with Tail(one, stream, "--from", "trim-horizon", "--count", str(len(lines) + 2)) as tail:
        text = tail.lines()
    ends = [line.split("\t")[3:] for line in text]
    assert ["one", "last \\u{1b}[31m"] in ends
    assert ["one", "last too"] in ends
    assert "\x1b" not in "".join(text)
    binary = next(line for line in ends if line[1].startswith("base64:"))
    assert base64.b64decode(binary[1].removeprefix("base64:")) == lines[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tail", "nowhere"], "there is no stream nowhere"),
        (["put", "nowhere"], "there is no stream nowhere"),
        (["tail", "nowhere", "--from", "yesterday"], "neither latest nor trim-horizon nor a moment"),
    ],
)
def test_wrong_arguments_of_stream_commands_are_reported(one, arguments, message):
    command = [str(one.binary), "stream", "--node", one.nodes[0].grpc, *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert message in done.stderr


def test_deleting_a_stream_ends_its_tail(one, stream_name):
    client = kinesis(one.nodes[0].endpoint)
    stream = create_stream(client, stream_name, shards=2)
    with Tail(one, stream) as tail:
        client.delete_stream(StreamName=stream)
        _, err = tail.process.communicate(timeout=60)
        assert tail.process.returncode == 1
        assert "not found" in err or "gone" in err, err
