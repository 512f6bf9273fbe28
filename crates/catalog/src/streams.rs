//! The life of streams, from CREATING to gone, and their settings.

mod capacity;
mod settings;

use std::collections::BTreeMap;

use anabranch_types::{HashKeyRange, ShardId, StreamName, Timestamp, limits};

use crate::apply::Change;
use crate::births::born_after;
use crate::encryption::Encryption;
use crate::model::{Catalog, Stream, StreamId, StreamMode, StreamStatus};
use crate::outcome::Refusal;
use crate::resources::check_tags;
use crate::service_limits::RecentChanges;
use crate::shards::{Dates, Piece};

pub use settings::{Distribution, ShardMetrics};

/// What a user asks for in CreateStream, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStream {
    /// Its name.
    pub name: StreamName,
    /// How many shards; at least 1.
    pub shards: u32,
    /// Capacity mode.
    pub mode: StreamMode,
    /// MiB a second that an on-demand stream has shards for at least; 0 if none were asked for.
    pub warm_throughput_mibps: u32,
    /// How long records are kept.
    pub retention_hours: u32,
    /// Largest record.
    pub max_record_size_kib: u32,
    /// The user's tags.
    pub tags: BTreeMap<String, String>,
    /// How records find their shards.
    pub distribution: Distribution,
    /// Replicas of each shard; fewer if there are fewer nodes.
    pub replicas: u32,
    /// The proposer's clock.
    pub now: Timestamp,
}

/// A change to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamCommand {
    /// A user creates a stream.
    Create(NewStream),
    /// The controller saw a leader in every group of a new stream.
    Activate {
        /// The stream's name.
        name: StreamName,
        /// Which stream of that name.
        id: StreamId,
    },
    /// A user deletes a stream.
    Delete {
        /// The stream's name.
        name: StreamName,
        /// Whether its consumers go with it; else one that has any stays.
        with_consumers: bool,
    },
    /// The controller saw that no node holds a group of a deleted stream any more.
    Drop {
        /// The stream's name.
        name: StreamName,
        /// Which stream of that name.
        id: StreamId,
    },
    /// A user changes how long records are kept.
    SetRetention {
        /// The stream.
        name: StreamName,
        /// From now on.
        hours: u32,
        /// Whether the user says that it is longer than before; else shorter.
        longer: bool,
    },
    /// A user changes how a stream's capacity is decided.
    SetMode {
        /// The stream.
        name: StreamName,
        /// From now on.
        mode: StreamMode,
        /// MiB a second that it is to have shards for at least; `None` leaves an on-demand stream's.
        warm_throughput_mibps: Option<u32>,
    },
    /// A user changes what an on-demand stream has shards for at least.
    SetWarmThroughput {
        /// The stream.
        name: StreamName,
        /// MiB a second.
        mibps: u32,
    },
    /// A user changes how large a record may be.
    SetMaxRecordSize {
        /// The stream.
        name: StreamName,
        /// KiB of data and partition key together.
        kib: u32,
    },
    /// A user asks for metrics of each shard, or no longer.
    SetShardMetrics {
        /// The stream.
        name: StreamName,
        /// Metrics that are wanted from now on.
        on: ShardMetrics,
        /// Metrics that aren't.
        off: ShardMetrics,
    },
    /// A user changes how records find their shards.
    SetDistribution {
        /// The stream.
        name: StreamName,
        /// From now on.
        distribution: Distribution,
    },
}

impl StreamCommand {
    pub(crate) fn apply(self, catalog: &mut Catalog, log_index: u64) -> Result<Change, Refusal> {
        match self {
            Self::Create(new) => catalog.create_stream(log_index, new),
            Self::Activate { name, id } => catalog.activate_stream(&name, id),
            Self::Delete { name, with_consumers } => catalog.delete_stream(name, with_consumers),
            Self::Drop { name, id } => catalog.drop_stream(&name, id),
            Self::SetRetention { name, hours, longer } => {
                catalog.set_retention(name, hours, longer)
            }
            Self::SetMode { name, mode, warm_throughput_mibps } => {
                catalog.set_stream_mode(name, mode, warm_throughput_mibps)
            }
            Self::SetWarmThroughput { name, mibps } => catalog.set_warm_throughput(name, mibps),
            Self::SetMaxRecordSize { name, kib } => catalog.set_max_record_size(&name, kib),
            Self::SetShardMetrics { name, on, off } => catalog.set_shard_metrics(&name, on, off),
            Self::SetDistribution { name, distribution } => {
                catalog.set_distribution(name, distribution)
            }
        }
    }

    /// As [`crate::Command::is_repeatable`].
    pub(crate) fn is_repeatable(&self) -> bool {
        match self {
            Self::SetMaxRecordSize { .. } | Self::SetShardMetrics { .. } => true,
            Self::Create(_)
            | Self::Activate { .. }
            | Self::Delete { .. }
            | Self::Drop { .. }
            | Self::SetRetention { .. }
            | Self::SetMode { .. }
            | Self::SetWarmThroughput { .. }
            | Self::SetDistribution { .. } => false,
        }
    }
}

impl Catalog {
    fn create_stream(&mut self, log_index: u64, new: NewStream) -> Result<Change, Refusal> {
        if self.streams.contains_key(&new.name) {
            return Err(Refusal::StreamExists { name: new.name });
        }
        if new.shards > limits::STREAM_MAX_SHARDS {
            let [actual, limit] = [new.shards, limits::STREAM_MAX_SHARDS].map(u64::from);
            return Err(Refusal::Limit { what: "ShardCount", actual, limit });
        }
        capacity::check_warm_throughput(new.warm_throughput_mibps)?;
        check_tags(&new.tags)?;
        if new.mode != StreamMode::OnDemand && new.distribution == Distribution::Auto {
            return Err(Refusal::NotOnDemand { name: new.name });
        }
        let ranges = HashKeyRange::split_evenly(new.shards).into_iter();
        let pieces: Vec<_> = ranges.map(|range| Piece { range, parents: Vec::new() }).collect();
        let (first, born) = (ShardId(0), 0);
        // Taken only when nothing refuses the stream any more.
        let newest_gone = self.former_names.newest(&new.name);
        let dates = Dates { created: new.now, birth: born_after(newest_gone, new.now) };
        let shards = self.new_shards(&pieces, first, born, dates, new.replicas)?;
        self.former_names.forget(&new.name);
        let stream = Stream {
            id: StreamId(log_index),
            created: new.now,
            status: StreamStatus::Creating,
            mode: new.mode,
            warm_throughput_mibps: new.warm_throughput_mibps,
            retention_hours: new.retention_hours,
            max_record_size_kib: new.max_record_size_kib,
            tags: new.tags,
            replicas: new.replicas,
            next_shard: new.shards,
            shards,
            job: None,
            target_shards: None,
            consumers: BTreeMap::new(),
            policy: None,
            shard_metrics: ShardMetrics::default(),
            distribution: new.distribution,
            encryption: Encryption::default(),
            recent_changes: RecentChanges::default(),
            newest_gone,
        };
        self.streams.insert(new.name, stream);
        Ok(Change::Made)
    }

    fn activate_stream(&mut self, name: &StreamName, id: StreamId) -> Result<Change, Refusal> {
        match self.streams.get_mut(name).filter(|stream| stream.id == id) {
            Some(stream) if stream.status == StreamStatus::Creating => {
                stream.status = StreamStatus::Active;
                Ok(Change::Made)
            }
            Some(_) => Ok(Change::AlreadySo),
            None => Err(Refusal::StreamNotFound { name: name.clone() }),
        }
    }

    fn delete_stream(&mut self, name: StreamName, with_consumers: bool) -> Result<Change, Refusal> {
        if self.streams.get(&name).is_some_and(|s| s.status == StreamStatus::Deleting) {
            return Ok(Change::AlreadySo);
        }
        let stream = match self.streams.get_mut(&name) {
            // A change of encryption settles once every shard has a leader; where one has lost its majority it never will.
            Some(stream) if stream.encryption.unsettled.is_some() && stream.job.is_none() => stream,
            _ => self.changeable_stream(&name)?,
        };
        if !with_consumers && !stream.consumers.is_empty() {
            return Err(Refusal::StreamHasConsumers { name });
        }
        stream.status = StreamStatus::Deleting;
        (stream.job, stream.target_shards) = (None, None);
        Ok(Change::Made)
    }

    fn drop_stream(&mut self, name: &StreamName, id: StreamId) -> Result<Change, Refusal> {
        match self.streams.get(name).filter(|stream| stream.id == id) {
            Some(stream) if stream.status == StreamStatus::Deleting => {
                self.former_names.remember(name.clone(), stream);
                self.streams.remove(name);
                Ok(Change::Made)
            }
            Some(_) => Err(Refusal::StreamNotActive { name: name.clone() }),
            None => Ok(Change::AlreadySo),
        }
    }

    /// The stream, if it is ACTIVE.
    pub(crate) fn active_stream(&self, name: &StreamName) -> Result<&Stream, Refusal> {
        match self.streams.get(name) {
            Some(stream) if stream.status == StreamStatus::Active => Ok(stream),
            Some(_) => Err(Refusal::StreamNotActive { name: name.clone() }),
            None => Err(Refusal::StreamNotFound { name: name.clone() }),
        }
    }

    /// The stream, if it is ACTIVE, or UPDATING for no other reason than its load.
    pub(crate) fn changeable_stream(&mut self, name: &StreamName) -> Result<&mut Stream, Refusal> {
        match self.streams.get_mut(name) {
            Some(stream) if stream.is_changeable() => Ok(stream),
            Some(_) => Err(Refusal::StreamNotActive { name: name.clone() }),
            None => Err(Refusal::StreamNotFound { name: name.clone() }),
        }
    }
}

impl Stream {
    /// Whether it is ACTIVE, or UPDATING for no other reason than its load.
    pub(crate) fn is_changeable(&self) -> bool {
        self.status == StreamStatus::Active
            || (self.status == StreamStatus::Updating && self.mode == StreamMode::OnDemand)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StreamMode::Provisioned;
    use crate::outcome::Outcome;
    use crate::script::Script;

    #[test]
    fn a_stream_lives_from_creating_to_gone() {
        let mut script = Script::with_nodes(1, &["a", "b", "c"]);
        let name: StreamName = "s".parse().unwrap();
        assert_eq!(script.create("s", 4, Provisioned), Outcome::Done { version: 4 });
        let id = script.stream("s").id;
        let exists = Refusal::StreamExists { name: name.clone() };
        assert_eq!(script.create("s", 4, Provisioned), Outcome::Refused(exists));
        let delete = StreamCommand::Delete { name: name.clone(), with_consumers: false };
        let not_active = Refusal::StreamNotActive { name: name.clone() };
        assert_eq!(script.run(delete.clone()), Outcome::Refused(not_active.clone()));
        let activate = StreamCommand::Activate { name: name.clone(), id };
        assert_eq!(script.run(activate.clone()), Outcome::Done { version: 7 });
        assert_eq!(script.run(activate), Outcome::Done { version: 7 });
        let drop = StreamCommand::Drop { name: name.clone(), id };
        assert_eq!(script.run(drop.clone()), Outcome::Refused(not_active));
        assert_eq!(script.run(delete), Outcome::Done { version: 10 });
        assert_eq!(script.stream("s").status, StreamStatus::Deleting);
        assert_eq!(script.run(drop.clone()), Outcome::Done { version: 11 });
        assert_eq!(script.run(drop), Outcome::Done { version: 11 });
        assert!(script.catalog.streams.is_empty());
    }
}
