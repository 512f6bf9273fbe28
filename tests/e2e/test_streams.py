"""Streams through boto3: create, describe, list, page, wait, delete."""

import itertools

import pytest

from support.streams import HASH_KEYS, create_stream, shards, status
from support.waiting import wait_until


def test_shards_cover_the_hash_keys(client, stream_name):
    create_stream(client, stream_name, shards=3)
    description = client.describe_stream(StreamName=stream_name)["StreamDescription"]
    ranges = [shard["HashKeyRange"] for shard in description["Shards"]]
    bounds = [(int(part["StartingHashKey"]), int(part["EndingHashKey"])) for part in ranges]
    assert bounds[0][0] == 0 and bounds[-1][1] == HASH_KEYS - 1
    assert all(before[1] + 1 == after[0] for before, after in itertools.pairwise(bounds))
    assert [shard["ShardId"] for shard in description["Shards"]] == [f"shardId-{n:012}" for n in range(3)]
    assert all("EndingSequenceNumber" not in shard["SequenceNumberRange"] for shard in description["Shards"])


def test_a_description_shows_the_created_stream(client, stream):
    description = client.describe_stream(StreamName=stream)["StreamDescription"]
    assert description["StreamName"] == stream
    assert description["StreamARN"].endswith(f":stream/{stream}")
    assert description["StreamStatus"] == "ACTIVE"
    assert description["RetentionPeriodHours"] == 24
    assert description["HasMoreShards"] is False
    summary = client.describe_stream_summary(StreamARN=description["StreamARN"])["StreamDescriptionSummary"]
    assert summary["OpenShardCount"] == 2
    assert summary["StreamCreationTimestamp"] == description["StreamCreationTimestamp"]


def test_waiters_see_a_stream_created_and_deleted(client, stream_name):
    client.create_stream(StreamName=stream_name, ShardCount=1)
    quick = {"Delay": 1, "MaxAttempts": 30}
    client.get_waiter("stream_exists").wait(StreamName=stream_name, WaiterConfig=quick)
    client.delete_stream(StreamName=stream_name)
    client.get_waiter("stream_not_exists").wait(StreamName=stream_name, WaiterConfig=quick)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.describe_stream_summary(StreamName=stream_name)


def test_the_name_of_a_deleted_stream_can_be_used_again_and_the_new_stream_is_empty(client, stream):
    client.put_record(StreamName=stream, PartitionKey="k", Data=b"old")
    client.delete_stream(StreamName=stream)
    wait_until("the stream is gone", lambda: stream not in all_streams(client))
    create_stream(client, stream, shards=1)
    first = client.get_shard_iterator(
        StreamName=stream, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )
    assert client.get_records(ShardIterator=first["ShardIterator"])["Records"] == []


def test_pages_of_streams_hold_every_name_once(client, stream_name):
    names = sorted(create_stream(client, f"{stream_name}-{number}", shards=1) for number in range(5))
    listed = all_streams(client, PageSize=2)
    assert [name for name in listed if name in names] == names


def test_pages_of_shards_hold_every_shard_once(client, stream_name):
    create_stream(client, stream_name, shards=5)
    expected = [f"shardId-{number:012}" for number in range(5)]
    describe = client.get_paginator("describe_stream").paginate(
        StreamName=stream_name, PaginationConfig={"PageSize": 2}
    )
    assert list(describe.search("StreamDescription.Shards[].ShardId")) == expected
    # Pages by hand, because boto3's paginator sends the name with the token, which the service refuses (botocore issue
    # 2009).
    listed, request = [], {"StreamName": stream_name}
    while request:
        page = client.list_shards(**request, MaxResults=2)
        listed += [shard["ShardId"] for shard in page["Shards"]]
        request = {"NextToken": page["NextToken"]} if "NextToken" in page else None
    assert listed == expected
    assert [shard["ShardId"] for shard in shards(client, stream_name)] == expected


def test_a_second_stream_of_one_name_is_refused(client, stream):
    with pytest.raises(client.exceptions.ResourceInUseException):
        client.create_stream(StreamName=stream, ShardCount=1)
    assert status(client, stream) == "ACTIVE"


def all_streams(client, **paging):
    return list(client.get_paginator("list_streams").paginate(PaginationConfig=paging).search("StreamNames[]"))


def test_a_stream_in_on_demand_mode_is_split_up_to_its_floor(client, stream_name):
    create_stream(client, stream_name, shards=1)
    summary = client.describe_stream_summary(StreamName=stream_name)["StreamDescriptionSummary"]
    acknowledged = [client.put_record(StreamName=stream_name, PartitionKey=f"{n}", Data=b"x") for n in range(10)]
    client.update_stream_mode(StreamARN=summary["StreamARN"], StreamModeDetails={"StreamMode": "ON_DEMAND"})
    with pytest.raises(client.exceptions.ValidationException):
        client.update_shard_count(StreamName=stream_name, TargetShardCount=2, ScalingType="UNIFORM_SCALING")
    wait_until("there are four shards", lambda: open_shards(client, stream_name) == 4, timeout=60)
    client.update_stream_warm_throughput(StreamName=stream_name, WarmThroughputMiBps=6)
    wait_until("there are six shards", lambda: open_shards(client, stream_name) == 6, timeout=60)
    summary = client.describe_stream_summary(StreamName=stream_name)["StreamDescriptionSummary"]
    assert summary["StreamModeDetails"] == {"StreamMode": "ON_DEMAND"}
    assert summary["WarmThroughput"] == {"TargetMiBps": 6, "CurrentMiBps": 6}
    first = client.get_shard_iterator(
        StreamName=stream_name, ShardId=acknowledged[0]["ShardId"], ShardIteratorType="TRIM_HORIZON"
    )
    records = client.get_records(ShardIterator=first["ShardIterator"])["Records"]
    assert [r["SequenceNumber"] for r in records] == [put["SequenceNumber"] for put in acknowledged]


def open_shards(client, name):
    return client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["OpenShardCount"]
