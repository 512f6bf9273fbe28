"""Function mappings: a real HTTP function gets the records of a stream, whatever happens to the nodes."""

import base64
import json

import pytest

from support.clients import kinesis
from support.cluster import is_running, release_binary
from support.ctl import ctl
from support.function import Function
from support.streams import create_stream, data_at, status
from support.waiting import wait_until

KEYS = 2**128


@pytest.fixture
def on_one(one):
    """`ctl` on the shared node."""
    return lambda *arguments: ctl(release_binary(), one.nodes[0], *arguments)


def unique(stream_name):
    """A name for a function: other tests share the node."""
    return stream_name.replace("_", "-")[-60:]


def puts(client, stream, data, shard_of_two=None):
    key = {} if shard_of_two is None else {"ExplicitHashKey": str(shard_of_two * KEYS // 2)}
    client.put_record(StreamName=stream, PartitionKey="k", Data=data, **key)


def jobs_of(run, mapping):
    return [job for job in run("jobs") if job.get("resource") == mapping["id"]]


def test_a_function_gets_the_records_after_its_mapping_was_created(client, stream, on_one):
    puts(client, stream, "before")
    with Function() as function:
        name = unique(stream)
        on_one("function", "put", name, "--url", function.url)
        [mapping] = on_one("mapping", "create", "--stream", stream, "--function", name)
        for number in range(5):
            puts(client, stream, f"after-{number}")
        wait_until("all records", lambda: len(function.data()) == 5)
        assert function.data() == [f"after-{number}" for number in range(5)]
        event = function.events[0]["Records"][0]
        assert event["eventSource"] == "aws:kinesis"
        assert event["eventSourceARN"].endswith(f":stream/{stream}")
        assert [job["part"] for job in jobs_of(on_one, mapping)] == [f"shardId-{n:012}" for n in range(2)]
        on_one("mapping", "delete", mapping["id"])
        wait_until("no jobs", lambda: jobs_of(on_one, mapping) == [])
        puts(client, stream, "after the mapping was deleted")
        assert len(function.data()) == 5


def test_a_paused_mapping_goes_on_where_it_was(client, stream, on_one):
    with Function() as function:
        name = unique(stream)
        on_one("function", "put", name, "--url", function.url)
        [mapping] = on_one("mapping", "create", "--stream", stream, "--function", name, "--start", "trim-horizon")
        puts(client, stream, "first")
        wait_until("the first record", lambda: function.data() == ["first"])
        [paused] = on_one("mapping", "update", mapping["id"], "--enabled", "false")
        assert not paused["enabled"]
        wait_until("no jobs", lambda: jobs_of(on_one, mapping) == [])
        puts(client, stream, "while it is paused")
        [changed] = on_one("mapping", "update", mapping["id"], "--enabled", "true", "--batch-size", "7")
        assert changed["batch_size"] == 7
        wait_until("the other record", lambda: "while it is paused" in function.data())
        assert function.data() == ["first", "while it is paused"], "an ordered pause repeats nothing"
        on_one("mapping", "delete", mapping["id"])


def test_discarded_records_are_named_in_a_document(client, stream, on_one):
    failures = f"{stream}-dead"[:128]
    create_stream(client, failures, shards=1)

    def answer(event):
        return None if any("bad" in base64.b64decode(r["kinesis"]["data"]).decode() for r in event["Records"]) else {}

    with Function(answer) as function:
        name = unique(stream)
        on_one("function", "put", name, "--url", function.url)
        [mapping] = on_one(
            *("mapping", "create", "--stream", stream, "--function", name, "--start", "trim-horizon"),
            *("--maximum-retry-attempts", "1", "--bisect-on-error", "--on-failure", failures),
        )
        for data in ("good-1", "bad", "good-2"):
            puts(client, stream, data)
        wait_until("a document", lambda: data_at(client, failures, "TRIM_HORIZON"))
        [document] = [json.loads(data) for data in data_at(client, failures, "TRIM_HORIZON")]
        assert document["KinesisBatchInfo"]["batchSize"] == 1
        assert document["requestContext"]["condition"] == "RetryAttemptsExhausted"
        wait_until("the last record", lambda: "good-2" in function.data())
        on_one("mapping", "delete", mapping["id"])


def test_wrong_requests_are_refused_with_the_reason(client, stream, on_one):
    name = unique(stream)
    refused = [
        (("function", "put", name, "--url", "ftp://x"), "Url"),
        (("function", "put", "a b", "--url", "http://x"), "FunctionName"),
        (("function", "delete", name), f"function {name} not found"),
        (("mapping", "create", "--stream", stream, "--function", name), f"function {name} not found"),
        (("mapping", "create", "--stream", "no-such", "--function", name), "stream no-such not found"),
        (("mapping", "create", "--stream", stream, "--function", name, "--batch-size", "10001"), "BatchSize"),
        (("mapping", "create", "--stream", stream, "--function", name, "--filter", "{"), "FilterCriteria"),
        (("mapping", "delete", "0c6e9be4-96b9-4f9c-a2a4-a4b9bd0ee5b5"), "not found"),
    ]
    for arguments, reason in refused:
        with pytest.raises(RuntimeError, match=reason):
            on_one(*arguments)
    on_one("function", "put", name, "--url", "http://127.0.0.1:9/")
    [mapping] = on_one("mapping", "create", "--stream", stream, "--function", name, "--enabled", "false")
    with pytest.raises(RuntimeError, match=mapping["id"]):
        on_one("mapping", "create", "--stream", stream, "--function", name)
    with pytest.raises(RuntimeError, match="is used by mapping"):
        on_one("function", "delete", name)
    on_one("mapping", "delete", mapping["id"])
    on_one("function", "delete", name)


def test_no_record_is_lost_when_nodes_are_killed_stopped_and_drained(three):
    client = kinesis(three.nodes[0].endpoint)
    create_stream(client, "s", shards=2)

    def living():
        return next(node for node in three.nodes if is_running(node.pid))

    def node_of(number):
        return next(node for node in three.nodes if node.id == number)

    def run(*arguments):
        return ctl(release_binary(), living(), *arguments)

    with Function() as function:
        run("function", "put", "f", "--url", function.url)
        [mapping] = run("mapping", "create", "--stream", "s", "--function", "f")
        put = []

        def put_some(what):
            client = kinesis(living().endpoint)
            for number in range(20):
                put.append(f"{what}-{number}")
                puts(client, "s", put[-1], shard_of_two=number % 2)
            wait_until(f"all records {what}", lambda: set(put) <= set(function.data()), timeout=60)

        def owner():
            owners = [job["node"] for job in jobs_of(run, mapping)]
            return owners[0] if len(owners) == 2 and all(owners) else None

        put_some("before")
        killed = node_of(wait_until("an owner", owner))
        epochs = {job["part"]: job["epoch"] for job in jobs_of(run, mapping)}
        three.kill(killed)
        put_some("after a kill")
        for job in jobs_of(run, mapping):
            assert job["node"] != killed.id
            assert job["epoch"] >= epochs[job["part"]]
        three.restart(killed)
        drained = wait_until("an owner", owner)
        run("drain", str(drained))
        wait_until("jobs elsewhere", lambda: owner() and drained not in [j["node"] for j in jobs_of(run, mapping)])
        put_some("after a drain")
        run("undrain", str(drained))
        stopped = node_of(wait_until("an owner", owner))
        three.terminate(stopped)
        put_some("after an ordered stop")
        three.restart(stopped)
        put_some("at the end")
        twice = len(function.data()) - len(set(function.data()))
        assert twice <= 20, "only the last records before the kill may come twice"


def test_parents_are_finished_before_their_children(client, stream, on_one):
    with Function() as function:
        name = unique(stream)
        on_one("function", "put", name, "--url", function.url)
        [mapping] = on_one("mapping", "create", "--stream", stream, "--function", name, "--start", "trim-horizon")
        for number in range(10):
            puts(client, stream, f"parent-{number}")
        shard = client.put_record(StreamName=stream, PartitionKey="k", Data="parent-last")["ShardId"]
        halves = client.list_shards(StreamName=stream)["Shards"]
        keys = next(s["HashKeyRange"] for s in halves if s["ShardId"] == shard)
        middle = (int(keys["StartingHashKey"]) + int(keys["EndingHashKey"])) // 2
        client.split_shard(StreamName=stream, ShardToSplit=shard, NewStartingHashKey=str(middle))
        wait_until("the split is done", lambda: status(client, stream) == "ACTIVE")
        for number in range(10):
            puts(client, stream, f"child-{number}")
        wait_until("all records", lambda: len(set(function.data())) == 21)
        expected = [f"parent-{n}" for n in range(10)] + ["parent-last"] + [f"child-{n}" for n in range(10)]
        assert function.data() == expected
        wait_until(
            "the parent's job ends",
            lambda: shard not in [job["part"] for job in jobs_of(on_one, mapping)],
        )
        on_one("mapping", "delete", mapping["id"])
