"""The rules of the producer, without threads and calls: which records make a batch, and what follows after an attempt
to append it.

Rules of a batch:

- It is sent again under the same identity, until its time is over. A leader recognises it for two minutes, so the time
  ends well before that.
- It was surely not written if every attempt was refused. After a lost response it may have been written. If its time
  is over then, its outcome stays unknown.
- If its shard was closed, its records go to the children. If it may have been written, the closed shard is asked first
  which records it has (Recall): a closed shard never takes another record, so its answer is final.
"""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future

from ._proto import log_pb2
from .catalog import Shard
from .errors import AnabranchError, CallError, Kind, UnknownOutcome
from .records import Stored, time_of
from .search import Search

# How long a batch is sent again, in seconds after its first attempt. Leaders recognise it for 120 seconds.
RETRY_SECONDS = 100.0
# How long one attempt may take.
ATTEMPT_SECONDS = 10.0
# How long the catalog may take to show that a shard is closed, before the client asks for it at another node.
CATALOG_SECONDS = 1.0
# Pauses after THROTTLED double from the first to the longest. The leader itself waits for a second before it says that
# a shard is frozen.
_FROZEN_PAUSE = 0.05
_THROTTLED_FIRST = 0.05
_THROTTLED_LONGEST = 2.0
# Memory that a waiting record takes besides its data and partition key, roughly.
_RECORD_OVERHEAD_BYTES = 512


class PutRecord:
    """A record that was put."""

    __slots__ = ("data", "future", "hash_key", "partition_key")

    def __init__(self, partition_key: bytes, data: bytes, hash_key: int):
        self.partition_key = partition_key
        self.data = data
        self.hash_key = hash_key
        self.future: Future[Stored] = Future()

    @property
    def payload_bytes(self) -> int:
        """Bytes of data and partition key."""
        return len(self.data) + len(self.partition_key)

    @property
    def buffer_bytes(self) -> int:
        """Bytes that the record takes of the producer's buffer."""
        return self.payload_bytes + _RECORD_OVERHEAD_BYTES

    def is_wanted(self) -> bool:
        """Whether the caller has not cancelled the record. After that it cannot be cancelled any more."""
        return self.future.running() or self.future.set_running_or_notify_cancel()


class Batch:
    """Records on their way to one shard."""

    def __init__(
        self,
        shard: Shard,
        records: list[PutRecord],
        producer: log_pb2.Producer,
        leader: int | None = None,
        send_hash_keys: bool = False,
    ):
        self.shard = shard
        self.records = records
        self.may_be_written = False
        """Whether an attempt may have written the batch, though its response did not come."""
        self.is_refused_as_closed = False
        """Whether the leader said that the shard is closed."""
        self.due = 0.0
        """When the next attempt is to begin."""
        self.search = Search(leader)
        self._began: float | None = None
        self._throttled = 0
        message = log_pb2.RecordBatch(producer=producer)
        for record in records:
            message.records.add(data=record.data, partition_key=record.partition_key)
        self.encoded = message.SerializeToString()
        keys = (record.hash_key.to_bytes(16, "big") for record in records)
        self.hash_keys = b"".join(keys) if send_hash_keys else b""

    def attempt_seconds(self, now: float) -> float:
        """The time limit of an attempt that begins now."""
        if self._began is None:
            self._began = now
        return min(ATTEMPT_SECONDS, max(self._began + RETRY_SECONDS + ATTEMPT_SECONDS - now, 1.0))

    def failed(self, error: CallError, replicas: Sequence[int], now: float) -> AnabranchError | None:
        """After a failed attempt to append: sets when the next one is due, or returns how the batch ends."""
        if error.kind is Kind.UNKNOWN:
            self.may_be_written = True
        if error.kind is Kind.CLOSED:
            self.is_refused_as_closed = True
            return self._again(CATALOG_SECONDS, error, now)
        if error.kind in (Kind.FROZEN, Kind.THROTTLED):
            self.search.stay()
            return self._again(self._pause(error.kind), error, now)
        return self._search_on(error, replicas, now)

    def recall_failed(self, error: CallError, replicas: Sequence[int], now: float) -> AnabranchError | None:
        """After a failed recall: any error may be of this one replica, so the next one is asked."""
        return self._search_on(CallError(Kind.FROZEN, str(error)), replicas, now)

    def waited(self, now: float) -> AnabranchError | None:
        """The catalog does not show yet what happened to the shard: waits again."""
        return self._again(CATALOG_SECONDS, CallError(Kind.CLOSED), now)

    def ended(self, error: AnabranchError) -> AnabranchError:
        """How the batch ends if `error` forbids another attempt."""
        if self.may_be_written:
            return UnknownOutcome(f"the records may have been written: {error}")
        return error

    def stored(self, runs: Iterable[log_pb2.Run]) -> list[Stored]:
        """Where the records were written, in the order of the batch, by the runs of the response."""
        stored = []
        for run in runs:
            arrival = time_of(run.arrival_millis)
            for offset in range(run.first.offset, run.first.offset + run.records):
                stored.append(Stored(self.shard.id, run.first.log_index, offset, arrival))
        return stored

    def _search_on(self, error: CallError, replicas: Sequence[int], now: float) -> AnabranchError | None:
        elapsed = now - self._began if self._began is not None else 0.0
        return self._again(self.search.refused(error.leader, replicas, elapsed), error, now)

    def _again(self, pause: float, error: CallError, now: float) -> AnabranchError | None:
        is_late = self._began is not None and now + pause > self._began + RETRY_SECONDS
        if is_late or error.is_final():
            return self.ended(error.public())
        self.due = now + pause
        return None

    def _pause(self, kind: Kind) -> float:
        if kind is Kind.FROZEN:
            return _FROZEN_PAUSE
        longest = min(_THROTTLED_FIRST * 2**self._throttled, _THROTTLED_LONGEST)
        self._throttled = min(self._throttled + 1, 10)
        return random.uniform(longest / 2, longest)


class Lane:
    """The records on their way to one shard: one batch at most that is being sent, and the records behind it.

    One batch at a time keeps the order of the records, whatever happens to a batch.
    """

    def __init__(self, shard: Shard):
        self.shard = shard
        self.batch: Batch | None = None
        self.is_calling = False
        """Whether a call of the batch is under way."""
        self.waiting: deque[PutRecord] = deque()
        self._waiting_bytes = 0
        self._oldest = 0.0
        self._id = os.urandom(16)
        self._sequence = 0

    @property
    def is_idle(self) -> bool:
        """Whether the lane has no records at all."""
        return self.batch is None and not self.waiting

    def add(self, record: PutRecord, now: float) -> None:
        """Takes a record behind all others."""
        if not self.waiting:
            self._oldest = now
        self.waiting.append(record)
        self._waiting_bytes += record.payload_bytes

    def is_full(self, max_records: int, max_bytes: int) -> bool:
        """Whether the waiting records make a whole batch."""
        return len(self.waiting) >= max_records or self._waiting_bytes >= max_bytes

    def due(self, max_records: int, max_bytes: int, linger: float) -> float | None:
        """When the lane has something to do; None if it has no records or waits for a response."""
        if self.is_calling or self.is_idle:
            return None
        if self.batch is not None:
            return self.batch.due
        return self._oldest if self.is_full(max_records, max_bytes) else self._oldest + linger

    def gather(self, max_records: int, max_bytes: int, now: float) -> list[PutRecord]:
        """Takes the records of the next batch from the waiting ones: at least one, and as many as the bounds allow."""
        taken: list[PutRecord] = []
        taken_bytes = 0
        while self.waiting and len(taken) < max_records:
            size = self.waiting[0].payload_bytes
            if taken and taken_bytes + size > max_bytes:
                break
            taken.append(self.waiting.popleft())
            taken_bytes += size
        self._waiting_bytes -= taken_bytes
        self._oldest = now
        return taken

    def begin(self, records: list[PutRecord], leader: int | None, send_hash_keys: bool) -> Batch:
        """Makes the batch that is sent next, under an identity that no other batch has.

        `leader` is the node that led the shard last, if one is known.
        """
        producer = log_pb2.Producer(id=self._id, sequence=self._sequence)
        self._sequence += 1
        self.batch = Batch(self.shard, records, producer, leader, send_hash_keys)
        return self.batch

    def take_all(self) -> list[PutRecord]:
        """Takes all records, those of the batch first."""
        records = (self.batch.records if self.batch is not None else []) + list(self.waiting)
        self.batch = None
        self.waiting.clear()
        self._waiting_bytes = 0
        return records
