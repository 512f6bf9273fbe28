"""Reads whole streams, to compare them with what a producer was given."""

from collections import Counter
from typing import NamedTuple

from support.streams import iterator, shards


class Record(NamedTuple):
    """A stored record."""

    shard: str
    number: str
    key: str
    data: bytes


def records(client, stream):
    """All records of a stream, those of a shard in order, and those of parents before those of children."""
    found = []
    for shard in shards(client, stream):
        name, at = shard["ShardId"], iterator(client, stream, "TRIM_HORIZON", shard["ShardId"])
        while at:
            page = client.get_records(ShardIterator=at)
            found += [Record(name, got["SequenceNumber"], got["PartitionKey"], got["Data"]) for got in page["Records"]]
            ended = not page["Records"] and page["MillisBehindLatest"] == 0
            at = None if ended else page.get("NextShardIterator")
    return found


def in_order(keys_and_data):
    """Asserts that the data of each key are numbered in rising order, as NAME-NUMBER. Returns how many there are."""
    last = {}
    for key, data in keys_and_data:
        number = int(data.rpartition("-")[2])
        assert number > last.get(key, -1), f"{key}: {number} after {last[key]}"
        last[key] = number
    return len(keys_and_data)


def once(found, wanted):
    """Asserts that exactly the wanted values were found, each once."""
    counts = Counter(found)
    missing, more = set(wanted) - set(counts), set(counts) - set(wanted)
    twice = [value for value, count in counts.items() if count > 1]
    assert not missing, f"{len(missing)} are missing: {sorted(missing)[:5]}"
    assert not more, f"{len(more)} are unknown: {sorted(more)[:5]}"
    assert not twice, f"{len(twice)} came more than once: {sorted(twice)[:5]}"
