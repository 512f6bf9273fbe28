"""Writes records to a stream, many at a time.

```text
put ──> lane of shard 0 ── batch ──┐
put ──> lane of shard 1 ── batch ──┼── sender thread ── Append ──> leaders
put ──> lane of shard 2 ── batch ──┘
```

Order of events: `put` finds the shard by the hash key, and adds the record to the lane of that shard. The sender
thread makes batches and sends them, one of each shard at a time. Responses come back as events. The sender thread
resolves the futures, or tries again (`batching.py` has the rules).

Order of records: while the lane of a closed shard has records, it also takes the new records of its hash keys. Once
the fate of its batch is known, all its records go to the lanes of the children, in order.

Never: a batch of a shard is sent while the outcome of the one before it is open.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc

from ._proto import log_pb2
from .batching import Batch, Lane, PutRecord
from .catalog import Shard, Stream, View
from .errors import (
    AnabranchError,
    BufferFull,
    CallError,
    Closed,
    Kind,
    StreamNotFound,
    Unavailable,
    UnknownOutcome,
    call_error,
)
from .records import Stored, hash_key

if TYPE_CHECKING:
    from .cluster import Cluster

logger = logging.getLogger("anabranch")

_MAX_KEY_CHARACTERS = 256
_MAX_BATCH_RECORDS = 65_536
_MAX_BATCH_BYTES = 8 << 20


class Producer:
    """Writes records to one stream. Safe to use from many threads. A context manager: it closes itself at the end.

    Each record is written once, also if responses are lost, as long as the cluster answers again within 100 seconds.
    After that the future of a record that may have been written gets `UnknownOutcome`. The records of a partition key
    are written in the order in which they were put. A record that fails does not stop the ones behind it.
    """

    def __init__(
        self,
        cluster: Cluster,
        stream: str,
        *,
        batch_records: int = 500,
        batch_bytes: int = 1 << 20,
        linger: float = 0.005,
        buffer_bytes: int = 32 << 20,
    ):
        """Begins to write to a stream.

        Args:
            cluster: The cluster.
            stream: Name of the stream.
            batch_records: Most records of a batch, 1 to 65,536.
            batch_bytes: Most bytes of data and partition keys of a batch, 1 to 8 MiB. A larger record has a batch of
                its own.
            linger: Seconds that a record waits at most for others, while no batch of its shard is on its way.
            buffer_bytes: Most bytes of all records without an outcome. A record counts with its data, its key and
                512 bytes. When they are reached, `put` waits.

        Raises:
            ValueError: An argument is out of bounds.
            StreamNotFound: There is no such stream.
            Unavailable: No node could tell whether the stream exists.
        """
        _check_bounds("batch_records", batch_records, 1, _MAX_BATCH_RECORDS)
        _check_bounds("batch_bytes", batch_bytes, 1, _MAX_BATCH_BYTES)
        _check_bounds("linger", linger, 0, 60)
        _check_bounds("buffer_bytes", buffer_bytes, 1, 1 << 40)
        found = cluster.stream(stream)
        self._cluster = cluster
        self._name = stream
        self._id = found.id
        self._bounds = (batch_records, batch_bytes)
        self._linger = linger
        self._buffer_bytes = buffer_bytes
        # Everything below is guarded by the lock.
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._lanes: dict[int, Lane] = {}
        self._closing_lanes: list[Lane] = []  # of shards that are closed, the oldest first
        self._lanes_version = 0  # version of the catalog at which they were found
        self._events: deque[Callable[[], None]] = deque()
        self._used_bytes = 0
        self._flushes = 0
        self._is_closed = False
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="anabranch-producer", daemon=True)
        self._thread.start()
        cluster.listen(self._look)

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def put(self, partition_key: str, data: bytes, *, timeout: float | None = None) -> Future[Stored]:
        """Takes a record, and returns before it is written.

        The future resolves in a thread of the producer, so its callbacks must not block. A future that is cancelled
        before the record was sent takes the record back.

        Args:
            partition_key: 1 to 256 characters. Records of a partition key are in one shard, and keep their order.
            data: The user's data. Data and partition key together are limited by the stream's record size.
            timeout: Seconds to wait for room in the buffer; None waits without a limit.

        Returns:
            The future of where the record is written. Its exception is `UnknownOutcome` if the record may have been
            written. With any other `AnabranchError` it was not.

        Raises:
            ValueError, TypeError: The record breaks a rule.
            BufferFull: There was no room in time.
            StreamNotFound: The stream was deleted.
            Closed: The producer is closed.
        """
        record = self._record(partition_key, data)
        with self._lock:
            self._wait_for_room(record.buffer_bytes, timeout)
            lane = self._lane(record.hash_key)
            is_first = not lane.waiting
            lane.add(record, time.monotonic())
            self._used_bytes += record.buffer_bytes
            if is_first or lane.is_full(*self._bounds):
                self._work.notify()
        return record.future

    def flush(self, timeout: float | None = None) -> None:
        """Sends all records that were put so far, and waits for their outcomes. The futures tell which ones failed.

        Raises:
            TimeoutError: Some records have no outcome after `timeout` seconds.
        """
        with self._lock:
            futures = [record.future for lane in self._lanes.values() for record in _records(lane)]
            self._flushes += 1
            self._work.notify()
        try:
            if wait(futures, timeout).not_done:
                raise TimeoutError(f"after {timeout:g} s some records have no outcome")
        finally:
            with self._lock:
                self._flushes -= 1

    def close(self, timeout: float | None = None) -> None:
        """Takes no more records, sends the records that were put, and ends the thread.

        Without an outcome after `timeout` seconds, records that were sent fail with `UnknownOutcome`, and the other
        ones with `Closed`.
        """
        with self._lock:
            self._is_closed = True
            self._room.notify_all()
        with suppress(TimeoutError):
            self.flush(timeout)
        with self._lock:
            if self._is_stopped:
                return
            self._is_stopped = True
            self._work.notify()
        self._thread.join()
        self._cluster.unlisten(self._look)
        for lane in list(self._lanes.values()):
            if lane.batch is not None and lane.is_calling:
                lane.batch.may_be_written = True
            self._end_lane(lane, Closed("the producer was closed"))

    # In the threads that call `put`.

    def _record(self, partition_key: str, data: bytes) -> PutRecord:
        if not isinstance(partition_key, str):
            raise TypeError("partition_key: must be a str")
        if not 1 <= len(partition_key) <= _MAX_KEY_CHARACTERS:
            raise ValueError(
                f"partition_key: has {len(partition_key)} characters, must have 1 to {_MAX_KEY_CHARACTERS}"
            )
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError("data: must be bytes")
        key, data, stream = _encoded(partition_key), bytes(data), self._stream()
        if len(key) + len(data) > stream.max_record_bytes:
            raise ValueError(
                f"data: has {len(data)} bytes, and the partition key {len(key)}; together they must have at most "
                f"{stream.max_record_bytes} in stream {stream.name}"
            )
        # Records of such a stream go anywhere, so their hash keys are drawn.
        hashed = random.getrandbits(128) if stream.distributes_evenly else hash_key(partition_key)
        return PutRecord(key, data, hashed)

    def _wait_for_room(self, wanted: int, timeout: float | None) -> None:
        # A record that is larger than the whole buffer is taken when the buffer is empty.
        def is_there() -> bool:
            return self._is_closed or not self._used_bytes or self._used_bytes + wanted <= self._buffer_bytes

        if not self._room.wait_for(is_there, timeout):
            raise BufferFull(f"the buffer of {self._buffer_bytes} bytes had no room within {timeout:g} s")
        if self._is_closed:
            raise Closed("the producer is closed")

    def _stream(self, view: View | None = None) -> Stream:
        found = (view or self._cluster.view).stream(self._name)
        if found is None or found.id != self._id:
            raise StreamNotFound(f"stream {self._name} was deleted")
        return found

    def _lane(self, hashed: int) -> Lane:
        """The lane for a new record."""
        view = self._cluster.view
        stream = self._stream(view)
        if view.version != self._lanes_version:
            self._lanes_version = view.version
            closed = [lane for lane in self._lanes.values() if not _is_open(lane.shard, stream)]
            for lane in closed:
                if lane.is_idle:
                    del self._lanes[lane.shard.number]
            self._closing_lanes = sorted(closed, key=lambda lane: lane.shard.number)
        for lane in self._closing_lanes:
            if lane.shard.covers(hashed) and not lane.is_idle:
                return lane
        shard = stream.open_shard(hashed)
        if shard is None:
            raise Unavailable(f"no open shard of stream {stream.name} covers the hash key {hashed}")
        return self._lane_of(shard)

    def _lane_of(self, shard: Shard) -> Lane:
        if shard.number not in self._lanes:
            self._lanes[shard.number] = Lane(shard)
        return self._lanes[shard.number]

    # In the threads of the catalog and of gRPC.

    def _look(self) -> None:
        """After a new version of the catalog: batches that wait for it go on."""
        self._add_event(self._hurry)

    def _add_event(self, event: Callable[[], None]) -> None:
        with self._lock:
            self._events.append(event)
            self._work.notify()

    # In the sender thread.

    def _run(self) -> None:
        while True:
            with self._lock:
                self._wait_for_work()
                if self._is_stopped:
                    return
                events, self._events = self._events, deque()
            for event in events:
                try:
                    event()
                except Exception:
                    logger.exception("an answer to the producer of %s could not be handled", self._name)
            for lane in self._due_lanes():
                try:
                    self._act(lane)
                except AnabranchError as error:
                    self._end_lane(lane, error)
                except Exception as error:
                    logger.exception("a batch for %s of %s could not be sent", lane.shard.id, self._name)
                    self._end_lane(lane, Unavailable(f"the batch could not be sent: {error}"))

    def _wait_for_work(self) -> None:
        while not self._events and not self._is_stopped:
            dues = [self._due(lane) for lane in self._lanes.values()]
            due = min((due for due in dues if due is not None), default=None)
            pause = None if due is None else due - time.monotonic()
            if pause is not None and pause <= 0:
                return
            self._work.wait(pause)

    def _due(self, lane: Lane) -> float | None:
        return lane.due(*self._bounds, 0.0 if self._flushes or self._is_closed else self._linger)

    def _due_lanes(self) -> list[Lane]:
        with self._lock:
            now = time.monotonic()
            dues = [(self._due(lane), lane) for lane in self._lanes.values()]
            return [lane for due, lane in dues if due is not None and due <= now]

    def _hurry(self) -> None:
        stream = self._cluster.view.stream(self._name)
        with self._lock:
            for lane in self._lanes.values():
                if lane.batch is not None and (stream is None or not _is_open(lane.shard, stream)):
                    lane.batch.due = 0.0

    def _act(self, lane: Lane) -> None:
        """Does what is due: sends the batch, or finds out what happened to the records of a closed shard."""
        stream = self._stream()
        if _is_open(lane.shard, stream):
            batch = lane.batch or self._begin(lane, stream)
            if batch is None:
                return
            if not batch.is_refused_as_closed:
                self._append(lane, batch)
                return
            # The leader knows more than this client's copy of the catalog.
            self._cluster.watch_elsewhere()
            self._settle_failure(lane, batch, batch.waited(time.monotonic()))
        elif lane.batch is None or not lane.batch.may_be_written:
            self._reroute(lane)
        elif lane.shard.number in stream.shards:
            self._recall(lane, lane.batch)
        else:
            self._settle_failure(lane, lane.batch, lane.batch.ended(Unavailable("the shard has expired")))

    def _begin(self, lane: Lane, stream: Stream) -> Batch | None:
        with self._lock:
            records = lane.gather(*self._bounds, time.monotonic())
            wanted = [record for record in records if record.is_wanted()]
            leader = self._cluster.leaders.get(lane.shard.group)
            batch = lane.begin(wanted, leader, stream.distributes_evenly) if wanted else None
        self._release([record for record in records if record.future.cancelled()])
        return batch

    def _append(self, lane: Lane, batch: Batch) -> None:
        group = lane.shard.group

        def done(response: log_pb2.AppendResponse) -> None:
            self._cluster.leaders[group] = batch.search.asked
            self._settle(lane, batch, batch.stored(response.runs))

        def failed(error: CallError) -> None:
            if error.kind is Kind.UNKNOWN:
                self._cluster.forget_leader(group, batch.search.asked)
            self._settle_failure(lane, batch, batch.failed(error, self._replicas(lane), time.monotonic()))

        request = log_pb2.AppendRequest(group=group, batch=batch.encoded, hash_keys=batch.hash_keys)
        self._call(lane, batch, "Append", request, done, failed)

    def _recall(self, lane: Lane, batch: Batch) -> None:
        """Asks the closed shard which records of the batch it has. The other ones are in no shard."""

        def done(response: log_pb2.RecallResponse) -> None:
            known = {record.place: batch.stored([record.run])[0] for record in response.records}
            self._resolve([(record, known[place]) for place, record in enumerate(batch.records) if place in known])
            with self._lock:
                batch.records = [record for place, record in enumerate(batch.records) if place not in known]
                batch.may_be_written = False
                batch.due = 0.0

        def failed(error: CallError) -> None:
            self._settle_failure(lane, batch, batch.recall_failed(error, self._replicas(lane), time.monotonic()))

        request = log_pb2.RecallRequest(group=lane.shard.group, batch=batch.encoded)
        self._call(lane, batch, "Recall", request, done, failed)

    def _call(
        self,
        lane: Lane,
        batch: Batch,
        name: str,
        request: Any,
        done: Callable[[Any], None],
        failed: Callable[[CallError], None],
    ) -> None:
        """Sends a call of the batch to the next node. This thread calls `done` or `failed` when it is decided."""
        timeout = batch.attempt_seconds(time.monotonic())
        node = batch.search.next(self._replicas(lane) or lane.shard.replicas)
        try:
            method = getattr(self._cluster.peer(node).log, name)
        except CallError as error:
            failed(error)
            return

        def finish(call: grpc.Future) -> None:
            lane.is_calling = False
            try:
                response = call.result()
            except grpc.RpcError as failure:
                failed(call_error(failure))
            except grpc.FutureCancelledError:
                failed(CallError(Kind.UNKNOWN, "the connection was closed"))
            else:
                done(response)

        lane.is_calling = True
        call = method.future(request, timeout=timeout)
        call.add_done_callback(lambda call: self._add_event(lambda: finish(call)))

    def _replicas(self, lane: Lane) -> tuple[int, ...]:
        found = self._cluster.view.stream(self._name)
        known = found.shards.get(lane.shard.number) if found is not None else None
        return known.replicas if known is not None else ()

    def _reroute(self, lane: Lane) -> None:
        """Gives the records of a closed shard to the lanes of the shards that are open now, in order."""
        lost = []
        with self._lock:
            # The view that `put` sees now. With an older one, a record could get into a lane that `put` passes by.
            stream = self._stream()
            del self._lanes[lane.shard.number]
            for record in lane.take_all():
                shard = stream.open_shard(record.hash_key)
                if shard is not None:
                    self._lane_of(shard).add(record, 0.0)
                else:
                    lost.append(record)
        self._fail(lost, Unavailable(f"no open shard of stream {stream.name} covers the hash key"))

    def _settle(self, lane: Lane, batch: Batch, stored: list[Stored]) -> None:
        if len(stored) == len(batch.records):
            self._resolve([(record, stored[place]) for place, record in enumerate(batch.records)])
        else:
            self._fail(batch.records, UnknownOutcome("the response does not say where the records are"))
        with self._lock:
            lane.batch = None

    def _settle_failure(self, lane: Lane, batch: Batch, ended: AnabranchError | None) -> None:
        """Ends the batch with `ended`; None if it is tried again."""
        if ended is not None:
            self._fail(batch.records, ended)
            with self._lock:
                lane.batch = None

    def _end_lane(self, lane: Lane, error: AnabranchError) -> None:
        """The stream was deleted, or the cluster object closed: no record can be written any more."""
        with self._lock:
            self._lanes.pop(lane.shard.number, None)
            batch = lane.batch
            lane.batch = None
            waiting = lane.take_all()
        if batch is not None:
            self._fail(batch.records, batch.ended(error))
        self._fail(waiting, error)

    def _resolve(self, stored: list[tuple[PutRecord, Stored]]) -> None:
        self._release([record for record, _ in stored])
        for record, place in stored:
            record.future.set_result(place)

    def _fail(self, records: list[PutRecord], error: AnabranchError) -> None:
        self._release(records)
        for record in records:
            if record.is_wanted():
                record.future.set_exception(error)

    def _release(self, records: list[PutRecord]) -> None:
        """Makes room in the buffer. Before the futures are resolved, so that their callbacks may put records."""
        with self._lock:
            self._used_bytes -= sum(record.buffer_bytes for record in records)
            self._room.notify_all()


def _is_open(shard: Shard, stream: Stream) -> bool:
    known = stream.shards.get(shard.number)
    return known is not None and known.is_open


def _records(lane: Lane) -> list[PutRecord]:
    return (lane.batch.records if lane.batch is not None else []) + list(lane.waiting)


def _encoded(partition_key: str) -> bytes:
    try:
        return partition_key.encode()
    except UnicodeEncodeError as error:
        raise ValueError("partition_key: must be encodable as UTF-8") from error


def _check_bounds(field: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{field}: is {value}, must be {least} to {most}")
