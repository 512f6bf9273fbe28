"""Data directories of earlier releases, started with this one: nothing is lost, and all goes on."""

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


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_what_an_earlier_release_wrote_is_there_and_goes_on(archive, tmp_path):
    subprocess.run(["tar", "-C", tmp_path, "-xJf", archive], check=True)
    written = json.loads((tmp_path / "written.json").read_text())
    with Cluster(tmp_path / "data", nodes=3) as cluster:
        client = kinesis(cluster.nodes[0].endpoint)
        assert sorted(client.list_streams()["StreamNames"]) == [STREAM, "tagged"]
        assert read_all(client) == sorted(written)
        # What is new works on what is old.
        parent = shards(client, STREAM)[0]
        middle = int(parent["HashKeyRange"]["EndingHashKey"]) // 2
        client.split_shard(StreamName=STREAM, ShardToSplit=parent["ShardId"], NewStartingHashKey=str(middle))
        wait_until("it is split", lambda: status(client, STREAM) == "ACTIVE")
        put = client.put_record(StreamName=STREAM, PartitionKey="new", ExplicitHashKey="0", Data=b"new")
        written.append([put["ShardId"], put["SequenceNumber"], "new", "new"])
        assert set(cluster.stop().values()) == {0}
    with Cluster(tmp_path / "data", nodes=3) as cluster:
        assert read_all(kinesis(cluster.nodes[0].endpoint)) == sorted(written)


def test_there_is_a_data_directory_of_an_earlier_release():
    assert ARCHIVES


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
