"""Data directories of earlier releases, started with this release: no record is lost, and everything works.

The tests set the nodes' clocks, so their result does not depend on the date of the run. One test uses the day on
which the directory was made, when retention has trimmed nothing. The other one uses a year later, when every record
is older than the retention period of its stream.
"""

import json
import subprocess
from pathlib import Path

import pytest

from support.clients import kinesis
from support.cluster import Cluster
from support.streams import shards, status
from support.waiting import wait_until

ARCHIVES = sorted((Path(__file__).parent / "formats").glob("*.tar.xz"))
STREAM = "orders"
MINUTE = 60
YEAR = 365 * 24 * 60 * MINUTE


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def archive(request, tmp_path):
    """An unpacked archive: its folder, the acknowledged records, and the time at which it was made."""
    subprocess.run(["tar", "-C", tmp_path, "-xJf", request.param], check=True)
    file = tmp_path / "written.json"
    # In the archive the modification time of this file is the time after the last put.
    return tmp_path / "data", json.loads(file.read_text()), file.stat().st_mtime


def test_data_of_an_earlier_release_is_complete_and_can_be_changed(archive):
    data, written, made = archive
    with Cluster(data, nodes=3, clock=made + MINUTE) as cluster:
        client = kinesis(cluster.nodes[0].endpoint)
        assert sorted(client.list_streams()["StreamNames"]) == [STREAM, "tagged"]
        assert read_all(client) == sorted(written)
        written.append(split_and_put(client))
        assert set(cluster.stop().values()) == {0}
    with Cluster(data, nodes=3, clock=made + 2 * MINUTE) as cluster:
        assert read_all(kinesis(cluster.nodes[0].endpoint)) == sorted(written)


def test_a_year_later_the_records_have_expired_and_everything_else_exists(archive):
    data, written, made = archive
    with Cluster(data, nodes=3, clock=made + YEAR) as cluster:
        client = kinesis(cluster.nodes[0].endpoint)
        assert sorted(client.list_streams()["StreamNames"]) == [STREAM, "tagged"]
        assert client.list_tags_for_stream(StreamName="tagged")["Tags"] == [{"Key": "team", "Value": "a"}]
        old = shards(client, STREAM)
        assert {shard["ShardId"] for shard in old} == {shard for shard, *_ in written}
        assert read_all(client) == []
        # New sequence numbers are above those of the trimmed records.
        new = split_and_put(client)
        assert int(new[1]) > max(int(number) for _, number, *_ in written)
        assert read_all(client) == [new]
        assert set(cluster.stop().values()) == {0}
    with Cluster(data, nodes=3, clock=made + YEAR + MINUTE) as cluster:
        assert read_all(kinesis(cluster.nodes[0].endpoint)) == [new]


def test_there_is_an_archive_of_an_earlier_release():
    assert ARCHIVES


def split_and_put(client):
    """Splits an old shard and puts a record into a new one. Returns the record in the form of `read_all`."""
    parent = shards(client, STREAM)[0]
    middle = int(parent["HashKeyRange"]["EndingHashKey"]) // 2
    client.split_shard(StreamName=STREAM, ShardToSplit=parent["ShardId"], NewStartingHashKey=str(middle))
    wait_until("the split is done", lambda: status(client, STREAM) == "ACTIVE")
    put = client.put_record(StreamName=STREAM, PartitionKey="new", ExplicitHashKey="0", Data=b"new")
    return [put["ShardId"], put["SequenceNumber"], "new", "new"]


def read_all(client):
    """Shard, sequence number, partition key and data of every record, in that order."""
    found = []
    for shard in shards(client, STREAM):
        page = client.get_shard_iterator(StreamName=STREAM, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")
        # Without a leader a replica answers, but never says that its end is the tip. A closed shard ends.
        while page.get("MillisBehindLatest") != 0:
            page = client.get_records(ShardIterator=page.get("NextShardIterator") or page["ShardIterator"])
            found += [
                [shard["ShardId"], record["SequenceNumber"], record["PartitionKey"], record["Data"].decode()]
                for record in page["Records"]
            ]
    return sorted(found)
