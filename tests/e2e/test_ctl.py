"""`anabranch ctl`: its reports, its commands, and its refusals."""

import json
import subprocess

from support.clients import kinesis
from support.streams import create_stream, status
from support.waiting import wait_until

STREAM = "ctl"


def ctl(cluster, *arguments, node=None):
    """Runs `anabranch ctl --json` and returns its parsed output."""
    node = node or cluster.nodes[0]
    command = [cluster.binary, "ctl", "--json", "--node", node.grpc, *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)


def refused(cluster, *arguments):
    """The error message of a command that must fail."""
    try:
        answer = ctl(cluster, *arguments)
    except RuntimeError as error:
        return str(error)
    raise AssertionError(f"{arguments}: {answer}")


def test_operators_see_nodes_shards_and_jobs_and_get_errors_for_impossible_commands(three):
    client = kinesis(three.nodes[0].endpoint)
    create_stream(client, STREAM, shards=2)
    assert [node["replicas"] for node in ctl(three, "nodes")] == [3, 3, 3]
    client.split_shard(StreamName=STREAM, ShardToSplit="shardId-000000000000", NewStartingHashKey="1000000")
    wait_until("the split is done", lambda: status(client, STREAM) == "ACTIVE")
    summary = wait_until(
        "ctl shows the new shards", lambda: (said := ctl(three, "status"))["open_shards"] == 3 and said
    )
    assert (summary["streams"], summary["shards"], summary["jobs"], summary["moves"]) == (1, 4, 0, 0)
    shards = ctl(three, "shards", STREAM)["shards"]
    assert [shard["parents"] for shard in shards] == [[], [], ["shardId-000000000000"], ["shardId-000000000000"]]
    explained = ctl(three, "explain", STREAM, "2")
    assert sorted(replica["node"] for replica in explained["replicas"]) == [1, 2, 3]
    assert explained["other_nodes"] == []

    # With three nodes for three replicas node 1 cannot be emptied or removed, but it can be used again.
    assert "drain it first" in refused(three, "remove", "1")
    assert ctl(three, "drain", "1")["state"] == "DRAINING"
    assert "drain it first" in refused(three, "remove", "1")
    assert ctl(three, "undrain", "1")["state"] == "ACTIVE"
    for command in ("drain", "undrain", "remove"):
        assert "node 9 is not known" in refused(three, command, "9")
    assert "there is no stream nowhere" in refused(three, "shards", "nowhere")
    assert "no shard" in refused(three, "explain", STREAM, "77")
    assert ctl(three, "jobs") == []


def test_transfer_leader_moves_the_leader_to_the_named_node(three):
    create_stream(kinesis(three.nodes[0].endpoint), STREAM, shards=1)
    shard = ctl(three, "shards", STREAM)["shards"][0]
    leader = wait_until("the shard has a leader", lambda: three.leaders(STREAM)["shardId-000000000000"])
    target = next(node for node in shard["nodes"] if node != leader)
    transfer = ("transfer-leader", str(shard["group"]), str(target))
    answer = wait_until("leadership is transferred", lambda: attempt(three, *transfer))
    assert (answer["from"], answer["to"]) == (leader, target)
    wait_until("the target leads the shard", lambda: three.leaders(STREAM)["shardId-000000000000"] == target)
    assert "there is no group" in refused(three, "transfer-leader", "999", "1")


def test_groups_show_the_leader_and_the_progress_of_each_replica(three):
    create_stream(kinesis(three.nodes[0].endpoint), STREAM, shards=2)

    def replicated():
        groups = ctl(three, "groups", "--stream", STREAM)
        replicas = [replica for group in groups for replica in group["replicas"]]
        even = all(replica["state"] == "OPEN" and replica["lag_entries"] == 0 for replica in replicas)
        return groups if even and all(group["leader"] for group in groups) else None

    groups = wait_until("every replica has everything", replicated)
    assert [group["shard"] for group in groups] == ["shardId-000000000000", "shardId-000000000001"]
    assert all(group["gate"] == "OPEN" and group["move"] is None for group in groups)
    assert [[replica["node"] for replica in group["replicas"]] for group in groups] == [[1, 2, 3]] * 2
    assert all(sum(replica["leads"] for replica in group["replicas"]) == 1 for group in groups)
    assert [group["group"] for group in ctl(three, "groups", "--on", "1")] == [0, *(g["group"] for g in groups)]
    assert ctl(three, "group", "0")["stream"] is None
    assert {node["leads"] for node in ctl(three, "nodes")} != {None}
    assert "there is no group 999" in refused(three, "group", "999")
    assert "there is no stream nowhere" in refused(three, "groups", "--stream", "nowhere")
    assert "node 9 is not known" in refused(three, "groups", "--on", "9")


def test_while_balancing_is_paused_leaders_stay_until_a_rebalance(three):
    create_stream(kinesis(three.nodes[0].endpoint), STREAM, shards=3)
    assert ctl(three, "status")["balancing"] == "on"
    assert ctl(three, "pause-balancing") == {"balancing": "paused"}
    # Every node must know of the pause, because any node may lead the catalog next.
    for node in three.nodes:
        wait_until("balancing is paused", lambda node=node: ctl(three, "status", node=node)["balancing"] == "paused")
    for shard in ctl(three, "shards", STREAM)["shards"]:
        transfer = ("transfer-leader", str(shard["group"]), "1")
        wait_until("node 1 leads the shard", lambda transfer=transfer: attempt(three, *transfer))
    led_by = wait_until("node 1 leads all shards", lambda: set(three.leaders(STREAM).values()) == {1} and {1})
    assert led_by == {1}
    rebalance = ctl(three, "rebalance")["rebalance"]
    assert rebalance
    wait_until("the rebalance is done", lambda: ctl(three, "status")["rebalance"] is None, timeout=60)
    wait_until("each node leads one shard", lambda: sorted(three.leaders(STREAM).values(), key=str) == [1, 2, 3])
    assert ctl(three, "status")["balancing"] == "paused"
    assert ctl(three, "resume-balancing") == {"balancing": "on"}
    assert ctl(three, "status")["balancing"] == "on"


def attempt(cluster, *arguments):
    """Like `ctl`, but returns None if the command is refused."""
    try:
        return ctl(cluster, *arguments)
    except RuntimeError:
        return None


def test_reports_work_without_a_leader_of_the_catalog(three):
    create_stream(kinesis(three.nodes[0].endpoint), STREAM, shards=1)
    first, second, third = three.nodes
    three.kill(first)
    three.kill(second)
    assert len(ctl(three, "nodes", node=third)) == 3
    assert ctl(three, "shards", STREAM, node=third)["shards"][0]["open"]
    # Once the leader's node is silent, the leader is reported as null, and so are all other unknown values.
    status = wait_until(
        "the catalog has no leader", lambda: (s := ctl(three, "status", node=third))["catalog_leader"] is None and s
    )
    assert status["catalog_nodes"] == [1, 2, 3]
    groups = ("groups", "--stream", STREAM)
    group = wait_until(
        "the shard has no leader", lambda: (g := ctl(three, *groups, node=third)[0])["leader"] is None and g
    )
    assert [replica["state"] for replica in group["replicas"]] == ["UNREACHABLE", "UNREACHABLE", "OPEN"]
    assert [replica["lag_entries"] for replica in group["replicas"]] == [None, None, None]
    assert [node["answers"] for node in ctl(three, "nodes", node=third)] == [False, False, True]
    assert ctl(three, "jobs", node=third) == []


def test_tools_report_a_wrong_port(three):
    api, closed = three.nodes[0].api, "127.0.0.1:1"
    mistakes = {api: f"{api} is the port of a Kinesis API", closed: f"no node answers at {closed}"}
    for arguments in (["ctl", "status"], ["stream", "tail", STREAM]):
        for address, words in mistakes.items():
            command = [str(three.binary), *arguments, "--node", address]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode != 0 and words in done.stderr, done.stderr
