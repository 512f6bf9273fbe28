//! Commands, as they are stored in the catalog's log and sent.

use anabranch_catalog::{Command, NewStream, ShardChange, StreamId};
use anabranch_types::{
    GroupId, HashKey, Incarnation, NodeId, ReplicaId, SequenceNumber, ShardId, StreamName,
    Timestamp,
};
use bytes::Bytes;
use prost::Message;

use super::nodes::{node_state, state_message};
use super::users;
use super::values::{
    at_least_one, consumer_name, distribution, distribution_message, hash_key, hash_key_bytes,
    mode_message, resource, resource_message, sequence_number, shard_metrics, stream_mode,
    stream_name,
};
use crate::{Error, pb_catalog as pb};

/// A command as it is stored and sent.
pub fn encode_command(command: &Command) -> Bytes {
    command_message(command).encode_to_vec().into()
}

/// Reads what [`encode_command`] wrote.
///
/// # Errors
/// [`Error`] names the field.
pub fn decode_command(bytes: Bytes) -> Result<Command, Error> {
    command(pb::Command::decode(bytes)?)
}

fn command_message(command: &Command) -> pb::Command {
    use pb::command::Command as Pb;
    let command = match command {
        Command::RegisterNode {
            node,
            incarnation,
            starts,
            boot,
            grpc_address,
            api_address,
            zone,
        } => Pb::RegisterNode(pb::Node {
            id: node.0,
            incarnation: incarnation.0,
            grpc_address: grpc_address.clone(),
            api_address: api_address.clone(),
            zone: zone.clone(),
            state: pb::NodeState::Active.into(),
            starts: *starts,
            boot: *boot,
            went_back: false,
        }),
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
        Command::RecoverGroup { group, from } => {
            Pb::RecoverGroup(pb::RecoverGroup { group: group.0, from: from.0 })
        }
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
            Pb::FinishMove(pb::FinishMove { group: group.0, replica: replica.0 })
        }
        Command::CancelMove { group, replica } => {
            Pb::CancelMove(pb::CancelMove { group: group.0, replica: replica.0 })
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

fn command(message: pb::Command) -> Result<Command, Error> {
    use pb::command::Command as Pb;
    Ok(match message.command.ok_or(Error::Missing("command"))? {
        Pb::RegisterNode(node) => Command::RegisterNode {
            node: NodeId(node.id),
            incarnation: Incarnation(node.incarnation),
            starts: node.starts,
            boot: node.boot,
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
        Pb::RecoverGroup(recover) => {
            Command::RecoverGroup { group: GroupId(recover.group), from: ReplicaId(recover.from) }
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
        Pb::FinishMove(pb::FinishMove { group, replica }) => {
            Command::FinishMove { group: GroupId(group), replica: ReplicaId(replica) }
        }
        Pb::CancelMove(pb::CancelMove { group, replica }) => {
            Command::CancelMove { group: GroupId(group), replica: ReplicaId(replica) }
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

pub(super) fn split_message(shard: ShardId, at: HashKey) -> pb::SplitShard {
    pb::SplitShard { shard: shard.0, at: hash_key_bytes(at) }
}

fn stream_ref(name: &StreamName, id: StreamId) -> pb::StreamRef {
    pb::StreamRef { name: name.to_string(), id: id.0, with_consumers: false }
}

pub(super) fn job_ref(name: &StreamName, id: StreamId, job: u64) -> pb::JobRef {
    pb::JobRef { stream: Some(stream_ref(name, id)), job }
}

pub(super) fn job_of(message: Option<pb::JobRef>) -> Result<(StreamName, StreamId, u64), Error> {
    let message = message.ok_or(Error::Missing("job"))?;
    let stream = message.stream.ok_or(Error::Missing("job.stream"))?;
    Ok((stream_name(&stream.name)?, StreamId(stream.id), message.job))
}
