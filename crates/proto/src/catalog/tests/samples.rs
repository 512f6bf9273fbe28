//! Values that the tests encode: every command, every outcome, and a catalog.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_catalog::{
    AccountCommand, Catalog, Command, ConsumerCommand, Distribution, EncryptionCommand,
    FormerNames, GroupCommand, Move, NewStream, NodeCommand, NodeRegistration, NodeState, Outcome,
    RecentChanges, Recovered, Refusal, Replica, Resource, ResourceCommand, ShardChange,
    ShardMetrics, ShardsCommand, StreamCommand, StreamId, StreamMode, TableCommand, UserCommand,
};
use anabranch_types::{
    GroupId, HashKey, HashKeyRange, Incarnation, NodeId, ReplicaId, SequenceNumber, ShardId,
    StreamName, Timestamp,
};

/// A catalog in which most fields have a value other than their default.
pub(super) fn catalog() -> Catalog {
    let voters = [Replica { id: ReplicaId(1), node: NodeId(1) }];
    let mut catalog = Catalog::bootstrap(&voters);
    for (index, command) in (1..).zip(commands()) {
        catalog.apply(index, command);
    }
    let at = Timestamp::from_millis;
    for stream in catalog.streams.values_mut() {
        stream.recent_changes = RecentChanges {
            scalings: vec![at(1), at(2)],
            mode_switches: vec![at(3)],
            key_changes: vec![at(4)],
        };
        stream.newest_gone = at(8_000);
    }
    let recovered = Recovered { from: ReplicaId(4), to: ReplicaId(5) };
    catalog.recovered.insert(GroupId(1), recovered);
    let to = Replica { id: ReplicaId(90), node: NodeId(2) };
    for group in catalog.table_groups.values_mut().take(1) {
        group.moving = Some(Move { to, from: None });
    }
    for node in catalog.nodes.values_mut() {
        node.went_back = true;
    }
    let gone = BTreeMap::from([("gone".parse().unwrap(), at(9_000))]);
    catalog.former_names = FormerNames::new(gone, at(6_000));
    catalog
}

/// Every command, in an order in which most of them change the catalog.
pub(super) fn commands() -> Vec<Command> {
    let name: StreamName = "s".parse().unwrap();
    let now = Timestamp::from_millis(7);
    let number = SequenceNumber::shard_start(ShardId(0), now, now);
    let set_mode = |warm_throughput_mibps| {
        Command::Stream(StreamCommand::SetMode {
            name: "other".parse().unwrap(),
            mode: StreamMode::OnDemand,
            warm_throughput_mibps,
        })
    };
    let user = |name: &str| {
        Command::User(UserCommand::Create {
            name: name.parse().unwrap(),
            account: "123456789012".parse().unwrap(),
            now,
        })
    };
    let key = |id: &str| {
        Command::User(UserCommand::CreateAccessKey {
            user: "ann".parse().unwrap(),
            id: id.into(),
            sealed_secret: vec![1, 2, 3],
            now,
        })
    };
    let policy = |name: &str| {
        Command::User(UserCommand::PutPolicy {
            user: "ann".parse().unwrap(),
            name: name.into(),
            document: "{}".into(),
        })
    };
    vec![
        Command::Node(NodeCommand::Register(NodeRegistration {
            node: NodeId(1),
            incarnation: Incarnation(9),
            starts: 7,
            boot: u64::MAX,
            grpc_address: "127.0.0.1:1".into(),
            api_address: "127.0.0.1:2".into(),
            zone: "z".into(),
        })),
        Command::Stream(StreamCommand::Create(NewStream {
            name: name.clone(),
            shards: 3,
            mode: StreamMode::Provisioned,
            warm_throughput_mibps: 8,
            retention_hours: 24,
            max_record_size_kib: 1024,
            tags: BTreeMap::from([("k".into(), "v".into())]),
            distribution: Distribution::UserPartitionKey,
            replicas: 3,
            now: Timestamp::from_millis(5),
        })),
        Command::Stream(StreamCommand::Activate {
            name: name.clone(),
            id: StreamId(2),
            newest_group: None,
        }),
        Command::Group(GroupCommand::ReplaceReplica { group: GroupId(1), lost: ReplicaId(2) }),
        Command::Shards(ShardsCommand::Reshard {
            name: name.clone(),
            change: ShardChange::Split { shard: ShardId(0), at: HashKey(1 << 64) },
            now,
        }),
        Command::Shards(ShardsCommand::Commit {
            name: name.clone(),
            id: StreamId(2),
            job: 5,
            endings: BTreeMap::from([(ShardId(0), number)]),
            newest_group: None,
            now,
        }),
        Command::Shards(ShardsCommand::Reshard {
            name: name.clone(),
            change: ShardChange::Merge { lower: ShardId(1), upper: ShardId(2) },
            now,
        }),
        Command::Shards(ShardsCommand::Abort { name: name.clone(), id: StreamId(2), job: 70 }),
        Command::Shards(ShardsCommand::Reshard {
            name: name.clone(),
            change: ShardChange::Count(9),
            now,
        }),
        Command::Shards(ShardsCommand::Expire { name: name.clone(), id: StreamId(2), now }),
        Command::Stream(StreamCommand::SetRetention {
            name: name.clone(),
            hours: 48,
            longer: true,
        }),
        set_mode(None),
        set_mode(Some(0)),
        Command::Stream(StreamCommand::SetWarmThroughput { name: name.clone(), mibps: 9 }),
        Command::Shards(ShardsCommand::Scale {
            name: name.clone(),
            id: StreamId(2),
            change: ShardChange::Merge { lower: ShardId(1), upper: ShardId(2) },
            now,
        }),
        Command::Node(NodeCommand::Register(NodeRegistration {
            node: NodeId(2),
            incarnation: Incarnation(3),
            starts: 0,
            boot: 0,
            grpc_address: String::new(),
            api_address: String::new(),
            zone: String::new(),
        })),
        Command::Group(GroupCommand::MoveReplica {
            group: GroupId(1),
            from: Some(ReplicaId(4)),
            to: NodeId(2),
        }),
        Command::Group(GroupCommand::MoveReplica { group: GroupId(2), from: None, to: NodeId(2) }),
        Command::Group(GroupCommand::MoveReplica {
            group: GroupId::CATALOG,
            from: None,
            to: NodeId(2),
        }),
        Command::Group(GroupCommand::FinishMove { group: GroupId(1), replica: ReplicaId(77) }),
        Command::Group(GroupCommand::CancelMove { group: GroupId(1), replica: ReplicaId(77) }),
        Command::Node(NodeCommand::SetState { node: NodeId(2), state: NodeState::Draining }),
        Command::Node(NodeCommand::Remove { node: NodeId(2) }),
        Command::Group(GroupCommand::Rebalance),
        Command::Group(GroupCommand::FinishRebalance { rebalance: 1 }),
        Command::Group(GroupCommand::SetBalancing { paused: true }),
        Command::Group(GroupCommand::SetBalancing { paused: false }),
        Command::Group(GroupCommand::SetBalancing { paused: true }),
        Command::Group(GroupCommand::Rebalance),
        Command::Consumer(ConsumerCommand::Register {
            name: name.clone(),
            consumer: "app".parse().unwrap(),
            tags: BTreeMap::from([("k".into(), "v".into())]),
            now,
        }),
        Command::Consumer(ConsumerCommand::Settle { name: name.clone(), id: StreamId(2) }),
        Command::Resource(ResourceCommand::SetTags {
            resource: Resource { stream: name.clone(), consumer: Some("app".parse().unwrap()) },
            set: BTreeMap::from([("a".into(), "b".into())]),
            removed: BTreeSet::from(["k".into()]),
        }),
        Command::Resource(ResourceCommand::SetPolicy {
            resource: Resource { stream: name.clone(), consumer: None },
            policy: Some("{}".into()),
        }),
        Command::Resource(ResourceCommand::SetPolicy {
            resource: Resource { stream: "other".parse().unwrap(), consumer: None },
            policy: None,
        }),
        Command::Consumer(ConsumerCommand::Deregister {
            name: name.clone(),
            consumer: "app".parse().unwrap(),
            created: now,
        }),
        Command::Stream(StreamCommand::SetMaxRecordSize {
            name: "other".parse().unwrap(),
            kib: 2048,
        }),
        Command::Stream(StreamCommand::SetShardMetrics {
            name: "other".parse().unwrap(),
            on: ShardMetrics::ALL,
            off: ShardMetrics::of_name("IncomingBytes").unwrap(),
        }),
        Command::Stream(StreamCommand::SetDistribution {
            name: "other".parse().unwrap(),
            distribution: Distribution::Auto,
        }),
        Command::Encryption(EncryptionCommand::Stop { name: "other".parse().unwrap() }),
        Command::Encryption(EncryptionCommand::Start {
            name: "other".parse().unwrap(),
            id: None,
            master_key: "alias/k".into(),
            wrapped: vec![1],
            now,
        }),
        Command::Encryption(EncryptionCommand::Start {
            name: "other".parse().unwrap(),
            id: Some(StreamId(2)),
            master_key: "alias/k".into(),
            wrapped: vec![1, 2],
            now,
        }),
        Command::Encryption(EncryptionCommand::RotateDataKey {
            name: "other".parse().unwrap(),
            id: StreamId(2),
            used: 0,
            wrapped: vec![3],
            now,
        }),
        Command::Encryption(EncryptionCommand::Settle {
            name: "other".parse().unwrap(),
            id: StreamId(2),
            change: 9,
        }),
        Command::Account(AccountCommand::SetCommitment { enabled: true, now }),
        Command::Account(AccountCommand::SetCommitment { enabled: false, now }),
        Command::Limited {
            command: Box::new(Command::Encryption(EncryptionCommand::Stop {
                name: "other".parse().unwrap(),
            })),
            now,
        },
        Command::Stream(StreamCommand::Delete { name: name.clone(), with_consumers: false }),
        Command::Stream(StreamCommand::Delete { name: name.clone(), with_consumers: true }),
        Command::Stream(StreamCommand::Drop { name, id: StreamId(7) }),
        user("ann"),
        user("bob"),
        user("carl"),
        Command::User(UserCommand::Delete { name: "carl".parse().unwrap() }),
        key("AKIA1"),
        key("AKIA2"),
        Command::User(UserCommand::SetAccessKey { id: "AKIA1".into(), enabled: false }),
        Command::User(UserCommand::DeleteAccessKey { id: "AKIA2".into() }),
        policy("p"),
        policy("q"),
        Command::User(UserCommand::DeletePolicy { user: "ann".parse().unwrap(), name: "q".into() }),
        Command::Group(GroupCommand::Recover { group: GroupId(1), from: ReplicaId(5) }),
        Command::Stream(StreamCommand::Activate {
            name: "s".parse().unwrap(),
            id: StreamId(2),
            newest_group: Some(GroupId(3)),
        }),
        Command::Shards(ShardsCommand::Commit {
            name: "s".parse().unwrap(),
            id: StreamId(2),
            job: 5,
            endings: BTreeMap::from([(ShardId(0), number)]),
            newest_group: Some(GroupId(5)),
            now,
        }),
        Command::Table(TableCommand::CreateGroups { replicas: 3, at_least: 2 }),
        Command::Table(TableCommand::Activate { group: GroupId(7) }),
    ]
}

/// Every outcome.
pub(super) fn outcomes() -> Vec<Outcome> {
    let name: StreamName = "s".parse().unwrap();
    let refusals = [
        Refusal::StreamExists { name: name.clone() },
        Refusal::StreamNotFound { name: name.clone() },
        Refusal::StreamNotActive { name: name.clone() },
        Refusal::StreamHasConsumers { name: name.clone() },
        Refusal::ConsumerExists { consumer: "app".parse().unwrap() },
        Refusal::ConsumerNotFound { consumer: "app".parse().unwrap() },
        Refusal::TooManyTags { limit: 50 },
        Refusal::Limit { what: "consumers", actual: 21, limit: 20 },
        Refusal::ShardNotFound { shard: ShardId(3) },
        Refusal::ShardClosed { shard: ShardId(3) },
        Refusal::CannotSplit {
            shard: ShardId(3),
            range: HashKeyRange::FULL,
            at: HashKey(u128::MAX),
        },
        Refusal::NotAdjacent { lower: ShardId(3), upper: ShardId(1) },
        Refusal::ShardCount { current: 3, target: 9, lowest: 2, highest: 6 },
        Refusal::OnDemand { name: name.clone() },
        Refusal::NotOnDemand { name: name.clone() },
        Refusal::Retention { current: 24, asked: 20 },
        Refusal::DataKeyOver { name: name.clone(), used: 3 },
        Refusal::JobOver { name, job: 9 },
        Refusal::NodeNotFound { node: NodeId(4) },
        Refusal::NodeInUse { node: NodeId(4), replicas: 2 },
        Refusal::CannotMove { group: GroupId(4), to: NodeId(2) },
        Refusal::CannotRecover { group: GroupId(4) },
        Refusal::NoNodes,
        Refusal::Limit { what: "ShardCount", actual: 2, limit: 1 },
        Refusal::ReplicaNotFound { group: GroupId(1), replica: ReplicaId(2) },
        Refusal::UserExists { user: "a".parse().unwrap() },
        Refusal::UserNotFound { user: "a".parse().unwrap() },
        Refusal::AccessKeyExists { id: "AKIA1".into() },
        Refusal::AccessKeyNotFound { id: "AKIA1".into() },
        Refusal::UserPolicyNotFound { user: "a".parse().unwrap(), name: "p".into() },
        Refusal::Limit { what: "policies of a user", actual: 11, limit: 10 },
        Refusal::Limit { what: "streams in CREATING", actual: 6, limit: 5 },
        Refusal::Limit { what: "key changes in 24 hours", actual: 26, limit: 25 },
        Refusal::Limit { what: "table groups", actual: 17, limit: 16 },
    ];
    let outcomes = refusals.map(Outcome::Refused).into_iter();
    outcomes.chain([Outcome::Done { version: 4 }]).collect()
}
