//! Commands of streams.

use anabranch_catalog::{NewStream, StreamCommand, StreamId};
use anabranch_types::{GroupId, Timestamp};

use super::decoded::{Decoded, Pb};
use crate::catalog::values::{
    at_least_one, distribution, distribution_message, mode_message, shard_metrics, stream_mode,
    stream_name, stream_ref,
};
use crate::error::Error;
use crate::generated::pb_catalog as pb;

pub(super) fn message(command: &StreamCommand) -> Pb {
    match command {
        StreamCommand::Create(new) => Pb::CreateStream(pb::CreateStream {
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
        StreamCommand::Activate { name, id, newest_group } => Pb::ActivateStream(pb::StreamRef {
            newest_group: newest_group.map(|group| group.0),
            ..stream_ref(name, *id)
        }),
        StreamCommand::Delete { name, with_consumers } => Pb::DeleteStream(pb::StreamRef {
            with_consumers: *with_consumers,
            ..stream_ref(name, StreamId(0))
        }),
        StreamCommand::Drop { name, id } => Pb::DropStream(stream_ref(name, *id)),
        StreamCommand::SetRetention { name, hours, longer } => Pb::SetRetention(pb::SetRetention {
            stream: name.to_string(),
            hours: *hours,
            longer: *longer,
        }),
        StreamCommand::SetMode { name, mode, warm_throughput_mibps } => {
            Pb::SetStreamMode(pb::SetStreamMode {
                stream: name.to_string(),
                mode: mode_message(*mode).into(),
                warm_throughput_mibps: *warm_throughput_mibps,
            })
        }
        StreamCommand::SetWarmThroughput { name, mibps } => {
            Pb::SetWarmThroughput(pb::SetWarmThroughput { stream: name.to_string(), mibps: *mibps })
        }
        StreamCommand::SetMaxRecordSize { name, kib } => {
            Pb::SetMaxRecordSize(pb::SetMaxRecordSize { stream: name.to_string(), kib: *kib })
        }
        StreamCommand::SetShardMetrics { name, on, off } => {
            Pb::SetShardMetrics(pb::SetShardMetrics {
                stream: name.to_string(),
                on: on.bits().into(),
                off: off.bits().into(),
            })
        }
        StreamCommand::SetDistribution { name, distribution } => {
            Pb::SetDistribution(pb::SetDistribution {
                stream: name.to_string(),
                distribution: distribution_message(*distribution).into(),
            })
        }
    }
}

pub(super) fn command(message: Pb) -> Result<Decoded, Error> {
    let command = match message {
        Pb::CreateStream(new) => StreamCommand::Create(NewStream {
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
        Pb::ActivateStream(stream) => StreamCommand::Activate {
            name: stream_name(&stream.name)?,
            id: StreamId(stream.id),
            newest_group: stream.newest_group.map(GroupId),
        },
        Pb::DeleteStream(stream) => StreamCommand::Delete {
            name: stream_name(&stream.name)?,
            with_consumers: stream.with_consumers,
        },
        Pb::DropStream(stream) => {
            StreamCommand::Drop { name: stream_name(&stream.name)?, id: StreamId(stream.id) }
        }
        Pb::SetRetention(set) => StreamCommand::SetRetention {
            name: stream_name(&set.stream)?,
            hours: set.hours,
            longer: set.longer,
        },
        Pb::SetStreamMode(set) => StreamCommand::SetMode {
            mode: stream_mode(set.mode())?,
            name: stream_name(&set.stream)?,
            warm_throughput_mibps: set.warm_throughput_mibps,
        },
        Pb::SetWarmThroughput(set) => {
            StreamCommand::SetWarmThroughput { name: stream_name(&set.stream)?, mibps: set.mibps }
        }
        Pb::SetMaxRecordSize(set) => {
            StreamCommand::SetMaxRecordSize { name: stream_name(&set.stream)?, kib: set.kib }
        }
        Pb::SetShardMetrics(set) => StreamCommand::SetShardMetrics {
            name: stream_name(&set.stream)?,
            on: shard_metrics(set.on),
            off: shard_metrics(set.off),
        },
        Pb::SetDistribution(set) => StreamCommand::SetDistribution {
            name: stream_name(&set.stream)?,
            distribution: distribution(set.distribution()),
        },
        other => return Ok(Decoded::Other(other)),
    };
    Ok(Decoded::Command(command.into()))
}
