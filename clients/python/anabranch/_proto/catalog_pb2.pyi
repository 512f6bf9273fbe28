# ruff: noqa
# fmt: off
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TableGroupStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TABLE_GROUP_STATUS_UNSPECIFIED: _ClassVar[TableGroupStatus]
    TABLE_GROUP_STATUS_CREATING: _ClassVar[TableGroupStatus]
    TABLE_GROUP_STATUS_READY: _ClassVar[TableGroupStatus]

class ConsumerStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONSUMER_STATUS_UNSPECIFIED: _ClassVar[ConsumerStatus]
    CONSUMER_STATUS_CREATING: _ClassVar[ConsumerStatus]
    CONSUMER_STATUS_ACTIVE: _ClassVar[ConsumerStatus]
    CONSUMER_STATUS_DELETING: _ClassVar[ConsumerStatus]

class Distribution(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DISTRIBUTION_USER_PARTITION_KEY: _ClassVar[Distribution]
    DISTRIBUTION_AUTO: _ClassVar[Distribution]

class NodeState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NODE_STATE_ACTIVE: _ClassVar[NodeState]
    NODE_STATE_DRAINING: _ClassVar[NodeState]

class StreamStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STREAM_STATUS_UNSPECIFIED: _ClassVar[StreamStatus]
    STREAM_STATUS_CREATING: _ClassVar[StreamStatus]
    STREAM_STATUS_ACTIVE: _ClassVar[StreamStatus]
    STREAM_STATUS_DELETING: _ClassVar[StreamStatus]
    STREAM_STATUS_UPDATING: _ClassVar[StreamStatus]

class StreamMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STREAM_MODE_UNSPECIFIED: _ClassVar[StreamMode]
    STREAM_MODE_PROVISIONED: _ClassVar[StreamMode]
    STREAM_MODE_ON_DEMAND: _ClassVar[StreamMode]
TABLE_GROUP_STATUS_UNSPECIFIED: TableGroupStatus
TABLE_GROUP_STATUS_CREATING: TableGroupStatus
TABLE_GROUP_STATUS_READY: TableGroupStatus
CONSUMER_STATUS_UNSPECIFIED: ConsumerStatus
CONSUMER_STATUS_CREATING: ConsumerStatus
CONSUMER_STATUS_ACTIVE: ConsumerStatus
CONSUMER_STATUS_DELETING: ConsumerStatus
DISTRIBUTION_USER_PARTITION_KEY: Distribution
DISTRIBUTION_AUTO: Distribution
NODE_STATE_ACTIVE: NodeState
NODE_STATE_DRAINING: NodeState
STREAM_STATUS_UNSPECIFIED: StreamStatus
STREAM_STATUS_CREATING: StreamStatus
STREAM_STATUS_ACTIVE: StreamStatus
STREAM_STATUS_DELETING: StreamStatus
STREAM_STATUS_UPDATING: StreamStatus
STREAM_MODE_UNSPECIFIED: StreamMode
STREAM_MODE_PROVISIONED: StreamMode
STREAM_MODE_ON_DEMAND: StreamMode

class Catalog(_message.Message):
    __slots__ = ("version", "nodes", "replicas", "streams", "next_group", "next_replica", "founders", "moving", "balancing_paused", "rebalance", "commitment", "users", "users_version", "users_left_out", "former_names", "other_births_millis", "recovered", "table_groups")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_GROUP_FIELD_NUMBER: _ClassVar[int]
    NEXT_REPLICA_FIELD_NUMBER: _ClassVar[int]
    FOUNDERS_FIELD_NUMBER: _ClassVar[int]
    MOVING_FIELD_NUMBER: _ClassVar[int]
    BALANCING_PAUSED_FIELD_NUMBER: _ClassVar[int]
    REBALANCE_FIELD_NUMBER: _ClassVar[int]
    COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    USERS_VERSION_FIELD_NUMBER: _ClassVar[int]
    USERS_LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    FORMER_NAMES_FIELD_NUMBER: _ClassVar[int]
    OTHER_BIRTHS_MILLIS_FIELD_NUMBER: _ClassVar[int]
    RECOVERED_FIELD_NUMBER: _ClassVar[int]
    TABLE_GROUPS_FIELD_NUMBER: _ClassVar[int]
    version: int
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    replicas: _containers.RepeatedCompositeFieldContainer[Replica]
    streams: _containers.RepeatedCompositeFieldContainer[Stream]
    next_group: int
    next_replica: int
    founders: _containers.RepeatedCompositeFieldContainer[Replica]
    moving: Move
    balancing_paused: bool
    rebalance: int
    commitment: Commitment
    users: _containers.RepeatedCompositeFieldContainer[User]
    users_version: int
    users_left_out: bool
    former_names: _containers.RepeatedCompositeFieldContainer[FormerName]
    other_births_millis: int
    recovered: _containers.RepeatedCompositeFieldContainer[Recovered]
    table_groups: _containers.RepeatedCompositeFieldContainer[TableGroup]
    def __init__(self, version: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., replicas: _Optional[_Iterable[_Union[Replica, _Mapping]]] = ..., streams: _Optional[_Iterable[_Union[Stream, _Mapping]]] = ..., next_group: _Optional[int] = ..., next_replica: _Optional[int] = ..., founders: _Optional[_Iterable[_Union[Replica, _Mapping]]] = ..., moving: _Optional[_Union[Move, _Mapping]] = ..., balancing_paused: bool = ..., rebalance: _Optional[int] = ..., commitment: _Optional[_Union[Commitment, _Mapping]] = ..., users: _Optional[_Iterable[_Union[User, _Mapping]]] = ..., users_version: _Optional[int] = ..., users_left_out: bool = ..., former_names: _Optional[_Iterable[_Union[FormerName, _Mapping]]] = ..., other_births_millis: _Optional[int] = ..., recovered: _Optional[_Iterable[_Union[Recovered, _Mapping]]] = ..., table_groups: _Optional[_Iterable[_Union[TableGroup, _Mapping]]] = ...) -> None: ...

class TableGroup(_message.Message):
    __slots__ = ("group", "wanted_replicas", "replicas", "moving", "status")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    WANTED_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    MOVING_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    group: int
    wanted_replicas: int
    replicas: _containers.RepeatedCompositeFieldContainer[Replica]
    moving: Move
    status: TableGroupStatus
    def __init__(self, group: _Optional[int] = ..., wanted_replicas: _Optional[int] = ..., replicas: _Optional[_Iterable[_Union[Replica, _Mapping]]] = ..., moving: _Optional[_Union[Move, _Mapping]] = ..., status: _Optional[_Union[TableGroupStatus, str]] = ...) -> None: ...

class Recovered(_message.Message):
    __slots__ = ("group", "to")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    group: int
    to: int
    def __init__(self, group: _Optional[int] = ..., to: _Optional[int] = ..., **kwargs) -> None: ...

class FormerName(_message.Message):
    __slots__ = ("name", "newest_birth_millis")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NEWEST_BIRTH_MILLIS_FIELD_NUMBER: _ClassVar[int]
    name: str
    newest_birth_millis: int
    def __init__(self, name: _Optional[str] = ..., newest_birth_millis: _Optional[int] = ...) -> None: ...

class User(_message.Message):
    __slots__ = ("name", "account", "created_millis", "policies", "keys")
    class PoliciesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    CREATED_MILLIS_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    name: str
    account: str
    created_millis: int
    policies: _containers.ScalarMap[str, str]
    keys: _containers.RepeatedCompositeFieldContainer[AccessKey]
    def __init__(self, name: _Optional[str] = ..., account: _Optional[str] = ..., created_millis: _Optional[int] = ..., policies: _Optional[_Mapping[str, str]] = ..., keys: _Optional[_Iterable[_Union[AccessKey, _Mapping]]] = ...) -> None: ...

class AccessKey(_message.Message):
    __slots__ = ("id", "sealed_secret", "enabled", "created_millis")
    ID_FIELD_NUMBER: _ClassVar[int]
    SEALED_SECRET_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    CREATED_MILLIS_FIELD_NUMBER: _ClassVar[int]
    id: str
    sealed_secret: bytes
    enabled: bool
    created_millis: int
    def __init__(self, id: _Optional[str] = ..., sealed_secret: _Optional[bytes] = ..., enabled: bool = ..., created_millis: _Optional[int] = ...) -> None: ...

class Commitment(_message.Message):
    __slots__ = ("started_millis", "ends_millis")
    STARTED_MILLIS_FIELD_NUMBER: _ClassVar[int]
    ENDS_MILLIS_FIELD_NUMBER: _ClassVar[int]
    started_millis: int
    ends_millis: int
    def __init__(self, started_millis: _Optional[int] = ..., ends_millis: _Optional[int] = ...) -> None: ...

class Resource(_message.Message):
    __slots__ = ("stream", "consumer")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    stream: str
    consumer: str
    def __init__(self, stream: _Optional[str] = ..., consumer: _Optional[str] = ...) -> None: ...

class Consumer(_message.Message):
    __slots__ = ("name", "created_millis", "status", "tags", "policy")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    CREATED_MILLIS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    name: str
    created_millis: int
    status: ConsumerStatus
    tags: _containers.ScalarMap[str, str]
    policy: str
    def __init__(self, name: _Optional[str] = ..., created_millis: _Optional[int] = ..., status: _Optional[_Union[ConsumerStatus, str]] = ..., tags: _Optional[_Mapping[str, str]] = ..., policy: _Optional[str] = ...) -> None: ...

class Move(_message.Message):
    __slots__ = ("to",)
    TO_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    to: Replica
    def __init__(self, to: _Optional[_Union[Replica, _Mapping]] = ..., **kwargs) -> None: ...

class Node(_message.Message):
    __slots__ = ("id", "incarnation", "grpc_address", "api_address", "zone", "state", "starts", "boot", "went_back")
    ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    GRPC_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    API_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    BOOT_FIELD_NUMBER: _ClassVar[int]
    WENT_BACK_FIELD_NUMBER: _ClassVar[int]
    id: int
    incarnation: int
    grpc_address: str
    api_address: str
    zone: str
    state: NodeState
    starts: int
    boot: int
    went_back: bool
    def __init__(self, id: _Optional[int] = ..., incarnation: _Optional[int] = ..., grpc_address: _Optional[str] = ..., api_address: _Optional[str] = ..., zone: _Optional[str] = ..., state: _Optional[_Union[NodeState, str]] = ..., starts: _Optional[int] = ..., boot: _Optional[int] = ..., went_back: bool = ...) -> None: ...

class Replica(_message.Message):
    __slots__ = ("id", "node")
    ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    id: int
    node: int
    def __init__(self, id: _Optional[int] = ..., node: _Optional[int] = ...) -> None: ...

class Stream(_message.Message):
    __slots__ = ("name", "id", "created_millis", "status", "mode", "retention_hours", "max_record_size_kib", "tags", "shards", "job", "target_shards", "next_shard", "replicas", "warm_throughput_mibps", "consumers", "policy", "shard_metrics", "distribution", "encryption", "recent_changes", "newest_gone_millis")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_MILLIS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    RETENTION_HOURS_FIELD_NUMBER: _ClassVar[int]
    MAX_RECORD_SIZE_KIB_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    TARGET_SHARDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_SHARD_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    WARM_THROUGHPUT_MIBPS_FIELD_NUMBER: _ClassVar[int]
    CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    SHARD_METRICS_FIELD_NUMBER: _ClassVar[int]
    DISTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_FIELD_NUMBER: _ClassVar[int]
    RECENT_CHANGES_FIELD_NUMBER: _ClassVar[int]
    NEWEST_GONE_MILLIS_FIELD_NUMBER: _ClassVar[int]
    name: str
    id: int
    created_millis: int
    status: StreamStatus
    mode: StreamMode
    retention_hours: int
    max_record_size_kib: int
    tags: _containers.ScalarMap[str, str]
    shards: _containers.RepeatedCompositeFieldContainer[Shard]
    job: ReshardJob
    target_shards: int
    next_shard: int
    replicas: int
    warm_throughput_mibps: int
    consumers: _containers.RepeatedCompositeFieldContainer[Consumer]
    policy: str
    shard_metrics: int
    distribution: Distribution
    encryption: Encryption
    recent_changes: RecentChanges
    newest_gone_millis: int
    def __init__(self, name: _Optional[str] = ..., id: _Optional[int] = ..., created_millis: _Optional[int] = ..., status: _Optional[_Union[StreamStatus, str]] = ..., mode: _Optional[_Union[StreamMode, str]] = ..., retention_hours: _Optional[int] = ..., max_record_size_kib: _Optional[int] = ..., tags: _Optional[_Mapping[str, str]] = ..., shards: _Optional[_Iterable[_Union[Shard, _Mapping]]] = ..., job: _Optional[_Union[ReshardJob, _Mapping]] = ..., target_shards: _Optional[int] = ..., next_shard: _Optional[int] = ..., replicas: _Optional[int] = ..., warm_throughput_mibps: _Optional[int] = ..., consumers: _Optional[_Iterable[_Union[Consumer, _Mapping]]] = ..., policy: _Optional[str] = ..., shard_metrics: _Optional[int] = ..., distribution: _Optional[_Union[Distribution, str]] = ..., encryption: _Optional[_Union[Encryption, _Mapping]] = ..., recent_changes: _Optional[_Union[RecentChanges, _Mapping]] = ..., newest_gone_millis: _Optional[int] = ...) -> None: ...

class RecentChanges(_message.Message):
    __slots__ = ("scalings_millis", "mode_switches_millis", "key_changes_millis")
    SCALINGS_MILLIS_FIELD_NUMBER: _ClassVar[int]
    MODE_SWITCHES_MILLIS_FIELD_NUMBER: _ClassVar[int]
    KEY_CHANGES_MILLIS_FIELD_NUMBER: _ClassVar[int]
    scalings_millis: _containers.RepeatedScalarFieldContainer[int]
    mode_switches_millis: _containers.RepeatedScalarFieldContainer[int]
    key_changes_millis: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, scalings_millis: _Optional[_Iterable[int]] = ..., mode_switches_millis: _Optional[_Iterable[int]] = ..., key_changes_millis: _Optional[_Iterable[int]] = ...) -> None: ...

class Encryption(_message.Message):
    __slots__ = ("master_key", "data_keys", "next_data_key", "unsettled")
    MASTER_KEY_FIELD_NUMBER: _ClassVar[int]
    DATA_KEYS_FIELD_NUMBER: _ClassVar[int]
    NEXT_DATA_KEY_FIELD_NUMBER: _ClassVar[int]
    UNSETTLED_FIELD_NUMBER: _ClassVar[int]
    master_key: str
    data_keys: _containers.RepeatedCompositeFieldContainer[DataKey]
    next_data_key: int
    unsettled: int
    def __init__(self, master_key: _Optional[str] = ..., data_keys: _Optional[_Iterable[_Union[DataKey, _Mapping]]] = ..., next_data_key: _Optional[int] = ..., unsettled: _Optional[int] = ...) -> None: ...

class DataKey(_message.Message):
    __slots__ = ("number", "master_key", "wrapped", "created_millis")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MASTER_KEY_FIELD_NUMBER: _ClassVar[int]
    WRAPPED_FIELD_NUMBER: _ClassVar[int]
    CREATED_MILLIS_FIELD_NUMBER: _ClassVar[int]
    number: int
    master_key: str
    wrapped: bytes
    created_millis: int
    def __init__(self, number: _Optional[int] = ..., master_key: _Optional[str] = ..., wrapped: _Optional[bytes] = ..., created_millis: _Optional[int] = ...) -> None: ...

class ReshardJob(_message.Message):
    __slots__ = ("id", "began_millis", "parents", "children")
    ID_FIELD_NUMBER: _ClassVar[int]
    BEGAN_MILLIS_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    id: int
    began_millis: int
    parents: _containers.RepeatedScalarFieldContainer[int]
    children: _containers.RepeatedCompositeFieldContainer[Shard]
    def __init__(self, id: _Optional[int] = ..., began_millis: _Optional[int] = ..., parents: _Optional[_Iterable[int]] = ..., children: _Optional[_Iterable[_Union[Shard, _Mapping]]] = ...) -> None: ...

class Shard(_message.Message):
    __slots__ = ("id", "group", "hash_key_start", "hash_key_end", "created_millis", "ending_sequence_number", "replicas", "born", "parents", "closed_millis", "moving", "birth_millis")
    ID_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    HASH_KEY_START_FIELD_NUMBER: _ClassVar[int]
    HASH_KEY_END_FIELD_NUMBER: _ClassVar[int]
    CREATED_MILLIS_FIELD_NUMBER: _ClassVar[int]
    ENDING_SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    BORN_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_MILLIS_FIELD_NUMBER: _ClassVar[int]
    MOVING_FIELD_NUMBER: _ClassVar[int]
    BIRTH_MILLIS_FIELD_NUMBER: _ClassVar[int]
    id: int
    group: int
    hash_key_start: bytes
    hash_key_end: bytes
    created_millis: int
    ending_sequence_number: str
    replicas: _containers.RepeatedCompositeFieldContainer[Replica]
    born: int
    parents: _containers.RepeatedScalarFieldContainer[int]
    closed_millis: int
    moving: Move
    birth_millis: int
    def __init__(self, id: _Optional[int] = ..., group: _Optional[int] = ..., hash_key_start: _Optional[bytes] = ..., hash_key_end: _Optional[bytes] = ..., created_millis: _Optional[int] = ..., ending_sequence_number: _Optional[str] = ..., replicas: _Optional[_Iterable[_Union[Replica, _Mapping]]] = ..., born: _Optional[int] = ..., parents: _Optional[_Iterable[int]] = ..., closed_millis: _Optional[int] = ..., moving: _Optional[_Union[Move, _Mapping]] = ..., birth_millis: _Optional[int] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("register_node", "create_stream", "activate_stream", "delete_stream", "drop_stream", "replace_replica", "reshard", "commit_reshard", "abort_reshard", "expire_shards", "set_retention", "set_node_state", "remove_node", "move_replica", "finish_move", "cancel_move", "pause_balancing", "rebalance", "finish_rebalance", "set_stream_mode", "set_warm_throughput", "scale", "register_consumer", "deregister_consumer", "settle_consumers", "set_tags", "set_policy", "set_max_record_size", "set_shard_metrics", "set_distribution", "set_commitment", "create_user", "delete_user", "create_access_key", "set_access_key", "delete_access_key", "put_user_policy", "delete_user_policy", "start_encryption", "stop_encryption", "rotate_data_key", "settle_encryption", "limited", "recover_group", "create_table_groups", "activate_table_group")
    REGISTER_NODE_FIELD_NUMBER: _ClassVar[int]
    CREATE_STREAM_FIELD_NUMBER: _ClassVar[int]
    ACTIVATE_STREAM_FIELD_NUMBER: _ClassVar[int]
    DELETE_STREAM_FIELD_NUMBER: _ClassVar[int]
    DROP_STREAM_FIELD_NUMBER: _ClassVar[int]
    REPLACE_REPLICA_FIELD_NUMBER: _ClassVar[int]
    RESHARD_FIELD_NUMBER: _ClassVar[int]
    COMMIT_RESHARD_FIELD_NUMBER: _ClassVar[int]
    ABORT_RESHARD_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_SHARDS_FIELD_NUMBER: _ClassVar[int]
    SET_RETENTION_FIELD_NUMBER: _ClassVar[int]
    SET_NODE_STATE_FIELD_NUMBER: _ClassVar[int]
    REMOVE_NODE_FIELD_NUMBER: _ClassVar[int]
    MOVE_REPLICA_FIELD_NUMBER: _ClassVar[int]
    FINISH_MOVE_FIELD_NUMBER: _ClassVar[int]
    CANCEL_MOVE_FIELD_NUMBER: _ClassVar[int]
    PAUSE_BALANCING_FIELD_NUMBER: _ClassVar[int]
    REBALANCE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REBALANCE_FIELD_NUMBER: _ClassVar[int]
    SET_STREAM_MODE_FIELD_NUMBER: _ClassVar[int]
    SET_WARM_THROUGHPUT_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    REGISTER_CONSUMER_FIELD_NUMBER: _ClassVar[int]
    DEREGISTER_CONSUMER_FIELD_NUMBER: _ClassVar[int]
    SETTLE_CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    SET_TAGS_FIELD_NUMBER: _ClassVar[int]
    SET_POLICY_FIELD_NUMBER: _ClassVar[int]
    SET_MAX_RECORD_SIZE_FIELD_NUMBER: _ClassVar[int]
    SET_SHARD_METRICS_FIELD_NUMBER: _ClassVar[int]
    SET_DISTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    SET_COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    CREATE_USER_FIELD_NUMBER: _ClassVar[int]
    DELETE_USER_FIELD_NUMBER: _ClassVar[int]
    CREATE_ACCESS_KEY_FIELD_NUMBER: _ClassVar[int]
    SET_ACCESS_KEY_FIELD_NUMBER: _ClassVar[int]
    DELETE_ACCESS_KEY_FIELD_NUMBER: _ClassVar[int]
    PUT_USER_POLICY_FIELD_NUMBER: _ClassVar[int]
    DELETE_USER_POLICY_FIELD_NUMBER: _ClassVar[int]
    START_ENCRYPTION_FIELD_NUMBER: _ClassVar[int]
    STOP_ENCRYPTION_FIELD_NUMBER: _ClassVar[int]
    ROTATE_DATA_KEY_FIELD_NUMBER: _ClassVar[int]
    SETTLE_ENCRYPTION_FIELD_NUMBER: _ClassVar[int]
    LIMITED_FIELD_NUMBER: _ClassVar[int]
    RECOVER_GROUP_FIELD_NUMBER: _ClassVar[int]
    CREATE_TABLE_GROUPS_FIELD_NUMBER: _ClassVar[int]
    ACTIVATE_TABLE_GROUP_FIELD_NUMBER: _ClassVar[int]
    register_node: Node
    create_stream: CreateStream
    activate_stream: StreamRef
    delete_stream: StreamRef
    drop_stream: StreamRef
    replace_replica: ReplaceReplica
    reshard: Reshard
    commit_reshard: CommitReshard
    abort_reshard: JobRef
    expire_shards: ExpireShards
    set_retention: SetRetention
    set_node_state: SetNodeState
    remove_node: int
    move_replica: MoveReplica
    finish_move: FinishMove
    cancel_move: CancelMove
    pause_balancing: bool
    rebalance: bool
    finish_rebalance: int
    set_stream_mode: SetStreamMode
    set_warm_throughput: SetWarmThroughput
    scale: Scale
    register_consumer: RegisterConsumer
    deregister_consumer: ConsumerRef
    settle_consumers: StreamRef
    set_tags: SetTags
    set_policy: SetPolicy
    set_max_record_size: SetMaxRecordSize
    set_shard_metrics: SetShardMetrics
    set_distribution: SetDistribution
    set_commitment: SetCommitment
    create_user: CreateUser
    delete_user: str
    create_access_key: CreateAccessKey
    set_access_key: SetAccessKey
    delete_access_key: str
    put_user_policy: PutUserPolicy
    delete_user_policy: UserPolicyRef
    start_encryption: StartEncryption
    stop_encryption: str
    rotate_data_key: RotateDataKey
    settle_encryption: EncryptionRef
    limited: Limited
    recover_group: RecoverGroup
    create_table_groups: CreateTableGroups
    activate_table_group: int
    def __init__(self, register_node: _Optional[_Union[Node, _Mapping]] = ..., create_stream: _Optional[_Union[CreateStream, _Mapping]] = ..., activate_stream: _Optional[_Union[StreamRef, _Mapping]] = ..., delete_stream: _Optional[_Union[StreamRef, _Mapping]] = ..., drop_stream: _Optional[_Union[StreamRef, _Mapping]] = ..., replace_replica: _Optional[_Union[ReplaceReplica, _Mapping]] = ..., reshard: _Optional[_Union[Reshard, _Mapping]] = ..., commit_reshard: _Optional[_Union[CommitReshard, _Mapping]] = ..., abort_reshard: _Optional[_Union[JobRef, _Mapping]] = ..., expire_shards: _Optional[_Union[ExpireShards, _Mapping]] = ..., set_retention: _Optional[_Union[SetRetention, _Mapping]] = ..., set_node_state: _Optional[_Union[SetNodeState, _Mapping]] = ..., remove_node: _Optional[int] = ..., move_replica: _Optional[_Union[MoveReplica, _Mapping]] = ..., finish_move: _Optional[_Union[FinishMove, _Mapping]] = ..., cancel_move: _Optional[_Union[CancelMove, _Mapping]] = ..., pause_balancing: bool = ..., rebalance: bool = ..., finish_rebalance: _Optional[int] = ..., set_stream_mode: _Optional[_Union[SetStreamMode, _Mapping]] = ..., set_warm_throughput: _Optional[_Union[SetWarmThroughput, _Mapping]] = ..., scale: _Optional[_Union[Scale, _Mapping]] = ..., register_consumer: _Optional[_Union[RegisterConsumer, _Mapping]] = ..., deregister_consumer: _Optional[_Union[ConsumerRef, _Mapping]] = ..., settle_consumers: _Optional[_Union[StreamRef, _Mapping]] = ..., set_tags: _Optional[_Union[SetTags, _Mapping]] = ..., set_policy: _Optional[_Union[SetPolicy, _Mapping]] = ..., set_max_record_size: _Optional[_Union[SetMaxRecordSize, _Mapping]] = ..., set_shard_metrics: _Optional[_Union[SetShardMetrics, _Mapping]] = ..., set_distribution: _Optional[_Union[SetDistribution, _Mapping]] = ..., set_commitment: _Optional[_Union[SetCommitment, _Mapping]] = ..., create_user: _Optional[_Union[CreateUser, _Mapping]] = ..., delete_user: _Optional[str] = ..., create_access_key: _Optional[_Union[CreateAccessKey, _Mapping]] = ..., set_access_key: _Optional[_Union[SetAccessKey, _Mapping]] = ..., delete_access_key: _Optional[str] = ..., put_user_policy: _Optional[_Union[PutUserPolicy, _Mapping]] = ..., delete_user_policy: _Optional[_Union[UserPolicyRef, _Mapping]] = ..., start_encryption: _Optional[_Union[StartEncryption, _Mapping]] = ..., stop_encryption: _Optional[str] = ..., rotate_data_key: _Optional[_Union[RotateDataKey, _Mapping]] = ..., settle_encryption: _Optional[_Union[EncryptionRef, _Mapping]] = ..., limited: _Optional[_Union[Limited, _Mapping]] = ..., recover_group: _Optional[_Union[RecoverGroup, _Mapping]] = ..., create_table_groups: _Optional[_Union[CreateTableGroups, _Mapping]] = ..., activate_table_group: _Optional[int] = ...) -> None: ...

class CreateTableGroups(_message.Message):
    __slots__ = ("replicas", "at_least")
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_FIELD_NUMBER: _ClassVar[int]
    replicas: int
    at_least: int
    def __init__(self, replicas: _Optional[int] = ..., at_least: _Optional[int] = ...) -> None: ...

class Limited(_message.Message):
    __slots__ = ("command", "now_millis")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    NOW_MILLIS_FIELD_NUMBER: _ClassVar[int]
    command: Command
    now_millis: int
    def __init__(self, command: _Optional[_Union[Command, _Mapping]] = ..., now_millis: _Optional[int] = ...) -> None: ...

class CreateUser(_message.Message):
    __slots__ = ("name", "account", "now_millis")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    NOW_MILLIS_FIELD_NUMBER: _ClassVar[int]
    name: str
    account: str
    now_millis: int
    def __init__(self, name: _Optional[str] = ..., account: _Optional[str] = ..., now_millis: _Optional[int] = ...) -> None: ...

class CreateAccessKey(_message.Message):
    __slots__ = ("user", "id", "sealed_secret", "now_millis")
    USER_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SEALED_SECRET_FIELD_NUMBER: _ClassVar[int]
    NOW_MILLIS_FIELD_NUMBER: _ClassVar[int]
    user: str
    id: str
    sealed_secret: bytes
    now_millis: int
    def __init__(self, user: _Optional[str] = ..., id: _Optional[str] = ..., sealed_secret: _Optional[bytes] = ..., now_millis: _Optional[int] = ...) -> None: ...

class SetAccessKey(_message.Message):
    __slots__ = ("id", "enabled")
    ID_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    id: str
    enabled: bool
    def __init__(self, id: _Optional[str] = ..., enabled: bool = ...) -> None: ...

class PutUserPolicy(_message.Message):
    __slots__ = ("user", "name", "document")
    USER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    user: str
    name: str
    document: str
    def __init__(self, user: _Optional[str] = ..., name: _Optional[str] = ..., document: _Optional[str] = ...) -> None: ...

class UserPolicyRef(_message.Message):
    __slots__ = ("user", "name")
    USER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    user: str
    name: str
    def __init__(self, user: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class RegisterConsumer(_message.Message):
    __slots__ = ("stream", "consumer", "tags", "now_millis")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STREAM_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    NOW_MILLIS_FIELD_NUMBER: _ClassVar[int]
    stream: str
    consumer: str
    tags: _containers.ScalarMap[str, str]
    now_millis: int
    def __init__(self, stream: _Optional[str] = ..., consumer: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., now_millis: _Optional[int] = ...) -> None: ...

class ConsumerRef(_message.Message):
    __slots__ = ("stream", "consumer", "created_millis")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    CREATED_MILLIS_FIELD_NUMBER: _ClassVar[int]
    stream: str
    consumer: str
    created_millis: int
    def __init__(self, stream: _Optional[str] = ..., consumer: _Optional[str] = ..., created_millis: _Optional[int] = ...) -> None: ...

class SetTags(_message.Message):
    __slots__ = ("resource", "set", "removed")
    class SetEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    resource: Resource
    set: _containers.ScalarMap[str, str]
    removed: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, resource: _Optional[_Union[Resource, _Mapping]] = ..., set: _Optional[_Mapping[str, str]] = ..., removed: _Optional[_Iterable[str]] = ...) -> None: ...

class SetPolicy(_message.Message):
    __slots__ = ("resource", "policy")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    resource: Resource
    policy: str
    def __init__(self, resource: _Optional[_Union[Resource, _Mapping]] = ..., policy: _Optional[str] = ...) -> None: ...

class SetMaxRecordSize(_message.Message):
    __slots__ = ("stream", "kib")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    KIB_FIELD_NUMBER: _ClassVar[int]
    stream: str
    kib: int
    def __init__(self, stream: _Optional[str] = ..., kib: _Optional[int] = ...) -> None: ...

class SetShardMetrics(_message.Message):
    __slots__ = ("stream", "on", "off")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    OFF_FIELD_NUMBER: _ClassVar[int]
    stream: str
    on: int
    off: int
    def __init__(self, stream: _Optional[str] = ..., on: _Optional[int] = ..., off: _Optional[int] = ...) -> None: ...

class SetDistribution(_message.Message):
    __slots__ = ("stream", "distribution")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    DISTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    stream: str
    distribution: Distribution
    def __init__(self, stream: _Optional[str] = ..., distribution: _Optional[_Union[Distribution, str]] = ...) -> None: ...

class SetCommitment(_message.Message):
    __slots__ = ("enabled", "now_millis")
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    NOW_MILLIS_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    now_millis: int
    def __init__(self, enabled: bool = ..., now_millis: _Optional[int] = ...) -> None: ...

class StartEncryption(_message.Message):
    __slots__ = ("stream", "master_key", "wrapped", "now_millis", "stream_id")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    MASTER_KEY_FIELD_NUMBER: _ClassVar[int]
    WRAPPED_FIELD_NUMBER: _ClassVar[int]
    NOW_MILLIS_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    stream: str
    master_key: str
    wrapped: bytes
    now_millis: int
    stream_id: int
    def __init__(self, stream: _Optional[str] = ..., master_key: _Optional[str] = ..., wrapped: _Optional[bytes] = ..., now_millis: _Optional[int] = ..., stream_id: _Optional[int] = ...) -> None: ...

class RotateDataKey(_message.Message):
    __slots__ = ("stream", "used", "wrapped", "now_millis")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    WRAPPED_FIELD_NUMBER: _ClassVar[int]
    NOW_MILLIS_FIELD_NUMBER: _ClassVar[int]
    stream: StreamRef
    used: int
    wrapped: bytes
    now_millis: int
    def __init__(self, stream: _Optional[_Union[StreamRef, _Mapping]] = ..., used: _Optional[int] = ..., wrapped: _Optional[bytes] = ..., now_millis: _Optional[int] = ...) -> None: ...

class EncryptionRef(_message.Message):
    __slots__ = ("stream", "change")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    stream: StreamRef
    change: int
    def __init__(self, stream: _Optional[_Union[StreamRef, _Mapping]] = ..., change: _Optional[int] = ...) -> None: ...

class DataKeyRef(_message.Message):
    __slots__ = ("stream", "number")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    stream: str
    number: int
    def __init__(self, stream: _Optional[str] = ..., number: _Optional[int] = ...) -> None: ...

class Reshard(_message.Message):
    __slots__ = ("stream", "split", "merge", "count", "now_millis")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    MERGE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    NOW_MILLIS_FIELD_NUMBER: _ClassVar[int]
    stream: str
    split: SplitShard
    merge: MergeShards
    count: int
    now_millis: int
    def __init__(self, stream: _Optional[str] = ..., split: _Optional[_Union[SplitShard, _Mapping]] = ..., merge: _Optional[_Union[MergeShards, _Mapping]] = ..., count: _Optional[int] = ..., now_millis: _Optional[int] = ...) -> None: ...

class SetStreamMode(_message.Message):
    __slots__ = ("stream", "mode", "warm_throughput_mibps")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    WARM_THROUGHPUT_MIBPS_FIELD_NUMBER: _ClassVar[int]
    stream: str
    mode: StreamMode
    warm_throughput_mibps: int
    def __init__(self, stream: _Optional[str] = ..., mode: _Optional[_Union[StreamMode, str]] = ..., warm_throughput_mibps: _Optional[int] = ...) -> None: ...

class SetWarmThroughput(_message.Message):
    __slots__ = ("stream", "mibps")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    MIBPS_FIELD_NUMBER: _ClassVar[int]
    stream: str
    mibps: int
    def __init__(self, stream: _Optional[str] = ..., mibps: _Optional[int] = ...) -> None: ...

class Scale(_message.Message):
    __slots__ = ("stream", "change")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    stream: StreamRef
    change: Reshard
    def __init__(self, stream: _Optional[_Union[StreamRef, _Mapping]] = ..., change: _Optional[_Union[Reshard, _Mapping]] = ...) -> None: ...

class SplitShard(_message.Message):
    __slots__ = ("shard", "at")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    shard: int
    at: bytes
    def __init__(self, shard: _Optional[int] = ..., at: _Optional[bytes] = ...) -> None: ...

class MergeShards(_message.Message):
    __slots__ = ("lower", "upper")
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    lower: int
    upper: int
    def __init__(self, lower: _Optional[int] = ..., upper: _Optional[int] = ...) -> None: ...

class JobRef(_message.Message):
    __slots__ = ("stream", "job")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    stream: StreamRef
    job: int
    def __init__(self, stream: _Optional[_Union[StreamRef, _Mapping]] = ..., job: _Optional[int] = ...) -> None: ...

class CommitReshard(_message.Message):
    __slots__ = ("job", "endings", "now_millis", "newest_group")
    JOB_FIELD_NUMBER: _ClassVar[int]
    ENDINGS_FIELD_NUMBER: _ClassVar[int]
    NOW_MILLIS_FIELD_NUMBER: _ClassVar[int]
    NEWEST_GROUP_FIELD_NUMBER: _ClassVar[int]
    job: JobRef
    endings: _containers.RepeatedCompositeFieldContainer[ShardEnding]
    now_millis: int
    newest_group: int
    def __init__(self, job: _Optional[_Union[JobRef, _Mapping]] = ..., endings: _Optional[_Iterable[_Union[ShardEnding, _Mapping]]] = ..., now_millis: _Optional[int] = ..., newest_group: _Optional[int] = ...) -> None: ...

class ShardEnding(_message.Message):
    __slots__ = ("shard", "sequence_number")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    shard: int
    sequence_number: str
    def __init__(self, shard: _Optional[int] = ..., sequence_number: _Optional[str] = ...) -> None: ...

class ExpireShards(_message.Message):
    __slots__ = ("stream", "now_millis")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    NOW_MILLIS_FIELD_NUMBER: _ClassVar[int]
    stream: StreamRef
    now_millis: int
    def __init__(self, stream: _Optional[_Union[StreamRef, _Mapping]] = ..., now_millis: _Optional[int] = ...) -> None: ...

class SetNodeState(_message.Message):
    __slots__ = ("node", "state")
    NODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    node: int
    state: NodeState
    def __init__(self, node: _Optional[int] = ..., state: _Optional[_Union[NodeState, str]] = ...) -> None: ...

class MoveReplica(_message.Message):
    __slots__ = ("group", "to_node")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_NODE_FIELD_NUMBER: _ClassVar[int]
    group: int
    to_node: int
    def __init__(self, group: _Optional[int] = ..., to_node: _Optional[int] = ..., **kwargs) -> None: ...

class SetRetention(_message.Message):
    __slots__ = ("stream", "hours", "longer")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    HOURS_FIELD_NUMBER: _ClassVar[int]
    LONGER_FIELD_NUMBER: _ClassVar[int]
    stream: str
    hours: int
    longer: bool
    def __init__(self, stream: _Optional[str] = ..., hours: _Optional[int] = ..., longer: bool = ...) -> None: ...

class CreateStream(_message.Message):
    __slots__ = ("name", "shards", "mode", "retention_hours", "max_record_size_kib", "tags", "replicas", "now_millis", "warm_throughput_mibps", "distribution")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    RETENTION_HOURS_FIELD_NUMBER: _ClassVar[int]
    MAX_RECORD_SIZE_KIB_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    NOW_MILLIS_FIELD_NUMBER: _ClassVar[int]
    WARM_THROUGHPUT_MIBPS_FIELD_NUMBER: _ClassVar[int]
    DISTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    shards: int
    mode: StreamMode
    retention_hours: int
    max_record_size_kib: int
    tags: _containers.ScalarMap[str, str]
    replicas: int
    now_millis: int
    warm_throughput_mibps: int
    distribution: Distribution
    def __init__(self, name: _Optional[str] = ..., shards: _Optional[int] = ..., mode: _Optional[_Union[StreamMode, str]] = ..., retention_hours: _Optional[int] = ..., max_record_size_kib: _Optional[int] = ..., tags: _Optional[_Mapping[str, str]] = ..., replicas: _Optional[int] = ..., now_millis: _Optional[int] = ..., warm_throughput_mibps: _Optional[int] = ..., distribution: _Optional[_Union[Distribution, str]] = ...) -> None: ...

class StreamRef(_message.Message):
    __slots__ = ("name", "id", "with_consumers", "newest_group")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    WITH_CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    NEWEST_GROUP_FIELD_NUMBER: _ClassVar[int]
    name: str
    id: int
    with_consumers: bool
    newest_group: int
    def __init__(self, name: _Optional[str] = ..., id: _Optional[int] = ..., with_consumers: bool = ..., newest_group: _Optional[int] = ...) -> None: ...

class ReplaceReplica(_message.Message):
    __slots__ = ("group", "lost")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    group: int
    lost: int
    def __init__(self, group: _Optional[int] = ..., lost: _Optional[int] = ...) -> None: ...

class FinishMove(_message.Message):
    __slots__ = ("group", "replica")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    group: int
    replica: int
    def __init__(self, group: _Optional[int] = ..., replica: _Optional[int] = ...) -> None: ...

class CancelMove(_message.Message):
    __slots__ = ("group", "replica")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    group: int
    replica: int
    def __init__(self, group: _Optional[int] = ..., replica: _Optional[int] = ...) -> None: ...

class ReplicaRef(_message.Message):
    __slots__ = ("group", "replica")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    group: int
    replica: int
    def __init__(self, group: _Optional[int] = ..., replica: _Optional[int] = ...) -> None: ...

class RecoverGroup(_message.Message):
    __slots__ = ("group",)
    GROUP_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    group: int
    def __init__(self, group: _Optional[int] = ..., **kwargs) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("done_version", "stream_exists", "stream_not_found", "stream_not_active", "no_nodes", "limit", "replica_not_found", "shard_not_found", "shard_closed", "cannot_split", "not_adjacent", "shard_count", "on_demand", "retention", "job_over", "node_not_found", "node_in_use", "cannot_move", "not_on_demand", "stream_has_consumers", "consumer_exists", "consumer_not_found", "too_many_tags", "user_exists", "user_not_found", "access_key_exists", "access_key_not_found", "user_policy_not_found", "data_key_over", "cannot_recover")
    DONE_VERSION_FIELD_NUMBER: _ClassVar[int]
    STREAM_EXISTS_FIELD_NUMBER: _ClassVar[int]
    STREAM_NOT_FOUND_FIELD_NUMBER: _ClassVar[int]
    STREAM_NOT_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    NO_NODES_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    REPLICA_NOT_FOUND_FIELD_NUMBER: _ClassVar[int]
    SHARD_NOT_FOUND_FIELD_NUMBER: _ClassVar[int]
    SHARD_CLOSED_FIELD_NUMBER: _ClassVar[int]
    CANNOT_SPLIT_FIELD_NUMBER: _ClassVar[int]
    NOT_ADJACENT_FIELD_NUMBER: _ClassVar[int]
    SHARD_COUNT_FIELD_NUMBER: _ClassVar[int]
    ON_DEMAND_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    JOB_OVER_FIELD_NUMBER: _ClassVar[int]
    NODE_NOT_FOUND_FIELD_NUMBER: _ClassVar[int]
    NODE_IN_USE_FIELD_NUMBER: _ClassVar[int]
    CANNOT_MOVE_FIELD_NUMBER: _ClassVar[int]
    NOT_ON_DEMAND_FIELD_NUMBER: _ClassVar[int]
    STREAM_HAS_CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_EXISTS_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_NOT_FOUND_FIELD_NUMBER: _ClassVar[int]
    TOO_MANY_TAGS_FIELD_NUMBER: _ClassVar[int]
    USER_EXISTS_FIELD_NUMBER: _ClassVar[int]
    USER_NOT_FOUND_FIELD_NUMBER: _ClassVar[int]
    ACCESS_KEY_EXISTS_FIELD_NUMBER: _ClassVar[int]
    ACCESS_KEY_NOT_FOUND_FIELD_NUMBER: _ClassVar[int]
    USER_POLICY_NOT_FOUND_FIELD_NUMBER: _ClassVar[int]
    DATA_KEY_OVER_FIELD_NUMBER: _ClassVar[int]
    CANNOT_RECOVER_FIELD_NUMBER: _ClassVar[int]
    done_version: int
    stream_exists: str
    stream_not_found: str
    stream_not_active: str
    no_nodes: bool
    limit: Limit
    replica_not_found: ReplicaRef
    shard_not_found: int
    shard_closed: int
    cannot_split: CannotSplit
    not_adjacent: MergeShards
    shard_count: ShardCountBounds
    on_demand: str
    retention: RetentionChange
    job_over: JobRef
    node_not_found: int
    node_in_use: NodeInUse
    cannot_move: MoveReplica
    not_on_demand: str
    stream_has_consumers: str
    consumer_exists: str
    consumer_not_found: str
    too_many_tags: int
    user_exists: str
    user_not_found: str
    access_key_exists: str
    access_key_not_found: str
    user_policy_not_found: UserPolicyRef
    data_key_over: DataKeyRef
    cannot_recover: int
    def __init__(self, done_version: _Optional[int] = ..., stream_exists: _Optional[str] = ..., stream_not_found: _Optional[str] = ..., stream_not_active: _Optional[str] = ..., no_nodes: bool = ..., limit: _Optional[_Union[Limit, _Mapping]] = ..., replica_not_found: _Optional[_Union[ReplicaRef, _Mapping]] = ..., shard_not_found: _Optional[int] = ..., shard_closed: _Optional[int] = ..., cannot_split: _Optional[_Union[CannotSplit, _Mapping]] = ..., not_adjacent: _Optional[_Union[MergeShards, _Mapping]] = ..., shard_count: _Optional[_Union[ShardCountBounds, _Mapping]] = ..., on_demand: _Optional[str] = ..., retention: _Optional[_Union[RetentionChange, _Mapping]] = ..., job_over: _Optional[_Union[JobRef, _Mapping]] = ..., node_not_found: _Optional[int] = ..., node_in_use: _Optional[_Union[NodeInUse, _Mapping]] = ..., cannot_move: _Optional[_Union[MoveReplica, _Mapping]] = ..., not_on_demand: _Optional[str] = ..., stream_has_consumers: _Optional[str] = ..., consumer_exists: _Optional[str] = ..., consumer_not_found: _Optional[str] = ..., too_many_tags: _Optional[int] = ..., user_exists: _Optional[str] = ..., user_not_found: _Optional[str] = ..., access_key_exists: _Optional[str] = ..., access_key_not_found: _Optional[str] = ..., user_policy_not_found: _Optional[_Union[UserPolicyRef, _Mapping]] = ..., data_key_over: _Optional[_Union[DataKeyRef, _Mapping]] = ..., cannot_recover: _Optional[int] = ...) -> None: ...

class NodeInUse(_message.Message):
    __slots__ = ("node", "replicas")
    NODE_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    node: int
    replicas: int
    def __init__(self, node: _Optional[int] = ..., replicas: _Optional[int] = ...) -> None: ...

class CannotSplit(_message.Message):
    __slots__ = ("split", "hash_key_start", "hash_key_end")
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    HASH_KEY_START_FIELD_NUMBER: _ClassVar[int]
    HASH_KEY_END_FIELD_NUMBER: _ClassVar[int]
    split: SplitShard
    hash_key_start: bytes
    hash_key_end: bytes
    def __init__(self, split: _Optional[_Union[SplitShard, _Mapping]] = ..., hash_key_start: _Optional[bytes] = ..., hash_key_end: _Optional[bytes] = ...) -> None: ...

class ShardCountBounds(_message.Message):
    __slots__ = ("current", "target", "lowest", "highest")
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    LOWEST_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_FIELD_NUMBER: _ClassVar[int]
    current: int
    target: int
    lowest: int
    highest: int
    def __init__(self, current: _Optional[int] = ..., target: _Optional[int] = ..., lowest: _Optional[int] = ..., highest: _Optional[int] = ...) -> None: ...

class RetentionChange(_message.Message):
    __slots__ = ("current", "asked")
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    current: int
    asked: int
    def __init__(self, current: _Optional[int] = ..., asked: _Optional[int] = ...) -> None: ...

class Limit(_message.Message):
    __slots__ = ("what", "actual", "limit")
    WHAT_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    what: str
    actual: int
    limit: int
    def __init__(self, what: _Optional[str] = ..., actual: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...
