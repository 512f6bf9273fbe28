"""Runs `anabranch dev` for the end-to-end tests, and changes streams by the native API."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from anabranch import Cluster, Shard
from anabranch._proto import catalog_pb2, log_pb2
from waiting import wait_until

_START_SECONDS = 90.0


class Server:
    """A running `anabranch dev` with data in `directory`. A context manager that ends all its processes."""

    def __init__(self, binary: str, directory: Path, nodes: int, arguments: Sequence[str] = ()):
        self._directory = directory
        self._log = directory.with_suffix(".log")
        command = [binary, "dev", "--listen", "127.0.0.1:0", "--data-dir", directory, "--nodes", nodes, *arguments]
        with self._log.open("w") as log:
            self._parent = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self._restarted: list[subprocess.Popen] = []
        self.nodes: dict[int, dict] = {}

    def __enter__(self) -> Server:
        try:
            wait_until("the server is ready", self._is_ready, _START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        listed = json.loads((self._directory / "cluster.json").read_text())["nodes"]
        self.nodes = {node["id"]: node for node in listed}
        return self

    def __exit__(self, *_: object) -> None:
        pids = [node["pid"] for node in self.nodes.values() if node["pid"] != self._parent.pid]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._parent.terminate()
        try:
            self._parent.wait(30)
        except subprocess.TimeoutExpired:
            self._parent.kill()
            self._parent.wait()
        for process in self._restarted:
            process.kill()
            process.wait()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def seeds(self) -> list[str]:
        """The gRPC addresses of all nodes."""
        return [node["grpc"] for node in self.nodes.values()]

    def signal(self, node: int, number: int) -> None:
        """Sends a signal to a node's process."""
        os.kill(self.nodes[node]["pid"], number)

    def restart(self, node: int) -> None:
        """Starts a node that was killed, and waits until it is ready."""
        process = subprocess.Popen(self.nodes[node]["command"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self._restarted.append(process)
        self.nodes[node]["pid"] = process.pid
        wait_until(f"node {node} is ready", lambda: self.answers(node), _START_SECONDS)

    def answers(self, node: int) -> bool:
        """Whether a node answers 200 on /readyz."""
        url = self.nodes[node]["api"]
        url = url if url.startswith("http") else f"http://{url}"
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2) as response:
                return response.status == 200
        except (urllib.error.HTTPError, OSError):
            return False

    def _is_ready(self) -> bool:
        output = self._log.read_text()
        if self._parent.poll() is not None:
            raise RuntimeError(f"the server ended with status {self._parent.returncode}:\n{output}")
        return any(line.startswith("ready") for line in output.splitlines())


def change(cluster: Cluster, what: str, is_done: Callable[[], bool], **command: Any) -> None:
    """Sends a command of the catalog to one node after the other, until `cluster` shows that it is done.

    A command that comes too early, or a second time, is refused and does no harm.
    """
    request = log_pb2.ProposeRequest(command=catalog_pb2.Command(**command).SerializeToString())
    nodes = itertools.cycle(list(cluster.nodes))

    def propose() -> bool:
        if not is_done():
            with contextlib.suppress(grpc.RpcError):
                cluster.peer(next(nodes)).catalog.Propose(request, timeout=5)
        return is_done()

    wait_until(what, propose, timeout=60, pause=0.1)


def create_stream(cluster: Cluster, name: str, shards: int) -> None:
    """Makes a stream with three replicas of each shard, or as many as there are nodes."""
    stream = catalog_pb2.CreateStream(
        name=name,
        shards=shards,
        mode=catalog_pb2.STREAM_MODE_PROVISIONED,
        retention_hours=24,
        max_record_size_kib=1024,
        replicas=min(len(cluster.nodes), 3),
        now_millis=round(time.time() * 1000),
    )
    change(cluster, f"{name} exists", lambda: cluster.view.stream(name) is not None, create_stream=stream)


def delete_stream(cluster: Cluster, name: str) -> None:
    """Deletes a stream."""
    command = catalog_pb2.StreamRef(name=name)
    change(cluster, f"{name} is gone", lambda: cluster.view.stream(name) is None, delete_stream=command)


def open_shards(cluster: Cluster, stream: str) -> list[Shard]:
    """The open shards of a stream by their hash keys."""
    shards = cluster.stream(stream).shards.values()
    return sorted((shard for shard in shards if shard.is_open), key=lambda shard: shard.hash_key_start)


def split(cluster: Cluster, stream: str, shard: Shard) -> None:
    """Splits a shard in the middle, and waits until its children take records."""
    middle = (shard.hash_key_start + shard.hash_key_end + 1) // 2
    at = middle.to_bytes(16, "big")
    _reshard(cluster, stream, [shard], split=catalog_pb2.SplitShard(shard=shard.number, at=at))


def merge(cluster: Cluster, stream: str, lower: Shard, upper: Shard) -> None:
    """Merges two neighbours, and waits until their child takes records."""
    parents = [lower, upper]
    _reshard(cluster, stream, parents, merge=catalog_pb2.MergeShards(lower=lower.number, upper=upper.number))


def _reshard(cluster: Cluster, stream: str, parents: list[Shard], **fields: Any) -> None:
    def is_done() -> bool:
        shards = cluster.view.stream(stream).shards
        return not any(shards[parent.number].is_open for parent in parents)

    reshard = catalog_pb2.Reshard(stream=stream, now_millis=round(time.time() * 1000), **fields)
    change(cluster, "the parents are closed", is_done, reshard=reshard)
