"""A node hangs (SIGSTOP: its connections stay open and no response arrives). Every single attempt through the other
nodes succeeds, without a retry of the SDK."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.clients import kinesis
from support.streams import create_stream, shards
from support.waiting import wait_until

STREAM = "hung"


def attempts(client, name):
    """A put to each shard, a read of each shard, a change of the stream's tags and a read of the tags; each once."""
    for shard in shards(client, STREAM):
        key = shard["HashKeyRange"]["StartingHashKey"]
        client.put_record(StreamName=STREAM, PartitionKey="k", ExplicitHashKey=key, Data=name.encode())
        start = {"StreamName": STREAM, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = client.get_shard_iterator(**start)["ShardIterator"]
        assert client.get_records(ShardIterator=iterator)["Records"]
    client.add_tags_to_stream(StreamName=STREAM, Tags={"last": name})
    tags = client.list_tags_for_stream(StreamName=STREAM)["Tags"]
    assert {"Key": "last", "Value": name} in tags


@pytest.mark.parametrize("hung", [0, 1, 2])
def test_every_attempt_through_another_node_succeeds_while_a_node_hangs(three, hung):
    """Each node hangs in one of the cases. So in some case the node leads a shard or the catalog."""
    create_stream(kinesis(three.nodes[0].endpoint), STREAM, shards=3)
    others = [node for index, node in enumerate(three.nodes) if index != hung]
    clients = [kinesis(node.endpoint, retries={"total_max_attempts": 1}) for node in others]
    for client in clients:
        attempts(client, "before")
    os.kill(three.nodes[hung].pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor() as pool:
            for turn in range(3):
                list(pool.map(lambda client, turn=turn: attempts(client, f"while it hangs {turn}"), clients))
    finally:
        os.kill(three.nodes[hung].pid, signal.SIGCONT)
    wait_until("the node answers again", lambda: attempts(kinesis(three.nodes[hung].endpoint), "after") is None, 30)


def test_every_attempt_through_another_node_succeeds_while_a_node_restarts(three):
    """The node is killed and started again at once, so its port accepts connections before the node can respond."""
    create_stream(kinesis(three.nodes[0].endpoint), STREAM, shards=3)
    clients = [kinesis(node.endpoint, retries={"total_max_attempts": 1}) for node in three.nodes[1:]]
    for turn in range(3):
        three.kill(three.nodes[0])
        with ThreadPoolExecutor() as pool:
            restarting = pool.submit(three.restart, three.nodes[0])
            list(pool.map(lambda client, turn=turn: attempts(client, f"restart {turn}"), clients))
            restarting.result()
