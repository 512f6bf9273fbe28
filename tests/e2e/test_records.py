"""Records through boto3: their shard, their content, and their order."""

import hashlib
import os

import pytest

from support.oracle import Oracle, put_records, read_shard, read_stream
from support.streams import HASH_KEYS, create_stream, shards

TEN_MIB = 10 * 1024 * 1024


def test_a_record_is_returned_unchanged(client, stream):
    data = bytes(range(256))
    put = client.put_record(StreamName=stream, PartitionKey="Ключ-🔑", Data=data)
    (record,) = read_shard(client, stream, put["ShardId"])
    assert (record.data, record.key) == (data, "Ключ-🔑")
    assert record.sequence_number == int(put["SequenceNumber"])


def test_an_empty_record_is_accepted(client, stream):
    put = client.put_record(StreamName=stream, PartitionKey="k", Data=b"")
    assert [record.data for record in read_shard(client, stream, put["ShardId"])] == [b""]


def test_five_hundred_records_in_one_call(client, stream):
    oracle = Oracle()
    records = [(f"key-{number}", f"record {number}".encode()) for number in range(500)]
    assert put_records(client, oracle, stream, records) == 1
    verdict = oracle.judge(read_stream(client, stream))
    assert verdict, verdict
    assert oracle.count == 500


def test_partition_keys_are_hashed_with_md5(client, stream):
    ranges = {
        shard["ShardId"]: (int(shard["HashKeyRange"]["StartingHashKey"]), int(shard["HashKeyRange"]["EndingHashKey"]))
        for shard in shards(client, stream)
    }
    for number in range(20):
        key = f"key-{number}"
        hashed = int.from_bytes(hashlib.md5(key.encode()).digest(), "big")
        start, end = ranges[client.put_record(StreamName=stream, PartitionKey=key, Data=b"x")["ShardId"]]
        assert start <= hashed <= end


@pytest.mark.parametrize(("key", "shard"), [("0", 0), (str(HASH_KEYS // 2), 1), (str(HASH_KEYS - 1), 1)])
def test_an_explicit_hash_key_overrides_the_partition_key(client, stream, key, shard):
    for partition_key in ("a", "b", "c"):
        put = client.put_record(StreamName=stream, PartitionKey=partition_key, Data=b"x", ExplicitHashKey=key)
        assert put["ShardId"] == f"shardId-{shard:012}"


def test_the_order_of_serial_puts_is_kept(client, stream):
    last = None
    for number in range(50):
        ordering = {"SequenceNumberForOrdering": last} if last else {}
        put = client.put_record(
            StreamName=stream, PartitionKey="one", Data=str(number).encode(), ExplicitHashKey="0", **ordering
        )
        assert last is None or int(put["SequenceNumber"]) > int(last)
        last = put["SequenceNumber"]
    records = read_shard(client, stream, "shardId-000000000000", limit=7)
    assert [record.data for record in records] == [str(number).encode() for number in range(50)]


def test_the_largest_record_is_accepted(client, stream_name):
    key = "k" * 16
    client.create_stream(StreamName=stream_name, ShardCount=1, MaxRecordSizeInKiB=10240)
    client.get_waiter("stream_exists").wait(StreamName=stream_name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    data = os.urandom(TEN_MIB - len(key))
    client.put_record(StreamName=stream_name, PartitionKey=key, Data=data)
    (record,) = read_shard(client, stream_name, "shardId-000000000000")
    assert record.data == data


def test_streams_keep_their_records_separate(client, stream_name):
    names = [create_stream(client, f"{stream_name}-{part}", shards=1) for part in "ab"]
    for name in names:
        client.put_record(StreamName=name, PartitionKey="k", Data=name.encode())
    for name in names:
        assert [record.data for record in read_shard(client, name, "shardId-000000000000")] == [name.encode()]
