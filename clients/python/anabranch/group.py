"""Reads a stream together with other programs: a member of a consumer group.

```text
coordinator ── Watch ──> watch thread ──> owned shards ──> a reader thread for each ──> queue ── iterator
            <── Heartbeat, Checkpoint ── keeper thread                                              │
            <── Checkpoint ────────────────────────────────────────────────────── Batch.checkpoint ─┘
```

Order of events: the member joins, and the watch tells which shards it owns and where to begin. Each owned shard has a
reader. The application iterates over batches and stores checkpoints. A shard leaves the member in one of four ways:

- Another member waits for it (`leaving`): the reader stops. Once the application iterates on after its last batch of
  the shard, the keeper gives the shard back.
- It has ended: once the application has stored a checkpoint behind the last record, the end is stored. Then the
  coordinator gives out the children.
- The coordinator takes it, because the member was silent or too slow. The batches of it refuse to store checkpoints.
- The member was removed. It joins again, and has no shards until the watch tells of new ones.

Every checkpoint carries the epoch of the ownership, so that a former owner can store nothing.
"""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import grpc

from ._proto import consumer_pb2
from .errors import (
    AnabranchError,
    CallError,
    Closed,
    Kind,
    OwnershipLost,
    Throttled,
    Unavailable,
    call_error,
)
from .records import TRIM_HORIZON, Position, Record, Start, start_fields, time_of
from .shard_reader import Page, ShardReader

if TYPE_CHECKING:
    from .cluster import Cluster

logger = logging.getLogger("anabranch")

# Pages that wait for the iterator, of all shards together. A page has about 1 MiB.
_QUEUED_PAGES = 8
# Most shards of one Checkpoint call.
_CHECKPOINTED_SHARDS = 100
# How long a call looks for the coordinator. Longer than a fail-over takes.
_CALL_SECONDS = 15.0
_LEAVE_SECONDS = 5.0
_ATTEMPT_SECONDS = 3.0
# Pause before the member asks again for a coordinator that is about to be chosen.
_COORDINATOR_PAUSE = 0.1
# Pause before the member follows a hint, because two nodes may name each other for a while.
_HINT_PAUSE = 0.01
# A watch without a message for this long is broken: the coordinator sends one each five seconds.
_WATCH_SILENCE = 12.0


class _Ownership:
    """A shard that the member owns, or owned. Guarded by the lock of the group."""

    def __init__(self, owned: consumer_pb2.OwnedShard):
        self.number = owned.shard
        self.shard_id = owned.shard_id
        self.epoch = owned.epoch
        self.group = owned.group
        self.replicas = tuple(node.id for node in owned.nodes)
        self.reader: ShardReader | None = None
        self.end: Position | None = None
        self.is_leaving = False
        """Whether another member waits for the shard."""
        self.queued: Position | None = None
        """The position after the last page that was put into the queue."""
        self.processed: Position | None = None
        """The last checkpoint that the application asked for."""
        self.checkpoint: Position | None = None
        """The last checkpoint that is known to be stored."""
        self.is_read = False
        """Whether the reader has come to the end of the shard."""
        self.is_finished = False
        """Whether the end is stored."""
        self.is_lost = False
        """Whether the member owns the shard no more."""

    def is_processed(self) -> bool:
        """Whether all records of the shard are behind a stored checkpoint."""
        is_behind = self.queued is None or (self.checkpoint is not None and self.checkpoint >= self.queued)
        return self.is_read and is_behind

    def message(self, after: Position | None, release: bool = False) -> consumer_pb2.ShardCheckpoint:
        """The checkpoint `after` as a message; None leaves the stored one as it is."""
        following = after.message() if after is not None else None
        return consumer_pb2.ShardCheckpoint(shard=self.number, epoch=self.epoch, next=following, release=release)


class Batch:
    """Consecutive records of one shard, at least one."""

    def __init__(self, group: ConsumerGroup, ownership: _Ownership, page: Page):
        self._group = group
        self._ownership = ownership
        self._page = page

    @property
    def shard_id(self) -> str:
        """The shard, for example `shardId-000000000000`."""
        return self._ownership.shard_id

    @property
    def records(self) -> list[Record]:
        """The records, in the order of the shard."""
        return self._page.records

    def checkpoint(self) -> None:
        """Stores that all records of the shard up to the end of this batch are processed.

        The next owner of the shard begins after them. A checkpoint behind a later one of the same shard changes
        nothing.

        Raises:
            OwnershipLost: The shard belongs to nobody or to another member. Stop processing the batch.
            Unavailable: The coordinator did not answer in time. The checkpoint may be stored or not; it may be called
                again.
            Closed: The group object is closed.
        """
        self._group._checkpoint(self._ownership, self._page.next)


class ConsumerGroup(Iterator[Batch]):
    """A member of a consumer group, and the iterator of its batches. Programs that join with the same group name share
    the shards of the stream.

    Each record is given to a member at least once. After the loss of a member or a change of owners, the records after
    the last checkpoint are given again. A context manager: it leaves the group at the end.

    Iterate in one thread. If another member waits for the shard of a batch, the member gives the shard back when the
    application asks for the next batch. So store the checkpoint before that. Any thread may store checkpoints.
    """

    def __init__(
        self,
        cluster: Cluster,
        stream: str,
        group: str,
        member: str | None = None,
        description: str = "",
        session: float = 10.0,
        start: Start | datetime = TRIM_HORIZON,
    ):
        """Joins the group, and makes it if there is none.

        Args:
            cluster: The cluster.
            stream: Name of the stream.
            group: Name of the group: 1 to 128 letters, digits, '.', '_' or '-'.
            member: Id of the member, 1 to 64 such characters. No two programs may have the same. Default: a random id.
            description: For operators, at most 128 bytes. Default: the name of the host.
            session: Seconds that the member may be silent before its shards go to others, 3 to 300.
            start: Where a new group begins: `TRIM_HORIZON`, `LATEST`, or a datetime with a time zone. It does not
                change a group that exists.

        Raises:
            InvalidRequest: An argument breaks a rule; the text names both.
            StreamNotFound: There is no such stream.
            Throttled: There are too many groups or members.
            Unavailable: No coordinator answered in time.
            TypeError, ValueError: `start` is no start.
        """
        self.member = member or uuid.uuid4().hex
        """Id of the member."""
        self._cluster = cluster
        self._ref = consumer_pb2.GroupRef(stream=stream, group=group)
        self._join_request = consumer_pb2.JoinRequest(
            group=self._ref,
            member=self.member,
            description=description or socket.gethostname()[:128],
            session_millis=round(session * 1000),
            **start_fields(start),
        )
        self._coordinator: int | None = None
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # the queue, for the readers and the iterator
        self._duty = threading.Condition(self._lock)  # something to do for the keeper
        self._joined = threading.Condition(self._lock)
        self._owned: dict[int, _Ownership] = {}
        self._queue: deque[Batch] = deque()
        self._current: _Ownership | None = None  # of the batch that the application has
        self._is_member = False
        self._joins = 0
        self._is_closed = False
        self._error: AnabranchError | None = None
        self._watch_call: grpc.Call | None = None
        self._watched_node: int | None = None
        self._watched = time.monotonic()  # when the last message of the watch came
        self._session = session
        self._join()
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), name=f"anabranch-{work.__name__[1:]}", daemon=True)
            for work in (self._keep, self._watch)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> ConsumerGroup:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> ConsumerGroup:
        return self

    def __next__(self) -> Batch:
        """The next batch of whichever shard has one. Waits for it.

        Raises:
            StopIteration: The group object was closed.
            StreamNotFound: The stream was deleted.
            KeyUnavailable: The stream is encrypted, and its master key cannot be used.
        """
        with self._lock:
            self._current = None
            self._duty.notify()
            self._changed.wait_for(lambda: self._queue or self._error or self._is_closed)
            if self._is_closed:
                raise StopIteration
            if self._error is not None:
                raise self._error
            batch = self._queue.popleft()
            self._current = batch._ownership
            self._changed.notify_all()
            return batch

    @property
    def shards(self) -> list[str]:
        """Ids of the shards that the member owns now, in order."""
        with self._lock:
            return sorted(owned.shard_id for owned in self._owned.values() if not owned.is_lost)

    def close(self) -> None:
        """Leaves the group, so that its shards go to others at once, and ends all threads.

        An iterator that waits ends. Batches store no checkpoints any more. The records after the last checkpoints are
        given to the next owners.
        """
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            # Checkpoints whose responses were lost, or have not come yet.
            last = [
                owned.message(owned.processed)
                for owned in self._owned.values()
                if owned.processed not in (None, owned.checkpoint) and not owned.is_lost
            ]
            self._lose(list(self._owned.values()))
            for condition in (self._changed, self._duty, self._joined):
                condition.notify_all()
            if self._watch_call is not None:
                self._watch_call.cancel()
            readers = [owned.reader for owned in self._owned.values() if owned.reader is not None]
        for thread in self._threads:
            thread.join()
        for reader in readers:
            reader.join()
        request = consumer_pb2.LeaveRequest(group=self._ref, member=self.member, shards=last[:_CHECKPOINTED_SHARDS])
        try:
            self._call("Leave", request, _LEAVE_SECONDS, lambda: False)
        except (AnabranchError, CallError) as error:
            logger.warning("member %s could not leave: %s", self.member, error)

    # Calls to the coordinator.

    def _call(
        self, name: str, request: Any, seconds: float = _CALL_SECONDS, stopped: Callable[[], bool] | None = None
    ) -> Any:
        """Sends a call to the coordinator. All calls may be sent again.

        Raises CallError if the coordinator refuses, Unavailable if none answers in time, and Closed.
        """
        stopped = stopped or (lambda: self._is_closed)
        deadline = time.monotonic() + seconds
        error = CallError(Kind.NOT_SENT, "no node is known")
        while not stopped():
            left = deadline - time.monotonic()
            if left <= 0:
                raise Unavailable(f"the coordinator did not answer {name} within {seconds:g} s: {error}")
            node = self._node()
            try:
                method = getattr(self._cluster.peer(node).groups, name)
                return method(request, timeout=min(left, _ATTEMPT_SECONDS))
            except grpc.RpcError as failure:
                error = call_error(failure)
            except CallError as failure:
                error = failure
            if not self._has_moved(node, error):
                raise error
        raise Closed("the group object is closed")

    def _node(self) -> int:
        """The node to ask: the coordinator's if it is known, else any node."""
        node = self._coordinator
        if node is None:
            # No node has the number 0: the call to it fails, and is made again.
            node = self._coordinator = random.choice(list(self._cluster.nodes) or [0])
        return node

    def _has_moved(self, node: int, error: CallError) -> bool:
        """Whether the coordinator may be at another node than `node`, which was asked and answered with this error.

        If so, notes the node to ask next. Pauses if no node is known to be the right one.
        """
        if error.kind not in (Kind.NOT_LEADER, Kind.NOT_SENT, Kind.UNKNOWN):
            return False
        if error.leader is not None and error.leader != node:
            self._coordinator = error.leader
            time.sleep(_HINT_PAUSE)
            return True
        if self._coordinator == node:
            self._coordinator = None
        time.sleep(_COORDINATOR_PAUSE)
        return True

    def _join(self) -> None:
        deadline = time.monotonic() + _CALL_SECONDS
        while True:
            try:
                response = self._call("Join", self._join_request)
                break
            except CallError as error:
                if error.kind is not Kind.NOT_FOUND or time.monotonic() > deadline:
                    raise error.public() from error
            # The node may be behind. The newest catalog tells whether the stream exists.
            self._cluster.stream(self._ref.stream)
            self._coordinator = None
            time.sleep(_COORDINATOR_PAUSE)
        with self._lock:
            self._session = response.session_millis / 1000
            self._is_member = True
            self._joins += 1
            self._watched = time.monotonic()
            self._joined.notify_all()

    def _checkpoint(self, owned: _Ownership, after: Position) -> None:
        with self._lock:
            if self._is_closed:
                raise Closed("the group object is closed")
            is_current = not owned.is_lost
            if owned.checkpoint is not None and after <= owned.checkpoint and (is_current or owned.is_finished):
                return
            owned.processed = max(owned.processed or after, after)
        if not is_current or owned.number in self._store([(owned, owned.message(after))]):
            raise OwnershipLost(
                f"{owned.shard_id} belongs to nobody or to another member (epoch {owned.epoch} is over)"
            )

    def _store(self, changes: list[tuple[_Ownership, consumer_pb2.ShardCheckpoint]]) -> set[int]:
        """Stores checkpoints and gives shards back. Notes the effect in the ownerships. Returns the refused shards.

        Raises AnabranchError.
        """
        joins, messages = self._joins, [message for _, message in changes]
        request = consumer_pb2.CheckpointRequest(group=self._ref, member=self.member, shards=messages)
        try:
            refused = set(self._call("Checkpoint", request).refused)
        except CallError as error:
            if error.kind is not Kind.NOT_FOUND:
                raise error.public() from error
            self._removed(joins)
            return {owned.number for owned, _ in changes}
        with self._lock:
            for owned, message in changes:
                if owned.number in refused or message.release:
                    self._lose([owned])
                if owned.number not in refused and message.HasField("next"):
                    stored = Position.of(message.next)
                    owned.checkpoint = max(owned.checkpoint or stored, stored)
                    owned.is_finished = owned.end is not None and owned.checkpoint >= owned.end
            self._duty.notify()
        return refused

    # Ownerships.

    def _lose(self, lost: list[_Ownership]) -> None:
        """Ends ownerships: their readers stop, and their batches are dropped. With the lock."""
        for owned in lost:
            owned.is_lost = True
            if owned.reader is not None:
                owned.reader.stop()
        self._queue = deque(batch for batch in self._queue if not batch._ownership.is_lost)
        self._changed.notify_all()

    def _removed(self, joins: int) -> None:
        """The coordinator does not know the member that had joined `joins` times when it was asked."""
        with self._lock:
            if joins != self._joins or not self._is_member:
                return  # another thread has heard of it before
            logger.warning("member %s was removed from its group; it joins again", self.member)
            self._is_member = False
            self._lose(list(self._owned.values()))
            self._owned.clear()
            self._duty.notify()

    def _update(self, response: consumer_pb2.WatchResponse) -> None:
        """Compares what the member owns with what the coordinator says that it owns."""
        started = []
        with self._lock:
            self._watched = time.monotonic()
            if self._is_closed or not self._is_member:
                return
            told = {owned.shard: owned for owned in response.shards}
            gone = [
                owned
                for number, owned in self._owned.items()
                if number not in told or told[number].epoch != owned.epoch
            ]
            self._lose(gone)
            for owned in gone:
                del self._owned[owned.number]
            for number, message in told.items():
                if number not in self._owned:
                    self._owned[number] = _Ownership(message)
                    started.append((self._owned[number], message))
                self._tell(self._owned[number], message)
            self._duty.notify()
            for owned, message in started:
                if not owned.is_leaving:
                    owned.reader = self._reader(owned, message)
                    owned.reader.start()

    def _tell(self, owned: _Ownership, message: consumer_pb2.OwnedShard) -> None:
        """Notes what changed in an ownership that goes on. With the lock."""
        owned.replicas = tuple(node.id for node in message.nodes)
        if message.leaving and not owned.is_leaving:
            owned.is_leaving = True
            if owned.reader is not None:
                owned.reader.stop()
            self._queue = deque(batch for batch in self._queue if batch._ownership is not owned)
            self._changed.notify_all()
        if message.HasField("end") and owned.end is None:
            owned.end = Position.of(message.end)
            if owned.reader is not None:
                owned.reader.look()

    def _reader(self, owned: _Ownership, message: consumer_pb2.OwnedShard) -> ShardReader:
        start: Position | Start | datetime = TRIM_HORIZON
        if message.HasField("next"):
            start = Position.of(message.next)
        elif message.WhichOneof("start") == "at_millis":
            start = time_of(message.at_millis)
        return ShardReader(
            self._cluster,
            owned.group,
            owned.shard_id,
            start,
            lambda: owned.replicas,
            lambda: owned.end,
            lambda page: self._deliver(owned, page),
            lambda error: self._ended(owned, error),
        )

    def _deliver(self, owned: _Ownership, page: Page) -> bool:
        def is_unwanted() -> bool:
            return owned.is_lost or owned.is_leaving

        with self._lock:
            self._changed.wait_for(lambda: len(self._queue) < _QUEUED_PAGES or is_unwanted())
            if is_unwanted():
                return False
            self._queue.append(Batch(self, owned, page))
            owned.queued = page.next
            self._changed.notify_all()
            return True

    def _ended(self, owned: _Ownership, error: AnabranchError | None) -> None:
        """The reader of the shard is at the end of the shard, or failed."""
        with self._lock:
            owned.is_read = error is None
            self._error = self._error or error
            self._changed.notify_all()
            self._duty.notify()

    # The keeper: heartbeats, and the calls that no batch makes.

    def _keep(self) -> None:
        while not self._is_closed:
            try:
                self._do_duty()
            except Closed:
                return
            except (Unavailable, Throttled) as error:
                logger.warning("member %s cannot reach its coordinator: %s", self.member, error)
                time.sleep(_COORDINATOR_PAUSE)
            with self._lock:
                self._duty.wait_for(self._is_on_duty, self._session / 3)

    def _is_on_duty(self) -> bool:
        return self._is_closed or not self._is_member or bool(self._changes())

    def _do_duty(self) -> None:
        if not self._is_member:
            self._join()
            return
        with self._lock:
            changes = self._changes()
        if changes:
            self._store(changes)  # counts as a heartbeat
            return
        self._heartbeat()
        self._check_watch()

    def _changes(self) -> list[tuple[_Ownership, consumer_pb2.ShardCheckpoint]]:
        """The shards to give back, and the ends to store. With the lock."""
        changes = []
        for owned in self._owned.values():
            if owned.is_lost or owned.is_finished:
                continue
            if owned.end is not None and owned.is_processed():
                changes.append((owned, owned.message(owned.end)))
            elif owned.is_leaving and owned is not self._current:
                changes.append((owned, owned.message(None, release=True)))
        return changes[:_CHECKPOINTED_SHARDS]

    def _heartbeat(self) -> None:
        joins = self._joins
        request = consumer_pb2.HeartbeatRequest(group=self._ref, member=self.member)
        try:
            self._call("Heartbeat", request, seconds=self._session)
        except CallError as error:
            if error.kind is not Kind.NOT_FOUND:
                raise error.public() from error
            self._removed(joins)

    def _check_watch(self) -> None:
        """Breaks a watch that is silent, or at a node that is no longer the coordinator's. The watch thread opens
        another one."""
        with self._lock:
            is_silent = time.monotonic() - self._watched > _WATCH_SILENCE
            if self._watch_call is not None and (is_silent or self._watched_node != self._coordinator):
                self._watched = time.monotonic()
                self._watch_call.cancel()

    # The watch.

    def _watch(self) -> None:
        while True:
            with self._lock:
                self._joined.wait_for(lambda: self._is_closed or self._is_member)
                if self._is_closed:
                    return
                joins = self._joins
            node = self._node()
            try:
                self._watch_at(node)
                error = CallError(Kind.UNKNOWN, "the watch ended")
            except grpc.RpcError as failure:
                error = call_error(failure)
            except CallError as failure:
                error = failure
            if self._is_closed:
                return
            if error.kind is Kind.NOT_FOUND:
                self._removed(joins)
            elif not self._has_moved(node, error):
                raise error.public()

    def _watch_at(self, node: int) -> None:
        call = self._cluster.peer(node).groups.Watch(consumer_pb2.WatchRequest(group=self._ref, member=self.member))
        with self._lock:
            self._watch_call, self._watched_node = call, node
            if self._is_closed:
                call.cancel()
        for response in call:
            self._update(response)

    def _guard(self, work: Callable[[], None]) -> None:
        """Runs a thread. An error that ends it is raised by the iterator."""
        try:
            work()
        except Exception as failure:
            if not isinstance(failure, AnabranchError):
                logger.exception("member %s failed", self.member)
                failure = Unavailable(f"member {self.member} failed: {failure}")
            with self._lock:
                self._error = self._error or failure
                self._changed.notify_all()
