//! Conversions of `anabranch.catalog.v1`, and the stored bytes of the catalog.

use std::collections::BTreeMap;

use anabranch_catalog::{
    Catalog, Command, Commitment, Consumer, ConsumerStatus, DataKey, Distribution, Encryption,
    Move, NewStream, Node, NodeState, Outcome, RecentChanges, Refusal, Replica, ReshardJob,
    Resource, Shard, ShardChange, ShardMetrics, ShardStatus, Stream, StreamId, StreamMode,
    StreamStatus, Users,
};
use anabranch_types::{
    ConsumerName, GroupId, HashKey, HashKeyRange, Incarnation, NodeId, ReplicaId, SequenceNumber,
    ShardId, StreamName, Timestamp,
};
use bytes::Bytes;
use prost::Message;

use crate::{Error, pb_catalog as pb};

mod users;

/// The catalog as it is stored, and sent to who knows nothing of it.
pub fn encode_catalog(catalog: &Catalog) -> Bytes {
    let users = catalog.users.iter().map(|(name, user)| users::message(name, user)).collect();
    pb::Catalog { users, ..message_without_users(catalog) }.encode_to_vec().into()
}

/// The catalog as it is sent to who has its users already: those of the same version.
pub fn encode_catalog_without_users(catalog: &Catalog) -> Bytes {
    let message = pb::Catalog { users_left_out: true, ..message_without_users(catalog) };
    message.encode_to_vec().into()
}

fn message_without_users(catalog: &Catalog) -> pb::Catalog {
    pb::Catalog {
        version: catalog.version,
        nodes: catalog.nodes.iter().map(|(id, node)| node_message(*id, node)).collect(),
        replicas: catalog.replicas.iter().map(replica_message).collect(),
        streams: catalog
            .streams
            .iter()
            .map(|(name, stream)| stream_message(name, stream))
            .collect(),
        next_group: catalog.next_group,
        next_replica: catalog.next_replica,
        founders: catalog.founders.iter().map(replica_message).collect(),
        moving: catalog.moving.as_ref().map(move_message),
        balancing_paused: catalog.balancing_paused,
        rebalance: catalog.rebalance.unwrap_or_default(),
        commitment: catalog.commitment.map(|commitment| pb::Commitment {
            started_millis: commitment.started.as_millis(),
            ends_millis: commitment.ends.map(Timestamp::as_millis),
        }),
        users: Vec::new(),
        users_version: catalog.users.version(),
        users_left_out: false,
    }
}

/// Reads what [`encode_catalog`] wrote.
///
/// # Errors
/// [`Error`] names the field.
pub fn decode_catalog(bytes: Bytes) -> Result<Catalog, Error> {
    decode_catalog_after(bytes, &Users::default())
}

/// Reads what [`encode_catalog`] wrote, or [`encode_catalog_without_users`] for who has the users `known`.
///
/// # Errors
/// [`Error`] names the field: `catalog.users` if they are left out and `known` are others.
pub fn decode_catalog_after(bytes: Bytes, known: &Users) -> Result<Catalog, Error> {
    let message = pb::Catalog::decode(bytes)?;
    let users = match message.users_left_out {
        true if message.users_version == known.version() => known.clone(),
        true => return Err(Error::Missing("catalog.users")),
        false => users::users(message.users_version, message.users)?,
    };
    let streams = message.streams.into_iter().map(stream).collect::<Result<_, _>>()?;
    Ok(Catalog {
        version: message.version,
        nodes: message.nodes.into_iter().map(node).collect(),
        replicas: message.replicas.iter().map(replica).collect(),
        streams,
        next_group: message.next_group,
        next_replica: message.next_replica,
        founders: message.founders.iter().map(replica).collect(),
        moving: message.moving.map(moving).transpose()?,
        balancing_paused: message.balancing_paused,
        rebalance: (message.rebalance != 0).then_some(message.rebalance),
        commitment: message.commitment.map(|commitment| Commitment {
            started: Timestamp::from_millis(commitment.started_millis),
            ends: commitment.ends_millis.map(Timestamp::from_millis),
        }),
        users,
    })
}

/// A command as it is stored and sent.
pub fn encode_command(command: &Command) -> Bytes {
    command_message(command).encode_to_vec().into()
}

fn command_message(command: &Command) -> pb::Command {
    use pb::command::Command as Pb;
    let command = match command {
        Command::RegisterNode { node, incarnation, grpc_address, api_address, zone } => {
            Pb::RegisterNode(pb::Node {
                id: node.0,
                incarnation: incarnation.0,
                grpc_address: grpc_address.clone(),
                api_address: api_address.clone(),
                zone: zone.clone(),
                state: pb::NodeState::Active.into(),
            })
        }
        Command::CreateStream(new) => Pb::CreateStream(pb::CreateStream {
            name: new.name.to_string(),
            shards: new.shards,
            mode: mode_message(new.mode).into(),
            retention_hours: new.retention_hours,
            max_record_size_kib: new.max_record_size_kib,
            tags: new.tags.clone().into_iter().collect(),
            replicas: new.replicas,
            now_millis: new.now.as_millis(),
            warm_throughput_mibps: new.warm_throughput_mibps,
            distribution: distribution_message(new.distribution).into(),
        }),
        Command::ActivateStream { name, id } => Pb::ActivateStream(stream_ref(name, *id)),
        Command::DeleteStream { name, with_consumers } => Pb::DeleteStream(pb::StreamRef {
            with_consumers: *with_consumers,
            ..stream_ref(name, StreamId(0))
        }),
        Command::DropStream { name, id } => Pb::DropStream(stream_ref(name, *id)),
        Command::ReplaceReplica { group, lost } => {
            Pb::ReplaceReplica(pb::ReplaceReplica { group: group.0, lost: lost.0 })
        }
        Command::Reshard { name, change, now } => Pb::Reshard(reshard_message(name, change, *now)),
        Command::CommitReshard { name, id, job, endings, now } => {
            let ending = |(shard, number): (&ShardId, &SequenceNumber)| pb::ShardEnding {
                shard: shard.0,
                sequence_number: number.to_string(),
            };
            Pb::CommitReshard(pb::CommitReshard {
                job: Some(job_ref(name, *id, *job)),
                endings: endings.iter().map(ending).collect(),
                now_millis: now.as_millis(),
            })
        }
        Command::AbortReshard { name, id, job } => Pb::AbortReshard(job_ref(name, *id, *job)),
        Command::ExpireShards { name, id, now } => Pb::ExpireShards(pb::ExpireShards {
            stream: Some(stream_ref(name, *id)),
            now_millis: now.as_millis(),
        }),
        Command::SetRetention { name, hours, longer } => Pb::SetRetention(pb::SetRetention {
            stream: name.to_string(),
            hours: *hours,
            longer: *longer,
        }),
        Command::SetStreamMode { name, mode, warm_throughput_mibps } => {
            Pb::SetStreamMode(pb::SetStreamMode {
                stream: name.to_string(),
                mode: mode_message(*mode).into(),
                warm_throughput_mibps: *warm_throughput_mibps,
            })
        }
        Command::SetWarmThroughput { name, mibps } => {
            Pb::SetWarmThroughput(pb::SetWarmThroughput { stream: name.to_string(), mibps: *mibps })
        }
        Command::Scale { name, id, change, now } => Pb::Scale(pb::Scale {
            stream: Some(stream_ref(name, *id)),
            change: Some(reshard_message(name, change, *now)),
        }),
        Command::SetNodeState { node, state } => {
            Pb::SetNodeState(pb::SetNodeState { node: node.0, state: state_message(*state).into() })
        }
        Command::RemoveNode { node } => Pb::RemoveNode(node.0),
        Command::MoveReplica { group, from, to } => Pb::MoveReplica(pb::MoveReplica {
            group: group.0,
            from: from.map_or(0, |from| from.0),
            to_node: to.0,
        }),
        Command::FinishMove { group, replica } => {
            Pb::FinishMove(pb::ReplaceReplica { group: group.0, lost: replica.0 })
        }
        Command::CancelMove { group, replica } => {
            Pb::CancelMove(pb::ReplaceReplica { group: group.0, lost: replica.0 })
        }
        Command::SetBalancing { paused } => Pb::PauseBalancing(*paused),
        Command::Rebalance => Pb::Rebalance(true),
        Command::FinishRebalance { rebalance } => Pb::FinishRebalance(*rebalance),
        Command::RegisterConsumer { name, consumer, tags, now } => {
            Pb::RegisterConsumer(pb::RegisterConsumer {
                stream: name.to_string(),
                consumer: consumer.to_string(),
                tags: tags.clone().into_iter().collect(),
                now_millis: now.as_millis(),
            })
        }
        Command::DeregisterConsumer { name, consumer, created } => {
            Pb::DeregisterConsumer(pb::ConsumerRef {
                stream: name.to_string(),
                consumer: consumer.to_string(),
                created_millis: created.as_millis(),
            })
        }
        Command::SettleConsumers { name, id } => Pb::SettleConsumers(stream_ref(name, *id)),
        Command::SetTags { resource, set, removed } => Pb::SetTags(pb::SetTags {
            resource: Some(resource_message(resource)),
            set: set.clone().into_iter().collect(),
            removed: removed.iter().cloned().collect(),
        }),
        Command::SetPolicy { resource, policy } => Pb::SetPolicy(pb::SetPolicy {
            resource: Some(resource_message(resource)),
            policy: policy.clone(),
        }),
        Command::SetMaxRecordSize { name, kib } => {
            Pb::SetMaxRecordSize(pb::SetMaxRecordSize { stream: name.to_string(), kib: *kib })
        }
        Command::SetShardMetrics { name, on, off } => Pb::SetShardMetrics(pb::SetShardMetrics {
            stream: name.to_string(),
            on: on.bits().into(),
            off: off.bits().into(),
        }),
        Command::SetDistribution { name, distribution } => {
            Pb::SetDistribution(pb::SetDistribution {
                stream: name.to_string(),
                distribution: distribution_message(*distribution).into(),
            })
        }
        Command::StartEncryption { name, id, master_key, wrapped, now } => {
            Pb::StartEncryption(pb::StartEncryption {
                stream: name.to_string(),
                stream_id: id.map(|id| id.0),
                master_key: master_key.clone(),
                wrapped: wrapped.clone().into(),
                now_millis: now.as_millis(),
            })
        }
        Command::StopEncryption { name } => Pb::StopEncryption(name.to_string()),
        Command::RotateDataKey { name, id, used, wrapped, now } => {
            Pb::RotateDataKey(pb::RotateDataKey {
                stream: Some(stream_ref(name, *id)),
                used: *used,
                wrapped: wrapped.clone().into(),
                now_millis: now.as_millis(),
            })
        }
        Command::SettleEncryption { name, id, change } => Pb::SettleEncryption(pb::EncryptionRef {
            stream: Some(stream_ref(name, *id)),
            change: *change,
        }),
        Command::SetCommitment { enabled, now } => {
            Pb::SetCommitment(pb::SetCommitment { enabled: *enabled, now_millis: now.as_millis() })
        }
        Command::CreateUser { name, account, now } => Pb::CreateUser(pb::CreateUser {
            name: name.to_string(),
            account: account.to_string(),
            now_millis: now.as_millis(),
        }),
        Command::DeleteUser { name } => Pb::DeleteUser(name.to_string()),
        Command::CreateAccessKey { user, id, sealed_secret, now } => {
            Pb::CreateAccessKey(pb::CreateAccessKey {
                user: user.to_string(),
                id: id.clone(),
                sealed_secret: sealed_secret.clone().into(),
                now_millis: now.as_millis(),
            })
        }
        Command::SetAccessKey { id, enabled } => {
            Pb::SetAccessKey(pb::SetAccessKey { id: id.clone(), enabled: *enabled })
        }
        Command::DeleteAccessKey { id } => Pb::DeleteAccessKey(id.clone()),
        Command::PutUserPolicy { user, name, document } => Pb::PutUserPolicy(pb::PutUserPolicy {
            user: user.to_string(),
            name: name.clone(),
            document: document.clone(),
        }),
        Command::DeleteUserPolicy { user, name } => {
            Pb::DeleteUserPolicy(users::policy_ref(user, name))
        }
        Command::Limited { command, now } => Pb::Limited(Box::new(pb::Limited {
            command: Some(Box::new(command_message(command))),
            now_millis: now.as_millis(),
        })),
    };
    pb::Command { command: Some(command) }
}

/// Reads what [`encode_command`] wrote.
///
/// # Errors
/// [`Error`] names the field.
pub fn decode_command(bytes: Bytes) -> Result<Command, Error> {
    command(pb::Command::decode(bytes)?)
}

fn command(message: pb::Command) -> Result<Command, Error> {
    use pb::command::Command as Pb;
    Ok(match message.command.ok_or(Error::Missing("command"))? {
        Pb::RegisterNode(node) => Command::RegisterNode {
            node: NodeId(node.id),
            incarnation: Incarnation(node.incarnation),
            grpc_address: node.grpc_address,
            api_address: node.api_address,
            zone: node.zone,
        },
        Pb::CreateStream(new) => Command::CreateStream(NewStream {
            mode: stream_mode(new.mode())?,
            distribution: distribution(new.distribution()),
            warm_throughput_mibps: new.warm_throughput_mibps,
            name: stream_name(&new.name)?,
            shards: at_least_one(new.shards, "create_stream.shards")?,
            retention_hours: new.retention_hours,
            max_record_size_kib: new.max_record_size_kib,
            tags: new.tags.into_iter().collect(),
            replicas: new.replicas,
            now: Timestamp::from_millis(new.now_millis),
        }),
        Pb::ActivateStream(stream) => {
            Command::ActivateStream { name: stream_name(&stream.name)?, id: StreamId(stream.id) }
        }
        Pb::DeleteStream(stream) => Command::DeleteStream {
            name: stream_name(&stream.name)?,
            with_consumers: stream.with_consumers,
        },
        Pb::DropStream(stream) => {
            Command::DropStream { name: stream_name(&stream.name)?, id: StreamId(stream.id) }
        }
        Pb::ReplaceReplica(replace) => {
            Command::ReplaceReplica { group: GroupId(replace.group), lost: ReplicaId(replace.lost) }
        }
        Pb::Reshard(message) => {
            let (name, change, now) = reshard(message)?;
            Command::Reshard { name, change, now }
        }
        Pb::CommitReshard(commit) => {
            let (name, id, job) = job_of(commit.job)?;
            let endings = commit.endings.iter().map(|ending| {
                let number = sequence_number(&ending.sequence_number, "ending.sequence_number");
                Ok((ShardId(ending.shard), number?))
            });
            let endings = endings.collect::<Result<_, Error>>()?;
            let now = Timestamp::from_millis(commit.now_millis);
            Command::CommitReshard { name, id, job, endings, now }
        }
        Pb::AbortReshard(job) => {
            let (name, id, job) = job_of(Some(job))?;
            Command::AbortReshard { name, id, job }
        }
        Pb::ExpireShards(expire) => {
            let stream = expire.stream.ok_or(Error::Missing("expire_shards.stream"))?;
            let now = Timestamp::from_millis(expire.now_millis);
            Command::ExpireShards { name: stream_name(&stream.name)?, id: StreamId(stream.id), now }
        }
        Pb::SetRetention(set) => Command::SetRetention {
            name: stream_name(&set.stream)?,
            hours: set.hours,
            longer: set.longer,
        },
        Pb::SetStreamMode(set) => Command::SetStreamMode {
            mode: stream_mode(set.mode())?,
            name: stream_name(&set.stream)?,
            warm_throughput_mibps: set.warm_throughput_mibps,
        },
        Pb::SetWarmThroughput(set) => {
            Command::SetWarmThroughput { name: stream_name(&set.stream)?, mibps: set.mibps }
        }
        Pb::Scale(scale) => {
            let id = StreamId(scale.stream.ok_or(Error::Missing("scale.stream"))?.id);
            let change = scale.change.ok_or(Error::Missing("scale.change"))?;
            let (name, change, now) = reshard(change)?;
            Command::Scale { name, id, change, now }
        }
        Pb::SetNodeState(set) => {
            Command::SetNodeState { state: node_state(set.state()), node: NodeId(set.node) }
        }
        Pb::RemoveNode(node) => Command::RemoveNode { node: NodeId(node) },
        Pb::MoveReplica(moved) => Command::MoveReplica {
            group: GroupId(moved.group),
            from: (moved.from != 0).then_some(ReplicaId(moved.from)),
            to: NodeId(moved.to_node),
        },
        Pb::FinishMove(pb::ReplaceReplica { group, lost }) => {
            Command::FinishMove { group: GroupId(group), replica: ReplicaId(lost) }
        }
        Pb::CancelMove(pb::ReplaceReplica { group, lost }) => {
            Command::CancelMove { group: GroupId(group), replica: ReplicaId(lost) }
        }
        Pb::PauseBalancing(paused) => Command::SetBalancing { paused },
        Pb::Rebalance(_) => Command::Rebalance,
        Pb::FinishRebalance(rebalance) => Command::FinishRebalance { rebalance },
        Pb::RegisterConsumer(register) => Command::RegisterConsumer {
            name: stream_name(&register.stream)?,
            consumer: consumer_name(&register.consumer)?,
            tags: register.tags.into_iter().collect(),
            now: Timestamp::from_millis(register.now_millis),
        },
        Pb::DeregisterConsumer(consumer) => Command::DeregisterConsumer {
            name: stream_name(&consumer.stream)?,
            consumer: consumer_name(&consumer.consumer)?,
            created: Timestamp::from_millis(consumer.created_millis),
        },
        Pb::SettleConsumers(stream) => {
            Command::SettleConsumers { name: stream_name(&stream.name)?, id: StreamId(stream.id) }
        }
        Pb::SetTags(set) => Command::SetTags {
            resource: resource(set.resource, "set_tags.resource")?,
            set: set.set.into_iter().collect(),
            removed: set.removed.into_iter().collect(),
        },
        Pb::SetPolicy(set) => Command::SetPolicy {
            resource: resource(set.resource, "set_policy.resource")?,
            policy: set.policy,
        },
        Pb::SetMaxRecordSize(set) => {
            Command::SetMaxRecordSize { name: stream_name(&set.stream)?, kib: set.kib }
        }
        Pb::SetShardMetrics(set) => Command::SetShardMetrics {
            name: stream_name(&set.stream)?,
            on: shard_metrics(set.on),
            off: shard_metrics(set.off),
        },
        Pb::SetDistribution(set) => Command::SetDistribution {
            name: stream_name(&set.stream)?,
            distribution: distribution(set.distribution()),
        },
        Pb::StartEncryption(start) => Command::StartEncryption {
            name: stream_name(&start.stream)?,
            id: start.stream_id.map(StreamId),
            master_key: start.master_key,
            wrapped: start.wrapped.into(),
            now: Timestamp::from_millis(start.now_millis),
        },
        Pb::StopEncryption(name) => Command::StopEncryption { name: stream_name(&name)? },
        Pb::RotateDataKey(rotate) => {
            let stream = rotate.stream.ok_or(Error::Missing("rotate_data_key.stream"))?;
            Command::RotateDataKey {
                name: stream_name(&stream.name)?,
                id: StreamId(stream.id),
                used: rotate.used,
                wrapped: rotate.wrapped.into(),
                now: Timestamp::from_millis(rotate.now_millis),
            }
        }
        Pb::SettleEncryption(settle) => {
            let stream = settle.stream.ok_or(Error::Missing("settle_encryption.stream"))?;
            let (name, id) = (stream_name(&stream.name)?, StreamId(stream.id));
            Command::SettleEncryption { name, id, change: settle.change }
        }
        Pb::SetCommitment(set) => Command::SetCommitment {
            enabled: set.enabled,
            now: Timestamp::from_millis(set.now_millis),
        },
        Pb::CreateUser(new) => Command::CreateUser {
            name: users::name(&new.name)?,
            account: users::account(&new.account)?,
            now: Timestamp::from_millis(new.now_millis),
        },
        Pb::DeleteUser(name) => Command::DeleteUser { name: users::name(&name)? },
        Pb::CreateAccessKey(new) => Command::CreateAccessKey {
            user: users::name(&new.user)?,
            id: new.id,
            sealed_secret: new.sealed_secret.into(),
            now: Timestamp::from_millis(new.now_millis),
        },
        Pb::SetAccessKey(set) => Command::SetAccessKey { id: set.id, enabled: set.enabled },
        Pb::DeleteAccessKey(id) => Command::DeleteAccessKey { id },
        Pb::PutUserPolicy(put) => Command::PutUserPolicy {
            user: users::name(&put.user)?,
            name: put.name,
            document: put.document,
        },
        Pb::DeleteUserPolicy(policy) => {
            Command::DeleteUserPolicy { user: users::name(&policy.user)?, name: policy.name }
        }
        Pb::Limited(limited) => {
            let inner = limited.command.ok_or(Error::Missing("limited.command"))?;
            if matches!(inner.command, Some(Pb::Limited(_))) {
                let rule = "must not be limited itself".into();
                return Err(Error::Invalid { field: "limited.command", rule });
            }
            let now = Timestamp::from_millis(limited.now_millis);
            Command::Limited { command: Box::new(command(*inner)?), now }
        }
    })
}

/// A number that a machine would stumble over if it were zero.
fn at_least_one(number: u32, field: &'static str) -> Result<u32, Error> {
    if number > 0 {
        Ok(number)
    } else {
        Err(Error::Invalid { field, rule: "must be at least 1".into() })
    }
}

fn reshard_message(name: &StreamName, change: &ShardChange, now: Timestamp) -> pb::Reshard {
    pb::Reshard {
        stream: name.to_string(),
        change: Some(change_message(change)),
        now_millis: now.as_millis(),
    }
}

fn reshard(message: pb::Reshard) -> Result<(StreamName, ShardChange, Timestamp), Error> {
    let change = shard_change(message.change.ok_or(Error::Missing("reshard.change"))?)?;
    let now = Timestamp::from_millis(message.now_millis);
    Ok((stream_name(&message.stream)?, change, now))
}

fn state_message(state: NodeState) -> pb::NodeState {
    match state {
        NodeState::Active => pb::NodeState::Active,
        NodeState::Draining => pb::NodeState::Draining,
    }
}

fn node_state(state: pb::NodeState) -> NodeState {
    match state {
        pb::NodeState::Active => NodeState::Active,
        pb::NodeState::Draining => NodeState::Draining,
    }
}

fn move_message(moving: &Move) -> pb::Move {
    pb::Move { to: Some(replica_message(&moving.to)), from: moving.from.map_or(0, |from| from.0) }
}

fn moving(message: pb::Move) -> Result<Move, Error> {
    let to = replica(&message.to.ok_or(Error::Missing("move.to"))?);
    Ok(Move { to, from: (message.from != 0).then_some(ReplicaId(message.from)) })
}

fn change_message(change: &ShardChange) -> pb::reshard::Change {
    use pb::reshard::Change as Pb;
    match *change {
        ShardChange::Split { shard, at } => Pb::Split(split_message(shard, at)),
        ShardChange::Merge { lower, upper } => {
            Pb::Merge(pb::MergeShards { lower: lower.0, upper: upper.0 })
        }
        ShardChange::Count(count) => Pb::Count(count),
    }
}

fn shard_change(change: pb::reshard::Change) -> Result<ShardChange, Error> {
    use pb::reshard::Change as Pb;
    Ok(match change {
        Pb::Split(split) => {
            ShardChange::Split { shard: ShardId(split.shard), at: hash_key(&split.at, "split.at")? }
        }
        Pb::Merge(pb::MergeShards { lower, upper }) => {
            ShardChange::Merge { lower: ShardId(lower), upper: ShardId(upper) }
        }
        Pb::Count(count) => ShardChange::Count(count),
    })
}

fn split_message(shard: ShardId, at: HashKey) -> pb::SplitShard {
    pb::SplitShard { shard: shard.0, at: hash_key_bytes(at) }
}

fn job_ref(name: &StreamName, id: StreamId, job: u64) -> pb::JobRef {
    pb::JobRef { stream: Some(stream_ref(name, id)), job }
}

fn job_of(message: Option<pb::JobRef>) -> Result<(StreamName, StreamId, u64), Error> {
    let message = message.ok_or(Error::Missing("job"))?;
    let stream = message.stream.ok_or(Error::Missing("job.stream"))?;
    Ok((stream_name(&stream.name)?, StreamId(stream.id), message.job))
}

fn hash_key_bytes(key: HashKey) -> Bytes {
    Bytes::copy_from_slice(&key.0.to_be_bytes())
}

fn hash_key(bytes: &Bytes, field: &'static str) -> Result<HashKey, Error> {
    let rule = || Error::Invalid { field, rule: "must have 16 bytes".into() };
    Ok(HashKey(u128::from_be_bytes(bytes[..].try_into().map_err(|_| rule())?)))
}

fn hash_key_range(start: &Bytes, end: &Bytes) -> Result<HashKeyRange, Error> {
    let start = hash_key(start, "hash_key_start")?;
    let end = hash_key(end, "hash_key_end")?;
    HashKeyRange::new(start, end).ok_or_else(|| Error::Invalid {
        field: "hash_key_end",
        rule: "must not be below hash_key_start".into(),
    })
}

fn sequence_number(text: &str, field: &'static str) -> Result<SequenceNumber, Error> {
    let rule =
        |error: anabranch_types::ParseError| Error::Invalid { field, rule: error.to_string() };
    text.parse().map_err(rule)
}

/// What [`Refusal::Limit`] names.
const LIMITS: [&str; 14] = [
    "ShardCount",
    "WarmThroughputMiBps",
    "consumers",
    "bytes of tags and policies",
    "users",
    "access keys",
    "policies of a user",
    "characters of a policy",
    "bytes of all users' policies",
    "streams in CREATING",
    "consumers in CREATING",
    "scalings in 24 hours",
    "mode switches in 24 hours",
    "key changes in 24 hours",
];

/// An outcome as it is sent.
pub fn encode_outcome(outcome: &Outcome) -> Bytes {
    use pb::outcome::Outcome as Pb;
    let outcome = match outcome {
        Outcome::Done { version } => Pb::DoneVersion(*version),
        Outcome::Refused(Refusal::StreamExists { name }) => Pb::StreamExists(name.to_string()),
        Outcome::Refused(Refusal::StreamNotFound { name }) => Pb::StreamNotFound(name.to_string()),
        Outcome::Refused(Refusal::StreamNotActive { name }) => {
            Pb::StreamNotActive(name.to_string())
        }
        Outcome::Refused(Refusal::StreamHasConsumers { name }) => {
            Pb::StreamHasConsumers(name.to_string())
        }
        Outcome::Refused(Refusal::ConsumerExists { consumer }) => {
            Pb::ConsumerExists(consumer.to_string())
        }
        Outcome::Refused(Refusal::ConsumerNotFound { consumer }) => {
            Pb::ConsumerNotFound(consumer.to_string())
        }
        Outcome::Refused(Refusal::TooManyTags { limit }) => Pb::TooManyTags(*limit),
        Outcome::Refused(Refusal::NoNodes) => Pb::NoNodes(true),
        Outcome::Refused(Refusal::Limit { what, actual, limit }) => {
            Pb::Limit(pb::Limit { what: (*what).into(), actual: *actual, limit: *limit })
        }
        Outcome::Refused(Refusal::ReplicaNotFound { group, replica }) => {
            Pb::ReplicaNotFound(pb::ReplaceReplica { group: group.0, lost: replica.0 })
        }
        Outcome::Refused(Refusal::ShardNotFound { shard }) => Pb::ShardNotFound(shard.0),
        Outcome::Refused(Refusal::ShardClosed { shard }) => Pb::ShardClosed(shard.0),
        Outcome::Refused(Refusal::CannotSplit { shard, range, at }) => {
            Pb::CannotSplit(pb::CannotSplit {
                split: Some(split_message(*shard, *at)),
                hash_key_start: hash_key_bytes(range.start()),
                hash_key_end: hash_key_bytes(range.end()),
            })
        }
        Outcome::Refused(Refusal::NotAdjacent { lower, upper }) => {
            Pb::NotAdjacent(pb::MergeShards { lower: lower.0, upper: upper.0 })
        }
        Outcome::Refused(Refusal::ShardCount { current, target, lowest, highest }) => {
            let (current, target, lowest, highest) = (*current, *target, *lowest, *highest);
            Pb::ShardCount(pb::ShardCountBounds { current, target, lowest, highest })
        }
        Outcome::Refused(Refusal::OnDemand { name }) => Pb::OnDemand(name.to_string()),
        Outcome::Refused(Refusal::NotOnDemand { name }) => Pb::NotOnDemand(name.to_string()),
        Outcome::Refused(Refusal::Retention { current, asked }) => {
            Pb::Retention(pb::RetentionChange { current: *current, asked: *asked })
        }
        Outcome::Refused(Refusal::DataKeyOver { name, used }) => {
            Pb::DataKeyOver(pb::DataKeyRef { stream: name.to_string(), number: *used })
        }
        Outcome::Refused(Refusal::JobOver { name, job }) => {
            Pb::JobOver(job_ref(name, StreamId(0), *job))
        }
        Outcome::Refused(Refusal::NodeNotFound { node }) => Pb::NodeNotFound(node.0),
        Outcome::Refused(Refusal::NodeInUse { node, replicas }) => {
            Pb::NodeInUse(pb::NodeInUse { node: node.0, replicas: *replicas })
        }
        Outcome::Refused(Refusal::CannotMove { group, to }) => {
            Pb::CannotMove(pb::MoveReplica { group: group.0, from: 0, to_node: to.0 })
        }
        Outcome::Refused(Refusal::UserExists { user }) => Pb::UserExists(user.to_string()),
        Outcome::Refused(Refusal::UserNotFound { user }) => Pb::UserNotFound(user.to_string()),
        Outcome::Refused(Refusal::AccessKeyExists { id }) => Pb::AccessKeyExists(id.clone()),
        Outcome::Refused(Refusal::AccessKeyNotFound { id }) => Pb::AccessKeyNotFound(id.clone()),
        Outcome::Refused(Refusal::UserPolicyNotFound { user, name }) => {
            Pb::UserPolicyNotFound(users::policy_ref(user, name))
        }
    };
    pb::Outcome { outcome: Some(outcome) }.encode_to_vec().into()
}

/// Reads what [`encode_outcome`] wrote.
///
/// # Errors
/// [`Error`] names the field.
pub fn decode_outcome(bytes: Bytes) -> Result<Outcome, Error> {
    use pb::outcome::Outcome as Pb;
    let refused = Outcome::Refused;
    Ok(match pb::Outcome::decode(bytes)?.outcome.ok_or(Error::Missing("outcome"))? {
        Pb::DoneVersion(version) => Outcome::Done { version },
        Pb::StreamExists(name) => refused(Refusal::StreamExists { name: stream_name(&name)? }),
        Pb::StreamNotFound(name) => refused(Refusal::StreamNotFound { name: stream_name(&name)? }),
        Pb::StreamNotActive(name) => {
            refused(Refusal::StreamNotActive { name: stream_name(&name)? })
        }
        Pb::StreamHasConsumers(name) => {
            refused(Refusal::StreamHasConsumers { name: stream_name(&name)? })
        }
        Pb::ConsumerExists(name) => {
            refused(Refusal::ConsumerExists { consumer: consumer_name(&name)? })
        }
        Pb::ConsumerNotFound(name) => {
            refused(Refusal::ConsumerNotFound { consumer: consumer_name(&name)? })
        }
        Pb::TooManyTags(limit) => refused(Refusal::TooManyTags { limit }),
        Pb::NoNodes(_) => refused(Refusal::NoNodes),
        Pb::Limit(limit) => refused(Refusal::Limit {
            what: LIMITS.into_iter().find(|what| *what == limit.what).unwrap_or("limit"),
            actual: limit.actual,
            limit: limit.limit,
        }),
        Pb::ReplicaNotFound(replica) => refused(Refusal::ReplicaNotFound {
            group: GroupId(replica.group),
            replica: ReplicaId(replica.lost),
        }),
        Pb::ShardNotFound(shard) => refused(Refusal::ShardNotFound { shard: ShardId(shard) }),
        Pb::ShardClosed(shard) => refused(Refusal::ShardClosed { shard: ShardId(shard) }),
        Pb::CannotSplit(cannot) => {
            let range = hash_key_range(&cannot.hash_key_start, &cannot.hash_key_end)?;
            let split = cannot.split.ok_or(Error::Missing("cannot_split.split"))?;
            let (shard, at) = (ShardId(split.shard), hash_key(&split.at, "split.at")?);
            refused(Refusal::CannotSplit { shard, range, at })
        }
        Pb::NotAdjacent(pb::MergeShards { lower, upper }) => {
            refused(Refusal::NotAdjacent { lower: ShardId(lower), upper: ShardId(upper) })
        }
        Pb::ShardCount(pb::ShardCountBounds { current, target, lowest, highest }) => {
            refused(Refusal::ShardCount { current, target, lowest, highest })
        }
        Pb::OnDemand(name) => refused(Refusal::OnDemand { name: stream_name(&name)? }),
        Pb::NotOnDemand(name) => refused(Refusal::NotOnDemand { name: stream_name(&name)? }),
        Pb::Retention(pb::RetentionChange { current, asked }) => {
            refused(Refusal::Retention { current, asked })
        }
        Pb::DataKeyOver(key) => {
            refused(Refusal::DataKeyOver { name: stream_name(&key.stream)?, used: key.number })
        }
        Pb::JobOver(job) => {
            let (name, _, job) = job_of(Some(job))?;
            refused(Refusal::JobOver { name, job })
        }
        Pb::NodeNotFound(node) => refused(Refusal::NodeNotFound { node: NodeId(node) }),
        Pb::NodeInUse(pb::NodeInUse { node, replicas }) => {
            refused(Refusal::NodeInUse { node: NodeId(node), replicas })
        }
        Pb::CannotMove(moved) => {
            let (group, to) = (GroupId(moved.group), NodeId(moved.to_node));
            refused(Refusal::CannotMove { group, to })
        }
        Pb::UserExists(name) => refused(Refusal::UserExists { user: users::name(&name)? }),
        Pb::UserNotFound(name) => refused(Refusal::UserNotFound { user: users::name(&name)? }),
        Pb::AccessKeyExists(id) => refused(Refusal::AccessKeyExists { id }),
        Pb::AccessKeyNotFound(id) => refused(Refusal::AccessKeyNotFound { id }),
        Pb::UserPolicyNotFound(policy) => refused(Refusal::UserPolicyNotFound {
            user: users::name(&policy.user)?,
            name: policy.name,
        }),
    })
}

fn node_message(id: NodeId, node: &Node) -> pb::Node {
    pb::Node {
        id: id.0,
        incarnation: node.incarnation.0,
        grpc_address: node.grpc_address.clone(),
        api_address: node.api_address.clone(),
        zone: node.zone.clone(),
        state: state_message(node.state).into(),
    }
}

fn node(message: pb::Node) -> (NodeId, Node) {
    let node = Node {
        state: node_state(message.state()),
        incarnation: Incarnation(message.incarnation),
        grpc_address: message.grpc_address,
        api_address: message.api_address,
        zone: message.zone,
    };
    (NodeId(message.id), node)
}

fn replica_message(replica: &Replica) -> pb::Replica {
    pb::Replica { id: replica.id.0, node: replica.node.0 }
}

fn replica(message: &pb::Replica) -> Replica {
    Replica { id: ReplicaId(message.id), node: NodeId(message.node) }
}

fn stream_ref(name: &StreamName, id: StreamId) -> pb::StreamRef {
    pb::StreamRef { name: name.to_string(), id: id.0, with_consumers: false }
}

fn consumer_name(text: &str) -> Result<ConsumerName, Error> {
    text.parse().map_err(|error: anabranch_types::ParseError| Error::Invalid {
        field: "consumer.name",
        rule: error.to_string(),
    })
}

fn resource_message(resource: &Resource) -> pb::Resource {
    pb::Resource {
        stream: resource.stream.to_string(),
        consumer: resource.consumer.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn resource(message: Option<pb::Resource>, field: &'static str) -> Result<Resource, Error> {
    let message = message.ok_or(Error::Missing(field))?;
    let consumer = (!message.consumer.is_empty()).then(|| consumer_name(&message.consumer));
    Ok(Resource { stream: stream_name(&message.stream)?, consumer: consumer.transpose()? })
}

fn distribution_message(distribution: Distribution) -> pb::Distribution {
    match distribution {
        Distribution::UserPartitionKey => pb::Distribution::UserPartitionKey,
        Distribution::Auto => pb::Distribution::Auto,
    }
}

fn distribution(message: pb::Distribution) -> Distribution {
    match message {
        pb::Distribution::UserPartitionKey => Distribution::UserPartitionKey,
        pb::Distribution::Auto => Distribution::Auto,
    }
}

/// Bits that this version has no metric for are left out.
fn shard_metrics(bits: u32) -> ShardMetrics {
    ShardMetrics::from_bits(bits.to_le_bytes()[0])
}

fn consumer_message(name: &ConsumerName, consumer: &Consumer) -> pb::Consumer {
    let status = match consumer.status {
        ConsumerStatus::Creating => pb::ConsumerStatus::Creating,
        ConsumerStatus::Active => pb::ConsumerStatus::Active,
        ConsumerStatus::Deleting => pb::ConsumerStatus::Deleting,
    };
    pb::Consumer {
        name: name.to_string(),
        created_millis: consumer.created.as_millis(),
        status: status.into(),
        tags: consumer.tags.clone().into_iter().collect(),
        policy: consumer.policy.clone(),
    }
}

fn consumer(message: pb::Consumer) -> Result<(ConsumerName, Consumer), Error> {
    let status = match message.status() {
        pb::ConsumerStatus::Creating => ConsumerStatus::Creating,
        pb::ConsumerStatus::Active => ConsumerStatus::Active,
        pb::ConsumerStatus::Deleting => ConsumerStatus::Deleting,
        pb::ConsumerStatus::Unspecified => return Err(Error::Missing("consumer.status")),
    };
    let consumer = Consumer {
        created: Timestamp::from_millis(message.created_millis),
        status,
        tags: message.tags.into_iter().collect(),
        policy: message.policy,
    };
    Ok((consumer_name(&message.name)?, consumer))
}

fn stream_name(text: &str) -> Result<StreamName, Error> {
    text.parse().map_err(|error: anabranch_types::ParseError| Error::Invalid {
        field: "stream.name",
        rule: error.to_string(),
    })
}

fn mode_message(mode: StreamMode) -> pb::StreamMode {
    match mode {
        StreamMode::Provisioned => pb::StreamMode::Provisioned,
        StreamMode::OnDemand => pb::StreamMode::OnDemand,
    }
}

fn stream_mode(mode: pb::StreamMode) -> Result<StreamMode, Error> {
    match mode {
        pb::StreamMode::Provisioned => Ok(StreamMode::Provisioned),
        pb::StreamMode::OnDemand => Ok(StreamMode::OnDemand),
        pb::StreamMode::Unspecified => Err(Error::Missing("stream.mode")),
    }
}

fn stream_message(name: &StreamName, stream: &Stream) -> pb::Stream {
    let status = match stream.status {
        StreamStatus::Creating => pb::StreamStatus::Creating,
        StreamStatus::Active => pb::StreamStatus::Active,
        StreamStatus::Updating => pb::StreamStatus::Updating,
        StreamStatus::Deleting => pb::StreamStatus::Deleting,
    };
    pb::Stream {
        name: name.to_string(),
        id: stream.id.0,
        created_millis: stream.created.as_millis(),
        status: status.into(),
        mode: mode_message(stream.mode).into(),
        retention_hours: stream.retention_hours,
        max_record_size_kib: stream.max_record_size_kib,
        tags: stream.tags.clone().into_iter().collect(),
        shards: stream.shards.values().map(shard_message).collect(),
        job: stream.job.as_ref().map(job_message),
        target_shards: stream.target_shards.unwrap_or_default(),
        next_shard: stream.next_shard,
        replicas: stream.replicas,
        warm_throughput_mibps: stream.warm_throughput_mibps,
        consumers: stream.consumers.iter().map(|(name, one)| consumer_message(name, one)).collect(),
        policy: stream.policy.clone(),
        shard_metrics: stream.shard_metrics.bits().into(),
        distribution: distribution_message(stream.distribution).into(),
        encryption: encryption_message(&stream.encryption),
        recent_changes: recent_changes_message(&stream.recent_changes),
    }
}

fn job_message(job: &ReshardJob) -> pb::ReshardJob {
    pb::ReshardJob {
        id: job.id,
        began_millis: job.began.as_millis(),
        parents: job.parents.iter().map(|parent| parent.0).collect(),
        children: job.children.values().map(shard_message).collect(),
    }
}

fn job(message: pb::ReshardJob) -> Result<ReshardJob, Error> {
    Ok(ReshardJob {
        id: message.id,
        began: Timestamp::from_millis(message.began_millis),
        parents: message.parents.into_iter().map(ShardId).collect(),
        children: shards(&message.children)?,
    })
}

fn shards(messages: &[pb::Shard]) -> Result<BTreeMap<ShardId, Shard>, Error> {
    messages.iter().map(|message| shard(message).map(|shard| (shard.id, shard))).collect()
}

fn stream(message: pb::Stream) -> Result<(StreamName, Stream), Error> {
    let status = match message.status() {
        pb::StreamStatus::Creating => StreamStatus::Creating,
        pb::StreamStatus::Active => StreamStatus::Active,
        pb::StreamStatus::Updating => StreamStatus::Updating,
        pb::StreamStatus::Deleting => StreamStatus::Deleting,
        pb::StreamStatus::Unspecified => return Err(Error::Missing("stream.status")),
    };
    let shards = shards(&message.shards)?;
    // Catalogs of the first versions had no closed shards, and said neither of these.
    let after_highest = shards.keys().next_back().map_or(0, |id| id.0 + 1);
    let of_first = shards.values().next().map_or(0, |shard| shard.replicas.len());
    let or = |stored: u32, else_: u32| if stored == 0 { else_ } else { stored };
    let stream = Stream {
        mode: stream_mode(message.mode())?,
        distribution: distribution(message.distribution()),
        id: StreamId(message.id),
        created: Timestamp::from_millis(message.created_millis),
        status,
        retention_hours: message.retention_hours,
        max_record_size_kib: message.max_record_size_kib,
        tags: message.tags.into_iter().collect(),
        replicas: or(message.replicas, u32::try_from(of_first).unwrap_or(u32::MAX)),
        next_shard: or(message.next_shard, after_highest),
        shards,
        job: message.job.map(job).transpose()?,
        target_shards: (message.target_shards != 0).then_some(message.target_shards),
        warm_throughput_mibps: message.warm_throughput_mibps,
        consumers: message.consumers.into_iter().map(consumer).collect::<Result<_, _>>()?,
        policy: message.policy,
        shard_metrics: shard_metrics(message.shard_metrics),
        encryption: encryption(message.encryption.unwrap_or_default()),
        recent_changes: recent_changes(message.recent_changes.unwrap_or_default()),
    };
    Ok((stream_name(&message.name)?, stream))
}

fn encryption_message(encryption: &Encryption) -> Option<pb::Encryption> {
    if *encryption == Encryption::default() {
        return None;
    }
    let key = |(number, key): (&u32, &DataKey)| pb::DataKey {
        number: *number,
        master_key: key.master_key.clone(),
        wrapped: key.wrapped.clone().into(),
        created_millis: key.created.as_millis(),
    };
    Some(pb::Encryption {
        master_key: encryption.master_key.clone().unwrap_or_default(),
        data_keys: encryption.data_keys.iter().map(key).collect(),
        next_data_key: encryption.next_data_key,
        unsettled: encryption.unsettled.unwrap_or_default(),
    })
}

fn encryption(message: pb::Encryption) -> Encryption {
    let key = |key: pb::DataKey| {
        let created = Timestamp::from_millis(key.created_millis);
        let wrapped = key.wrapped.into();
        (key.number, DataKey { master_key: key.master_key, wrapped, created })
    };
    Encryption {
        master_key: (!message.master_key.is_empty()).then_some(message.master_key),
        data_keys: message.data_keys.into_iter().map(key).collect(),
        next_data_key: message.next_data_key,
        unsettled: (message.unsettled != 0).then_some(message.unsettled),
    }
}

fn recent_changes_message(recent: &RecentChanges) -> Option<pb::RecentChanges> {
    let millis = |times: &[Timestamp]| times.iter().map(|at| at.as_millis()).collect();
    (*recent != RecentChanges::default()).then(|| pb::RecentChanges {
        scalings_millis: millis(&recent.scalings),
        mode_switches_millis: millis(&recent.mode_switches),
        key_changes_millis: millis(&recent.key_changes),
    })
}

fn recent_changes(message: pb::RecentChanges) -> RecentChanges {
    let times = |millis: Vec<u64>| millis.into_iter().map(Timestamp::from_millis).collect();
    RecentChanges {
        scalings: times(message.scalings_millis),
        mode_switches: times(message.mode_switches_millis),
        key_changes: times(message.key_changes_millis),
    }
}

fn shard_message(shard: &Shard) -> pb::Shard {
    let (ending, closed) = match shard.status {
        ShardStatus::Open => (String::new(), Timestamp::default()),
        ShardStatus::Closed { ending, at } => (ending.to_string(), at),
    };
    pb::Shard {
        id: shard.id.0,
        group: shard.group.0,
        hash_key_start: hash_key_bytes(shard.range.start()),
        hash_key_end: hash_key_bytes(shard.range.end()),
        created_millis: shard.created.as_millis(),
        ending_sequence_number: ending,
        replicas: shard.replicas.iter().map(replica_message).collect(),
        born: shard.born,
        parents: shard.parents.iter().map(|parent| parent.0).collect(),
        closed_millis: closed.as_millis(),
        moving: shard.moving.as_ref().map(move_message),
    }
}

fn shard(message: &pb::Shard) -> Result<Shard, Error> {
    let range = hash_key_range(&message.hash_key_start, &message.hash_key_end)?;
    let status = if message.ending_sequence_number.is_empty() {
        ShardStatus::Open
    } else {
        let ending = &message.ending_sequence_number;
        ShardStatus::Closed {
            ending: sequence_number(ending, "shard.ending_sequence_number")?,
            at: Timestamp::from_millis(message.closed_millis),
        }
    };
    Ok(Shard {
        id: ShardId(message.id),
        group: GroupId(message.group),
        born: message.born,
        parents: message.parents.iter().copied().map(ShardId).collect(),
        range,
        created: Timestamp::from_millis(message.created_millis),
        status,
        replicas: message.replicas.iter().map(replica).collect(),
        moving: message.moving.map(moving).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn catalog() -> Catalog {
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
        }
        catalog
    }

    fn commands() -> Vec<Command> {
        let name: StreamName = "s".parse().unwrap();
        let now = Timestamp::from_millis(7);
        let number = SequenceNumber::shard_start(ShardId(0), now);
        let set_mode = |warm_throughput_mibps| Command::SetStreamMode {
            name: "other".parse().unwrap(),
            mode: StreamMode::OnDemand,
            warm_throughput_mibps,
        };
        let user = |name: &str| Command::CreateUser {
            name: name.parse().unwrap(),
            account: "123456789012".parse().unwrap(),
            now,
        };
        let key = |id: &str| Command::CreateAccessKey {
            user: "ann".parse().unwrap(),
            id: id.into(),
            sealed_secret: vec![1, 2, 3],
            now,
        };
        let policy = |name: &str| Command::PutUserPolicy {
            user: "ann".parse().unwrap(),
            name: name.into(),
            document: "{}".into(),
        };
        vec![
            Command::RegisterNode {
                node: NodeId(1),
                incarnation: Incarnation(9),
                grpc_address: "127.0.0.1:1".into(),
                api_address: "127.0.0.1:2".into(),
                zone: "z".into(),
            },
            Command::CreateStream(NewStream {
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
            }),
            Command::ActivateStream { name: name.clone(), id: StreamId(2) },
            Command::ReplaceReplica { group: GroupId(1), lost: ReplicaId(2) },
            Command::Reshard {
                name: name.clone(),
                change: ShardChange::Split { shard: ShardId(0), at: HashKey(1 << 64) },
                now,
            },
            Command::CommitReshard {
                name: name.clone(),
                id: StreamId(2),
                job: 5,
                endings: BTreeMap::from([(ShardId(0), number)]),
                now,
            },
            Command::Reshard {
                name: name.clone(),
                change: ShardChange::Merge { lower: ShardId(1), upper: ShardId(2) },
                now,
            },
            Command::AbortReshard { name: name.clone(), id: StreamId(2), job: 70 },
            Command::Reshard { name: name.clone(), change: ShardChange::Count(9), now },
            Command::ExpireShards { name: name.clone(), id: StreamId(2), now },
            Command::SetRetention { name: name.clone(), hours: 48, longer: true },
            set_mode(None),
            set_mode(Some(0)),
            Command::SetWarmThroughput { name: name.clone(), mibps: 9 },
            Command::Scale {
                name: name.clone(),
                id: StreamId(2),
                change: ShardChange::Merge { lower: ShardId(1), upper: ShardId(2) },
                now,
            },
            Command::RegisterNode {
                node: NodeId(2),
                incarnation: Incarnation(3),
                grpc_address: String::new(),
                api_address: String::new(),
                zone: String::new(),
            },
            Command::MoveReplica { group: GroupId(1), from: Some(ReplicaId(4)), to: NodeId(2) },
            Command::MoveReplica { group: GroupId(2), from: None, to: NodeId(2) },
            Command::MoveReplica { group: GroupId::CATALOG, from: None, to: NodeId(2) },
            Command::FinishMove { group: GroupId(1), replica: ReplicaId(77) },
            Command::CancelMove { group: GroupId(1), replica: ReplicaId(77) },
            Command::SetNodeState { node: NodeId(2), state: NodeState::Draining },
            Command::RemoveNode { node: NodeId(2) },
            Command::Rebalance,
            Command::FinishRebalance { rebalance: 1 },
            Command::SetBalancing { paused: true },
            Command::SetBalancing { paused: false },
            Command::SetBalancing { paused: true },
            Command::Rebalance,
            Command::RegisterConsumer {
                name: name.clone(),
                consumer: "app".parse().unwrap(),
                tags: BTreeMap::from([("k".into(), "v".into())]),
                now,
            },
            Command::SettleConsumers { name: name.clone(), id: StreamId(2) },
            Command::SetTags {
                resource: Resource { stream: name.clone(), consumer: Some("app".parse().unwrap()) },
                set: BTreeMap::from([("a".into(), "b".into())]),
                removed: BTreeSet::from(["k".into()]),
            },
            Command::SetPolicy {
                resource: Resource { stream: name.clone(), consumer: None },
                policy: Some("{}".into()),
            },
            Command::SetPolicy {
                resource: Resource { stream: "other".parse().unwrap(), consumer: None },
                policy: None,
            },
            Command::DeregisterConsumer {
                name: name.clone(),
                consumer: "app".parse().unwrap(),
                created: now,
            },
            Command::SetMaxRecordSize { name: "other".parse().unwrap(), kib: 2048 },
            Command::SetShardMetrics {
                name: "other".parse().unwrap(),
                on: ShardMetrics::ALL,
                off: ShardMetrics::of_name("IncomingBytes").unwrap(),
            },
            Command::SetDistribution {
                name: "other".parse().unwrap(),
                distribution: Distribution::Auto,
            },
            Command::StopEncryption { name: "other".parse().unwrap() },
            Command::StartEncryption {
                name: "other".parse().unwrap(),
                id: None,
                master_key: "alias/k".into(),
                wrapped: vec![1],
                now,
            },
            Command::StartEncryption {
                name: "other".parse().unwrap(),
                id: Some(StreamId(2)),
                master_key: "alias/k".into(),
                wrapped: vec![1, 2],
                now,
            },
            Command::RotateDataKey {
                name: "other".parse().unwrap(),
                id: StreamId(2),
                used: 0,
                wrapped: vec![3],
                now,
            },
            Command::SettleEncryption {
                name: "other".parse().unwrap(),
                id: StreamId(2),
                change: 9,
            },
            Command::SetCommitment { enabled: true, now },
            Command::SetCommitment { enabled: false, now },
            Command::Limited {
                command: Box::new(Command::StopEncryption { name: "other".parse().unwrap() }),
                now,
            },
            Command::DeleteStream { name: name.clone(), with_consumers: false },
            Command::DeleteStream { name: name.clone(), with_consumers: true },
            Command::DropStream { name, id: StreamId(7) },
            user("ann"),
            user("bob"),
            user("carl"),
            Command::DeleteUser { name: "carl".parse().unwrap() },
            key("AKIA1"),
            key("AKIA2"),
            Command::SetAccessKey { id: "AKIA1".into(), enabled: false },
            Command::DeleteAccessKey { id: "AKIA2".into() },
            policy("p"),
            policy("q"),
            Command::DeleteUserPolicy { user: "ann".parse().unwrap(), name: "q".into() },
        ]
    }

    #[test]
    fn catalogs_read_what_they_wrote() {
        let catalog = catalog();
        let stream = catalog.streams.values().next().unwrap();
        assert!(
            catalog.moving.is_some()
                && catalog.nodes.values().any(|node| node.state == NodeState::Draining)
        );
        assert!(stream.shards.values().any(|shard| shard.moving.is_some()));
        assert!(catalog.balancing_paused && catalog.rebalance.is_some());
        assert!(catalog.commitment.is_some());
        assert!(stream.job.is_some() && stream.shards.values().any(|shard| !shard.is_open()));
        let ann = catalog.users.get(&"ann".parse().unwrap()).unwrap();
        assert_eq!((catalog.users.len(), ann.keys.len(), ann.policies.len()), (2, 1, 1));
        assert_eq!(decode_catalog(encode_catalog(&catalog)), Ok(catalog));
    }

    #[test]
    fn who_has_the_users_already_is_not_sent_them_again() {
        let catalog = catalog();
        let (whole, rest) = (encode_catalog(&catalog), encode_catalog_without_users(&catalog));
        assert!(rest.len() < whole.len());
        assert_eq!(decode_catalog_after(rest.clone(), &catalog.users).as_ref(), Ok(&catalog));
        assert_eq!(decode_catalog_after(whole, &Users::default()).as_ref(), Ok(&catalog));
        let missing = Err(Error::Missing("catalog.users"));
        assert_eq!(decode_catalog_after(rest, &Users::default()), missing);
    }

    #[test]
    fn users_that_share_an_access_key_are_refused() {
        let key = pb::AccessKey { id: "AKIA1".into(), ..pb::AccessKey::default() };
        let user = |name: &str| pb::User {
            name: name.into(),
            account: "123456789012".into(),
            keys: vec![key.clone()],
            ..pb::User::default()
        };
        let message = pb::Catalog { users: vec![user("a"), user("b")], ..pb::Catalog::default() };
        let decoded = decode_catalog(message.encode_to_vec().into());
        assert!(matches!(decoded, Err(Error::Invalid { field: "user.keys", .. })), "{decoded:?}");
    }

    #[test]
    fn a_catalog_of_before_says_nothing_of_balancing_and_has_it_on() {
        let before = pb::Catalog { version: 7, ..pb::Catalog::default() };
        let catalog = decode_catalog(before.encode_to_vec().into()).unwrap();
        assert!(catalog.balances());
        assert_eq!((catalog.balancing_paused, catalog.rebalance), (false, None));
    }

    #[test]
    fn commands_read_what_they_wrote() {
        for command in commands() {
            assert_eq!(decode_command(encode_command(&command)), Ok(command));
        }
    }

    #[test]
    fn a_limited_command_is_stored_as_these_bytes() {
        let stop = Command::StopEncryption { name: "s".parse().unwrap() };
        let limited = |command| {
            let now = Timestamp::from_millis(7);
            Command::Limited { command: Box::new(command), now }
        };
        let golden = b"\x82\x04\x08\x0a\x04\xaa\x03\x01s\x10\x07";
        assert_eq!(encode_command(&limited(stop.clone()))[..], golden[..]);
        let rule = "must not be limited itself".to_owned();
        let expected = Error::Invalid { field: "limited.command", rule };
        let twice = encode_command(&limited(limited(stop)));
        assert_eq!(decode_command(twice), Err(expected));
    }

    #[test]
    fn golden_bytes_of_a_start_of_encryption_without_its_streams_id() {
        let golden = b"\xa2\x03\x12\x0a\x01s\x12\x07alias/k\x1a\x02\x01\x02\x20\x05";
        let of = |id| Command::StartEncryption {
            name: "s".parse().unwrap(),
            id,
            master_key: "alias/k".into(),
            wrapped: vec![1, 2],
            now: Timestamp::from_millis(5),
        };
        assert_eq!(decode_command(Bytes::from_static(golden)), Ok(of(None)));
        assert_eq!(&encode_command(&of(None))[..], golden);
        let longer = [&[0xa2, 3, 20], &golden[3..], &[0x28, 4]].concat();
        assert_eq!(&encode_command(&of(Some(StreamId(4))))[..], longer);
    }

    #[test]
    fn a_stream_without_shards_is_no_command() {
        let create = pb::CreateStream {
            name: "s".into(),
            mode: pb::StreamMode::Provisioned.into(),
            ..Default::default()
        };
        let command = pb::Command { command: Some(pb::command::Command::CreateStream(create)) };
        let rule = "must be at least 1".to_owned();
        let expected = Error::Invalid { field: "create_stream.shards", rule };
        assert_eq!(decode_command(command.encode_to_vec().into()), Err(expected));
    }

    #[test]
    fn outcomes_read_what_they_wrote() {
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
        ];
        let outcomes = refusals.map(Outcome::Refused).into_iter();
        for outcome in outcomes.chain([Outcome::Done { version: 4 }]) {
            assert_eq!(decode_outcome(encode_outcome(&outcome)), Ok(outcome));
        }
    }
}
