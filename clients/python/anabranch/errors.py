"""Exceptions of this package, and the failures of single calls to nodes.

Every public exception is an `AnabranchError`. `CallError` is internal: the failure of one call to one node, before
this package decides whether to try again. Its kind says whether the call may have had an effect.
"""

from __future__ import annotations

import enum

import grpc

from ._proto import log_pb2


class AnabranchError(Exception):
    """Base of all exceptions of this package, except for ValueError and TypeError of wrong arguments."""


class Unavailable(AnabranchError):
    """No node gave an answer in time. If records were put, they were not written. Try again later."""


class Throttled(AnabranchError):
    """The cluster refused for too long, because a limit of memory, disk or the service is reached. Nothing was
    written."""


class UnknownOutcome(AnabranchError):
    """The response was lost, and repeating the call did not tell either. The records may have been written or not.

    The producer never sends them again. A program that puts them again may write them twice.
    """


class StreamNotFound(AnabranchError):
    """The stream does not exist, or was deleted. If records were put, they were not written."""


class ShardNotFound(AnabranchError):
    """The stream has no such shard, or the shard has expired."""


class InvalidRequest(AnabranchError):
    """A node refused the request as invalid. Nothing was done."""


class AccessDenied(AnabranchError):
    """The certificate of this program does not allow the call. Nothing was done."""


class KeyUnavailable(AnabranchError):
    """The stream is encrypted, and its master key cannot be used. Nothing was done. The text names the fault."""


class BufferFull(AnabranchError):
    """The producer's buffer had no room within the timeout of `put`. The record was not taken."""


class Closed(AnabranchError):
    """The object was closed. If records were put, they were not written."""


class OwnershipLost(AnabranchError):
    """The shard of the batch now belongs to nobody or to another member. Nothing was stored.

    Stop processing the batch: the next owner gets its records from the last stored checkpoint on.
    """


class Kind(enum.Enum):
    """Kind of the failure of one call to one node. See `ErrorKind` in log.proto."""

    NOT_LEADER = "not the leader"
    NOT_FOUND = "not found"
    CLOSED = "the shard is closed"
    FROZEN = "the shard is being split or merged"
    THROTTLED = "throttled"
    INVALID = "invalid"
    KEY = "the master key cannot be used"
    DENIED = "access denied"
    NOT_SENT = "no connection"
    UNKNOWN = "outcome unknown"


_KINDS = {
    log_pb2.ERROR_KIND_NOT_LEADER: Kind.NOT_LEADER,
    log_pb2.ERROR_KIND_NOT_FOUND: Kind.NOT_FOUND,
    log_pb2.ERROR_KIND_CLOSED: Kind.CLOSED,
    log_pb2.ERROR_KIND_FROZEN: Kind.FROZEN,
    log_pb2.ERROR_KIND_THROTTLED: Kind.THROTTLED,
    log_pb2.ERROR_KIND_INVALID: Kind.INVALID,
    log_pb2.ERROR_KIND_UNKNOWN_OUTCOME: Kind.UNKNOWN,
    log_pb2.ERROR_KIND_KEY_ACCESS_DENIED: Kind.KEY,
    log_pb2.ERROR_KIND_KEY_DISABLED: Kind.KEY,
    log_pb2.ERROR_KIND_KEY_INVALID_STATE: Kind.KEY,
    log_pb2.ERROR_KIND_KEY_NOT_FOUND: Kind.KEY,
    log_pb2.ERROR_KIND_KEY_OPT_IN_REQUIRED: Kind.KEY,
    log_pb2.ERROR_KIND_KEY_THROTTLED: Kind.THROTTLED,
}

# For statuses without an ErrorDetail: a few of the nodes, and all of the gRPC library.
_KINDS_OF_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: Kind.INVALID,
    grpc.StatusCode.NOT_FOUND: Kind.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED: Kind.DENIED,
    grpc.StatusCode.UNAUTHENTICATED: Kind.DENIED,
    # A node of an earlier version does not know the call.
    grpc.StatusCode.UNIMPLEMENTED: Kind.NOT_FOUND,
}

# How the gRPC library begins the text of a status when it made no connection. Then no node has seen the call. The code
# alone, UNAVAILABLE, does not tell that. If the library changes the text, such calls count as UNKNOWN, which is safe.
_NOT_CONNECTED = "failed to connect to all addresses"

_EXCEPTIONS = {
    Kind.THROTTLED: Throttled,
    Kind.INVALID: InvalidRequest,
    Kind.KEY: KeyUnavailable,
    Kind.DENIED: AccessDenied,
}


class CallError(Exception):
    """Failure of one call to one node."""

    def __init__(self, kind: Kind, text: str = "", leader: int | None = None):
        super().__init__(f"{kind.value}: {text}" if text else kind.value)
        self.kind = kind
        # With NOT_LEADER: the node to ask instead, if the refusal names one.
        self.leader = leader

    def is_final(self) -> bool:
        """Whether no other node and no later call would have another answer."""
        return self.kind in (Kind.INVALID, Kind.KEY, Kind.DENIED)

    def public(self) -> AnabranchError:
        """The exception for the program that uses this package."""
        return _EXCEPTIONS.get(self.kind, Unavailable)(str(self))


def call_error(error: grpc.RpcError) -> CallError:
    """The failure of a gRPC call.

    The node's ErrorDetail is in the metadata as it is, without the wrapper `google.rpc.Status`.
    """
    detail = log_pb2.ErrorDetail()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            detail.MergeFromString(value)
    code, text = error.code(), error.details() or ""
    kind = _KINDS.get(detail.kind)
    if kind is None:
        not_sent = code is grpc.StatusCode.UNAVAILABLE and text.startswith(_NOT_CONNECTED)
        kind = Kind.NOT_SENT if not_sent else _KINDS_OF_CODES.get(code, Kind.UNKNOWN)
    return CallError(kind, text or code.name, detail.leader_node or None)
