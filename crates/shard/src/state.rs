use anabranch_types::Timestamp;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::command::{Command, CommandError, Step};
use crate::position::Position;

/// The state machine of a shard: as little as its log does not say at a glance.
///
/// Invariants: `last_arrival` never falls; a shard that is closed stays closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardState {
    last_arrival: Timestamp,
    last_record: Option<Position>,
    gate: Gate,
    voids: Voids,
}

/// Whether a shard takes records, and which resharding job has a say in that.
///
/// The rules (architecture, section 6; checked by the model in `catalog`): a job below the highest that
/// was seen has no say; a job that was undone stays undone; only the job that froze a shard thaws or
/// closes it; only the job that made a shard opens it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gate {
    /// The job that made this shard; 0 for a stream's first shards.
    pub born: u64,
    /// Made by a job that isn't known to be committed yet.
    pub hidden: bool,
    /// The highest job that froze this shard; 0 if none.
    pub job: u64,
    /// Frozen by `job`.
    pub frozen: bool,
    /// Closed for good.
    pub closed: bool,
}

/// Why a shard takes no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    /// For the moment: a resharding job decides soon.
    Pending,
    /// For good: its children go on.
    Closed,
}

/// Stretches of the log in which appends don't count, because the shard was shut: `[from, to)`, rising.
/// The last one has no end while it is shut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voids(Vec<(u64, Option<u64>)>);

/// What applying a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The records stand at the entry's index, in the order of the batch.
    Appended {
        /// Index of the entry.
        log_index: u64,
        /// When they arrived.
        arrival: Timestamp,
    },
    /// The records don't count: no reader ever sees them.
    Refused(Shut),
    /// Frozen by the job; this is where its records end.
    Frozen(Ending),
    /// The job is undone or has been overtaken: nothing changed.
    Stale,
    /// The step is done.
    Stepped,
}

/// Where the records of a shard end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ending {
    /// Its newest record; `None` if it never had one.
    pub last_record: Option<Position>,
    /// When that arrived.
    pub last_arrival: Timestamp,
}

impl Gate {
    /// Why no record is taken; `None` if records are.
    pub const fn shut(self) -> Option<Shut> {
        match self {
            Self { closed: true, .. } => Some(Shut::Closed),
            Self { hidden: true, .. } | Self { frozen: true, .. } => Some(Shut::Pending),
            Self { .. } => None,
        }
    }

    /// The job that holds this shard frozen.
    pub const fn frozen_by(self) -> Option<u64> {
        if self.frozen && !self.closed { Some(self.job) } else { None }
    }

    /// Takes a step; says whether the step has its effect, now or already.
    fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Freeze(job) => {
                if !self.closed && job > self.job {
                    (self.job, self.frozen) = (job, true);
                }
                self.frozen_by() == Some(job)
            }
            Step::Unfreeze(job) => {
                // Its leader sends it only once it has seen the shard frozen by this very job.
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
    /// Whether an append at `log_index` doesn't count.
    pub fn contain(&self, log_index: u64) -> bool {
        let after = self.0.partition_point(|(from, _)| *from <= log_index);
        let last = after.checked_sub(1).and_then(|place| self.0.get(place));
        last.is_some_and(|(_, to)| to.is_none_or(|to| log_index < to))
    }

    /// Follows the gate after the entry at `log_index` was applied.
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
    /// A shard that the job `born` makes; 0 for a stream's first shards, which take records at once.
    pub fn born(born: u64) -> Self {
        let hidden = born != 0;
        let voids = if hidden { Voids(vec![(0, None)]) } else { Voids::default() };
        Self { gate: Gate { born, hidden, ..Gate::default() }, voids, ..Self::default() }
    }

    /// Applies the command at `log_index`. Equal on every replica: it depends on nothing else.
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
        // A leader stamps no earlier than the last arrival it applied, so this clamp only guards
        // against an entry that another program wrote.
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

    /// When the newest record arrived; the epoch if there was none.
    pub fn last_arrival(&self) -> Timestamp {
        self.last_arrival
    }

    /// Where the newest record stands, trimmed or not.
    pub fn last_record(&self) -> Option<Position> {
        self.last_record
    }

    /// Whether it takes records, and who has a say in that.
    pub fn gate(&self) -> Gate {
        self.gate
    }

    /// Where appends don't count.
    pub fn voids(&self) -> &Voids {
        &self.voids
    }

    /// The state as a checkpoint stores it: version 2, arrival (8), flag (1), index (8), offset (2), job
    /// that made it (8), highest job (8), flags of the gate (1), stretches without records: their number
    /// (4), and of each from (8) and to (8; 0 while it lasts). Version 1 ends after the offset.
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

    /// Reads what [`Self::encode`] wrote, of this version or the one before.
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

    /// Applies steps from index 1 on, and an append after each; says which of these were taken.
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
    fn a_frozen_shard_says_where_it_ends_and_takes_nothing() {
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
    fn only_the_job_that_froze_thaws_and_an_undone_one_stays_undone() {
        use Step::{Close, Freeze, Unfreeze};
        let mut shard = ShardState::default();
        let steps = [Freeze(3), Unfreeze(2), Unfreeze(4), Unfreeze(3), Freeze(3), Close(3)];
        assert_eq!(taken(&mut shard, &steps), [false, false, false, true, true, true]);
        let steps =
            [Freeze(6), Freeze(5), Freeze(7), Unfreeze(6), Close(6), Unfreeze(7), Freeze(7)];
        assert_eq!(taken(&mut shard, &steps), [false, false, false, false, false, true, true]);
    }

    #[test]
    fn a_child_opens_for_the_job_that_made_it() {
        use Step::{Close, Freeze, Open};
        let mut shard = ShardState::born(5);
        assert_eq!(taken(&mut shard, &[Open(4), Open(5)]), [false, true]);
        assert!(shard.voids().contain(2) && !shard.voids().contain(4));
        let mut frozen_first = ShardState::born(5);
        let steps = [Freeze(8), Open(5), Close(8), Open(5)];
        assert_eq!(taken(&mut frozen_first, &steps), [false; 4]);
    }

    #[test]
    fn checkpoints_read_what_they_wrote() {
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
    fn a_checkpoint_of_version_1_is_an_open_shard() {
        let stored = b"\x01\x07\0\0\0\0\0\0\0\x01\x09\0\0\0\0\0\0\0\x02\0";
        let shard = ShardState::decode(stored).unwrap();
        assert_eq!(shard.last_record(), Some(Position { log_index: 9, offset: 2 }));
        assert_eq!(shard.gate(), Gate::default());
        assert!(!shard.voids().contain(1));
    }

    proptest! {
        #[test]
        fn an_append_counts_exactly_where_it_was_taken(
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
