"""The Kinesis connector of Flink: a sink, two sources that poll, and one with enhanced fan-out.

Checks of the sources: every record comes exactly once, although the job fails once and goes on from its checkpoint, and
although a shard is split meanwhile. The records of a key that were put before the split come in order, and so do those
that were put after it. Check of the sink: every record is in the stream exactly once, the records of a key in order.
"""

from pathlib import Path

import builds
from kcl.scenario import await_active
from producers import pages, streams
from producers.programs import Program

from support.streams import create_stream

HERE = Path(__file__).resolve().parent / "flink"
# The code blocks with properties on the page, by their order.
CLIENT, READING, FANOUT = range(3)
# What is run, with the code blocks that it needs.
SOURCES = {
    "source": ("source", [CLIENT, READING]),
    "consumer": ("consumer", [CLIENT, READING]),
    "fanout": ("consumer", [CLIENT, READING, FANOUT]),
}
# Records before the split of a shard, and as many after it.
RECORDS = 2500
# What Flink needs of Java 17.
OPENED = [f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in ("lang", "util", "time")]


def flink(target, stream, directory):
    """Flink 1.19.3 with the connector 4.3.0-1.19."""
    builds.class_path(HERE / "pom.xml", builds.CACHE / "flink", [HERE / "Job.java"])
    client = target.client()
    with job(target, "sink", [CLIENT], create(client, f"{stream}-sink"), directory) as program:
        program.end()
    stored = streams.records(client, f"{stream}-sink")
    data = [record.data.decode() for record in stored]
    streams.once(data, [record(number) for number in range(5000)])
    streams.in_order([(record.key, text.partition(":")[2]) for record, text in zip(stored, data, strict=True)])
    assert all(record.key == text.partition(":")[0] for record, text in zip(stored, data, strict=True))
    for name, (what, blocks) in SOURCES.items():
        read(target, name, what, blocks, f"{stream}-{name}", directory)
    return f"the sink put {len(stored)} records; {', '.join(SOURCES)} read {2 * RECORDS} each, exactly once"


def read(target, name, what, blocks, stream, directory):
    """Runs a job that reads."""
    client = target.client()
    arn = create(client, stream)
    wanted = [record(number) for number in range(2 * RECORDS)]
    put(client, stream, wanted[:RECORDS])
    with job(target, what, blocks, arn, directory, name) as program:
        program.wait(f"{name}: records are read", lambda: program.lines)
        half = str(2**126)
        client.split_shard(StreamName=stream, ShardToSplit="shardId-000000000000", NewStartingHashKey=half)
        await_active(client, stream)
        put(client, stream, wanted[RECORDS:])
        program.wait(f"{name}: all records are read", lambda: len(program.lines) >= 2 * RECORDS)
        found = list(program.lines)
        consumers = client.list_stream_consumers(StreamARN=arn)["Consumers"]
        assert [consumer["ConsumerName"] for consumer in consumers] == (["counter"] if FANOUT in blocks else [])
    streams.once(found, wanted)
    old = set(wanted[:RECORDS])
    for phase in ([text for text in found if text in old], [text for text in found if text not in old]):
        streams.in_order([tuple(text.split(":")) for text in phase])


def record(number):
    """The data of a record, which begins with its partition key."""
    return f"key-{number % 7}:record-{number}"


def create(client, stream):
    """Creates a stream. Returns its ARN."""
    create_stream(client, stream, 2)
    return client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]


def put(client, stream, data):
    """Puts records."""
    for begin in range(0, len(data), 500):
        entries = [{"Data": text, "PartitionKey": text.partition(":")[0]} for text in data[begin : begin + 500]]
        assert client.put_records(StreamName=stream, Records=entries)["FailedRecordCount"] == 0


def job(target, what, blocks, arn, directory, name="sink"):
    """Starts a job with some blocks of the page."""
    path = builds.class_path(HERE / "pom.xml", builds.CACHE / "flink", [HERE / "Job.java"])
    settings = directory / f"{name}.properties"
    replacing = {CLIENT: {pages.ENDPOINT: target.endpoint}}
    settings.write_text("".join(pages.block("flink", "properties", replacing.get(at, {}), at) for at in blocks))
    temporary = f"-Djava.io.tmpdir={directory}"
    command = [*target.java, "-Xmx512m", *OPENED, temporary, "-cp", path, "Job", what, settings, arn]
    return Program(command, target.environment, directory / f"{name}.log")
