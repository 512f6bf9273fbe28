"""The Kinesis Producer Library: aggregated user records, and a shard that is split while they are put.

Checks:
- Every user record is acknowledged, and is in the stream. A consumer takes the aggregated records apart and leaves out
  user records whose key does not belong to the shard, as the Kinesis Client Library does.
- An acknowledged user record is in the shard and the record that its acknowledgement names.
- User records are aggregated, and the children of the split get some.
- A node shows the metrics of the library.
"""

import hashlib
from collections import Counter
from pathlib import Path

import builds
from aws_kinesis_agg import DIGEST_SIZE, MAGIC
from aws_kinesis_agg.deaggregator import messages_pb2
from kcl.scenario import await_active
from producers import pages, streams
from producers.programs import Program

from support.streams import create_stream, shards

HERE = Path(__file__).resolve().parent / "kpl"
# User records between the steps of the test.
STEP = 4000


def kpl(target, stream, directory):
    """The Kinesis Producer Library 1.1.1."""
    path = builds.class_path(HERE / "pom.xml", builds.CACHE / "kpl", [HERE / "Producer.java"])
    client = target.client()
    create_stream(client, stream, 2)
    host, port = target.endpoint.removeprefix("https://").split(":")
    replacing = {pages.HOST: host, pages.PORT: port, pages.CA: target.ca}
    settings = directory / "kpl.properties"
    settings.write_text(pages.block("kpl", "properties", replacing))
    # The native program is unpacked into the temporary folder.
    command = [*target.java, f"-Djava.io.tmpdir={directory}", "-cp", path, "Producer", settings, stream]
    with Program(command, target.environment, directory / "kpl.log") as program:

        def stored(count):
            assert not failed(program.lines), failed(program.lines)[:5]
            return len(program.lines) >= count

        program.wait("user records are stored", lambda: stored(STEP))
        half = str(2**126)
        client.split_shard(StreamName=stream, ShardToSplit="shardId-000000000000", NewStartingHashKey=half)
        await_active(client, stream)
        before = len(program.lines)
        program.wait("user records are stored after the split", lambda: stored(before + STEP))
        program.say(".")
        program.wait("the metrics arrive", lambda: target.has_metric("KinesisProducerLibrary", "UserRecordsPut"))
        program.say(".")
        lines = program.end()
    return compare(client, stream, lines)


def compare(client, stream, lines):
    """Compares the user records that are in the stream with the acknowledged ones."""
    assert not failed(lines), failed(lines)[:5]
    acknowledged = {f"record-{number}": (shard, at) for _, number, shard, at in map(str.split, lines)}
    assert set(acknowledged) == {f"record-{number}" for number in range(len(lines))}
    ranges = {shard["ShardId"]: shard["HashKeyRange"] for shard in shards(client, stream)}
    stored = streams.records(client, stream)
    found, named, strays = Counter(), set(), 0
    for record in stored:
        for key, hash_key, data in apart(record):
            within = ranges[record.shard]
            if not int(within["StartingHashKey"]) <= hash_key <= int(within["EndingHashKey"]):
                strays += 1
                continue
            assert key == f"key-{int(data.removeprefix('record-')) % 997}"
            found[data] += 1
            if acknowledged[data] == (record.shard, record.number):
                named.add(data)
    assert set(found) == set(acknowledged), f"missing: {sorted(set(acknowledged) - set(found))[:5]}"
    elsewhere = sorted(set(found) - named)
    assert not elsewhere, f"not where the acknowledgement says: {elsewhere[:5]}"
    aggregated = sum(record.data.startswith(MAGIC) for record in stored)
    assert len(stored) < len(found) / 5, f"{len(stored)} records of {len(found)} user records"
    assert len({record.shard for record in stored}) == 4
    again = found.total() - len(found)
    return (
        f"{len(found)} user records in {len(stored)} records, {aggregated} of them aggregated; "
        f"{again} stored twice; {strays} put again because of the split"
    )


def failed(lines):
    """The lines about user records that were not acknowledged."""
    return [line for line in lines if not line.startswith("stored ")]


def apart(record):
    """The user records of a record: their partition key, hash key and data."""
    if not record.data.startswith(MAGIC):
        yield record.key, hash_of(record.key), record.data.decode()
        return
    message, digest = record.data[len(MAGIC) : -DIGEST_SIZE], record.data[-DIGEST_SIZE:]
    assert hashlib.md5(message).digest() == digest
    aggregated = messages_pb2.AggregatedRecord.FromString(message)
    for user in aggregated.records:
        key = aggregated.partition_key_table[user.partition_key_index]
        explicit = user.HasField("explicit_hash_key_index")
        hash_key = aggregated.explicit_hash_key_table[user.explicit_hash_key_index] if explicit else hash_of(key)
        yield key, int(hash_key), user.data.decode()


def hash_of(key):
    """The hash key of a partition key."""
    return int.from_bytes(hashlib.md5(key.encode()).digest(), "big")
