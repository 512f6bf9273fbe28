"""Data directories of earlier releases, started with this one: nothing is lost, and all goes on.

The nodes' clocks are set: to the day on which the directory was made, so retention has trimmed nothing, and to a year
later, when every record is older than its stream's retention. So the tests hold whenever they run.
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
    """An unpacked archive: its folder, what was acknowledged, and when it was made."""
    subprocess.run(["tar", "-C", tmp_path, "-xJf", request.param], check=True)
    file = tmp_path / "written.json"
    # The archive keeps the time at which the last record had been written.
    return tmp_path / "data", json.loads(file.read_text()), file.stat().st_mtime


def test_what_an_earlier_release_wrote_is_there_and_goes_on(archive):
    data, written, made = archive
    with Cluster(data, nodes=3, clock=made + MINUTE) as cluster:
        client = kinesis(cluster.nodes[0].endpoint)
        assert sorted(client.list_streams()["StreamNames"]) == [STREAM, "tagged"]
        assert read_all(client) == sorted(written)
        written.append(split_and_put(client))
        assert set(cluster.stop().values()) == {0}
    with Cluster(data, nodes=3, clock=made + 2 * MINUTE) as cluster:
        assert read_all(kinesis(cluster.nodes[0].endpoint)) == sorted(written)


def test_a_year_later_the_records_are_past_retention_and_all_else_is_there(archive):
    data, written, made = archive
    with Cluster(data, nodes=3, clock=made + YEAR) as cluster:
        client = kinesis(cluster.nodes[0].endpoint)
        assert sorted(client.list_streams()["StreamNames"]) == [STREAM, "tagged"]
        assert client.list_tags_for_stream(StreamName="tagged")["Tags"] == [{"Key": "team", "Value": "a"}]
        old = shards(client, STREAM)
        assert {shard["ShardId"] for shard in old} == {shard for shard, *_ in written}
        assert read_all(client) == []
        # Numbers go on above those of records that are gone.
        new = split_and_put(client)
        assert int(new[1]) > max(int(number) for _, number, *_ in written)
        assert read_all(client) == [new]
        assert set(cluster.stop().values()) == {0}
    with Cluster(data, nodes=3, clock=made + YEAR + MINUTE) as cluster:
        assert read_all(kinesis(cluster.nodes[0].endpoint)) == [new]


def test_there_is_a_data_directory_of_an_earlier_release():
    assert ARCHIVES


def split_and_put(client):
    """What is new works on what is old. Returns the new record as `read_all` does."""
    parent = shards(client, STREAM)[0]
    middle = int(parent["HashKeyRange"]["EndingHashKey"]) // 2
    client.split_shard(StreamName=STREAM, ShardToSplit=parent["ShardId"], NewStartingHashKey=str(middle))
    wait_until("it is split", lambda: status(client, STREAM) == "ACTIVE")
    put = client.put_record(StreamName=STREAM, PartitionKey="new", ExplicitHashKey="0", Data=b"new")
    return [put["ShardId"], put["SequenceNumber"], "new", "new"]


def read_all(client):
    """Shard, sequence number, partition key and data of every record, in that order."""
    found = []
    for shard in shards(client, STREAM):
        page = client.get_shard_iterator(StreamName=STREAM, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")
        # A replica answers too while there is no leader, and then never that this is the tip. A closed shard ends.
        while page.get("MillisBehindLatest") != 0:
            page = client.get_records(ShardIterator=page.get("NextShardIterator") or page["ShardIterator"])
            found += [
                [shard["ShardId"], record["SequenceNumber"], record["PartitionKey"], record["Data"].decode()]
                for record in page["Records"]
            ]
    return sorted(found)
