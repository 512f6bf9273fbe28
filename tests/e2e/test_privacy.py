"""Data that a node protects: its files, its memory (no core dumps), and streams against pages of foreign origins."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest


def open_to_others(path):
    return path.stat().st_mode & 0o077


def test_files_are_readable_for_their_owner_only(one, stream, client):
    client.put_record(StreamName=stream, PartitionKey="k", Data=b"x")
    folder = Path(one.data_dir)
    secret = [folder, folder / "node-1" / "node.toml", folder / "keys.toml", *(folder / "node-1").rglob("*")]
    assert [path for path in secret if open_to_others(path)] == []


def test_a_node_writes_no_core_dump(one):
    limits = Path(f"/proc/{one.nodes[0].pid}/limits").read_text()
    line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert line.split()[4:6] == ["0", "0"]


def report_for(endpoint, origin):
    """A request as a page of this origin would send it."""
    return urllib.request.Request(f"{endpoint}/cluster", headers={"Origin": origin})


@pytest.mark.parametrize("origin", ["https://example.org", "null"])
def test_pages_of_foreign_origins_are_refused(endpoint, origin):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(report_for(endpoint, origin))
    assert refused.value.code == 403
    assert "Access-Control-Allow-Origin" not in refused.value.headers


def test_pages_of_loopback_are_allowed(endpoint):
    with urllib.request.urlopen(report_for(endpoint, "http://localhost:3000")) as answer:
        assert answer.status == 200
