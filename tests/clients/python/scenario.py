"""The scenario with botocore, in JSON over HTTP/1.1: create, put, split, encrypt, read in the order of the lineage,
subscribe, delete.

Usage: python scenario.py ENDPOINT STREAM
"""

import os
import sys
import time

import boto3

ENDPOINT, STREAM = sys.argv[1:]
client = boto3.session.Session().client(
    "kinesis",
    endpoint_url=ENDPOINT,
    region_name="us-east-1",
    aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
    aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
)


def until(what, condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"after 30 s still not: {what}"
        time.sleep(0.02)


def summary():
    return client.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]


def until_active():
    until("the stream is ACTIVE", lambda: summary()["StreamStatus"] == "ACTIVE")


def texts(numbers):
    return [f"record {number}" for number in numbers]


def put(numbers, encryption=None):
    records = [{"PartitionKey": f"key-{number}", "Data": f"record {number}".encode()} for number in numbers]
    answer = client.put_records(StreamName=STREAM, Records=records)
    assert (answer["FailedRecordCount"], answer.get("EncryptionType")) == (0, encryption)


def texts_of(records):
    return [record["Data"].decode() for record in records]


def ids(children):
    return [child["ShardId"] for child in children]


def read(shard):
    """All records of a shard, and the ids of its children."""
    start = client.get_shard_iterator(StreamName=STREAM, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    iterator, records = start["ShardIterator"], []
    while iterator:
        page = client.get_records(ShardIterator=iterator)
        records += texts_of(page["Records"])
        if page.get("ChildShards"):
            return records, ids(page["ChildShards"])
        if page["MillisBehindLatest"] == 0:
            break
        iterator = page.get("NextShardIterator")
    return records, []


def subscribe(parent, records, children):
    """Checks that the whole parent is pushed, then its end with the children, and that a new record is pushed."""
    arn = summary()["StreamARN"]
    consumer = client.register_stream_consumer(StreamARN=arn, ConsumerName="python")["Consumer"]["ConsumerARN"]

    def status():
        return client.describe_stream_consumer(ConsumerARN=consumer)["ConsumerDescription"]["ConsumerStatus"]

    until("the consumer is ACTIVE", lambda: status() == "ACTIVE")

    def events_of(shard, kind):
        position = {"Type": kind}
        answer = client.subscribe_to_shard(ConsumerARN=consumer, ShardId=shard, StartingPosition=position)
        return answer["EventStream"]

    events = [event["SubscribeToShardEvent"] for event in events_of(parent, "TRIM_HORIZON")]
    assert [text for event in events for text in texts_of(event["Records"])] == records
    assert ids(events[-1]["ChildShards"]) == children
    assert "ContinuationSequenceNumber" not in events[-1]

    live = events_of(children[0], "LATEST")
    client.put_record(StreamName=STREAM, PartitionKey="live", ExplicitHashKey="0", Data=b"live")
    pushed = (texts_of(event["SubscribeToShardEvent"]["Records"]) for event in live)
    assert next(filter(None, pushed)) == ["live"]
    live.close()


def main():
    client.create_stream(StreamName=STREAM, ShardCount=1)
    until_active()
    put(range(20))
    parent = client.list_shards(StreamName=STREAM)["Shards"][0]["ShardId"]
    client.split_shard(StreamName=STREAM, ShardToSplit=parent, NewStartingHashKey=str(2**127))
    until_active()
    client.start_stream_encryption(StreamName=STREAM, EncryptionType="KMS", KeyId="alias/aws/kinesis")
    until_active()
    put(range(20, 40), encryption="KMS")

    records, children = read(parent)
    assert records == texts(range(20)) and len(children) == 2
    rest = [text for child in children for text in read(child)[0]]
    assert sorted(rest) == sorted(texts(range(20, 40)))

    subscribe(parent, records, children)

    client.delete_stream(StreamName=STREAM, EnforceConsumerDeletion=True)
    until("the stream is gone", lambda: STREAM not in client.list_streams()["StreamNames"])
    print("ok")


main()
