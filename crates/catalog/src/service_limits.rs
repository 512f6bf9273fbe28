//! Limits of the service that a cluster may enforce: the number of streams and consumers that are CREATING at once,
//! and the number of changes of a stream in a day (`docs/limits.md`).
//!
//! A gateway whose settings enforce them proposes each change as [`Command::Limited`]; only such changes are counted
//! and limited. A change without effect is neither counted nor limited, so retrying a successful call gets the same
//! answer.

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

/// Times of a stream's counted changes, of about the last day. For each kind at most as many as the limit allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecentChanges {
    /// Calls of UpdateShardCount that changed the number of shards.
    pub scalings: Vec<Timestamp>,
    /// Changes of the capacity mode.
    pub mode_switches: Vec<Timestamp>,
    /// Changes of the master key: to the first one, to another one, and to none.
    pub key_changes: Vec<Timestamp>,
}

/// A kind of counted change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scaling,
    ModeSwitch,
    KeyChange,
}

impl Kind {
    /// The limited quantity in [`Refusal::Limit`], and the number that is allowed.
    const fn limit(self) -> (&'static str, usize) {
        match self {
            Self::Scaling => ("scalings in 24 hours", limits::MAX_SCALINGS_A_DAY),
            Self::ModeSwitch => ("mode switches in 24 hours", limits::MAX_MODE_SWITCHES_A_DAY),
            Self::KeyChange => ("key changes in 24 hours", limits::MAX_KEY_CHANGES_A_DAY),
        }
    }
}

impl RecentChanges {
    /// These changes and one more at `now`.
    ///
    /// # Errors
    /// [`Refusal::Limit`] if the last day already has as many as are allowed.
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
        // Only the change that is furthest away from `now` is forgotten. So a wrong `now` forgets one change at most.
        if changes.len() >= limit {
            let off = |at: &Timestamp| at.since(now).max(now.since(*at));
            let furthest = (0..changes.len()).max_by_key(|place| off(&changes[*place]));
            furthest.map(|place| changes.remove(place));
        }
        changes.push(now);
        Ok(all)
    }
}

/// Whether two times are less than a day apart, in either order. Times come from the clocks of gateways, and a clock
/// may be wrong: a change that was stamped years ahead must not count for years.
fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    now.since(at) < DAY && at.since(now) < DAY
}

/// Refuses one more than `present` if that is over the limit.
fn check_one_more(what: &'static str, present: usize, limit: usize) -> Result<(), Refusal> {
    let [actual, limit] = [present + 1, limit].map(|count| count as u64);
    if actual > limit { Err(Refusal::Limit { what, actual, limit }) } else { Ok(()) }
}

impl Catalog {
    /// Applies a command if the limits of the service allow it, and counts it if it changed something.
    pub(crate) fn change_within_limits(
        &mut self,
        log_index: u64,
        command: Command,
        now: Timestamp,
    ) -> Result<Change, Refusal> {
        self.check_creating(&command)?;
        // The times are computed before the change, which may refuse, and stored after it.
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

    /// Checks the number of streams and consumers that are CREATING. An existing name is left to the command, which
    /// refuses it.
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

    /// The stream that a command would change, and the kind of change, if the service counts it.
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
        // A stream that cannot be changed now is refused for that reason by the command.
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
    fn five_streams_may_be_creating_at_once_unless_limits_are_off() {
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
        script.done(StreamCommand::Activate { name: name("s2"), id, newest_group: None });
        script.done(sixth);
        script.done(create("s6"));
    }

    #[test]
    fn five_consumers_of_all_streams_may_be_creating_at_once() {
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
    fn a_stream_may_be_scaled_ten_times_in_any_24_hours() {
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
        script.done(limited(scale(1), hours(23))); // the stream has one shard: no change
        script.done(eleventh(hours(24)));
        let repeated = script.refused(eleventh(hours(24)));
        assert_eq!(repeated, Refusal::StreamNotActive { name: name("s") }, "a job is under way");
        abort(&mut script);
        assert_eq!(script.refused(eleventh(hours(24))), over("scalings in 24 hours", 10));
        assert_eq!(script.stream("s").recent_changes.scalings.len(), 10);
        script.done(scale(2));
    }

    #[test]
    fn a_stream_may_change_its_mode_twice_in_24_hours() {
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
    fn a_stream_may_change_its_key_twenty_five_times_in_24_hours_stops_included() {
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
    fn refused_and_unlimited_changes_are_not_counted() {
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
    fn a_wrong_time_frees_one_change_at_most() {
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
    fn changes_stamped_years_ahead_do_not_count() {
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
