//! Streams: their life, and their settings.
//!
//! ```text
//! -- Create --> CREATING -- Activate --> ACTIVE <-> UPDATING -- Delete --> DELETING -- Drop --> gone
//! ```
//!
//! Users create and delete. The controller activates a stream once each of its groups has a leader, and drops it once
//! no node holds a replica of it any more. Only a stream that is ACTIVE can be changed, or an on-demand stream that
//! is UPDATING: its user did not ask for the splits and merges, so they do not block the user.

mod capacity;
mod settings;

use std::collections::BTreeMap;

use anabranch_types::{GroupId, HashKeyRange, ShardId, StreamName, Timestamp, limits};

use crate::apply::Change;
use crate::births::born_after;
use crate::encryption::Encryption;
use crate::groups::saw_all;
use crate::model::{Catalog, Stream, StreamId, StreamMode, StreamStatus};
use crate::outcome::Refusal;
use crate::resources::check_tags;
use crate::service_limits::RecentChanges;
use crate::shards::{Dates, Piece};

pub use settings::{Distribution, ShardMetrics};

/// A stream that a user creates. The caller has checked the values that the API constrains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStream {
    /// Name of the stream. No other stream has it, in any status.
    pub name: StreamName,
    /// Number of shards, at least 1. They divide the hash keys evenly.
    pub shards: u32,
    /// Capacity mode.
    pub mode: StreamMode,
    /// See [`Stream::warm_throughput_mibps`].
    pub warm_throughput_mibps: u32,
    /// See [`Stream::retention_hours`].
    pub retention_hours: u32,
    /// See [`Stream::max_record_size_kib`].
    pub max_record_size_kib: u32,
    /// Tags of the stream, values by keys; at most 50.
    pub tags: BTreeMap<String, String>,
    /// How a record's shard is chosen. `Auto` needs on-demand mode.
    pub distribution: Distribution,
    /// Number of replicas of each shard. A shard gets fewer if there are fewer nodes.
    pub replicas: u32,
    /// Time by the proposer's clock.
    pub now: Timestamp,
}

/// A change to the life or the settings of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamCommand {
    /// A user creates a stream.
    Create(NewStream),
    /// The controller saw a leader in every group of a new stream.
    Activate {
        /// Name of the stream.
        name: StreamName,
        /// Identity of the stream.
        id: StreamId,
        /// [`newest_group`](crate::newest_group) of the shards whose leaders the controller saw. `None` in entries of
        /// versions that did not say it.
        newest_group: Option<GroupId>,
    },
    /// A user deletes a stream.
    Delete {
        /// Name of the stream.
        name: StreamName,
        /// Whether to delete its consumers with it. If not, a stream with consumers is refused.
        with_consumers: bool,
    },
    /// The controller saw that no node holds a replica of a deleted stream any more.
    Drop {
        /// Name of the stream.
        name: StreamName,
        /// Identity of the stream.
        id: StreamId,
    },
    /// A user changes the retention of a stream.
    SetRetention {
        /// Name of the stream.
        name: StreamName,
        /// Hours for which records are kept, between 24 and 8,760.
        hours: u32,
        /// Whether the user called IncreaseStreamRetentionPeriod; if not, DecreaseStreamRetentionPeriod. A value in
        /// the other direction is refused.
        longer: bool,
    },
    /// A user changes the capacity mode of a stream. Its shards stay as they are.
    SetMode {
        /// Name of the stream.
        name: StreamName,
        /// Mode from now on.
        mode: StreamMode,
        /// See [`Stream::warm_throughput_mibps`]. `None` keeps the value. Ignored in provisioned mode.
        warm_throughput_mibps: Option<u32>,
    },
    /// A user changes the warm throughput of an on-demand stream.
    SetWarmThroughput {
        /// Name of the stream.
        name: StreamName,
        /// See [`Stream::warm_throughput_mibps`]; at most 10,240.
        mibps: u32,
    },
    /// A user changes the size limit of records.
    SetMaxRecordSize {
        /// Name of the stream.
        name: StreamName,
        /// KiB of data and partition key together.
        kib: u32,
    },
    /// A user switches metrics of shards on or off. Metrics in neither set stay as they are.
    SetShardMetrics {
        /// Name of the stream.
        name: StreamName,
        /// Metrics to switch on.
        on: ShardMetrics,
        /// Metrics to switch off, also if they are in `on`.
        off: ShardMetrics,
    },
    /// A user changes how a record's shard is chosen.
    SetDistribution {
        /// Name of the stream.
        name: StreamName,
        /// The new way. `Auto` is refused in provisioned mode.
        distribution: Distribution,
    },
}

impl StreamCommand {
    pub(crate) fn apply(self, catalog: &mut Catalog, log_index: u64) -> Result<Change, Refusal> {
        match self {
            Self::Create(new) => catalog.create_stream(log_index, new),
            Self::Activate { name, id, newest_group } => {
                catalog.activate_stream(&name, id, newest_group)
            }
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

    /// As [`crate::Command::is_idempotent`].
    pub(crate) fn is_idempotent(&self) -> bool {
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
        // The name is forgotten only after the last check that may refuse: a refusal changes nothing.
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

    fn activate_stream(
        &mut self,
        name: &StreamName,
        id: StreamId,
        seen: Option<GroupId>,
    ) -> Result<Change, Refusal> {
        match self.streams.get_mut(name).filter(|stream| stream.id == id) {
            Some(stream)
                if stream.status == StreamStatus::Creating && saw_all(seen, &stream.shards) =>
            {
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
            // A change of encryption settles only when every shard has a leader. A shard that has lost its majority
            // never has one, and then deleting the stream must still be possible.
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
    ///
    /// # Errors
    /// A refusal if there is no such stream, or if it has another status.
    pub(crate) fn active_stream(&self, name: &StreamName) -> Result<&Stream, Refusal> {
        match self.streams.get(name) {
            Some(stream) if stream.status == StreamStatus::Active => Ok(stream),
            Some(_) => Err(Refusal::StreamNotActive { name: name.clone() }),
            None => Err(Refusal::StreamNotFound { name: name.clone() }),
        }
    }

    /// The stream, if its user may change it now.
    ///
    /// # Errors
    /// A refusal if there is no such stream, or if its status does not allow a change.
    pub(crate) fn changeable_stream(&mut self, name: &StreamName) -> Result<&mut Stream, Refusal> {
        match self.streams.get_mut(name) {
            Some(stream) if stream.is_changeable() => Ok(stream),
            Some(_) => Err(Refusal::StreamNotActive { name: name.clone() }),
            None => Err(Refusal::StreamNotFound { name: name.clone() }),
        }
    }
}

impl Stream {
    /// Whether its user may change it now: it is ACTIVE, or it is in on-demand mode and UPDATING.
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
        let activate = StreamCommand::Activate { name: name.clone(), id, newest_group: None };
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
