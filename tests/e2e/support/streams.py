"""Helpers for streams: create, list shards, read."""

from support.waiting import wait_until

HASH_KEYS = 2**128


def status(client, name):
    """The status of a stream, for example ACTIVE."""
    return client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamStatus"]


def create_stream(client, name, shards):
    """Creates a stream and waits until it is ACTIVE. Checks more often than boto3's waiter. Returns the name."""
    client.create_stream(StreamName=name, ShardCount=shards)
    wait_until(f"stream {name} is ACTIVE", lambda: status(client, name) == "ACTIVE")
    return name


def shards(client, name):
    """All shards of a stream, from all pages.

    boto3's paginator sends the stream name and the token together, which the service refuses.
    """
    page = client.list_shards(StreamName=name)
    found = page["Shards"]
    while "NextToken" in page:
        page = client.list_shards(NextToken=page["NextToken"])
        found += page["Shards"]
    return found


def iterator(client, stream, kind, shard="shardId-000000000000", **where):
    """A shard iterator."""
    answer = client.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType=kind, **where)
    return answer["ShardIterator"]


def data_at(client, stream, kind, shard="shardId-000000000000", **where):
    """The data of the records that one GetRecords returns from this position."""
    page = client.get_records(ShardIterator=iterator(client, stream, kind, shard, **where))
    return [record["Data"] for record in page["Records"]]
