//! The state machine of a shard: its newest record, whether it takes records, and which appends in its log do not
//! count.
//!
//! A resharding job freezes a shard. Then it closes the shard (the job is committed) or unfreezes it (aborted). A
//! shard that a job made is hidden until that job opens it (ADR-0013). While a shard is frozen, hidden or closed,
//! its log may still get appends, because the leader proposed them before. They do not count:
//!
//! ```text
//! log index   1        2          3        4            5        6         7
//! entry       append   Freeze(9)  append   Unfreeze(9)  append   Freeze(12) Close(12)
//! counts      yes                 no                    yes
//! voids                [2 .................... 4)                [6 ....................
//! ```
//!
//! This never happens: `last_arrival` falls, or a closed shard takes records again.

use anabranch_planted::{Bug, planted};
use anabranch_types::Timestamp;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::command::{Command, CommandError, Step};
use crate::position::Position;

/// State of a shard. It is small, because the records themselves are only in the log.
///
/// Invariants: `last_arrival` never falls. A closed shard stays closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardState {
    last_arrival: Timestamp,
    last_record: Option<Position>,
    gate: Gate,
    voids: Voids,
}

/// Whether a shard takes records, and which resharding jobs may change that.
///
/// The rules (ADR-0013; checked by the model in `catalog`):
/// - A job below the highest job that was seen is ignored.
/// - An aborted job stays aborted: it can't freeze the shard again.
/// - Only the job that froze a shard unfreezes or closes it.
/// - Only the job that made a shard opens it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gate {
    /// The job that made this shard. 0 for the first shards of a stream.
    pub born: u64,
    /// Whether the shard is hidden, because the job that made it is not known to be committed yet.
    pub hidden: bool,
    /// The highest job that ever froze this shard. 0 if no job did.
    pub job: u64,
    /// Whether `job` holds the shard frozen.
    pub frozen: bool,
    /// Whether the shard is closed for good.
    pub closed: bool,
}

/// Why a shard takes no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    /// For the moment, until a resharding job is decided.
    Pending,
    /// For good, because its child shards take the records now.
    Closed,
}

/// Ranges of the log in which appends do not count, because the shard took no records. Half-open, `[from, to)`, in
/// rising order. The last range has no end while the shard takes no records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voids(Vec<(u64, Option<u64>)>);

/// Result of applying a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The records are appended. The position of each is the log index of the entry and its place in the batch.
    Appended {
        /// Log index of the entry.
        log_index: u64,
        /// Arrival time of the records.
        arrival: Timestamp,
    },
    /// The shard takes no records. So the records of this entry do not count, and no reader ever sees them.
    Refused(Shut),
    /// The job has frozen the shard. The records of the shard end here.
    Frozen(Ending),
    /// The job is aborted, or a later job has taken its place. Nothing changed.
    Stale,
    /// The step has its effect.
    Stepped,
}

/// Where the records of a shard end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ending {
    /// Position of the newest record. `None` if the shard never had one.
    pub last_record: Option<Position>,
    /// Arrival time of that record.
    pub last_arrival: Timestamp,
}

impl Gate {
    /// Why the shard takes no records. `None` if it takes records.
    pub const fn shut(self) -> Option<Shut> {
        match self {
            Self { closed: true, .. } => Some(Shut::Closed),
            Self { hidden: true, .. } | Self { frozen: true, .. } => Some(Shut::Pending),
            Self { .. } => None,
        }
    }

    /// The job that holds this shard frozen. `None` if the shard is not frozen, or is closed.
    pub const fn frozen_by(self) -> Option<u64> {
        if self.frozen && !self.closed { Some(self.job) } else { None }
    }

    /// Applies a step. Returns whether the step has its effect, now or from an earlier time: a leader may send a
    /// step twice.
    fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Freeze(job) => {
                if !self.closed && job > self.job {
                    (self.job, self.frozen) = (job, true);
                }
                self.frozen_by() == Some(job)
            }
            Step::Unfreeze(job) => {
                // The leader proposes this step only after it has seen that this very job froze the shard. So it
                // never comes before the freeze.
                let is_undone = self.frozen_by() == Some(job);
                self.frozen &= !is_undone;
                is_undone
            }
            Step::Open(job) => {
                let is_own = self.born == job;
                self.hidden &= !is_own;
                is_own
            }
            Step::Close(job) => {
                let has_say = self.frozen && self.job == job;
                self.closed |= has_say;
                has_say
            }
        }
    }
}

impl Voids {
    /// Whether an append at `log_index` does not count.
    pub fn contain(&self, log_index: u64) -> bool {
        let after = self.0.partition_point(|(from, _)| *from <= log_index);
        let last = after.checked_sub(1).and_then(|place| self.0.get(place));
        last.is_some_and(|(_, to)| to.is_none_or(|to| log_index < to))
    }

    /// Begins or ends a range, if the entry at `log_index` changed whether the shard takes records.
    fn follow(&mut self, log_index: u64, is_shut: bool) {
        let shut_now = self.0.last().is_some_and(|(_, to)| to.is_none());
        match (self.0.last_mut(), shut_now, is_shut) {
            (Some((_, to)), true, false) => *to = Some(log_index),
            (_, false, true) => self.0.push((log_index, None)),
            (_, true, true) | (_, false, false) | (None, true, false) => {}
        }
    }
}

impl ShardState {
    /// State of a shard that resharding job `born` makes. It is hidden, unless `born` is 0: the first shards of a
    /// stream take records at once.
    pub fn born(born: u64) -> Self {
        let hidden = born != 0 && !planted(Bug::OpenChildrenEarly);
        let voids = if hidden { Voids(vec![(0, None)]) } else { Voids::default() };
        Self { gate: Gate { born, hidden, ..Gate::default() }, voids, ..Self::default() }
    }

    /// Applies the command at `log_index`. The result is the same on every replica, because it depends on nothing
    /// but the state and the arguments.
    pub fn apply(&mut self, log_index: u64, command: &Command) -> Outcome {
        match command {
            Command::Append { arrival, records, .. } => self.append(log_index, *arrival, *records),
            Command::Reshard(step) => self.step(log_index, *step),
        }
    }

    fn append(&mut self, log_index: u64, arrival: Timestamp, records: u32) -> Outcome {
        if let Some(shut) = self.gate.shut() {
            return Outcome::Refused(shut);
        }
        let last = u16::try_from(records.saturating_sub(1)).unwrap_or(u16::MAX);
        // A leader never stamps a time before the newest arrival that it has applied. So this matters only for an
        // entry that another program wrote.
        self.last_arrival = self.last_arrival.max(arrival);
        self.last_record = Some(Position { log_index, offset: last });
        Outcome::Appended { log_index, arrival: self.last_arrival }
    }

    fn step(&mut self, log_index: u64, step: Step) -> Outcome {
        let done = self.gate.step(step);
        self.voids.follow(log_index, self.gate.shut().is_some());
        match (done, step) {
            (false, _) => Outcome::Stale,
            (true, Step::Freeze(_)) => Outcome::Frozen(Ending {
                last_record: self.last_record,
                last_arrival: self.last_arrival,
            }),
            (true, Step::Unfreeze(_) | Step::Open(_) | Step::Close(_)) => Outcome::Stepped,
        }
    }

    /// Arrival time of the newest record. The epoch if there was none.
    pub fn last_arrival(&self) -> Timestamp {
        self.last_arrival
    }

    /// Position of the newest record, trimmed or not.
    pub fn last_record(&self) -> Option<Position> {
        self.last_record
    }

    /// Whether the shard takes records, and which jobs may change that.
    pub fn gate(&self) -> Gate {
        self.gate
    }

    /// Ranges of the log in which appends do not count.
    pub fn voids(&self) -> &Voids {
        &self.voids
    }

    /// Encodes the state for a checkpoint. Shape, little endian, with the bytes of each field in parentheses:
    /// version 2 (1), newest arrival (8), whether there is a newest record (1), its index (8) and offset (2), the
    /// job that made the shard (8), the highest job (8), flags of the gate (1), number of voids (4), and for each
    /// void from (8) and to (8; 0 if it has no end). Version 1 ends after the offset.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(41 + 16 * self.voids.0.len());
        out.put_u8(2);
        out.put_u64_le(self.last_arrival.as_millis());
        let last = self.last_record.unwrap_or_default();
        out.put_u8(u8::from(self.last_record.is_some()));
        out.put_u64_le(last.log_index);
        out.put_u16_le(last.offset);
        let Gate { born, hidden, job, frozen, closed } = self.gate;
        out.put_u64_le(born);
        out.put_u64_le(job);
        out.put_u8(u8::from(hidden) | u8::from(frozen) << 1 | u8::from(closed) << 2);
        out.put_u32_le(u32::try_from(self.voids.0.len()).unwrap_or(u32::MAX));
        for (from, to) in &self.voids.0 {
            out.put_u64_le(*from);
            out.put_u64_le(to.unwrap_or_default());
        }
        out.freeze()
    }

    /// Decodes what [`Self::encode`] wrote, of this version or of version 1.
    ///
    /// # Errors
    /// [`CommandError`] for another version or missing bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CommandError> {
        let mut bytes = bytes;
        let version = bytes.try_get_u8().map_err(|_| CommandError::Short)?;
        if !matches!(version, 1 | 2) {
            return Err(CommandError::UnknownTag(version));
        }
        Self::decode_fields(&mut bytes, version).map_err(|_| CommandError::Short)
    }

    fn decode_fields(bytes: &mut &[u8], version: u8) -> Result<Self, bytes::TryGetError> {
        let last_arrival = Timestamp::from_millis(bytes.try_get_u64_le()?);
        let has_record = bytes.try_get_u8()? != 0;
        let last = Position { log_index: bytes.try_get_u64_le()?, offset: bytes.try_get_u16_le()? };
        let last_record = has_record.then_some(last);
        if version == 1 {
            return Ok(Self { last_arrival, last_record, ..Self::default() });
        }
        let (born, job, flags) =
            (bytes.try_get_u64_le()?, bytes.try_get_u64_le()?, bytes.try_get_u8()?);
        let [hidden, frozen, closed] = [1, 2, 4].map(|flag| flags & flag != 0);
        let gate = Gate { born, hidden, job, frozen, closed };
        let mut voids = Vec::new();
        for _ in 0..bytes.try_get_u32_le()? {
            let (from, to) = (bytes.try_get_u64_le()?, bytes.try_get_u64_le()?);
            voids.push((from, (to != 0).then_some(to)));
        }
        Ok(Self { last_arrival, last_record, gate, voids: Voids(voids) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn append(arrival: u64, records: u32) -> Command {
        Command::Append { arrival: Timestamp::from_millis(arrival), records, batch: Bytes::new() }
    }

    /// Applies `steps` from index 1 on, and an append after each. Returns which of these appends were taken.
    fn taken(shard: &mut ShardState, steps: &[Step]) -> Vec<bool> {
        let mut index = 0;
        let mut apply = |command: &Command| {
            index += 1;
            shard.apply(index, command)
        };
        let appends = steps.iter().map(|step| {
            apply(&Command::Reshard(*step));
            matches!(apply(&append(1, 1)), Outcome::Appended { .. })
        });
        appends.collect()
    }

    #[test]
    fn arrival_times_never_fall() {
        let mut shard = ShardState::default();
        shard.apply(1, &append(50, 1));
        let outcome = shard.apply(2, &append(40, 2));
        let arrival = Timestamp::from_millis(50);
        assert_eq!(outcome, Outcome::Appended { log_index: 2, arrival });
        assert_eq!(shard.last_record(), Some(Position { log_index: 2, offset: 1 }));
    }

    #[test]
    fn a_frozen_shard_reports_its_last_record_and_takes_no_more() {
        let mut shard = ShardState::default();
        shard.apply(1, &append(50, 3));
        let ending = Ending {
            last_record: Some(Position { log_index: 1, offset: 2 }),
            last_arrival: Timestamp::from_millis(50),
        };
        let freeze = Command::Reshard(Step::Freeze(9));
        assert_eq!(shard.apply(2, &freeze), Outcome::Frozen(ending));
        assert_eq!(shard.apply(3, &append(60, 1)), Outcome::Refused(Shut::Pending));
        assert_eq!(shard.apply(4, &freeze), Outcome::Frozen(ending));
        assert_eq!(shard.apply(5, &Command::Reshard(Step::Close(9))), Outcome::Stepped);
        assert_eq!(shard.apply(6, &append(60, 1)), Outcome::Refused(Shut::Closed));
        assert_eq!(shard.apply(7, &Command::Reshard(Step::Freeze(10))), Outcome::Stale);
        assert!(!shard.voids().contain(1) && shard.voids().contain(3) && shard.voids().contain(99));
    }

    #[test]
    fn only_the_job_that_froze_a_shard_unfreezes_it_and_an_aborted_job_stays_aborted() {
        use Step::{Close, Freeze, Unfreeze};
        let mut shard = ShardState::default();
        let steps = [Freeze(3), Unfreeze(2), Unfreeze(4), Unfreeze(3), Freeze(3), Close(3)];
        assert_eq!(taken(&mut shard, &steps), [false, false, false, true, true, true]);
        let steps =
            [Freeze(6), Freeze(5), Freeze(7), Unfreeze(6), Close(6), Unfreeze(7), Freeze(7)];
        assert_eq!(taken(&mut shard, &steps), [false, false, false, false, false, true, true]);
    }

    #[test]
    fn only_the_job_that_made_a_child_opens_it() {
        use Step::{Close, Freeze, Open};
        let mut shard = ShardState::born(5);
        assert_eq!(taken(&mut shard, &[Open(4), Open(5)]), [false, true]);
        assert!(shard.voids().contain(2) && !shard.voids().contain(4));
        let mut frozen_first = ShardState::born(5);
        let steps = [Freeze(8), Open(5), Close(8), Open(5)];
        assert_eq!(taken(&mut frozen_first, &steps), [false; 4]);
    }

    #[test]
    fn encoded_states_decode_to_themselves() {
        let mut shard = ShardState::born(4);
        assert_eq!(ShardState::decode(&shard.encode()), Ok(shard.clone()));
        for (index, step) in (1..).zip([Step::Open(4), Step::Freeze(6), Step::Unfreeze(6)]) {
            shard.apply(index, &Command::Reshard(step));
            assert_eq!(ShardState::decode(&shard.encode()), Ok(shard.clone()));
        }
        shard.apply(9, &append(7, 3));
        assert_eq!(ShardState::decode(&shard.encode()), Ok(shard));
        assert_eq!(ShardState::decode(&[1, 2]), Err(CommandError::Short));
        assert_eq!(ShardState::decode(&[9; 20]), Err(CommandError::UnknownTag(9)));
    }

    #[test]
    fn a_checkpoint_of_version_1_decodes_to_an_open_shard() {
        let stored = b"\x01\x07\0\0\0\0\0\0\0\x01\x09\0\0\0\0\0\0\0\x02\0";
        let shard = ShardState::decode(stored).unwrap();
        assert_eq!(shard.last_record(), Some(Position { log_index: 9, offset: 2 }));
        assert_eq!(shard.gate(), Gate::default());
        assert!(!shard.voids().contain(1));
    }

    proptest! {
        #[test]
        fn an_append_is_outside_of_all_voids_exactly_if_it_was_taken(
            born in 0u64..3,
            steps in proptest::collection::vec((0u8..5, 0u64..5), 0..40),
        ) {
            let mut shard = ShardState::born(born);
            let mut taken = Vec::new();
            for (index, (kind, job)) in (1..).zip(steps) {
                let command = match kind {
                    0 => Command::Reshard(Step::Freeze(job)),
                    1 => Command::Reshard(Step::Unfreeze(job)),
                    2 => Command::Reshard(Step::Open(job)),
                    3 => Command::Reshard(Step::Close(job)),
                    _ => append(1, 1),
                };
                let was_closed = shard.gate().closed;
                let outcome = shard.apply(index, &command);
                prop_assert!(shard.gate().closed || !was_closed);
                if kind == 4 {
                    taken.push((index, matches!(outcome, Outcome::Appended { .. })));
                }
            }
            for (index, taken) in taken {
                prop_assert_eq!(shard.voids().contain(index), !taken);
            }
        }
    }
}
