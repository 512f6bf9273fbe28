"""Consumers with enhanced fan-out through boto3: registration, listing, pushed records, takeover, removal."""

import itertools
import threading

import pytest
from botocore.exceptions import EventStreamError

from support.clients import kinesis, signed_call
from support.streams import create_stream, iterator, shards, status
from support.waiting import wait_until

SHARD = "shardId-000000000000"


def arn_of(client, stream):
    return client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]


def register(client, stream, name="app"):
    """Registers a consumer and waits until it is ACTIVE. Returns its ARN."""
    arn = client.register_stream_consumer(StreamARN=arn_of(client, stream), ConsumerName=name)["Consumer"][
        "ConsumerARN"
    ]
    wait_until("the consumer is ACTIVE", lambda: consumer_status(client, arn) == "ACTIVE")
    return arn


def consumer_status(client, arn):
    return client.describe_stream_consumer(ConsumerARN=arn)["ConsumerDescription"]["ConsumerStatus"]


def subscribe(client, consumer, kind="TRIM_HORIZON", shard=SHARD, **where):
    answer = client.subscribe_to_shard(ConsumerARN=consumer, ShardId=shard, StartingPosition={"Type": kind, **where})
    return answer["EventStream"]


def take(events, records):
    """Reads events until they hold `records` records. Returns (events, data of the records)."""
    taken, data = [], []
    for event in events:
        taken.append(event["SubscribeToShardEvent"])
        data += [record["Data"] for record in taken[-1]["Records"]]
        if len(data) >= records:
            return taken, data
    raise AssertionError(f"the stream ended after {len(data)} records")


@pytest.fixture
def one_shard(client, stream_name):
    return create_stream(client, stream_name, shards=1)


def test_a_consumer_is_registered_described_listed_and_removed(client, one_shard):
    stream_arn = arn_of(client, one_shard)
    registered = client.register_stream_consumer(StreamARN=stream_arn, ConsumerName="app", Tags={"team": "a"})[
        "Consumer"
    ]
    assert registered["ConsumerStatus"] in ("CREATING", "ACTIVE")
    arn = registered["ConsumerARN"]
    seconds = int(registered["ConsumerCreationTimestamp"].timestamp())
    assert arn == f"{stream_arn}/consumer/app:{seconds}"
    with pytest.raises(client.exceptions.ResourceInUseException):
        client.register_stream_consumer(StreamARN=stream_arn, ConsumerName="app")
    wait_until("the consumer is ACTIVE", lambda: consumer_status(client, arn) == "ACTIVE")
    by_name = client.describe_stream_consumer(StreamARN=stream_arn, ConsumerName="app")["ConsumerDescription"]
    assert by_name == client.describe_stream_consumer(ConsumerARN=arn)["ConsumerDescription"]
    assert by_name["StreamARN"] == stream_arn
    assert client.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    summary = client.describe_stream_summary(StreamName=one_shard)["StreamDescriptionSummary"]
    assert summary["ConsumerCount"] == 1
    client.deregister_stream_consumer(ConsumerARN=arn)
    wait_until("it is gone", lambda: not client.list_stream_consumers(StreamARN=stream_arn)["Consumers"])
    for naming in ({"ConsumerARN": arn}, {"StreamARN": stream_arn, "ConsumerName": "app"}):
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.describe_stream_consumer(**naming)


def test_consumers_are_listed_page_by_page(client, one_shard):
    stream_arn = arn_of(client, one_shard)
    names = [f"app-{number}" for number in range(5)]
    for name in names:
        client.register_stream_consumer(StreamARN=stream_arn, ConsumerName=name)
    paginator = client.get_paginator("list_stream_consumers")
    pages = list(paginator.paginate(StreamARN=stream_arn, PaginationConfig={"PageSize": 2}))
    assert [len(page["Consumers"]) for page in pages] == [2, 2, 1]
    assert [consumer["ConsumerName"] for page in pages for consumer in page["Consumers"]] == names
    with pytest.raises(client.exceptions.InvalidArgumentException):
        client.list_stream_consumers(StreamARN=stream_arn, NextToken="forged")


def test_a_stream_with_consumers_is_deleted_only_with_enforcement(client, one_shard):
    register(client, one_shard)
    with pytest.raises(client.exceptions.ResourceInUseException):
        client.delete_stream(StreamName=one_shard)
    client.delete_stream(StreamName=one_shard, EnforceConsumerDeletion=True)


def test_records_are_pushed_as_they_arrive_and_in_order(client, one_shard):
    consumer = register(client, one_shard)
    before = [client.put_record(StreamName=one_shard, PartitionKey="k", Data=b"%d" % n) for n in range(3)]
    events = subscribe(client, consumer)
    taken, data = take(events, 3)
    assert data == [b"0", b"1", b"2"]
    assert taken[-1]["ContinuationSequenceNumber"] == before[-1]["SequenceNumber"]
    for number in range(3, 6):
        client.put_record(StreamName=one_shard, PartitionKey="k", Data=b"%d" % number)
    taken, data = take(events, 3)
    assert data == [b"3", b"4", b"5"]
    assert taken[-1]["MillisBehindLatest"] == 0
    events.close()
    # Continues at the same position, like the Kinesis Client Library.
    last = taken[-1]["ContinuationSequenceNumber"]
    client.put_record(StreamName=one_shard, PartitionKey="k", Data=b"6")
    other = register(client, one_shard, "other")
    after = subscribe(client, other, "AFTER_SEQUENCE_NUMBER", SequenceNumber=last)
    assert take(after, 1)[1] == [b"6"]
    after.close()


def test_an_idle_subscription_gets_a_continuation_number_every_few_seconds(client, one_shard):
    consumer = register(client, one_shard)
    client.put_record(StreamName=one_shard, PartitionKey="k", Data=b"old")
    events = subscribe(client, consumer, "LATEST")
    idle = next(iter(events))["SubscribeToShardEvent"]
    assert idle["Records"] == [] and idle["MillisBehindLatest"] == 0
    events.close()
    client.put_record(StreamName=one_shard, PartitionKey="k", Data=b"new")
    for kind in ("AFTER_SEQUENCE_NUMBER", "AT_SEQUENCE_NUMBER"):
        other = register(client, one_shard, kind.lower())
        events = subscribe(client, other, kind, SequenceNumber=idle["ContinuationSequenceNumber"])
        assert take(events, 1)[1] == [b"new"], kind
        events.close()


def test_a_newer_subscription_takes_over_after_five_seconds(client, one_shard):
    consumer = register(client, one_shard)
    first = subscribe(client, consumer)
    with pytest.raises(client.exceptions.ResourceInUseException):
        subscribe(client, consumer)
    other = register(client, one_shard, "other")
    subscribe(client, other).close()

    def taken_over():
        try:
            return subscribe(client, consumer)
        except client.exceptions.ResourceInUseException:
            return None

    second = wait_until("the first subscription can be taken over", taken_over, timeout=30)
    with pytest.raises(EventStreamError, match="ResourceInUseException"):
        list(first)
    client.put_record(StreamName=one_shard, PartitionKey="k", Data=b"x")
    assert take(second, 1)[1] == [b"x"]
    second.close()


def test_the_end_of_a_split_shard_names_its_children(client, one_shard):
    consumer = register(client, one_shard)
    client.put_record(StreamName=one_shard, PartitionKey="k", Data=b"before")
    events = subscribe(client, consumer)
    assert take(events, 1)[1] == [b"before"]
    client.split_shard(StreamName=one_shard, ShardToSplit=SHARD, NewStartingHashKey=str(2**127))
    last = list(events)[-1]["SubscribeToShardEvent"]
    assert "ContinuationSequenceNumber" not in last
    assert [child["ShardId"] for child in last["ChildShards"]] == [f"shardId-{n:012}" for n in (1, 2)]
    assert all(child["ParentShards"] == [SHARD] for child in last["ChildShards"])
    wait_until("the split is done", lambda: status(client, one_shard) == "ACTIVE")
    assert len(shards(client, one_shard)) == 3


def test_a_removed_consumer_gets_no_more_records(client, one_shard):
    consumer = register(client, one_shard)
    events = subscribe(client, consumer)
    client.deregister_stream_consumer(ConsumerARN=consumer)
    with pytest.raises(EventStreamError, match=r"ResourceNotFoundException|ResourceInUseException"):
        list(events)
    stream_arn = arn_of(client, one_shard)
    wait_until("it is gone", lambda: not client.list_stream_consumers(StreamARN=stream_arn)["Consumers"])
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        subscribe(client, consumer)


def test_bad_subscriptions_are_refused_before_they_begin(client, unchecked, one_shard):
    consumer = register(client, one_shard)
    invalid = client.exceptions.InvalidArgumentException
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        subscribe(client, consumer, shard="shardId-000000000009")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        subscribe(client, consumer.rpartition(":")[0] + ":1")
    with pytest.raises(invalid, match="AT_TIMESTAMP"):
        subscribe(client, consumer, "AT_TIMESTAMP")
    with pytest.raises(invalid, match="SequenceNumber"):
        subscribe(client, consumer, "AT_SEQUENCE_NUMBER")
    with pytest.raises(client.exceptions.ClientError, match="ValidationException"):
        unchecked.subscribe_to_shard(ConsumerARN=consumer, ShardId=SHARD, StartingPosition={"Type": "NOW"})
    with pytest.raises(client.exceptions.ClientError, match="ValidationException"):
        unchecked.subscribe_to_shard(ShardId=SHARD, StartingPosition={"Type": "LATEST"})
    with pytest.raises(client.exceptions.ClientError, match="DryRunOperationException"):
        client.subscribe_to_shard(ConsumerARN=consumer, ShardId=SHARD, StartingPosition={"Type": "LATEST"}, DryRun=True)


def test_events_are_cbor_if_the_request_is_cbor(endpoint, client, one_shard):
    consumer = register(client, one_shard)
    client.put_record(StreamName=one_shard, PartitionKey="k", Data=b"\x00raw\xff")
    client.split_shard(StreamName=one_shard, ShardToSplit=SHARD, NewStartingHashKey=str(2**127))
    wait_until("the split is done", lambda: status(client, one_shard) == "ACTIVE")
    text = lambda value: bytes([0x78, len(value)]) + value.encode()  # noqa: E731
    body = b"\xa3" + text("ConsumerARN") + text(consumer) + text("ShardId") + text(SHARD)
    body += text("StartingPosition") + b"\xa1" + text("Type") + text("TRIM_HORIZON")
    content_type = "application/x-amz-cbor-1.1"
    code, headers, frames = signed_call(endpoint, "SubscribeToShard", body, content_type=content_type)
    assert (code, headers["Content-Type"]) == (200, "application/vnd.amazon.eventstream")
    assert content_type.encode() in frames and b"\x00raw\xff" in frames


def test_a_subscription_survives_the_death_of_the_shards_leader(three, stream_name):
    client = kinesis(three.nodes[0].endpoint)
    create_stream(client, stream_name, shards=1)
    consumer = register(client, stream_name)
    leader = wait_until("the shard has a leader", lambda: three.leaders(stream_name)[SHARD])
    node = next(node for node in three.nodes if node.id != leader)
    client = kinesis(node.endpoint)
    events = subscribe(client, consumer)
    pushed, stop = [], threading.Event()

    def follow():
        for event in events:
            pushed.extend(record["Data"] for record in event["SubscribeToShardEvent"]["Records"])
            if stop.is_set():
                return

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    written = []
    for number in itertools.count():
        data = b"%d" % number
        client.put_record(StreamName=stream_name, PartitionKey="k", Data=data)
        written.append(data)
        if number == 20:
            three.kill(next(node for node in three.nodes if node.id == leader))
        if number == 60:
            break
    wait_until("all records are pushed", lambda: len(pushed) >= len(written))
    assert pushed == written
    stop.set()
    client.put_record(StreamName=stream_name, PartitionKey="k", Data=b"end")
    follower.join(timeout=30)
    assert not follower.is_alive()


def test_a_subscriber_that_reads_nothing_does_not_delay_others(three, stream_name):
    client = kinesis(three.nodes[0].endpoint)
    create_stream(client, stream_name, shards=1)
    idle = [register(client, stream_name, f"idle-{number}") for number in range(3)]
    reader = register(client, stream_name, "reader")
    leader = wait_until("the shard has a leader", lambda: three.leaders(stream_name)[SHARD])
    client = kinesis(next(node for node in three.nodes if node.id != leader).endpoint)
    unread = [subscribe(client, consumer) for consumer in idle]
    # More data than all buffers between the shard and a subscriber that reads nothing.
    written = [b"%08d" % number * (1 << 16) for number in range(64)]
    for data in written:
        client.put_record(StreamName=stream_name, PartitionKey="k", Data=data)
    events = subscribe(client, reader)
    assert take(events, len(written))[1] == written
    events.close()
    read, start = [], iterator(client, stream_name, "TRIM_HORIZON")
    while len(read) < len(written):
        page = client.get_records(ShardIterator=start)
        read += [record["Data"] for record in page["Records"]]
        start = page["NextShardIterator"]
    assert read == written
    for events in unread:
        events.close()
