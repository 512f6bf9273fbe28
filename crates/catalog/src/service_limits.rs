//! Limits of the service that hold only where a cluster is to have them: how many streams and consumers may be CREATING
//! at once, and how often a stream may be changed in a day.
//!
//! Who proposes a change says whether they hold for it, see [`Command::Limited`]; only such changes are counted. Where a
//! change would come to nothing, because things are so already, it is no change and not limited: who repeats a call that
//! was done is told the same again.

use std::time::Duration;

use anabranch_types::{StreamName, Timestamp, limits};

use crate::apply::Change;
use crate::command::Command;
use crate::consumers::{ConsumerCommand, ConsumerStatus};
use crate::encryption::EncryptionCommand;
use crate::model::{Catalog, Stream, StreamStatus};
use crate::outcome::Refusal;
use crate::shards::{ShardChange, ShardsCommand};
use crate::streams::StreamCommand;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// When a stream was changed, as far as that is of the last day and the service counts it. At most as many of each kind
/// as it allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecentChanges {
    /// By UpdateShardCount.
    pub scalings: Vec<Timestamp>,
    /// From one mode to the other.
    pub mode_switches: Vec<Timestamp>,
    /// To another master key, to one, or to none.
    pub key_changes: Vec<Timestamp>,
}

/// A kind of change of which a stream has so many a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scaling,
    ModeSwitch,
    KeyChange,
}

impl Kind {
    /// What is limited, in the words of a refusal, and how many are allowed.
    const fn limit(self) -> (&'static str, usize) {
        match self {
            Self::Scaling => ("scalings in 24 hours", limits::MAX_SCALINGS_A_DAY),
            Self::ModeSwitch => ("mode switches in 24 hours", limits::MAX_MODE_SWITCHES_A_DAY),
            Self::KeyChange => ("key changes in 24 hours", limits::MAX_KEY_CHANGES_A_DAY),
        }
    }
}

impl RecentChanges {
    /// With one more at `now`.
    fn with(&self, kind: Kind, now: Timestamp) -> Result<Self, Refusal> {
        let mut all = self.clone();
        let changes = match kind {
            Kind::Scaling => &mut all.scalings,
            Kind::ModeSwitch => &mut all.mode_switches,
            Kind::KeyChange => &mut all.key_changes,
        };
        let (what, limit) = kind.limit();
        let recent = changes.iter().filter(|at| is_recent(**at, now)).count();
        check_one_more(what, recent, limit)?;
        // Only the one that is furthest off makes room, so a time that is wrong forgets no more than one change.
        if changes.len() >= limit {
            let off = |at: &Timestamp| at.since(now).max(now.since(*at));
            let furthest = (0..changes.len()).max_by_key(|place| off(&changes[*place]));
            furthest.map(|place| changes.remove(place));
        }
        changes.push(now);
        Ok(all)
    }
}

/// Times come from the clocks of gateways, and one of them may be wrong. A change that is more than a day off either way
/// doesn't count, or one that was stamped years ahead would stand in the way for years.
fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    now.since(at) < DAY && at.since(now) < DAY
}

/// Whether there may be one more than there are.
fn check_one_more(what: &'static str, present: usize, limit: usize) -> Result<(), Refusal> {
    let [actual, limit] = [present + 1, limit].map(|count| count as u64);
    if actual > limit { Err(Refusal::Limit { what, actual, limit }) } else { Ok(()) }
}

impl Catalog {
    /// Makes a change if the service's limits leave room for it.
    pub(crate) fn change_within_limits(
        &mut self,
        log_index: u64,
        command: Command,
        now: Timestamp,
    ) -> Result<Change, Refusal> {
        self.check_creating(&command)?;
        let counted = self.counted(&command).map(|(name, stream, kind)| -> Result<_, Refusal> {
            Ok((name.clone(), stream.recent_changes.with(kind, now)?))
        });
        let counted = counted.transpose()?;
        let change = self.change(log_index, command)?;
        if let (Change::Made, Some((name, recent))) = (&change, counted)
            && let Some(stream) = self.streams.get_mut(&name)
        {
            stream.recent_changes = recent;
        }
        Ok(change)
    }

    /// How many streams and consumers of the account may be CREATING.
    fn check_creating(&self, command: &Command) -> Result<(), Refusal> {
        let streams = || self.streams.values();
        if let Command::Stream(StreamCommand::Create(new)) = command
            && !self.streams.contains_key(&new.name)
        {
            let creating = streams().filter(|stream| stream.status == StreamStatus::Creating);
            let limit = limits::MAX_CREATING_STREAMS;
            check_one_more("streams in CREATING", creating.count(), limit)?;
        }
        if let Command::Consumer(ConsumerCommand::Register { name, consumer, .. }) = command
            && self.streams.get(name).is_some_and(|stream| !stream.consumers.contains_key(consumer))
        {
            let consumers = streams().flat_map(|stream| stream.consumers.values());
            let creating = consumers.filter(|known| known.status == ConsumerStatus::Creating);
            let limit = limits::MAX_CREATING_CONSUMERS;
            check_one_more("consumers in CREATING", creating.count(), limit)?;
        }
        Ok(())
    }

    /// The stream that a command would change, if such changes are counted.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the service counts these few")]
    fn counted<'a>(&'a self, command: &'a Command) -> Option<(&'a StreamName, &'a Stream, Kind)> {
        let (name, kind) = match command {
            Command::Shards(ShardsCommand::Reshard {
                name, change: ShardChange::Count(_), ..
            }) => (name, Kind::Scaling),
            Command::Stream(StreamCommand::SetMode { name, .. }) => (name, Kind::ModeSwitch),
            Command::Encryption(
                EncryptionCommand::Start { name, .. } | EncryptionCommand::Stop { name },
            ) => (name, Kind::KeyChange),
            _ => return None,
        };
        // One that can't be changed now is refused for that, and told so.
        let stream = self.streams.get(name).filter(|stream| stream.is_changeable())?;
        let master_key = &stream.encryption.master_key;
        let is_so = match command {
            Command::Shards(ShardsCommand::Reshard {
                change: ShardChange::Count(target), ..
            }) => u32::try_from(stream.open_shards().count()) == Ok(*target),
            Command::Stream(StreamCommand::SetMode { mode, .. }) => stream.mode == *mode,
            Command::Encryption(EncryptionCommand::Start { master_key: new, .. }) => {
                master_key.as_ref() == Some(new)
            }
            Command::Encryption(EncryptionCommand::Stop { .. }) => master_key.is_none(),
            _ => false,
        };
        (!is_so).then_some((name, stream, kind))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::StreamMode;
    use crate::outcome::Outcome;
    use crate::script::{NOW, Script, create_stream};

    fn name(text: &str) -> StreamName {
        text.parse().unwrap()
    }

    fn hours(hours: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(hours * 3600))
    }

    fn limited(command: impl Into<Command>, now: Timestamp) -> Command {
        Command::Limited { command: Box::new(command.into()), now }
    }

    fn with_stream(mode: StreamMode) -> Script {
        let mut script = Script::with_nodes(3, &["a", "b", "c"]);
        script.create_active("s", 1, mode);
        script
    }

    fn set_mode(mode: StreamMode) -> StreamCommand {
        StreamCommand::SetMode { name: name("s"), mode, warm_throughput_mibps: None }
    }

    fn start(master_key: &str) -> EncryptionCommand {
        let master_key = master_key.to_owned();
        EncryptionCommand::Start {
            name: name("s"),
            id: None,
            master_key,
            wrapped: vec![1],
            now: NOW,
        }
    }

    fn settle_encryption(script: &mut Script) {
        let stream = script.stream("s");
        if let (id, Some(change)) = (stream.id, stream.encryption.unsettled) {
            script.done(EncryptionCommand::Settle { name: name("s"), id, change });
        }
    }

    fn over(what: &'static str, limit: u64) -> Refusal {
        Refusal::Limit { what, actual: limit + 1, limit }
    }

    #[test]
    fn five_streams_are_creating_at_once_and_others_where_nothing_is_limited() {
        let mut script = Script::with_nodes(3, &["a", "b", "c"]);
        let create = |text: &str| create_stream(text, 1, StreamMode::Provisioned);
        for number in 0..5 {
            script.done(limited(create(&format!("s{number}")), NOW));
        }
        let sixth = limited(create("s5"), NOW);
        assert_eq!(script.refused(sixth.clone()), over("streams in CREATING", 5));
        let exists = Refusal::StreamExists { name: name("s4") };
        assert_eq!(script.refused(limited(create("s4"), NOW)), exists);
        let id = script.stream("s2").id;
        script.done(StreamCommand::Activate { name: name("s2"), id });
        script.done(sixth);
        script.done(create("s6"));
    }

    #[test]
    fn five_consumers_of_all_streams_are_creating_at_once() {
        let mut script = with_stream(StreamMode::Provisioned);
        script.create_active("t", 1, StreamMode::Provisioned);
        let register = |stream: &str, consumer: u32| {
            let consumer = format!("app-{consumer}").parse().unwrap();
            let (tags, now) = (BTreeMap::new(), NOW);
            limited(ConsumerCommand::Register { name: name(stream), consumer, tags, now }, NOW)
        };
        (0..3).for_each(|number| script.done(register("s", number)));
        (0..2).for_each(|number| script.done(register("t", number)));
        assert_eq!(script.refused(register("t", 2)), over("consumers in CREATING", 5));
        let exists = Refusal::ConsumerExists { consumer: "app-1".parse().unwrap() };
        assert_eq!(script.refused(register("t", 1)), exists);
        let id = script.stream("t").id;
        script.done(ConsumerCommand::Settle { name: name("t"), id });
        script.done(register("t", 2));
    }

    #[test]
    fn a_stream_is_scaled_ten_times_in_any_24_hours() {
        let mut script = with_stream(StreamMode::Provisioned);
        let scale = |count| {
            let change = ShardChange::Count(count);
            ShardsCommand::Reshard { name: name("s"), change, now: NOW }
        };
        let abort = |script: &mut Script| {
            let stream = script.stream("s");
            let (id, job) = (stream.id, stream.job.as_ref().unwrap().id);
            script.done(ShardsCommand::Abort { name: name("s"), id, job });
        };
        for hour in 0..10 {
            script.done(limited(scale(1), hours(hour)));
            script.done(limited(scale(2), hours(hour)));
            abort(&mut script);
        }
        let eleventh = |now| limited(scale(2), now);
        assert_eq!(script.refused(eleventh(hours(23))), over("scalings in 24 hours", 10));
        script.done(limited(scale(1), hours(23))); // there are as many
        script.done(eleventh(hours(24)));
        let repeated = script.refused(eleventh(hours(24)));
        assert_eq!(repeated, Refusal::StreamNotActive { name: name("s") }, "it is being done");
        abort(&mut script);
        assert_eq!(script.refused(eleventh(hours(24))), over("scalings in 24 hours", 10));
        assert_eq!(script.stream("s").recent_changes.scalings.len(), 10);
        script.done(scale(2));
    }

    #[test]
    fn a_stream_changes_its_mode_twice_in_24_hours() {
        let mut script = with_stream(StreamMode::Provisioned);
        script.done(limited(set_mode(StreamMode::OnDemand), hours(0)));
        script.done(limited(set_mode(StreamMode::Provisioned), hours(1)));
        let third = |now| limited(set_mode(StreamMode::OnDemand), now);
        assert_eq!(script.refused(third(hours(2))), over("mode switches in 24 hours", 2));
        assert_eq!(script.stream("s").mode, StreamMode::Provisioned);
        let same = limited(set_mode(StreamMode::Provisioned), hours(2));
        assert!(matches!(script.run(same), Outcome::Done { .. }), "nothing would change");
        script.done(third(hours(24)));
    }

    #[test]
    fn a_stream_changes_its_key_twenty_five_times_in_24_hours_whether_to_one_or_to_none() {
        let mut script = with_stream(StreamMode::Provisioned);
        let stop = EncryptionCommand::Stop { name: name("s") };
        for number in 0..25 {
            let change = if number % 2 == 0 { start("k") } else { stop.clone() };
            script.done(limited(change.clone(), hours(number / 2)));
            settle_encryption(&mut script);
            script.done(limited(change, hours(number / 2)));
        }
        let over = over("key changes in 24 hours", 25);
        assert_eq!(script.refused(limited(start("other"), hours(13))), over);
        assert_eq!(script.refused(limited(stop.clone(), hours(13))), over);
        script.done(limited(start("k"), hours(13)));
        script.done(limited(stop, hours(24)));
    }

    #[test]
    fn a_refused_change_is_not_counted_and_neither_is_one_without_limits() {
        let mut script = with_stream(StreamMode::Provisioned);
        let none = RecentChanges::default();
        script.done(set_mode(StreamMode::OnDemand));
        script.done(set_mode(StreamMode::Provisioned));
        assert_eq!(script.stream("s").recent_changes, none);
        let change = ShardChange::Count(9);
        let scale = ShardsCommand::Reshard { name: name("s"), change, now: NOW };
        assert!(matches!(script.refused(limited(scale, NOW)), Refusal::ShardCount { .. }));
        assert_eq!(script.stream("s").recent_changes, none);
        let gone = EncryptionCommand::Stop { name: name("gone") };
        let not_found = Refusal::StreamNotFound { name: name("gone") };
        assert_eq!(script.refused(limited(gone, NOW)), not_found);
    }

    #[test]
    fn a_time_that_is_wrong_frees_one_change_at_most() {
        let mut script = with_stream(StreamMode::Provisioned);
        let stop = EncryptionCommand::Stop { name: name("s") };
        let change = |script: &mut Script, number: u64, now| {
            let command = if number.is_multiple_of(2) { start("k") } else { stop.clone() };
            let outcome = script.run(limited(command, now));
            settle_encryption(script);
            matches!(outcome, Outcome::Done { .. })
        };
        assert!((0..25).all(|number| change(&mut script, number, NOW)));
        assert!(!change(&mut script, 25, NOW));
        assert!(change(&mut script, 25, hours(48)), "a gateway whose clock is two days ahead");
        assert!(change(&mut script, 26, hours(1)));
        assert!(!change(&mut script, 27, hours(1)));
    }

    #[test]
    fn a_clock_that_was_years_ahead_is_in_nobodys_way() {
        let mut script = with_stream(StreamMode::Provisioned);
        let ahead = hours(24 * 400);
        script.done(limited(set_mode(StreamMode::OnDemand), ahead));
        script.done(limited(set_mode(StreamMode::Provisioned), ahead));
        script.done(limited(set_mode(StreamMode::OnDemand), NOW));
        script.done(limited(set_mode(StreamMode::Provisioned), NOW));
        assert!(matches!(
            script.refused(limited(set_mode(StreamMode::OnDemand), NOW)),
            Refusal::Limit { .. }
        ));
    }
}
