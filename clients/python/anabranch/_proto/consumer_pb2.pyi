# ruff: noqa
# fmt: off
from . import log_pb2 as _log_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GroupRef(_message.Message):
    __slots__ = ("stream", "group")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    stream: str
    group: str
    def __init__(self, stream: _Optional[str] = ..., group: _Optional[str] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("group", "member", "description", "session_millis", "trim_horizon", "latest", "at_millis")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SESSION_MILLIS_FIELD_NUMBER: _ClassVar[int]
    TRIM_HORIZON_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    AT_MILLIS_FIELD_NUMBER: _ClassVar[int]
    group: GroupRef
    member: str
    description: str
    session_millis: int
    trim_horizon: _log_pb2.Empty
    latest: _log_pb2.Empty
    at_millis: int
    def __init__(self, group: _Optional[_Union[GroupRef, _Mapping]] = ..., member: _Optional[str] = ..., description: _Optional[str] = ..., session_millis: _Optional[int] = ..., trim_horizon: _Optional[_Union[_log_pb2.Empty, _Mapping]] = ..., latest: _Optional[_Union[_log_pb2.Empty, _Mapping]] = ..., at_millis: _Optional[int] = ...) -> None: ...

class JoinResponse(_message.Message):
    __slots__ = ("session_millis", "created")
    SESSION_MILLIS_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    session_millis: int
    created: bool
    def __init__(self, session_millis: _Optional[int] = ..., created: bool = ...) -> None: ...

class HeartbeatRequest(_message.Message):
    __slots__ = ("group", "member")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    group: GroupRef
    member: str
    def __init__(self, group: _Optional[_Union[GroupRef, _Mapping]] = ..., member: _Optional[str] = ...) -> None: ...

class HeartbeatResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class CheckpointRequest(_message.Message):
    __slots__ = ("group", "member", "shards")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    group: GroupRef
    member: str
    shards: _containers.RepeatedCompositeFieldContainer[ShardCheckpoint]
    def __init__(self, group: _Optional[_Union[GroupRef, _Mapping]] = ..., member: _Optional[str] = ..., shards: _Optional[_Iterable[_Union[ShardCheckpoint, _Mapping]]] = ...) -> None: ...

class ShardCheckpoint(_message.Message):
    __slots__ = ("shard", "epoch", "next", "release")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    shard: int
    epoch: int
    next: _log_pb2.Position
    release: bool
    def __init__(self, shard: _Optional[int] = ..., epoch: _Optional[int] = ..., next: _Optional[_Union[_log_pb2.Position, _Mapping]] = ..., release: bool = ...) -> None: ...

class CheckpointResponse(_message.Message):
    __slots__ = ("refused",)
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    refused: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, refused: _Optional[_Iterable[int]] = ...) -> None: ...

class LeaveRequest(_message.Message):
    __slots__ = ("group", "member", "shards")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    group: GroupRef
    member: str
    shards: _containers.RepeatedCompositeFieldContainer[ShardCheckpoint]
    def __init__(self, group: _Optional[_Union[GroupRef, _Mapping]] = ..., member: _Optional[str] = ..., shards: _Optional[_Iterable[_Union[ShardCheckpoint, _Mapping]]] = ...) -> None: ...

class LeaveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("group", "member")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    group: GroupRef
    member: str
    def __init__(self, group: _Optional[_Union[GroupRef, _Mapping]] = ..., member: _Optional[str] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("version", "shards")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    version: int
    shards: _containers.RepeatedCompositeFieldContainer[OwnedShard]
    def __init__(self, version: _Optional[int] = ..., shards: _Optional[_Iterable[_Union[OwnedShard, _Mapping]]] = ...) -> None: ...

class OwnedShard(_message.Message):
    __slots__ = ("shard", "shard_id", "group", "nodes", "epoch", "next", "trim_horizon", "at_millis", "end", "leaving")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    SHARD_ID_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    TRIM_HORIZON_FIELD_NUMBER: _ClassVar[int]
    AT_MILLIS_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    shard: int
    shard_id: str
    group: int
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    epoch: int
    next: _log_pb2.Position
    trim_horizon: _log_pb2.Empty
    at_millis: int
    end: _log_pb2.Position
    leaving: bool
    def __init__(self, shard: _Optional[int] = ..., shard_id: _Optional[str] = ..., group: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., epoch: _Optional[int] = ..., next: _Optional[_Union[_log_pb2.Position, _Mapping]] = ..., trim_horizon: _Optional[_Union[_log_pb2.Empty, _Mapping]] = ..., at_millis: _Optional[int] = ..., end: _Optional[_Union[_log_pb2.Position, _Mapping]] = ..., leaving: bool = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("id", "address")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    id: int
    address: str
    def __init__(self, id: _Optional[int] = ..., address: _Optional[str] = ...) -> None: ...

class ListGroupsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListGroupsResponse(_message.Message):
    __slots__ = ("groups",)
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[GroupSummary]
    def __init__(self, groups: _Optional[_Iterable[_Union[GroupSummary, _Mapping]]] = ...) -> None: ...

class GroupSummary(_message.Message):
    __slots__ = ("group", "coordinator", "members", "owned_shards", "created_millis")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    OWNED_SHARDS_FIELD_NUMBER: _ClassVar[int]
    CREATED_MILLIS_FIELD_NUMBER: _ClassVar[int]
    group: GroupRef
    coordinator: int
    members: int
    owned_shards: int
    created_millis: int
    def __init__(self, group: _Optional[_Union[GroupRef, _Mapping]] = ..., coordinator: _Optional[int] = ..., members: _Optional[int] = ..., owned_shards: _Optional[int] = ..., created_millis: _Optional[int] = ...) -> None: ...

class DescribeGroupRequest(_message.Message):
    __slots__ = ("group",)
    GROUP_FIELD_NUMBER: _ClassVar[int]
    group: GroupRef
    def __init__(self, group: _Optional[_Union[GroupRef, _Mapping]] = ...) -> None: ...

class DescribeGroupResponse(_message.Message):
    __slots__ = ("summary", "members", "shards")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    summary: GroupSummary
    members: _containers.RepeatedCompositeFieldContainer[Member]
    shards: _containers.RepeatedCompositeFieldContainer[GroupShard]
    def __init__(self, summary: _Optional[_Union[GroupSummary, _Mapping]] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., shards: _Optional[_Iterable[_Union[GroupShard, _Mapping]]] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("member", "description", "session_millis", "joined_millis")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SESSION_MILLIS_FIELD_NUMBER: _ClassVar[int]
    JOINED_MILLIS_FIELD_NUMBER: _ClassVar[int]
    member: str
    description: str
    session_millis: int
    joined_millis: int
    def __init__(self, member: _Optional[str] = ..., description: _Optional[str] = ..., session_millis: _Optional[int] = ..., joined_millis: _Optional[int] = ...) -> None: ...

class GroupShard(_message.Message):
    __slots__ = ("shard", "shard_id", "owner", "epoch", "next", "finished")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    SHARD_ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    shard: int
    shard_id: str
    owner: str
    epoch: int
    next: _log_pb2.Position
    finished: bool
    def __init__(self, shard: _Optional[int] = ..., shard_id: _Optional[str] = ..., owner: _Optional[str] = ..., epoch: _Optional[int] = ..., next: _Optional[_Union[_log_pb2.Position, _Mapping]] = ..., finished: bool = ...) -> None: ...

class DeleteGroupRequest(_message.Message):
    __slots__ = ("group",)
    GROUP_FIELD_NUMBER: _ClassVar[int]
    group: GroupRef
    def __init__(self, group: _Optional[_Union[GroupRef, _Mapping]] = ...) -> None: ...

class DeleteGroupResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
