"""The five types of shard iterators, and forged iterators."""

import datetime

import pytest
from botocore.exceptions import ClientError

from support.streams import data_at, iterator

SHARD = "shardId-000000000000"


@pytest.fixture
def numbers(client, stream):
    """Puts the records a, b, c into the first shard. Returns their sequence numbers."""
    puts = [
        client.put_record(StreamName=stream, PartitionKey="k", Data=data, ExplicitHashKey="0")
        for data in (b"a", b"b", b"c")
    ]
    return [put["SequenceNumber"] for put in puts]


def test_trim_horizon_is_the_oldest_record(client, stream, numbers):
    assert data_at(client, stream, "TRIM_HORIZON") == [b"a", b"b", b"c"]


def test_latest_begins_after_the_newest_record(client, stream, numbers):
    latest = iterator(client, stream, "LATEST")
    client.put_record(StreamName=stream, PartitionKey="k", Data=b"d", ExplicitHashKey="0")
    assert [record["Data"] for record in client.get_records(ShardIterator=latest)["Records"]] == [b"d"]


def test_at_sequence_number_includes_the_record(client, stream, numbers):
    found = data_at(client, stream, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1])
    assert found == [b"b", b"c"]


def test_after_sequence_number_excludes_the_record(client, stream, numbers):
    found = data_at(client, stream, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1])
    assert found == [b"c"]


def test_at_a_timestamp_begins_with_that_millisecond(client, stream, numbers):
    page = client.get_records(ShardIterator=iterator(client, stream, "TRIM_HORIZON"))
    arrivals = [record["ApproximateArrivalTimestamp"] for record in page["Records"]]
    at_last = [record["Data"] for record in page["Records"] if record["ApproximateArrivalTimestamp"] >= arrivals[-1]]
    assert data_at(client, stream, "AT_TIMESTAMP", Timestamp=arrivals[-1]) == at_last
    long_ago = arrivals[0] - datetime.timedelta(hours=2)
    assert data_at(client, stream, "AT_TIMESTAMP", Timestamp=long_ago) == [b"a", b"b", b"c"]


def test_a_limit_pages_without_gaps(client, stream, numbers):
    found, position = [], iterator(client, stream, "TRIM_HORIZON")
    for _ in numbers:
        page = client.get_records(ShardIterator=position, Limit=1)
        found += [record["Data"] for record in page["Records"]]
        position = page["NextShardIterator"]
    assert found == [b"a", b"b", b"c"]
    end = client.get_records(ShardIterator=position)
    assert (end["Records"], end["MillisBehindLatest"]) == ([], 0)
    assert end["NextShardIterator"]


def flipped(token):
    """The token with one changed character in its middle."""
    middle = len(token) // 2
    return token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]


FORGERIES = {"made up": lambda token: "A" * len(token), "shortened": lambda token: token[:-8], "changed": flipped}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_iterator_is_refused(client, stream, numbers, forge):
    token = iterator(client, stream, "TRIM_HORIZON")
    with pytest.raises(ClientError) as refused:
        client.get_records(ShardIterator=forge(token))
    assert refused.value.response["Error"]["Code"] in ("InvalidArgumentException", "ExpiredIteratorException")
    assert client.get_records(ShardIterator=token)["Records"]
