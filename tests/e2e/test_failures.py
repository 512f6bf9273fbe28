"""Nodes that die: no acknowledged record is lost, and no client with an SDK's normal retries sees an error."""

import json
import time

from support.clients import kinesis, signed_call
from support.cluster import Cluster
from support.oracle import Oracle, put_records, read_stream
from support.streams import create_stream
from support.waiting import wait_until
from support.writer import Writer, distinct_batches

STREAM = "failures"


def check(oracle, cluster, stream=STREAM):
    """Checks that each node's gateway returns exactly the acknowledged records."""
    for node in cluster.nodes:
        verdict = oracle.judge(read_stream(kinesis(node.endpoint), stream))
        assert verdict, f"through node {node.id}: {verdict}"


def test_leaders_killed_under_load_lose_nothing(three, capsys):
    oracle = Oracle()
    create_stream(kinesis(three.nodes[0].endpoint), STREAM, shards=4)
    leader = wait_until("every shard has a leader", lambda: three.leader_of_most(STREAM, shards=4))
    others = [node for node in three.nodes if node.id != leader.id]
    # A real client would reach living nodes through a load balancer. Here each client uses one node that survives.
    clients = [kinesis(node.endpoint) for node in others]
    with Writer(oracle, STREAM, clients, distinct_batches()) as writer:
        wait_until("writes flow", lambda: oracle.count > 500)
        killed = time.monotonic()
        three.kill(leader)
        wait_until("writes flow again", lambda: writer.acknowledged_since(killed) > 50, timeout=60)
        silence = writer.longest_silence(killed)
        alive = three.restart(leader)
        wait_until("more is written", lambda: oracle.count > 3000, timeout=60)
    assert not writer.errors, writer.errors
    check(oracle, three)
    assert alive.pid != leader.pid
    with capsys.disabled():
        print(f"\nleader killed under load: {silence:.2f} s without an acknowledgement, {oracle.count} records")


def test_no_record_is_lost_when_one_node_after_another_dies(three):
    oracle = Oracle()
    create_stream(kinesis(three.nodes[0].endpoint), STREAM, shards=2)
    for number, node in enumerate(list(three.nodes)):
        three.kill(node)
        survivor = next(other for other in three.nodes if other.id != node.id)
        records = [(f"{number}-{key}", f"{number}-{key}".encode()) for key in range(100)]
        put_records(kinesis(survivor.endpoint), oracle, STREAM, records)
        three.restart(node)
    check(oracle, three)


def test_acknowledged_records_survive_the_death_of_all_nodes(tmp_path):
    oracle = Oracle()
    with Cluster(tmp_path / "all", nodes=3) as cluster:
        create_stream(kinesis(cluster.nodes[0].endpoint), STREAM, shards=4)
        clients = [kinesis(node.endpoint, retries={"total_max_attempts": 1}) for node in cluster.nodes]
        with Writer(oracle, STREAM, clients, distinct_batches()):
            wait_until("writes flow", lambda: oracle.count > 1000)
            cluster.kill_everything()
    with Cluster(tmp_path / "all", nodes=3) as cluster:
        check(oracle, cluster)
        put_records(kinesis(cluster.nodes[0].endpoint), oracle, STREAM, [("k", b"afterwards")])
        check(oracle, cluster)


def test_a_single_node_keeps_acknowledged_records_after_a_kill(tmp_path):
    oracle = Oracle()
    with Cluster(tmp_path / "one") as cluster:
        client = kinesis(cluster.nodes[0].endpoint, retries={"total_max_attempts": 1})
        create_stream(client, STREAM, shards=2)
        with Writer(oracle, STREAM, [client], distinct_batches()):
            wait_until("writes flow", lambda: oracle.count > 200)
            cluster.kill_everything()
    with Cluster(tmp_path / "one") as cluster:
        check(oracle, cluster)


def test_a_retry_at_the_new_leader_makes_no_second_record(three):
    client = kinesis(three.nodes[0].endpoint)
    create_stream(client, STREAM, shards=1)
    body = {"StreamName": STREAM, "PartitionKey": "k", "Data": "b25jZQ=="}
    answers = [signed_call_until_done(three, body, attempt=1)]
    for node in list(three.nodes):
        three.kill(node)
        answers.append(signed_call_until_done(three, body, attempt=2, without=node))
        three.restart(node)
    assert all(answer == answers[0] for answer in answers), answers
    records = read_stream(client, STREAM)["shardId-000000000000"]
    assert [record.data for record in records] == [b"once"]


def signed_call_until_done(cluster, body, attempt, without=None):
    """Sends the same invocation through a living node until it succeeds."""
    headers = {"amz-sdk-invocation-id": "6f6e6365-0000-4000-8000-000000000001", "amz-sdk-request": f"attempt={attempt}"}
    node = next(node for node in cluster.nodes if without is None or node.id != without.id)

    def call():
        status, _, answer = signed_call(node.endpoint, "PutRecord", body, headers)
        return json.loads(answer) if status == 200 else None

    return wait_until("the put is acknowledged", call, timeout=60)
