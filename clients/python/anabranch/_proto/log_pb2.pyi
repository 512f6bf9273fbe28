# ruff: noqa
# fmt: off
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_KIND_UNSPECIFIED: _ClassVar[ErrorKind]
    ERROR_KIND_NOT_LEADER: _ClassVar[ErrorKind]
    ERROR_KIND_NOT_FOUND: _ClassVar[ErrorKind]
    ERROR_KIND_CLOSED: _ClassVar[ErrorKind]
    ERROR_KIND_THROTTLED: _ClassVar[ErrorKind]
    ERROR_KIND_INVALID: _ClassVar[ErrorKind]
    ERROR_KIND_UNKNOWN_OUTCOME: _ClassVar[ErrorKind]
    ERROR_KIND_FROZEN: _ClassVar[ErrorKind]
    ERROR_KIND_IN_USE: _ClassVar[ErrorKind]
    ERROR_KIND_KEY_ACCESS_DENIED: _ClassVar[ErrorKind]
    ERROR_KIND_KEY_DISABLED: _ClassVar[ErrorKind]
    ERROR_KIND_KEY_INVALID_STATE: _ClassVar[ErrorKind]
    ERROR_KIND_KEY_NOT_FOUND: _ClassVar[ErrorKind]
    ERROR_KIND_KEY_OPT_IN_REQUIRED: _ClassVar[ErrorKind]
    ERROR_KIND_KEY_THROTTLED: _ClassVar[ErrorKind]
ERROR_KIND_UNSPECIFIED: ErrorKind
ERROR_KIND_NOT_LEADER: ErrorKind
ERROR_KIND_NOT_FOUND: ErrorKind
ERROR_KIND_CLOSED: ErrorKind
ERROR_KIND_THROTTLED: ErrorKind
ERROR_KIND_INVALID: ErrorKind
ERROR_KIND_UNKNOWN_OUTCOME: ErrorKind
ERROR_KIND_FROZEN: ErrorKind
ERROR_KIND_IN_USE: ErrorKind
ERROR_KIND_KEY_ACCESS_DENIED: ErrorKind
ERROR_KIND_KEY_DISABLED: ErrorKind
ERROR_KIND_KEY_INVALID_STATE: ErrorKind
ERROR_KIND_KEY_NOT_FOUND: ErrorKind
ERROR_KIND_KEY_OPT_IN_REQUIRED: ErrorKind
ERROR_KIND_KEY_THROTTLED: ErrorKind

class Record(_message.Message):
    __slots__ = ("data", "partition_key")
    DATA_FIELD_NUMBER: _ClassVar[int]
    PARTITION_KEY_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    partition_key: bytes
    def __init__(self, data: _Optional[bytes] = ..., partition_key: _Optional[bytes] = ...) -> None: ...

class RecordBatch(_message.Message):
    __slots__ = ("records", "producer", "call_indexes", "sealed")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_FIELD_NUMBER: _ClassVar[int]
    CALL_INDEXES_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[Record]
    producer: Producer
    call_indexes: _containers.RepeatedScalarFieldContainer[int]
    sealed: bytes
    def __init__(self, records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., producer: _Optional[_Union[Producer, _Mapping]] = ..., call_indexes: _Optional[_Iterable[int]] = ..., sealed: _Optional[bytes] = ...) -> None: ...

class Producer(_message.Message):
    __slots__ = ("id", "sequence")
    ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    sequence: int
    def __init__(self, id: _Optional[bytes] = ..., sequence: _Optional[int] = ...) -> None: ...

class Position(_message.Message):
    __slots__ = ("log_index", "offset")
    LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    log_index: int
    offset: int
    def __init__(self, log_index: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class AppendRequest(_message.Message):
    __slots__ = ("group", "batch", "hash_keys")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    HASH_KEYS_FIELD_NUMBER: _ClassVar[int]
    group: int
    batch: bytes
    hash_keys: bytes
    def __init__(self, group: _Optional[int] = ..., batch: _Optional[bytes] = ..., hash_keys: _Optional[bytes] = ...) -> None: ...

class AppendResponse(_message.Message):
    __slots__ = ("runs",)
    RUNS_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[Run]
    def __init__(self, runs: _Optional[_Iterable[_Union[Run, _Mapping]]] = ...) -> None: ...

class AppendStreamRequest(_message.Message):
    __slots__ = ("appends",)
    APPENDS_FIELD_NUMBER: _ClassVar[int]
    appends: _containers.RepeatedCompositeFieldContainer[NumberedAppend]
    def __init__(self, appends: _Optional[_Iterable[_Union[NumberedAppend, _Mapping]]] = ...) -> None: ...

class NumberedAppend(_message.Message):
    __slots__ = ("number", "group", "batch", "hash_keys")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    HASH_KEYS_FIELD_NUMBER: _ClassVar[int]
    number: int
    group: int
    batch: bytes
    hash_keys: bytes
    def __init__(self, number: _Optional[int] = ..., group: _Optional[int] = ..., batch: _Optional[bytes] = ..., hash_keys: _Optional[bytes] = ...) -> None: ...

class AppendStreamResponse(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[NumberedOutcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[NumberedOutcome, _Mapping]]] = ...) -> None: ...

class NumberedOutcome(_message.Message):
    __slots__ = ("number", "runs", "error")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    number: int
    runs: _containers.RepeatedCompositeFieldContainer[Run]
    error: ErrorDetail
    def __init__(self, number: _Optional[int] = ..., runs: _Optional[_Iterable[_Union[Run, _Mapping]]] = ..., error: _Optional[_Union[ErrorDetail, _Mapping]] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("first", "records", "arrival_millis")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    ARRIVAL_MILLIS_FIELD_NUMBER: _ClassVar[int]
    first: Position
    records: int
    arrival_millis: int
    def __init__(self, first: _Optional[_Union[Position, _Mapping]] = ..., records: _Optional[int] = ..., arrival_millis: _Optional[int] = ...) -> None: ...

class RecallRequest(_message.Message):
    __slots__ = ("group", "batch")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    group: int
    batch: bytes
    def __init__(self, group: _Optional[int] = ..., batch: _Optional[bytes] = ...) -> None: ...

class RecallResponse(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[RecalledRecord]
    def __init__(self, records: _Optional[_Iterable[_Union[RecalledRecord, _Mapping]]] = ...) -> None: ...

class RecalledRecord(_message.Message):
    __slots__ = ("place", "run")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    place: int
    run: Run
    def __init__(self, place: _Optional[int] = ..., run: _Optional[_Union[Run, _Mapping]] = ...) -> None: ...

class SeekRequest(_message.Message):
    __slots__ = ("group", "trim_horizon", "latest", "at_millis", "leader_only")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TRIM_HORIZON_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    AT_MILLIS_FIELD_NUMBER: _ClassVar[int]
    LEADER_ONLY_FIELD_NUMBER: _ClassVar[int]
    group: int
    trim_horizon: Empty
    latest: Empty
    at_millis: int
    leader_only: bool
    def __init__(self, group: _Optional[int] = ..., trim_horizon: _Optional[_Union[Empty, _Mapping]] = ..., latest: _Optional[_Union[Empty, _Mapping]] = ..., at_millis: _Optional[int] = ..., leader_only: bool = ...) -> None: ...

class Empty(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SeekResponse(_message.Message):
    __slots__ = ("position",)
    POSITION_FIELD_NUMBER: _ClassVar[int]
    position: Position
    def __init__(self, position: _Optional[_Union[Position, _Mapping]] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("group", "max_records", "max_bytes", "leader_only", "wait_millis")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    MAX_RECORDS_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    LEADER_ONLY_FIELD_NUMBER: _ClassVar[int]
    WAIT_MILLIS_FIELD_NUMBER: _ClassVar[int]
    group: int
    max_records: int
    max_bytes: int
    leader_only: bool
    wait_millis: int
    def __init__(self, group: _Optional[int] = ..., max_records: _Optional[int] = ..., max_bytes: _Optional[int] = ..., leader_only: bool = ..., wait_millis: _Optional[int] = ..., **kwargs) -> None: ...

class ReadResponse(_message.Message):
    __slots__ = ("batches", "next", "behind_millis")
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    BEHIND_MILLIS_FIELD_NUMBER: _ClassVar[int]
    batches: _containers.RepeatedCompositeFieldContainer[PageBatch]
    next: Position
    behind_millis: int
    def __init__(self, batches: _Optional[_Iterable[_Union[PageBatch, _Mapping]]] = ..., next: _Optional[_Union[Position, _Mapping]] = ..., behind_millis: _Optional[int] = ...) -> None: ...

class PageBatch(_message.Message):
    __slots__ = ("log_index", "arrival_millis", "first", "records", "batch", "encrypted")
    LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    ARRIVAL_MILLIS_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTED_FIELD_NUMBER: _ClassVar[int]
    log_index: int
    arrival_millis: int
    first: int
    records: int
    batch: bytes
    encrypted: bool
    def __init__(self, log_index: _Optional[int] = ..., arrival_millis: _Optional[int] = ..., first: _Optional[int] = ..., records: _Optional[int] = ..., batch: _Optional[bytes] = ..., encrypted: bool = ...) -> None: ...

class TailRequest(_message.Message):
    __slots__ = ("group", "subscription")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    group: int
    subscription: Subscription
    def __init__(self, group: _Optional[int] = ..., subscription: _Optional[_Union[Subscription, _Mapping]] = ..., **kwargs) -> None: ...

class Subscription(_message.Message):
    __slots__ = ("consumer", "id", "age_millis")
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    AGE_MILLIS_FIELD_NUMBER: _ClassVar[int]
    consumer: str
    id: int
    age_millis: int
    def __init__(self, consumer: _Optional[str] = ..., id: _Optional[int] = ..., age_millis: _Optional[int] = ...) -> None: ...

class ProposeRequest(_message.Message):
    __slots__ = ("command", "forwarded")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    FORWARDED_FIELD_NUMBER: _ClassVar[int]
    command: bytes
    forwarded: bool
    def __init__(self, command: _Optional[bytes] = ..., forwarded: bool = ...) -> None: ...

class ProposeResponse(_message.Message):
    __slots__ = ("outcome",)
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    outcome: bytes
    def __init__(self, outcome: _Optional[bytes] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("known_version", "known_users_version")
    KNOWN_VERSION_FIELD_NUMBER: _ClassVar[int]
    KNOWN_USERS_VERSION_FIELD_NUMBER: _ClassVar[int]
    known_version: int
    known_users_version: int
    def __init__(self, known_version: _Optional[int] = ..., known_users_version: _Optional[int] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("catalog",)
    CATALOG_FIELD_NUMBER: _ClassVar[int]
    catalog: bytes
    def __init__(self, catalog: _Optional[bytes] = ...) -> None: ...

class NewestRequest(_message.Message):
    __slots__ = ("forwarded",)
    FORWARDED_FIELD_NUMBER: _ClassVar[int]
    forwarded: bool
    def __init__(self, forwarded: bool = ...) -> None: ...

class NewestResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class NewDataKeyRequest(_message.Message):
    __slots__ = ("stream", "stream_id", "master_key")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    MASTER_KEY_FIELD_NUMBER: _ClassVar[int]
    stream: str
    stream_id: int
    master_key: str
    def __init__(self, stream: _Optional[str] = ..., stream_id: _Optional[int] = ..., master_key: _Optional[str] = ...) -> None: ...

class NewDataKeyResponse(_message.Message):
    __slots__ = ("wrapped",)
    WRAPPED_FIELD_NUMBER: _ClassVar[int]
    wrapped: bytes
    def __init__(self, wrapped: _Optional[bytes] = ...) -> None: ...

class NodeInfoRequest(_message.Message):
    __slots__ = ("registration_of",)
    REGISTRATION_OF_FIELD_NUMBER: _ClassVar[int]
    registration_of: int
    def __init__(self, registration_of: _Optional[int] = ...) -> None: ...

class NodeInfoResponse(_message.Message):
    __slots__ = ("node", "cluster", "began_empty", "catalog_version", "reconciled_version", "registration", "catalog_recovered_as")
    NODE_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    BEGAN_EMPTY_FIELD_NUMBER: _ClassVar[int]
    CATALOG_VERSION_FIELD_NUMBER: _ClassVar[int]
    RECONCILED_VERSION_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_FIELD_NUMBER: _ClassVar[int]
    CATALOG_RECOVERED_AS_FIELD_NUMBER: _ClassVar[int]
    node: int
    cluster: str
    began_empty: bool
    catalog_version: int
    reconciled_version: int
    registration: Registration
    catalog_recovered_as: int
    def __init__(self, node: _Optional[int] = ..., cluster: _Optional[str] = ..., began_empty: bool = ..., catalog_version: _Optional[int] = ..., reconciled_version: _Optional[int] = ..., registration: _Optional[_Union[Registration, _Mapping]] = ..., catalog_recovered_as: _Optional[int] = ...) -> None: ...

class Registration(_message.Message):
    __slots__ = ("incarnation", "starts", "boot")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    BOOT_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    starts: int
    boot: int
    def __init__(self, incarnation: _Optional[int] = ..., starts: _Optional[int] = ..., boot: _Optional[int] = ...) -> None: ...

class ErrorDetail(_message.Message):
    __slots__ = ("kind", "leader_node", "message")
    KIND_FIELD_NUMBER: _ClassVar[int]
    LEADER_NODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    kind: ErrorKind
    leader_node: int
    message: str
    def __init__(self, kind: _Optional[_Union[ErrorKind, str]] = ..., leader_node: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...
