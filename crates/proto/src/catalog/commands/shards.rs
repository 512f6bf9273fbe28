//! Commands of shards: resharding jobs, scaling, expiry.

use anabranch_catalog::{ShardChange, ShardsCommand, StreamId};
use anabranch_types::{GroupId, HashKey, SequenceNumber, ShardId, StreamName, Timestamp};

use super::decoded::{Decoded, Pb};
use crate::catalog::values::{hash_key, hash_key_bytes, sequence_number, stream_name, stream_ref};
use crate::error::Error;
use crate::generated::pb_catalog as pb;

pub(super) fn message(command: &ShardsCommand) -> Pb {
    match command {
        ShardsCommand::Reshard { name, change, now } => {
            Pb::Reshard(reshard_message(name, change, *now))
        }
        ShardsCommand::Commit { name, id, job, endings, newest_group, now } => {
            let ending = |(shard, number): (&ShardId, &SequenceNumber)| pb::ShardEnding {
                shard: shard.0,
                sequence_number: number.to_string(),
            };
            Pb::CommitReshard(pb::CommitReshard {
                job: Some(job_ref(name, *id, *job)),
                endings: endings.iter().map(ending).collect(),
                newest_group: newest_group.map(|group| group.0),
                now_millis: now.as_millis(),
            })
        }
        ShardsCommand::Abort { name, id, job } => Pb::AbortReshard(job_ref(name, *id, *job)),
        ShardsCommand::Expire { name, id, now } => Pb::ExpireShards(pb::ExpireShards {
            stream: Some(stream_ref(name, *id)),
            now_millis: now.as_millis(),
        }),
        ShardsCommand::Scale { name, id, change, now } => Pb::Scale(pb::Scale {
            stream: Some(stream_ref(name, *id)),
            change: Some(reshard_message(name, change, *now)),
        }),
    }
}

pub(super) fn command(message: Pb) -> Result<Decoded, Error> {
    let command = match message {
        Pb::Reshard(message) => {
            let (name, change, now) = reshard(message)?;
            ShardsCommand::Reshard { name, change, now }
        }
        Pb::CommitReshard(commit) => {
            let (name, id, job) = job_of(commit.job)?;
            let endings = commit.endings.iter().map(|ending| {
                let number = sequence_number(&ending.sequence_number, "ending.sequence_number");
                Ok((ShardId(ending.shard), number?))
            });
            let endings = endings.collect::<Result<_, Error>>()?;
            let now = Timestamp::from_millis(commit.now_millis);
            let newest_group = commit.newest_group.map(GroupId);
            ShardsCommand::Commit { name, id, job, endings, newest_group, now }
        }
        Pb::AbortReshard(job) => {
            let (name, id, job) = job_of(Some(job))?;
            ShardsCommand::Abort { name, id, job }
        }
        Pb::ExpireShards(expire) => {
            let stream = expire.stream.ok_or(Error::Missing("expire_shards.stream"))?;
            let now = Timestamp::from_millis(expire.now_millis);
            ShardsCommand::Expire { name: stream_name(&stream.name)?, id: StreamId(stream.id), now }
        }
        Pb::Scale(scale) => {
            let id = StreamId(scale.stream.ok_or(Error::Missing("scale.stream"))?.id);
            let change = scale.change.ok_or(Error::Missing("scale.change"))?;
            let (name, change, now) = reshard(change)?;
            ShardsCommand::Scale { name, id, change, now }
        }
        other => return Ok(Decoded::Other(other)),
    };
    Ok(Decoded::Command(command.into()))
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

pub(in crate::catalog) fn split_message(shard: ShardId, at: HashKey) -> pb::SplitShard {
    pb::SplitShard { shard: shard.0, at: hash_key_bytes(at) }
}

pub(in crate::catalog) fn job_ref(name: &StreamName, id: StreamId, job: u64) -> pb::JobRef {
    pb::JobRef { stream: Some(stream_ref(name, id)), job }
}

pub(in crate::catalog) fn job_of(
    message: Option<pb::JobRef>,
) -> Result<(StreamName, StreamId, u64), Error> {
    let message = message.ok_or(Error::Missing("job"))?;
    let stream = message.stream.ok_or(Error::Missing("job.stream"))?;
    Ok((stream_name(&stream.name)?, StreamId(stream.id), message.job))
}
