"""Stopping: SIGTERM ends all processes with status 0, and acknowledged records exist after the next start."""

import pytest

from support.clients import kinesis
from support.cluster import Cluster
from support.oracle import Oracle, put_records, read_stream
from support.streams import create_stream


@pytest.mark.parametrize("nodes", [1, 3])
def test_sigterm_stops_all_processes_with_status_0(tmp_path, nodes):
    oracle = Oracle()
    with Cluster(tmp_path, nodes=nodes) as cluster:
        client = kinesis(cluster.nodes[0].endpoint)
        create_stream(client, "kept", shards=2)
        put_records(client, oracle, "kept", [(f"key-{n}", f"record {n}".encode()) for n in range(50)])
        pids = [node.pid for node in cluster.nodes]
        statuses = cluster.stop()
        assert set(statuses.values()) == {0}, cluster.tail()
        assert not set(pids) & set(cluster.running())
    with Cluster(tmp_path, nodes=nodes) as cluster:
        verdict = oracle.judge(read_stream(kinesis(cluster.nodes[0].endpoint), "kept"))
        assert verdict, verdict
        assert set(cluster.stop().values()) == {0}, cluster.tail()


def test_a_second_dev_changes_no_file_of_running_nodes(tmp_path):
    with Cluster(tmp_path, nodes=3) as cluster:
        files = [path for node in tmp_path.glob("node-*") for path in (node / "node.toml", node / "node.pid")]
        before = {path: path.read_text() for path in [*files, tmp_path / "cluster.json"]}
        with pytest.raises((RuntimeError, TimeoutError)):
            Cluster(tmp_path, nodes=3).start()
        assert {path: path.read_text() for path in before} == before
        for node in cluster.nodes:
            cluster.kill(node)
            cluster.restart(node)
            cluster.wait_ready(node)


def test_a_second_dev_on_the_same_data_directory_ends_with_an_error(tmp_path):
    with Cluster(tmp_path):
        with pytest.raises((RuntimeError, TimeoutError)) as refused:
            Cluster(tmp_path).start()
        assert "ended with status" in str(refused.value)
