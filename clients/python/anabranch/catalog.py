"""One version of the catalog: nodes, streams and shards, prepared for routing and for reading in order.

A `View` never changes. Each version of the catalog becomes a new view, so a caller that holds a view sees one state of
the whole cluster. This module does no I/O.

```text
0 ─┬─ merged ── 2 ─┬─ 3      Shards 0 and 1 can be read at once. 2 follows when both have been read to their ends,
1 ─┘               └─ 4      3 and 4 when 2 has. Only open shards take records: here 3 and 4.
```
"""

from __future__ import annotations

import bisect
from collections.abc import Collection
from dataclasses import dataclass, field

from ._proto import catalog_pb2
from .records import Position


@dataclass(frozen=True)
class Node:
    """A node of the cluster."""

    id: int
    """Number of the node."""
    address: str
    """Its gRPC port, `host:port`."""


@dataclass(frozen=True)
class Shard:
    """A shard of a stream."""

    number: int
    """Number of the shard, unique in the stream. Children have higher numbers than their parents."""
    group: int
    """Raft group that replicates the shard."""
    hash_key_start: int
    """Lowest hash key."""
    hash_key_end: int
    """Highest hash key, inclusive."""
    parents: tuple[int, ...]
    """Numbers of the shards from which it was split or merged."""
    replicas: tuple[int, ...]
    """Numbers of the nodes with replicas."""
    end: Position | None
    """The position after the last record; None while the shard is open."""

    @property
    def id(self) -> str:
        """Name of the shard, as in the Kinesis API."""
        return shard_id(self.number)

    @property
    def is_open(self) -> bool:
        """Whether the shard takes records."""
        return self.end is None

    def covers(self, hash_key: int) -> bool:
        """Whether the hash key is in the range of the shard."""
        return self.hash_key_start <= hash_key <= self.hash_key_end


@dataclass(frozen=True)
class Stream:
    """A stream, in one version of the catalog."""

    name: str
    """Name of the stream."""
    id: int
    """Tells the stream from an earlier or later one of the same name."""
    max_record_bytes: int
    """Size limit of a record: data and partition key together."""
    distributes_evenly: bool
    """Whether records go to any shard, whatever their partition keys."""
    shards: dict[int, Shard]
    """Shards by number, closed ones included."""
    _open: list[Shard] = field(repr=False)  # in the order of their hash keys
    _ends: list[int] = field(repr=False)  # highest hash key of each of them

    def open_shard(self, hash_key: int) -> Shard | None:
        """The open shard for the hash key; None if no open shard covers it."""
        place = bisect.bisect_left(self._ends, hash_key)
        found = self._open[place] if place < len(self._open) else None
        return found if found is not None and found.covers(hash_key) else None

    def readable(self, begun: Collection[int], ended: Collection[int]) -> list[Shard]:
        """The shards that a reader may begin now, in order of their numbers.

        These are the shards that are not in `begun`, and of which all parents are in `ended` or have expired.
        """
        return [
            shard
            for number, shard in sorted(self.shards.items())
            if number not in begun and all(parent in ended or parent not in self.shards for parent in shard.parents)
        ]


class View:
    """One version of the catalog."""

    def __init__(self, catalog: catalog_pb2.Catalog):
        self.version = catalog.version
        """Log index of the last change. Later versions are higher."""
        self.nodes = {node.id: Node(node.id, node.grpc_address) for node in catalog.nodes}
        """Nodes by number."""
        self._catalog = {stream.name: stream for stream in catalog.streams}
        self._streams: dict[str, Stream] = {}

    @property
    def stream_names(self) -> list[str]:
        """Names of all streams, in order."""
        return sorted(self._catalog)

    def stream(self, name: str) -> Stream | None:
        """The stream of this name; None if it does not exist, or if it is being deleted."""
        if name not in self._streams:
            found = self._catalog.get(name)
            if found is None or found.status == catalog_pb2.STREAM_STATUS_DELETING:
                return None
            self._streams[name] = _stream(found)
        return self._streams[name]


def shard_id(number: int) -> str:
    """Name of a shard, as in the Kinesis API."""
    return f"shardId-{number:012}"


def _stream(found: catalog_pb2.Stream) -> Stream:
    shards = {shard.id: _shard(shard) for shard in found.shards}
    in_order = sorted((shard for shard in shards.values() if shard.is_open), key=lambda shard: shard.hash_key_end)
    return Stream(
        name=found.name,
        id=found.id,
        max_record_bytes=found.max_record_size_kib * 1024,
        distributes_evenly=found.distribution == catalog_pb2.DISTRIBUTION_AUTO,
        shards=shards,
        _open=in_order,
        _ends=[shard.hash_key_end for shard in in_order],
    )


def _shard(found: catalog_pb2.Shard) -> Shard:
    replicas = [replica.node for replica in found.replicas]
    if found.HasField("moving"):
        replicas.append(found.moving.to.node)
    ending = found.ending_sequence_number
    return Shard(
        number=found.id,
        group=found.group,
        hash_key_start=int.from_bytes(found.hash_key_start, "big"),
        hash_key_end=int.from_bytes(found.hash_key_end, "big"),
        parents=tuple(found.parents),
        replicas=tuple(dict.fromkeys(replicas)),
        end=_position(int(ending)).next() if ending else None,
    )


def _position(sequence_number: int) -> Position:
    """The position in a sequence number. It has 64 bits above the lowest 80: the log index, and 16 bits of offset."""
    position = sequence_number >> 80 & (1 << 64) - 1
    return Position(position >> 16, position & 0xFFFF)
