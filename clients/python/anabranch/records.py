"""Records and their positions, as programs get them, and the hash key that decides a record's shard.

```text
log index    7                  8              9
entry        append of three    no records     append of two
positions    7.0  7.1  7.2                     9.0  9.1
```

A position is the log index of an entry and the place of a record in the batch of that entry. Positions of a shard rise
in commit order.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from ._proto import log_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LAST_OFFSET = 65_535


class Start(enum.Enum):
    """Where a reader begins."""

    TRIM_HORIZON = "trim_horizon"
    """At the oldest retained record."""

    LATEST = "latest"
    """After the newest record. Records that are put from now on are read."""


TRIM_HORIZON = Start.TRIM_HORIZON
LATEST = Start.LATEST


class Position(NamedTuple):
    """A position in a shard. Positions compare as they follow each other in the shard."""

    log_index: int
    """Log index of the entry."""
    offset: int
    """Place in the batch of the entry, from 0 to 65,535."""

    def next(self) -> Position:
        """The position just after this one."""
        if self.offset == _LAST_OFFSET:
            return Position(self.log_index + 1, 0)
        return Position(self.log_index, self.offset + 1)

    @classmethod
    def of(cls, message: log_pb2.Position) -> Position:
        """The position in a message of the cluster."""
        return cls(message.log_index, message.offset)

    def message(self) -> log_pb2.Position:
        """The position as a message for the cluster."""
        return log_pb2.Position(log_index=self.log_index, offset=self.offset)


@dataclass(frozen=True)
class Record:
    """A record that was read."""

    shard_id: str
    """Shard that stores the record, for example `shardId-000000000000`."""
    partition_key: str
    """Partition key that the producer gave."""
    data: bytes
    """Data that the producer gave. An aggregated record of the Kinesis Producer Library is not taken apart."""
    arrival: datetime
    """When the record arrived, by the clock of the shard's leader. UTC, in milliseconds."""
    log_index: int
    """Log index of the record's entry."""
    offset: int
    """Place of the record in its entry."""


@dataclass(frozen=True)
class Stored:
    """Where a record was written. A majority of the shard's replicas has the record on disk."""

    shard_id: str
    """Shard that stores the record."""
    log_index: int
    """Log index of the record's entry."""
    offset: int
    """Place of the record in its entry."""
    arrival: datetime
    """When the record arrived, by the clock of the shard's leader. UTC, in milliseconds."""


def hash_key(partition_key: str) -> int:
    """The hash key of a partition key, 0 to 2**128 - 1: the MD5 of its UTF-8 bytes as a big-endian number."""
    return int.from_bytes(hashlib.md5(partition_key.encode(), usedforsecurity=False).digest(), "big")


def time_of(millis: int) -> datetime:
    """The time that is `millis` milliseconds after the beginning of 1970, UTC."""
    return _EPOCH + timedelta(milliseconds=millis)


def millis_of(time: datetime) -> int:
    """Milliseconds from the beginning of 1970, UTC, to `time`.

    Raises ValueError if `time` has no time zone or is before 1970.
    """
    if time.tzinfo is None:
        raise ValueError("start: a datetime must have a time zone")
    millis = (time - _EPOCH) // timedelta(milliseconds=1)
    if millis < 0:
        raise ValueError("start: must not be before 1970")
    return millis


def start_fields(start: Start | datetime) -> dict:
    """The `oneof start` of a SeekRequest or a JoinRequest. Raises ValueError or TypeError if `start` is no start."""
    if isinstance(start, datetime):
        return {"at_millis": millis_of(start)}
    if isinstance(start, Start):
        return {start.value: log_pb2.Empty()}
    raise TypeError("start: must be TRIM_HORIZON, LATEST or a datetime")


def records_of(page: log_pb2.ReadResponse, shard_id: str) -> list[Record]:
    """The records of a page, in order. The page contains whole batches, of which only a part may belong to it."""
    records = []
    for entry in page.batches:
        batch = log_pb2.RecordBatch.FromString(entry.batch)
        arrival = time_of(entry.arrival_millis)
        for offset in range(entry.first, entry.first + entry.records):
            stored = batch.records[offset]
            key = stored.partition_key.decode()
            records.append(Record(shard_id, key, stored.data, arrival, entry.log_index, offset))
    return records
