"""Reads a whole stream: each record once, and the records of a partition key in the order in which they were
acknowledged.

```text
shard 0 ── thread ──┐                        Each shard that can be read has a thread. The threads share a bounded
shard 1 ── thread ──┼── queue ── iterator    queue, so a slow iterator slows the reading down.
shard 2 ── thread ──┘
```

Order of events: the reader looks for its positions in the shards that can be read now, and starts their threads. When
a thread has come to the end of a closed shard, the threads of the children start whose parents have all been read.
The queue keeps the order, so the records of a parent come before the records of its children.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING

from .catalog import Shard, Stream
from .errors import AnabranchError, CallError, ShardNotFound, StreamNotFound
from .records import LATEST, TRIM_HORIZON, Position, Record, Start, start_fields
from .shard_reader import Page, ShardReader, seek

if TYPE_CHECKING:
    from .cluster import Cluster

# Pages that wait for the iterator, of all shards together. A page has about 1 MiB.
_QUEUED_PAGES = 8
_SEEKS_AT_ONCE = 16
# The end of a shard that has expired: before every record.
_NOWHERE = Position(0, 0)


def tail(cluster: Cluster, stream: str, start: Start | datetime = TRIM_HORIZON, shard: str | None = None) -> Tail:
    """Reads the records of a stream, and goes on with new ones as they are acknowledged.

    Returns once the reader knows its positions, so with LATEST every record that is put after that is read.

    Args:
        cluster: The cluster.
        stream: Name of the stream.
        start: `TRIM_HORIZON`: all records that are retained. `LATEST`: all records from now on. A datetime with a time
            zone: all records that arrived then or later.
        shard: Id of a shard, to read this shard alone. Then the iterator ends at the end of the shard.

    Raises:
        StreamNotFound, ShardNotFound: There is no such stream or shard.
        Unavailable: No node could tell where to begin.
        TypeError, ValueError: `start` is no start.
    """
    return Tail(cluster, stream, start, shard)


class Tail(Iterator[Record]):
    """Iterator of the records of a stream; see `tail`. Also a context manager that closes itself at the end.

    Iterating raises StreamNotFound when the stream was deleted, and KeyUnavailable if its master key cannot be used.
    The loss of nodes is no error: the reader waits until a replica of each shard answers again.
    """

    def __init__(self, cluster: Cluster, stream: str, start: Start | datetime, shard: str | None):
        start_fields(start)  # checks the argument
        found = cluster.stream(stream)
        self._cluster = cluster
        self._name = stream
        self._id = found.id
        self._later = TRIM_HORIZON if start is LATEST else start
        self._is_whole_stream = shard is None
        self._changed = threading.Condition()
        self._pages: deque[Page] = deque()
        self._records: Iterator[Record] = iter(())
        self._error: AnabranchError | None = None
        self._is_closed = False
        self._readers: dict[int, ShardReader] = {}
        closed = {number for number, known in found.shards.items() if not known.is_open}
        self._begun: set[int] = set(closed) if start is LATEST else set()
        self._ended: set[int] = set(self._begun)
        shards = found.readable(self._begun, self._ended) if shard is None else [_shard(found, shard)]
        positions = self._seek(shards, start)
        cluster.listen(self._look)
        for known, position in positions:
            self._read(known, position)

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Tail:
        return self

    def __next__(self) -> Record:
        while True:
            record = next(self._records, None)
            if record is not None:
                return record
            with self._changed:
                self._changed.wait_for(lambda: self._pages or self._error or self._is_over())
                if not self._pages or self._is_closed:
                    if self._error is not None:
                        raise self._error
                    raise StopIteration
                self._records = iter(self._pages.popleft().records)
                self._changed.notify_all()

    def close(self) -> None:
        """Ends the threads. An iterator that waits ends; records that were read ahead are dropped."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            self._records = iter(())
            readers = list(self._readers.values())
            self._changed.notify_all()
        self._cluster.unlisten(self._look)
        for reader in readers:
            reader.stop()
        for reader in readers:
            reader.join()

    def _is_over(self) -> bool:
        return self._is_closed or (not self._is_whole_stream and not self._readers)

    def _seek(self, shards: list[Shard], start: Start | datetime) -> list[tuple[Shard, Position]]:
        def position(shard: Shard) -> tuple[Shard, Position]:
            return shard, seek(self._cluster, shard.group, lambda: self._replicas(shard), start)

        with ThreadPoolExecutor(_SEEKS_AT_ONCE, "anabranch-seek") as pool:
            try:
                return list(pool.map(position, shards))
            except CallError as error:
                raise error.public() from error

    def _read(self, shard: Shard, start: Position | Start | datetime) -> None:
        """Starts the thread of a shard."""
        reader = ShardReader(
            self._cluster,
            shard.group,
            shard.id,
            start,
            lambda: self._replicas(shard),
            lambda: self._end(shard),
            self._deliver,
            lambda error: self._finished(shard, error),
        )
        with self._changed:
            if self._is_closed:
                return
            self._begun.add(shard.number)
            self._readers[shard.number] = reader
        reader.start()

    def _stream(self) -> Stream:
        found = self._cluster.view.stream(self._name)
        if found is None or found.id != self._id:
            raise StreamNotFound(f"stream {self._name} was deleted")
        return found

    def _replicas(self, shard: Shard) -> tuple[int, ...]:
        known = self._stream().shards.get(shard.number)
        return known.replicas if known else ()

    def _end(self, shard: Shard) -> Position | None:
        known = self._stream().shards.get(shard.number)
        return known.end if known else _NOWHERE

    def _look(self) -> None:
        """After a new version of the catalog: tells the threads whose shards have come to an end."""
        found = self._cluster.view.stream(self._name)
        shards = found.shards if found is not None and found.id == self._id else {}
        with self._changed:
            readers = [
                reader for number, reader in self._readers.items() if number not in shards or not shards[number].is_open
            ]
        for reader in readers:
            reader.look()

    def _deliver(self, page: Page) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: len(self._pages) < _QUEUED_PAGES or self._is_closed)
            if not self._is_closed:
                self._pages.append(page)
                self._changed.notify_all()
            return not self._is_closed

    def _finished(self, shard: Shard, error: AnabranchError | None) -> None:
        """The thread of the shard is at the end of the shard, or failed."""
        children: list[Shard] = []
        with self._changed:
            if error is None and self._is_whole_stream:
                self._ended.add(shard.number)
                try:
                    # The view shows the children: its version closed the parent, and the same version opened them.
                    children = self._stream().readable(self._begun, self._ended)
                except StreamNotFound as gone:
                    error = gone
            self._error = self._error or error
            self._begun.update(child.number for child in children)
            del self._readers[shard.number]
            self._changed.notify_all()
        for child in children:
            self._read(child, self._later)


def _shard(stream: Stream, shard_id: str) -> Shard:
    for shard in stream.shards.values():
        if shard.id == shard_id:
            return shard
    raise ShardNotFound(f"stream {stream.name} has no shard {shard_id}")
