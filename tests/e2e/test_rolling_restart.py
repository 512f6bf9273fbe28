"""Every node is restarted in turn, as in an upgrade: writers notice pauses, but never errors."""

import base64
import contextlib
import http.client
import itertools
import json
import os
import signal
import time

from support.balancer import Balancer
from support.clients import kinesis, signed_request
from support.cluster import is_running
from support.oracle import Oracle, read_stream
from support.streams import create_stream
from support.waiting import wait_until
from support.writer import Writer, distinct_batches

STREAM = "rolling"
SHARDS = 6
# The SDK sends a call again once, after at most a second.
ONE_RETRY = {"total_max_attempts": 2, "mode": "standard"}


def put_one(client, oracle, stream, batch):
    """Puts a batch of one record with PutRecord."""
    [(key, data)] = batch
    answer = client.put_record(StreamName=stream, PartitionKey=key, Data=data)
    oracle.acknowledged(answer["ShardId"], answer["SequenceNumber"], key, data)


def single_records():
    """Yields batches of one record. The other writer has none of these records."""
    for number in itertools.count():
        yield [(f"single-{number}", f"single {number}".encode().ljust(1000, b"."))]


def leaders_of_nodes(cluster, stream):
    """The number of the stream's shards that each node leads. None while the nodes do not agree."""
    views = [cluster.leaders(stream, through=node) for node in cluster.nodes]
    if any(view != views[0] for view in views) or None in views[0].values():
        return None
    leaders = list(views[0].values())
    return {node.id: leaders.count(node.id) for node in cluster.nodes}


def are_even(cluster, stream):
    """The numbers of leaders if they differ by at most one, otherwise None."""
    numbers = leaders_of_nodes(cluster, stream)
    return numbers if numbers and max(numbers.values()) - min(numbers.values()) <= 1 else None


def test_a_rolling_restart_costs_a_client_at_most_one_retry(three, capsys):
    oracle = Oracle()
    create_stream(kinesis(three.nodes[0].endpoint), STREAM, shards=SHARDS)
    balancer = Balancer({node.id: kinesis(node.endpoint, retries=ONE_RETRY) for node in three.nodes})
    stops, silences = [], []
    with (
        Writer(oracle, STREAM, [balancer] * 2, distinct_batches()) as many,
        Writer(oracle, STREAM, [balancer] * 2, single_records(), put=put_one) as single,
    ):
        wait_until("writes flow", lambda: oracle.count > 500)
        for node in list(three.nodes):
            began = time.monotonic()
            balancer.take_out(node.id)
            stopping = time.monotonic()
            three.terminate(node)
            stops.append(time.monotonic() - stopping)
            three.restart(node)
            balancer.put_in(node.id)
            put_back = time.monotonic()
            wait_until("writes go on", lambda at=put_back: single.acknowledged_since(at) > 50, timeout=60)
            silences.append(max(writer.longest_silence(began) for writer in (many, single)))
        even = wait_until("leaders are spread evenly", lambda: are_even(three, STREAM), timeout=90)
    assert not many.errors + single.errors, many.errors + single.errors
    assert balancer.failed_records == 0
    for node in three.nodes:
        verdict = oracle.judge(read_stream(kinesis(node.endpoint), STREAM))
        assert verdict, f"through node {node.id}: {verdict}"
    with capsys.disabled():
        slowest = max(many.call_seconds + single.call_seconds)
        print(
            f"\nrolling restart: {oracle.count} records, {balancer.retried} calls sent again, "
            f"stops of {', '.join(f'{seconds:.2f}' for seconds in stops)} s, without an acknowledgement "
            f"{', '.join(f'{seconds:.2f}' for seconds in silences)} s, slowest call {slowest:.2f} s, leaders {even}"
        )


def test_a_node_that_stops_leads_nothing_when_it_ends(three):
    create_stream(kinesis(three.nodes[0].endpoint), STREAM, shards=SHARDS)
    leader = wait_until("every shard has a leader", lambda: three.leader_of_most(STREAM, SHARDS))
    survivor = next(node for node in three.nodes if node.id != leader.id)
    three.terminate(leader)
    # There is no wait for the node's silence: other nodes led its shards before it ended.
    leaders = three.leaders(STREAM, through=survivor)
    assert leader.id not in leaders.values(), leaders


def test_an_open_call_is_answered_when_its_node_stops(three):
    node, other = three.nodes[:2]
    create_stream(kinesis(node.endpoint), STREAM, shards=SHARDS)
    body = {"StreamName": STREAM, "PartitionKey": "k", "Data": base64.b64encode(b"x" * 1000).decode()}
    request = signed_request(node.endpoint, "PutRecord", body)
    with contextlib.closing(http.client.HTTPConnection(node.api, timeout=30)) as connection:
        connection.putrequest("POST", "/")
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(request.data)))
        connection.endheaders()
        connection.send(request.data[:500])
        os.kill(node.pid, signal.SIGTERM)
        wait_until("the node leads nothing", lambda: node.id not in three.leaders(STREAM, through=other).values())
        connection.send(request.data[500:])
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        assert "SequenceNumber" in json.load(answer)
    wait_until("the node ends", lambda: not is_running(node.pid))
