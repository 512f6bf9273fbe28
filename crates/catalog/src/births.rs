//! Births: a birth tells a shard or a consumer from every former one of the same name.
//!
//! A shard's sequence numbers carry the second of its birth, and a consumer's ARN carries the second of its
//! registration. Two streams of one name can be made within one second, and a clock can be set back, so the clock alone
//! would give both the same second. Therefore the catalog remembers the newest birth under each name and makes the next
//! one later by a second at least, whatever the proposer's clock says:
//!
//! 1. A shard expires or a consumer is removed: [`Stream::newest_gone`] rises to its birth.
//! 2. A stream is dropped: [`FormerNames`] takes the newest birth of all that it ever had.
//! 3. A stream is created: its shards are born after that, and `newest_gone` begins there.
//!
//! It never happens that two shards of one name and number, or two consumers of one name, are born in the same second.
//! Births may run ahead of the clock where a name is used again and again within seconds. They are identities, not
//! times: `created` says when a stream or shard was made.

use std::collections::BTreeMap;
use std::time::Duration;

use anabranch_types::{StreamName, Timestamp};

use crate::model::Stream;

/// Newest births under the names of dropped streams.
///
/// Bounded: it keeps the [`FormerNames::MOST`] names with the newest births. For all other names it knows only that
/// no birth under them is after `others`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormerNames {
    newest: BTreeMap<StreamName, Timestamp>,
    others: Timestamp,
}

impl FormerNames {
    /// Number of names that are kept. Small, since the catalog is sent to every node with each change.
    pub const MOST: usize = 128;

    /// Builds the value of which [`Self::names`] and [`Self::others`] are the parts.
    pub fn new(newest: BTreeMap<StreamName, Timestamp>, others: Timestamp) -> Self {
        let mut former = Self { newest, others };
        former.forget_oldest();
        former
    }

    /// Kept names with their newest births.
    pub fn names(&self) -> &BTreeMap<StreamName, Timestamp> {
        &self.newest
    }

    /// No birth under any other name is after this.
    pub fn others(&self) -> Timestamp {
        self.others
    }

    /// No birth under `name` is after this.
    pub(crate) fn newest(&self, name: &StreamName) -> Timestamp {
        self.newest.get(name).copied().unwrap_or(self.others)
    }

    /// Removes a name that is used again. [`Stream::newest_gone`] of the new stream keeps its births.
    pub(crate) fn forget(&mut self, name: &StreamName) {
        self.newest.remove(name);
    }

    /// Keeps the newest birth of a stream that is dropped.
    pub(crate) fn remember(&mut self, name: StreamName, stream: &Stream) {
        self.newest.insert(name, stream.newest_birth());
        self.forget_oldest();
    }

    fn forget_oldest(&mut self) {
        while self.newest.len() > Self::MOST {
            let by_birth = |(name, birth): (&StreamName, &Timestamp)| (*birth, name.clone());
            let Some((birth, name)) = self.newest.iter().map(by_birth).min() else { return };
            self.newest.remove(&name);
            self.others = self.others.max(birth);
        }
    }
}

impl Stream {
    /// The newest birth of all shards and consumers that the stream and former streams of its name ever had.
    fn newest_birth(&self) -> Timestamp {
        let shards = self.shards.values().map(|shard| shard.birth);
        let consumers = self.consumers.values().map(|consumer| consumer.created);
        shards.chain(consumers).fold(self.newest_gone, Timestamp::max)
    }
}

/// The birth for something that is made at `now`: `now`, or one second after `newest` if that is later.
pub(crate) fn born_after(newest: Timestamp, now: Timestamp) -> Timestamp {
    now.max(newest.plus(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use anabranch_types::{ConsumerName, ShardId};

    use super::*;
    use crate::consumers::ConsumerCommand;
    use crate::samples;
    use crate::script::{NOW, Script};
    use crate::shards::{ShardChange, ShardsCommand};
    use crate::streams::{NewStream, StreamCommand};

    fn script() -> Script {
        Script::with_nodes(3, &["a", "b", "c"])
    }

    fn create(script: &mut Script, name: &str, now: Timestamp) -> Timestamp {
        script.done(StreamCommand::Create(NewStream { now, ..samples::new_stream(name, 1) }));
        let id = script.stream(name).id;
        script.done(StreamCommand::Activate {
            name: name.parse().unwrap(),
            id,
            newest_group: None,
        });
        script.stream(name).shards[&ShardId(0)].birth
    }

    fn delete(script: &mut Script, name: &str) {
        let id = script.stream(name).id;
        let name: StreamName = name.parse().unwrap();
        script.done(StreamCommand::Delete { name: name.clone(), with_consumers: true });
        script.done(StreamCommand::Drop { name, id });
    }

    fn register(script: &mut Script, now: Timestamp) -> Timestamp {
        let (name, consumer): (StreamName, ConsumerName) =
            ("s".parse().unwrap(), "app".parse().unwrap());
        let tags = BTreeMap::new();
        script.done(ConsumerCommand::Register { name, consumer: consumer.clone(), tags, now });
        script.stream("s").consumers[&consumer].created
    }

    fn deregister(script: &mut Script, created: Timestamp) {
        let (name, id): (StreamName, _) = ("s".parse().unwrap(), script.stream("s").id);
        let consumer = "app".parse().unwrap();
        script.done(ConsumerCommand::Deregister { name: name.clone(), consumer, created });
        script.done(ConsumerCommand::Settle { name, id });
    }

    #[test]
    fn streams_of_one_name_never_have_births_in_the_same_second_even_if_the_clock_is_set_back() {
        let mut script = script();
        let hour = Duration::from_secs(3600);
        let clocks = [NOW, NOW, NOW.plus(hour), NOW, NOW, NOW.plus(hour).plus(hour)];
        let mut seconds = BTreeSet::new();
        for now in clocks {
            let birth = create(&mut script, "s", now);
            assert!(seconds.last().is_none_or(|last| *last < birth.as_secs()), "{birth}");
            assert_eq!(script.stream("s").created, now, "users see the time of the clock");
            seconds.insert(birth.as_secs());
            delete(&mut script, "s");
        }
        assert_eq!(seconds.len(), clocks.len());
        assert_eq!(create(&mut script, "other", NOW), NOW, "a new name has no former births");
    }

    #[test]
    fn the_births_of_a_stream_are_after_those_of_all_shards_of_the_former_stream() {
        let mut script = script();
        create(&mut script, "s", NOW);
        let split =
            ShardChange::Split { shard: ShardId(0), at: anabranch_types::HashKey(1 << 127) };
        script.done(ShardsCommand::Reshard { name: "s".parse().unwrap(), change: split, now: NOW });
        let (id, job) = (script.stream("s").id, script.stream("s").job.clone().unwrap());
        let ending = script.stream("s").shards[&ShardId(0)].starting_sequence_number();
        let endings = BTreeMap::from([(ShardId(0), ending)]);
        let name: StreamName = "s".parse().unwrap();
        script.done(ShardsCommand::Commit {
            name,
            id,
            job: job.id,
            endings,
            newest_group: None,
            now: NOW,
        });
        let child = script.stream("s").shards[&ShardId(1)].birth;
        delete(&mut script, "s");
        assert!(create(&mut script, "s", NOW).as_secs() > child.as_secs());
    }

    #[test]
    fn consumers_of_one_name_are_never_registered_in_the_same_second() {
        let mut script = script();
        create(&mut script, "s", NOW);
        let mut seconds = BTreeSet::new();
        for _ in 0..3 {
            let created = register(&mut script, NOW);
            assert!(seconds.insert(created.as_secs()));
            deregister(&mut script, created);
        }
        let created = register(&mut script, NOW);
        assert!(seconds.insert(created.as_secs()));
        delete(&mut script, "s");
        create(&mut script, "s", NOW);
        assert!(
            seconds.insert(register(&mut script, NOW).as_secs()),
            "later than in the former stream"
        );
    }

    #[test]
    fn births_under_names_beyond_the_limit_are_remembered_together() {
        let mut script = script();
        let birth = create(&mut script, "first", NOW);
        delete(&mut script, "first");
        for number in 0..FormerNames::MOST {
            let name = format!("later-{number}");
            create(&mut script, &name, NOW.plus(Duration::from_secs(5)));
            delete(&mut script, &name);
        }
        let former = &script.catalog.former_names;
        assert_eq!((former.names().len(), former.others()), (FormerNames::MOST, birth));
        assert!(create(&mut script, "first", NOW).as_secs() > birth.as_secs());
    }
}
