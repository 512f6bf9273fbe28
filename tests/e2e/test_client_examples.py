"""The examples of the native client for Rust, as programs: they write, tail, and read as a group."""

import subprocess

from support.clients import kinesis
from support.cluster import Cluster, release_binary
from support.streams import create_stream


def example(name, *arguments, text=None):
    """Runs an example. Returns the lines of its output."""
    program = release_binary("examples") / name
    command = [str(program), *map(str, arguments)]
    result = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_the_examples_write_tail_and_share_a_stream(tmp_path):
    with Cluster(tmp_path / "data", nodes=3) as cluster:
        nodes = ",".join(node.grpc for node in cluster.nodes)
        create_stream(kinesis(cluster.nodes[0].endpoint), "lines", shards=4)
        lines = [f"line {number}" for number in range(200)]
        written = example("produce", nodes, "lines", text="\n".join(lines))
        assert written == ["200 lines are stored"]
        tailed = [line.partition(" ") for line in example("tail", nodes, "lines", 200)]
        assert sorted(data for _, _, data in tailed) == sorted(lines)
        assert len({shard for shard, _, _ in tailed}) == 4

        # Each member of the group goes on where the one before it ended.
        first = example("consume", nodes, "lines", "g", 50)
        second = example("consume", nodes, "lines", "g", 200 - len(first))
        seen = [line.partition(" ")[2] for line in first + second]
        assert sorted(seen) == sorted(lines)
