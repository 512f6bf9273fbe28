"""Reads one shard in a thread, and hands its pages on in order.

Order of events: the thread finds its position, then follows a tail: a replica pushes pages as records are committed.
When the tail breaks, the thread goes on at another replica, behind the last page that it handed on. Once the end of
the shard is known, the thread asks for the rest page by page, because a tail of a closed shard would tell its end only
with its next empty page, seconds later.

Never: a record twice, or a record left out.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import grpc

from ._proto import log_pb2
from .errors import AnabranchError, CallError, Kind, Unavailable, call_error
from .records import Position, Record, Start, records_of, start_fields
from .search import Search, ask_replicas

if TYPE_CHECKING:
    from .cluster import Cluster, Peer

logger = logging.getLogger("anabranch")

# A tail is opened again after this time. This bounds how long a reader stays at a replica that hangs or is cut off
# from the others. A node that hangs as a whole is noticed sooner, by the connection's keep-alive.
_TAIL_SECONDS = 30.0
# How long a call searches for a replica before the log warns. The reader never gives up.
_PATIENCE = 15.0
_SHORTEST_PAUSE = 0.01
_REST_BYTES = 1 << 20
# How long a replica that has not applied the end of a closed shard yet may wait for it.
_REST_WAIT_MILLIS = 500


@dataclass(frozen=True)
class Page:
    """Consecutive records of one shard, at least one."""

    records: list[Record]
    next: Position
    """The position after the last record. A later record may be at a higher one."""


class ShardReader:
    """The thread that reads one shard.

    - `start`: a position, or where to seek.
    - `replicas`: gives the nodes that have replicas now.
    - `end`: gives the position after the last record once it is known, else None. Raises an AnabranchError if the
      shard cannot be read any more.
    - `deliver`: takes a page. May block; returns false if nobody wants pages any more.
    - `finished`: called at last, unless the reader was stopped: with None at the end of the shard, else with the
      error.
    """

    def __init__(
        self,
        cluster: Cluster,
        group: int,
        shard_id: str,
        start: Position | Start | datetime,
        replicas: Callable[[], Sequence[int]],
        end: Callable[[], Position | None],
        deliver: Callable[[Page], bool],
        finished: Callable[[AnabranchError | None], None],
    ):
        self._cluster = cluster
        self._group = group
        self._shard_id = shard_id
        self._start = start
        self._replicas = replicas
        self._end = end
        self._deliver = deliver
        self._finished = finished
        self._lock = threading.Lock()
        self._call: grpc.Call | None = None
        self._looks = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"anabranch-{shard_id}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    def look(self) -> None:
        """Tells the thread that `end` may return something new."""
        with self._lock:
            self._looks += 1
            if self._call is not None:
                self._call.cancel()

    def stop(self) -> None:
        """Tells the thread to end. It hands no page on that it has not begun to hand on."""
        self._stopped.set()
        self.look()

    def join(self) -> None:
        """Waits until the thread has ended. Returns at once in the thread itself."""
        if self._thread is not threading.current_thread() and self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        error: AnabranchError | None = None
        try:
            self._read()
        except CallError as failure:
            error = failure.public()
        except AnabranchError as failure:
            error = failure
        except Exception as failure:
            logger.exception("reading %s failed", self._shard_id)
            error = Unavailable(f"reading {self._shard_id} failed: {failure}")
        if not self.is_stopped:
            self._finished(error)

    def _read(self) -> None:
        position = self._start if isinstance(self._start, Position) else self._seek(self._start)
        while not self.is_stopped:
            looks, end = self._looks, self._end()
            if end is None:
                position = self._follow(position, looks)
            elif position < end:
                position = self._hand_on(self._rest(position), position)
            else:
                return

    def _seek(self, start: Start | datetime) -> Position:
        while True:
            try:
                return seek(self._cluster, self._group, self._replicas, start, lambda: self.is_stopped)
            except Unavailable as error:
                logger.warning("looking for where to begin in %s: %s", self._shard_id, error)

    def _hand_on(self, response: log_pb2.ReadResponse, position: Position) -> Position:
        """Hands the records of a page on. Returns the position after the page."""
        records = records_of(response, self._shard_id)
        after = max(Position.of(response.next), position)
        if records and (self.is_stopped or not self._deliver(Page(records, after))):
            self._stopped.set()
        return after

    def _follow(self, position: Position, looks: int) -> Position:
        """Follows tails until the end of the shard may be known, or one was open for its time. Returns the position.

        `looks` is the number of looks before the end was asked for last.
        """
        search = Search(self._cluster.leaders.get(self._group), turn=random.randrange(1 << 16))
        began = warned = time.monotonic()
        while not self.is_stopped and self._end() is None:
            nodes = self._replicas()
            error = CallError(Kind.NOT_FOUND, "no replica is known")
            if nodes:
                node = search.next(nodes)
                error = CallError(Kind.UNKNOWN, "the tail ended")
                try:
                    for response in self._open(self._cluster.peer(node), position, looks):
                        position = self._hand_on(response, position)
                        began = warned = time.monotonic()
                        if self.is_stopped or self._looks != looks:
                            return position
                except grpc.RpcError as failure:
                    if self._looks != looks or failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                        return position
                    error = call_error(failure)
                except CallError as failure:
                    error = failure
                if error.is_final():
                    raise error
                self._cluster.forget_leader(self._group, node)
            now = time.monotonic()
            if now - warned > _PATIENCE:
                logger.warning("no replica of %s for %.0f s: %s", self._shard_id, now - began, error)
                warned = now
            self._stopped.wait(max(search.refused(error.leader, nodes, now - began), _SHORTEST_PAUSE))
        return position

    def _open(self, peer: Peer, position: Position, looks: int) -> grpc.Call:
        fields: dict[str, Any] = {"from": position.message()}  # `from` is a keyword of Python
        request = log_pb2.TailRequest(group=self._group, **fields)
        call = peer.reads.Tail(request, timeout=_TAIL_SECONDS)
        with self._lock:
            self._call = call
            if self._looks != looks:
                call.cancel()
        return call

    def _rest(self, position: Position) -> log_pb2.ReadResponse:
        """The next page of a closed shard. May be empty if the replica has not applied the end yet."""
        fields: dict[str, Any] = {"from": position.message(), "wait_millis": _REST_WAIT_MILLIS}
        request = log_pb2.ReadRequest(group=self._group, max_bytes=_REST_BYTES, **fields)
        while True:
            try:
                return ask_replicas(
                    self._cluster,
                    self._group,
                    self._replicas,
                    lambda peer, _leader_only, timeout: peer.reads.Read(request, timeout=timeout + 1),
                    _PATIENCE,
                    lambda: self.is_stopped,
                )
            except Unavailable as error:
                logger.warning("reading the rest of %s: %s", self._shard_id, error)
                end = self._end()
                if end is None or position >= end:
                    return log_pb2.ReadResponse()  # the shard has expired


def seek(
    cluster: Cluster,
    group: int,
    replicas: Callable[[], Sequence[int]],
    start: Start | datetime,
    stopped: Callable[[], bool] = lambda: False,
) -> Position:
    """The position at which a reader of the shard begins.

    Raises CallError if a node refuses for good, and Unavailable if no replica could tell.
    """

    def send(peer: Peer, leader_only: bool, timeout: float) -> log_pb2.SeekResponse:
        request = log_pb2.SeekRequest(group=group, leader_only=leader_only, **start_fields(start))
        return peer.reads.Seek(request, timeout=timeout)

    return Position.of(ask_replicas(cluster, group, replicas, send, _PATIENCE, stopped).position)
