//! Outcomes of commands, as they are sent to the proposer.
//!
//! An outcome is not stored. A refusal names a limit by its text, so the texts in [`LIMITS`] are part of the wire
//! format.

use anabranch_catalog::{Outcome, Refusal, StreamId};
use anabranch_types::{GroupId, NodeId, ReplicaId, ShardId};
use bytes::Bytes;
use prost::Message;

use super::commands::{job_of, job_ref, split_message};
use super::users;
use super::values::{consumer_name, hash_key, hash_key_bytes, hash_key_range, stream_name};
use crate::error::Error;
use crate::generated::pb_catalog as pb;

/// All limited quantities that [`Refusal::Limit`] can name. A text of a later release becomes `limit`.
const LIMITS: [&str; 15] = [
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
    "table groups",
];

/// The bytes of an outcome.
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
            Pb::ReplicaNotFound(pb::ReplicaRef { group: group.0, replica: replica.0 })
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
        Outcome::Refused(Refusal::CannotRecover { group }) => Pb::CannotRecover(group.0),
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

/// Decodes the bytes of [`encode_outcome`].
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
            replica: ReplicaId(replica.replica),
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
        Pb::CannotRecover(group) => refused(Refusal::CannotRecover { group: GroupId(group) }),
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
