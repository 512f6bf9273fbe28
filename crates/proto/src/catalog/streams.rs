//! Streams, with their shards, consumers, encryption and the job that is under way.
//!
//! Catalogs of earlier releases lack some fields. Their defaults are computed here from other fields, each next to a
//! comment.

use std::collections::BTreeMap;

use anabranch_catalog::{
    Consumer, ConsumerStatus, DataKey, Encryption, RecentChanges, ReshardJob, Shard, ShardStatus,
    Stream, StreamId, StreamStatus,
};
use anabranch_types::{ConsumerName, GroupId, ShardId, StreamName, Timestamp};

use super::nodes::{move_message, moving, replica, replica_message};
use super::values::{
    consumer_name, distribution, distribution_message, hash_key_bytes, hash_key_range,
    mode_message, sequence_number, shard_metrics, stream_mode, stream_name,
};
use crate::error::Error;
use crate::generated::pb_catalog as pb;

pub(super) fn stream_message(name: &StreamName, stream: &Stream) -> pb::Stream {
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
        newest_gone_millis: stream.newest_gone.as_millis(),
    }
}

pub(super) fn stream(message: pb::Stream) -> Result<(StreamName, Stream), Error> {
    let status = match message.status() {
        pb::StreamStatus::Creating => StreamStatus::Creating,
        pb::StreamStatus::Active => StreamStatus::Active,
        pb::StreamStatus::Updating => StreamStatus::Updating,
        pb::StreamStatus::Deleting => StreamStatus::Deleting,
        pb::StreamStatus::Unspecified => return Err(Error::Missing("stream.status")),
    };
    let shards = shards(&message.shards)?;
    // Catalogs of the first releases had neither `next_shard` nor `replicas`. They had no closed shards, so both
    // follow from the shards.
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
        newest_gone: Timestamp::from_millis(message.newest_gone_millis),
    };
    Ok((stream_name(&message.name)?, stream))
}

fn job_message(job: &ReshardJob) -> pb::ReshardJob {
    pb::ReshardJob {
        id: job.id,
        began_millis: job.began.as_millis(),
        parents: job.parents.iter().map(|parent| parent.0).collect(),
        children: job.children.values().map(shard_message).collect(),
    }
}

pub(super) fn job(message: pb::ReshardJob) -> Result<ReshardJob, Error> {
    Ok(ReshardJob {
        id: message.id,
        began: Timestamp::from_millis(message.began_millis),
        parents: message.parents.into_iter().map(ShardId).collect(),
        children: shards(&message.children)?,
    })
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

pub(super) fn consumer(message: pb::Consumer) -> Result<(ConsumerName, Consumer), Error> {
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

fn shards(messages: &[pb::Shard]) -> Result<BTreeMap<ShardId, Shard>, Error> {
    messages.iter().map(|message| shard(message).map(|shard| (shard.id, shard))).collect()
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
        birth_millis: shard.birth.as_millis(),
    }
}

pub(super) fn shard(message: &pb::Shard) -> Result<Shard, Error> {
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
    // Shards of the first releases have no birth of their own: it was their creation time.
    let birth_millis = match message.birth_millis {
        0 => message.created_millis,
        stored => stored,
    };
    Ok(Shard {
        id: ShardId(message.id),
        group: GroupId(message.group),
        born: message.born,
        parents: message.parents.iter().copied().map(ShardId).collect(),
        range,
        created: Timestamp::from_millis(message.created_millis),
        birth: Timestamp::from_millis(birth_millis),
        status,
        replicas: message.replicas.iter().map(replica).collect(),
        moving: message.moving.map(moving).transpose()?,
    })
}
