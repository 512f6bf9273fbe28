"""A node with a wrong wall clock: no record is trimmed or hidden, the node leads nothing, operators see the problem,
and the node's gateway responds correctly."""

import datetime
import json
import urllib.request

import pytest

from support.clients import kinesis
from support.ctl import ctl
from support.servers import Servers
from support.streams import create_stream
from support.waiting import wait_until

STREAM = "clocks"
SHARD = "shardId-000000000000"
HOUR = 3600
FAST = ['authentication = "any"', "[replication]", "checkpoint-interval-ms = 200", "maintenance-interval-ms = 100"]


@pytest.fixture
def cluster(tmp_path):
    """Three nodes with frequent checkpoints and trims."""
    with Servers(tmp_path / "clocks", nodes=3, settings=FAST) as servers:
        yield servers


@pytest.fixture
def clients(cluster):
    """A client of each node."""
    return [kinesis(node.endpoint) for node in cluster.nodes]


@pytest.mark.parametrize("ahead", [25 * HOUR, -25 * HOUR], ids=["ahead", "behind"])
def test_a_leader_whose_clock_is_a_day_wrong_does_no_harm(cluster, clients, ahead):
    create_stream(clients[0], STREAM, shards=1)
    written = [put(clients[0], f"before {number}") for number in range(20)]
    wrong = wait_until("a leader", lambda: leader(cluster))
    right = next(node for node in cluster.nodes if node.id != wrong.id)
    wait_for_checkpoint(cluster, right)

    cluster.set_clock_ahead(wrong, ahead)
    wait_until("operators see the wrong clock", lambda: status(cluster, right)["wrong_clocks"] == [wrong.id])
    [shown] = [node for node in ctl(cluster.binary, right, "nodes") if node["node"] == wrong.id]
    assert shown["clock_is_wrong"]
    assert abs(shown["clock_ahead_millis"] - ahead * 1000) < 1000
    wait_until("another node leads", lambda: (now := leader(cluster, right)) and now.id != wrong.id)
    wait_until("the log reports the wrong clock", lambda: "wall clock is wrong" in cluster.output(wrong))

    # The gateway with the wrong clock must accept iterators of other gateways, and its stamps must be right.
    written += [put(clients[wrong.id - 1], f"meanwhile {number}") for number in range(20)]
    wait_for_checkpoint(cluster, right)
    for client in clients:
        records = read_all(client, clients[right.id - 1])
        assert [record["Data"].decode() for record in records] == written
        off = records[-1]["ApproximateArrivalTimestamp"] - datetime.datetime.now(datetime.UTC)
        assert abs(off.total_seconds()) < 60
    assert horizons(cluster) == [0, 0, 0]

    cluster.set_clock_ahead(wrong, 0)
    wait_until("the clock is right again", lambda: status(cluster, right)["wrong_clocks"] == [])
    assert status(cluster, right)["clocks_agree"]


def put(client, text):
    client.put_record(StreamName=STREAM, PartitionKey="k", Data=text.encode())
    return text


def read_all(client, other):
    """All records, with an iterator that another node made."""
    start = other.get_shard_iterator(StreamName=STREAM, ShardId=SHARD, ShardIteratorType="TRIM_HORIZON")
    position, records = start["ShardIterator"], []
    while True:
        page = client.get_records(ShardIterator=position, Limit=7)
        records += page["Records"]
        position = page["NextShardIterator"]
        if page["MillisBehindLatest"] == 0 and not page["Records"]:
            return records


def status(cluster, node):
    return ctl(cluster.binary, node, "status")


def report(node):
    with urllib.request.urlopen(f"{node.endpoint}/cluster", timeout=5) as response:
        return json.load(response)["shards"][0]


def leader(cluster, through=None):
    led_by = report(through or cluster.nodes[0])["leader"]
    return next((node for node in cluster.nodes if node.id == led_by), None)


def horizons(cluster):
    return [report(node)["trim_horizon"] for node in cluster.nodes]


def wait_for_checkpoint(cluster, node):
    """Waits for a checkpoint after the last record, so that all records could be trimmed."""
    written = report(node)["applied"]
    wait_until("a checkpoint", lambda: (report(node)["checkpoint"] or 0) + 1 >= written)
