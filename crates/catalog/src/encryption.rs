//! Encryption of a stream: its master key, and the data keys of all readable records (ADR-0020).
//!
//! A data key encrypts records. The catalog has it only wrapped by a master key, which never leaves its holder. Shard
//! leaders encrypt with the newest data key; readers need every data key under which a record is retained.
//!
//! 1. `Start` brings the first data key, `Stop` ends the use of data keys. The stream is UPDATING, because leaders
//!    and readers on some nodes do not know of the change yet.
//! 2. `Settle`: the controller saw that every node knows it. The stream is ACTIVE again.
//! 3. `RotateDataKey`: a leader has used the newest data key for long enough, and brings the next one.
//!
//! It never happens that a number names two data keys, or that a data key is removed while a record under it is
//! retained.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_types::{StreamName, Timestamp, limits};

use crate::apply::Change;
use crate::model::{Catalog, Stream, StreamId, StreamStatus};
use crate::outcome::Refusal;

/// The encryption of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encryption {
    /// Master key of new records, as its user named it. `None` if new records are not encrypted.
    pub master_key: Option<String>,
    /// Data keys by number. New records are encrypted with the highest one.
    pub data_keys: BTreeMap<u32, DataKey>,
    /// Number of the next data key. Each number is given out once.
    pub next_data_key: u32,
    /// The newest change of the master key, until every node knows it: log index of its command. The stream is UPDATING
    /// as long as this is set.
    pub unsettled: Option<u64>,
}

/// A data key, wrapped by a master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataKey {
    /// Name of the master key, as the user wrote it when the data key was made.
    pub master_key: String,
    /// The data key, encrypted by the holder of the master key.
    pub wrapped: Vec<u8>,
    /// Beginning of its use, by the proposer's clock.
    pub created: Timestamp,
}

/// Number of data keys that a stream keeps whatever their age. Data keys are replaced once a day, so these are more
/// than a year's.
const FEW_DATA_KEYS: usize = 512;

/// A change to the encryption of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncryptionCommand {
    /// A user starts the encryption of new records, or changes the master key.
    Start {
        /// Name of the stream.
        name: StreamName,
        /// Identity of the stream for which the data key was made. The data key cannot be unwrapped for another
        /// stream. `None` in commands of earlier releases; then the identity is not checked.
        id: Option<StreamId>,
        /// Name of the master key, as the user wrote it.
        master_key: String,
        /// A new data key, wrapped by the master key.
        wrapped: Vec<u8>,
        /// Time by the proposer's clock.
        now: Timestamp,
    },
    /// A user stops the encryption of new records. The data keys stay, for older records.
    Stop {
        /// Name of the stream.
        name: StreamName,
    },
    /// The leader of a shard replaces the newest data key, because it was used for long enough.
    RotateDataKey {
        /// Name of the stream.
        name: StreamName,
        /// Identity of the stream.
        id: StreamId,
        /// Number of the data key that is replaced. Refused unless it is the newest: several leaders may ask.
        used: u32,
        /// The next data key, wrapped by the same master key.
        wrapped: Vec<u8>,
        /// Time by the proposer's clock.
        now: Timestamp,
    },
    /// The controller saw that every node knows a change of the master key.
    Settle {
        /// Name of the stream.
        name: StreamName,
        /// Identity of the stream.
        id: StreamId,
        /// Log index of the command that made the change.
        change: u64,
    },
}

impl EncryptionCommand {
    pub(crate) fn apply(self, catalog: &mut Catalog, log_index: u64) -> Result<Change, Refusal> {
        match self {
            Self::Start { name, id, master_key, wrapped, now } => {
                catalog.start_encryption(log_index, &name, id, master_key, wrapped, now)
            }
            Self::Stop { name } => catalog.stop_encryption(log_index, &name),
            Self::RotateDataKey { name, id, used, wrapped, now } => {
                catalog.rotate_data_key(name, id, used, wrapped, now)
            }
            Self::Settle { name, id, change } => catalog.settle_encryption(&name, id, change),
        }
    }
}

impl Encryption {
    /// The data key of new records and its number. `None` if new records are not encrypted.
    pub fn current(&self) -> Option<(u32, &DataKey)> {
        self.master_key.as_ref()?;
        self.data_keys.last_key_value().map(|(number, key)| (*number, key))
    }

    fn add(&mut self, key: DataKey) {
        // No record is retained longer than `longest`, so no record is left under a key that was replaced before
        // that. The day is for clocks that differ. The newest keys are kept whatever their age: the times come from
        // clocks of leaders, and a clock that is years ahead must not remove a key whose records are retained.
        let longest = Duration::from_secs(u64::from(limits::MAX_RETENTION_HOURS) * 3600);
        let day = Duration::from_secs(24 * 3600);
        let replaced: Vec<_> = self.data_keys.keys().copied().zip(self.successors(&key)).collect();
        for (number, at) in replaced {
            if self.data_keys.len() > FEW_DATA_KEYS && at.plus(longest + day) <= key.created {
                self.data_keys.remove(&number);
            }
        }
        self.data_keys.insert(self.next_data_key, key);
        self.next_data_key += 1;
    }

    /// The times at which the data keys were replaced, in their order. `newest` replaces the last one.
    fn successors(&self, newest: &DataKey) -> Vec<Timestamp> {
        let times = self.data_keys.values().skip(1).map(|key| key.created);
        times.chain([newest.created]).collect()
    }
}

impl Stream {
    /// The status of a stream that is neither CREATING nor DELETING.
    pub(crate) fn status_at_rest(&self) -> StreamStatus {
        match (&self.job, self.encryption.unsettled) {
            (None, None) => StreamStatus::Active,
            _ => StreamStatus::Updating,
        }
    }
}

impl Catalog {
    fn start_encryption(
        &mut self,
        log_index: u64,
        name: &StreamName,
        id: Option<StreamId>,
        master_key: String,
        wrapped: Vec<u8>,
        now: Timestamp,
    ) -> Result<Change, Refusal> {
        // Another stream of this name could never unwrap the data key.
        let found = self.streams.get(name);
        if found.is_some_and(|stream| id.is_some_and(|id| id != stream.id)) {
            return Err(Refusal::StreamNotFound { name: name.clone() });
        }
        let stream = self.changeable_stream(name)?;
        let encryption = &mut stream.encryption;
        if encryption.master_key.as_ref() == Some(&master_key) {
            return Ok(Change::AlreadySo);
        }
        encryption.add(DataKey { master_key: master_key.clone(), wrapped, created: now });
        encryption.master_key = Some(master_key);
        encryption.unsettled = Some(log_index);
        stream.status = stream.status_at_rest();
        Ok(Change::Made)
    }

    fn stop_encryption(&mut self, log_index: u64, name: &StreamName) -> Result<Change, Refusal> {
        let stream = self.changeable_stream(name)?;
        if stream.encryption.master_key.take().is_none() {
            return Ok(Change::AlreadySo);
        }
        stream.encryption.unsettled = Some(log_index);
        stream.status = stream.status_at_rest();
        Ok(Change::Made)
    }

    fn rotate_data_key(
        &mut self,
        name: StreamName,
        id: StreamId,
        used: u32,
        wrapped: Vec<u8>,
        now: Timestamp,
    ) -> Result<Change, Refusal> {
        let Some(stream) = self.streams.get_mut(&name).filter(|stream| stream.id == id) else {
            return Err(Refusal::StreamNotFound { name });
        };
        let encryption = &mut stream.encryption;
        let current = encryption.current().map(|(number, key)| (number, key.master_key.clone()));
        match current {
            Some((number, master_key)) if number == used => {
                encryption.add(DataKey { master_key, wrapped, created: now });
                Ok(Change::Made)
            }
            _ => Err(Refusal::DataKeyOver { name, used }),
        }
    }

    fn settle_encryption(
        &mut self,
        name: &StreamName,
        id: StreamId,
        change: u64,
    ) -> Result<Change, Refusal> {
        let Some(stream) = self.streams.get_mut(name).filter(|stream| stream.id == id) else {
            return Err(Refusal::StreamNotFound { name: name.clone() });
        };
        // An older change than the newest: not every node needs to know the newest one yet.
        if stream.encryption.unsettled.take_if(|unsettled| *unsettled == change).is_none() {
            return Ok(Change::AlreadySo);
        }
        if stream.status == StreamStatus::Updating {
            stream.status = stream.status_at_rest();
        }
        Ok(Change::Made)
    }
}

#[cfg(test)]
mod tests {
    use anabranch_types::{HashKey, ShardId};

    use super::*;
    use crate::model::StreamMode;
    use crate::script::{NOW, Script};
    use crate::shards::{ShardChange, ShardsCommand};
    use crate::streams::StreamCommand;

    fn name() -> StreamName {
        "s".parse().unwrap()
    }

    fn script() -> Script {
        let mut script = Script::with_nodes(3, &["a", "b", "c"]);
        script.create_active("s", 1, StreamMode::Provisioned);
        script
    }

    fn start(master_key: &str) -> EncryptionCommand {
        start_of(None, master_key)
    }

    fn start_of(id: Option<StreamId>, master_key: &str) -> EncryptionCommand {
        let master_key = master_key.to_owned();
        EncryptionCommand::Start { name: name(), id, master_key, wrapped: vec![1], now: NOW }
    }

    fn rotate(script: &Script, used: u32, now: Timestamp) -> EncryptionCommand {
        let id = script.stream("s").id;
        EncryptionCommand::RotateDataKey { name: name(), id, used, wrapped: vec![2], now }
    }

    fn settle(script: &mut Script) {
        let stream = script.stream("s");
        let (id, change) = (stream.id, stream.encryption.unsettled.unwrap());
        script.done(EncryptionCommand::Settle { name: name(), id, change });
    }

    #[test]
    fn a_stream_is_updating_until_every_node_knows_the_change_of_encryption() {
        let mut script = script();
        script.done(start("k"));
        assert_eq!(script.stream("s").status, StreamStatus::Updating);
        assert_eq!(script.stream("s").encryption.current().unwrap().0, 0);
        let not_active = Refusal::StreamNotActive { name: name() };
        assert_eq!(script.refused(EncryptionCommand::Stop { name: name() }), not_active);
        let id = script.stream("s").id;
        script.done(EncryptionCommand::Settle { name: name(), id, change: 1 });
        assert_eq!(script.stream("s").status, StreamStatus::Updating);
        settle(&mut script);
        assert_eq!(script.stream("s").status, StreamStatus::Active);
        script.done(start("k"));
        assert_eq!(script.stream("s").status, StreamStatus::Active);
        script.done(EncryptionCommand::Stop { name: name() });
        assert_eq!(script.stream("s").encryption.current(), None);
        assert_eq!(script.stream("s").encryption.data_keys.len(), 1);
        settle(&mut script);
        assert_eq!(script.stream("s").status, StreamStatus::Active);
    }

    #[test]
    fn a_stream_whose_encryption_never_settles_can_be_deleted() {
        let mut script = script();
        script.done(start("k"));
        script.done(StreamCommand::Delete { name: name(), with_consumers: false });
        assert_eq!(script.stream("s").status, StreamStatus::Deleting);
    }

    #[test]
    fn a_data_key_for_an_earlier_stream_of_the_name_is_refused() {
        let mut script = script();
        let before = script.stream("s").id;
        script.done(StreamCommand::Delete { name: name(), with_consumers: false });
        script.done(StreamCommand::Drop { name: name(), id: before });
        script.create_active("s", 1, StreamMode::Provisioned);
        let not_found = Refusal::StreamNotFound { name: name() };
        assert_eq!(script.refused(start_of(Some(before), "k")), not_found);
        assert_eq!(script.stream("s").encryption, Encryption::default());
        let id = script.stream("s").id;
        script.done(start_of(Some(id), "k"));
        settle(&mut script);
        // A command of an earlier release has no identity of the stream.
        script.done(start_of(None, "other"));
        assert_eq!(script.stream("s").encryption.data_keys.len(), 2);
    }

    #[test]
    fn a_stream_stays_updating_after_a_job_until_its_encryption_has_settled() {
        let mut script = Script::with_nodes(3, &["a", "b", "c"]);
        script.create_active("s", 1, StreamMode::OnDemand);
        let (id, change) = (
            script.stream("s").id,
            ShardChange::Split { shard: ShardId(0), at: HashKey(1 << 100) },
        );
        script.done(ShardsCommand::Scale { name: name(), id, change, now: NOW });
        script.done(start("k"));
        let job = script.stream("s").job.as_ref().unwrap().id;
        script.done(ShardsCommand::Abort { name: name(), id, job });
        assert_eq!(script.stream("s").status, StreamStatus::Updating);
        settle(&mut script);
        assert_eq!(script.stream("s").status, StreamStatus::Active);
    }

    #[test]
    fn only_the_newest_data_key_is_replaced_and_each_number_is_used_once() {
        let mut script = script();
        let over = |used| Refusal::DataKeyOver { name: name(), used };
        let early = rotate(&script, 0, NOW);
        assert_eq!(script.refused(early), over(0));
        script.done(start("k"));
        let first = rotate(&script, 0, NOW);
        script.done(first.clone());
        assert_eq!(script.refused(first), over(0));
        assert_eq!(script.stream("s").encryption.current().unwrap().0, 1);
        settle(&mut script);
        script.done(EncryptionCommand::Stop { name: name() });
        let stopped = rotate(&script, 1, NOW);
        assert_eq!(script.refused(stopped), over(1));
    }

    #[test]
    fn a_data_key_is_removed_once_it_is_too_old_and_there_are_many() {
        let mut script = script();
        script.done(start("k"));
        let days = |days: u64| NOW.plus(Duration::from_secs(days * 24 * 3600));
        let oldest = |script: &Script| {
            let keys = &script.stream("s").encryption.data_keys;
            (keys.len(), *keys.first_key_value().unwrap().0)
        };
        // A clock that is years ahead removes no key.
        let ahead = rotate(&script, 0, days(5000));
        script.done(ahead);
        assert_eq!(oldest(&script), (2, 0));
        for used in 1..=511 {
            let rotate = rotate(&script, used, days(u64::from(used)));
            script.done(rotate);
        }
        assert_eq!(oldest(&script), (513, 0));
        let later = rotate(&script, 512, days(600));
        script.done(later);
        assert_eq!(oldest(&script), (513, 0));
        assert!(!script.stream("s").encryption.data_keys.contains_key(&1));
    }
}
