"""Finds the replica that can do what a call asks: for appends the leader of the shard, for reads any replica.

Order of events: the node that led last is asked first. A node that refuses may name the leader (a hint), and the hint
is asked next. Without a hint the replicas are asked in turn. There is a pause once every replica was asked, and after
a hint that leads nowhere new: a leader that is not ready yet names itself, and two nodes may name each other for a
while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import grpc

from .errors import CallError, Closed, Kind, Unavailable, call_error

if TYPE_CHECKING:
    from .cluster import Cluster, Peer

Response = TypeVar("Response")

# A pause is a quarter of the time that the search has taken. So the search finds a new leader soon after its election,
# and a long search asks rarely.
_SHORTEST_PAUSE = 0.005
_LONGEST_PAUSE = 0.1
_PAUSE_PART = 4

# How long a read asks for the leader, which knows every acknowledged record, before any replica may answer.
_LEADER_PATIENCE = 0.5
# The first attempt of a read is given up after this time, later ones after two, four and five seconds: a node that
# takes a call and never answers must not hold it for long.
_FIRST_TIMEOUT = 1.0
_LONGEST_TIMEOUT = 5.0


class Search:
    """Which node to ask next. Pure: the caller asks, waits, and passes on what the nodes answered."""

    def __init__(self, leader: int | None, turn: int = 0):
        self._hint = leader
        self._turn = turn
        self._asked_in_turn = 0
        self._followed = 0
        self.asked = 0
        """The node that was asked last; 0 for none."""

    def next(self, replicas: Sequence[int]) -> int:
        """The node to ask now: the leader if one is known, else the replicas in turn. `replicas` is not empty."""
        if self._hint is not None:
            self.asked, self._hint = self._hint, None
        else:
            self.asked = replicas[self._turn % len(replicas)]
            self._turn += 1
            self._asked_in_turn += 1
        return self.asked

    def stay(self) -> None:
        """Asks the same node again."""
        self._hint = self.asked

    def refused(self, hint: int | None, replicas: Sequence[int], elapsed: float) -> float:
        """The pause before the next attempt, in seconds, after the node did not do it and named the leader `hint`.

        `elapsed` is how long the search has taken, in seconds.
        """
        self._hint = hint
        count = max(len(replicas), 1)
        if hint is not None and hint != self.asked and self._followed < count:
            self._followed += 1
            return 0.0
        if hint is None and self._asked_in_turn < count:
            return 0.0
        self._followed = self._asked_in_turn = 0
        return min(max(elapsed / _PAUSE_PART, _SHORTEST_PAUSE), _LONGEST_PAUSE)


def ask_replicas(
    cluster: Cluster,
    group: int,
    replicas: Callable[[], Sequence[int]],
    send: Callable[[Peer, bool, float], Response],
    timeout: float,
    stopped: Callable[[], bool] = lambda: False,
) -> Response:
    """Sends a call that changes nothing to one replica after the other, until one gives a response.

    `replicas` gives the nodes with replicas as they are known now. `send` gets the connections to a node, whether the
    replica must lead, and the time limit of the attempt in seconds.

    Raises CallError if a node refuses for good, Unavailable if no node answers within `timeout` seconds, and Closed
    once `stopped` returns true.
    """
    search = Search(cluster.leaders.get(group))
    began = time.monotonic()
    attempt_timeout = _FIRST_TIMEOUT
    while not stopped():
        nodes = replicas()
        error = CallError(Kind.NOT_FOUND, "no replica is known")
        elapsed = time.monotonic() - began
        if nodes:
            node = search.next(nodes)
            leader_only = elapsed < _LEADER_PATIENCE
            try:
                response = send(cluster.peer(node), leader_only, attempt_timeout)
            except grpc.RpcError as failure:
                error = call_error(failure)
            except CallError as failure:
                error = failure
            else:
                if leader_only:
                    cluster.leaders[group] = node
                return response
            if error.kind is Kind.UNKNOWN:
                cluster.forget_leader(group, node)
                attempt_timeout = min(attempt_timeout * 2, _LONGEST_TIMEOUT)
        if error.is_final():
            raise error
        elapsed = time.monotonic() - began
        if elapsed > timeout:
            raise Unavailable(f"no replica answered within {timeout:g} s: {error}")
        time.sleep(search.refused(error.leader, nodes, elapsed) if nodes else _LONGEST_PAUSE)
    raise Closed("the call was stopped")
