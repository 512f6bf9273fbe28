"""Makes the data directory of a release. test_formats.py starts it with the current release.

    python tests/e2e/formats/make.py BINARY NAME      # writes NAME.tar.xz beside this file

Runs three nodes, kills one of them in between, and kills all of them at the end. So the directory is in the state
after a crash.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.clients import kinesis
from support.cluster import Cluster
from support.streams import create_stream

STREAM = "orders"


def main(binary, name):
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "data"
        with Cluster(root, nodes=3, binary=binary) as cluster:
            (Path(scratch) / "written.json").write_text(json.dumps(write(cluster)))
        archive = Path(__file__).with_name(f"{name}.tar.xz").resolve()
        # Leaves out files that contain paths of this machine, and files that `dev` makes again.
        left_out = [f"--exclude={name}" for name in ("LOG", "LOG.old.*", "cluster.json", "node.pid", "node.toml")]
        command = ["tar", "--sparse", *left_out, "-C", scratch, "-cJf", archive, "data", "written.json"]
        subprocess.run(command, check=True, env={"XZ_OPT": "-9", "PATH": "/usr/bin:/bin"})
        print(archive, archive.stat().st_size)


def write(cluster):
    """Writes records. Returns the acknowledged ones as (shard, sequence number, partition key, data)."""
    client = kinesis(cluster.nodes[0].endpoint)
    create_stream(client, STREAM, shards=2)
    client.create_stream(StreamName="tagged", ShardCount=1, Tags={"team": "a"})
    create_stream(client, "gone", shards=1)
    client.put_record(StreamName="gone", PartitionKey="k", Data=b"gone")
    client.delete_stream(StreamName="gone")
    written = puts(client, range(0, 200))
    cluster.kill(cluster.nodes[2])
    written += puts(client, range(200, 300))
    cluster.restart(cluster.nodes[2])
    cluster.wait_ready(cluster.nodes[2])
    return written + puts(client, range(300, 400))


def puts(client, numbers):
    records = [(f"key {number}", f"record {number} " + "x" * (number % 50)) for number in numbers]
    entries = [{"PartitionKey": key, "Data": data.encode()} for key, data in records]
    answer = client.put_records(StreamName=STREAM, Records=entries)
    assert answer["FailedRecordCount"] == 0, answer
    return [
        [entry["ShardId"], entry["SequenceNumber"], *record]
        for entry, record in zip(answer["Records"], records, strict=True)
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
