//! The state machine against a simple model: a `BTreeMap` of rows, on which a transaction works on a copy.
//!
//! The commands are random, with small limits, so that many break a rule, fail a check or find the group full. After
//! each command the model and the state must agree about outcomes, rows and counts. Watchers follow the state, and must
//! have exactly its rows whenever they have seen a complete page.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_types::Timestamp;
use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::checkpoint::CheckpointReader;
use crate::command::{Command, Expect, Transaction};
use crate::limits::Limits;
use crate::outcome::{Limited, Outcome, Refusal};
use crate::reads::{Changes, UnknownSpace};
use crate::row::{Key, Row, SpaceId, TransactionId, Version, epoch_of, row_bytes};
use crate::state::TableState;

pub(crate) const LIMITS: Limits = Limits {
    key_bytes: 3,
    value_bytes: 40,
    transaction_keys: 4,
    transaction_bytes: 200,
    command_transactions: 3,
    space_name_bytes: 2,
    spaces: 2,
    group_bytes: 2_000,
    page_bytes: 1_000,
    watched_changes: 8,
    watched_bytes: 4 << 20,
};

/// A random key: which of the spaces that exist, and a key of few letters.
type RandomKey = (usize, &'static str);

/// A random expectation. The version of a row is known only when the command is made.
#[derive(Clone, Copy, Debug)]
enum RandomExpect {
    Absent,
    Present,
    Version { is_current: bool },
    Epoch(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct RandomTransaction {
    checks: Vec<(RandomKey, RandomExpect)>,
    puts: Vec<(RandomKey, usize)>,
    deletes: Vec<RandomKey>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Transact {
        transactions: Vec<RandomTransaction>,
        now: u64,
    },
    Create {
        id: u8,
        name: &'static str,
    },
    Drop {
        space: usize,
    },
    /// Entries of the log that are no commands.
    Skip {
        entries: u64,
    },
}

fn keys() -> impl Strategy<Value = RandomKey> {
    let key = prop_oneof![
        30 => prop::sample::select(&["a", "b", "c", "aa", "ab", "ba", "aab"][..]),
        1 => Just(""),
        1 => Just("abcd"),
    ];
    (spaces(), key)
}

/// Which of the spaces that exist: 0 or 1. 2 names a space that does not exist.
fn spaces() -> impl Strategy<Value = usize> {
    prop_oneof![30 => Just(0), 15 => Just(1), 1 => Just(2)]
}

fn expectations() -> impl Strategy<Value = RandomExpect> {
    prop_oneof![
        1 => Just(RandomExpect::Absent),
        2 => Just(RandomExpect::Present),
        4 => Just(RandomExpect::Version { is_current: true }),
        1 => Just(RandomExpect::Version { is_current: false }),
        2 => (0u64..5).prop_map(RandomExpect::Epoch),
    ]
}

fn transactions() -> impl Strategy<Value = RandomTransaction> {
    let parts =
        (vec((keys(), expectations()), 0..3), vec((keys(), 0usize..42), 0..4), vec(keys(), 0..2));
    parts.prop_map(|(checks, puts, deletes)| RandomTransaction { checks, puts, deletes })
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let create = |name| (1u8..4, name).prop_map(|(id, name)| Step::Create { id, name });
    let step = prop_oneof![
        20 => (vec(transactions(), 0..5), 0u64..100)
            .prop_map(|(transactions, now)| Step::Transact { transactions, now }),
        3 => create(prop::sample::select(&["x", "y", "z", "", "xyz"][..])),
        1 => spaces().prop_map(|space| Step::Drop { space }),
        1 => (1u64..300).prop_map(|entries| Step::Skip { entries }),
    ];
    let first =
        (create(prop::sample::select(&["x"][..])), create(prop::sample::select(&["y"][..])));
    (first, vec(step, 1..60)).prop_map(|((x, y), steps)| [vec![x, y], steps].concat())
}

/// The model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) version: u64,
    time: u64,
    spaces_made: u32,
    /// Names, creators and versions of the creations.
    spaces: BTreeMap<u32, (String, u8, u64)>,
    rows: BTreeMap<(u32, Vec<u8>), Row>,
}

impl Model {
    fn bytes(&self) -> u64 {
        self.rows.iter().map(|((_, key), row)| row_bytes(key, &row.value)).sum()
    }

    fn row(&self, key: &Key) -> Option<&Row> {
        self.rows.get(&(key.space.0, key.key.to_vec()))
    }

    fn space(&self, place: usize) -> SpaceId {
        SpaceId(self.spaces.keys().nth(place).copied().unwrap_or(99))
    }

    fn command(&self, index: u64, step: &Step) -> Option<Command> {
        let make = |(place, random)| self.transaction(index, place, random);
        Some(match step {
            Step::Transact { transactions, now } => Command::Transact {
                transactions: (0..).zip(transactions).map(make).collect(),
                now: Timestamp::from_millis(*now),
            },
            Step::Create { id, name } => {
                Command::CreateSpace { id: TransactionId([*id; 16]), name: (*name).to_owned() }
            }
            Step::Drop { space } => Command::DropSpace { space: self.space(*space) },
            Step::Skip { .. } => return None,
        })
    }

    fn transaction(&self, index: u64, place: u8, random: &RandomTransaction) -> Transaction {
        let key = |(space, key): RandomKey| Key {
            space: self.space(space),
            key: Bytes::from_static(key.as_bytes()),
        };
        let expect = |key: &Key, random| match random {
            RandomExpect::Absent => Expect::Absent,
            RandomExpect::Present => Expect::Present,
            RandomExpect::Version { is_current: false } => Expect::Version(Version::new(index, 0)),
            RandomExpect::Version { is_current: true } => {
                Expect::Version(self.row(key).map_or(Version::START, |row| row.version))
            }
            RandomExpect::Epoch(at_most) => Expect::Epoch { at_most },
        };
        let checks = random.checks.iter().map(|(k, random)| {
            let key = key(*k);
            let expect = expect(&key, *random);
            (key, expect)
        });
        // Values begin with a small epoch, unless they are short.
        let value = |length: usize| {
            let mut value = vec![0; length];
            if let Some(first) = value.first_mut() {
                *first = u8::try_from(length % 5).unwrap();
            }
            value.into()
        };
        let mut id = [place; 16];
        id[..8].copy_from_slice(&index.to_le_bytes());
        Transaction {
            id: TransactionId(id),
            checks: checks.collect(),
            puts: random.puts.iter().map(|(k, length)| (key(*k), value(*length))).collect(),
            deletes: random.deletes.iter().map(|k| key(*k)).collect(),
        }
    }

    fn apply(&mut self, index: u64, command: &Command) -> Vec<Outcome> {
        match command {
            Command::Transact { transactions, now } => {
                self.time = self.time.max(now.as_millis());
                let outcomes = transactions.iter().enumerate().map(|(place, transaction)| {
                    let mut copy = self.clone();
                    let outcome = copy.transact(index, place, transaction);
                    if matches!(outcome, Outcome::Done { .. }) {
                        *self = copy;
                    }
                    outcome
                });
                outcomes.collect()
            }
            Command::CreateSpace { id, name } => vec![self.create(index << 8, id.0[0], name)],
            Command::DropSpace { space } => vec![self.drop(index << 8, space.0)],
        }
    }

    /// Changes the rows first, and looks for broken rules on the way.
    fn transact(&mut self, index: u64, place: usize, transaction: &Transaction) -> Outcome {
        let limit = |what, actual: usize, limit: usize| {
            let (actual, limit) = (actual as u64, limit as u64);
            Outcome::Refused(Refusal::Limit { what, actual, limit })
        };
        if place >= LIMITS.command_transactions {
            return limit(Limited::CommandTransactions, place + 1, LIMITS.command_transactions);
        }
        let bytes = encoded_bytes(transaction);
        if bytes > LIMITS.transaction_bytes {
            return limit(Limited::TransactionBytes, bytes, LIMITS.transaction_bytes);
        }
        let Transaction { id, checks, puts, deletes } = transaction;
        let (mut all, mut written) = (Vec::new(), Vec::new());
        checks.iter().for_each(|(key, _)| all.push(key));
        puts.iter().for_each(|(key, _)| written.push(key));
        written.extend(deletes);
        all.extend(&written);
        for key in &all {
            match key.key.len() {
                0 => return Refusal::EmptyKey { space: key.space }.into(),
                4 => return limit(Limited::KeyBytes, 4, 3),
                _ => {}
            }
        }
        if let Some((_, value)) = puts.iter().find(|(_, value)| value.len() > 40) {
            return limit(Limited::ValueBytes, value.len(), 40);
        }
        for (place, key) in written.iter().enumerate() {
            if written[..place].contains(key) {
                return Refusal::DuplicateKey { key: (*key).clone() }.into();
            }
        }
        let distinct = all.iter().collect::<BTreeSet<_>>().len();
        if distinct > LIMITS.transaction_keys {
            return limit(Limited::TransactionKeys, distinct, LIMITS.transaction_keys);
        }
        if let Some(key) = all.iter().find(|key| !self.spaces.contains_key(&key.space.0)) {
            return Refusal::UnknownSpace { space: key.space }.into();
        }
        for (check, (key, expect)) in checks.iter().enumerate() {
            let found = self.row(key).cloned();
            let holds = match (&found, *expect) {
                (None, expect) => expect == Expect::Absent,
                (Some(_), Expect::Absent) => false,
                (Some(_), Expect::Present) => true,
                (Some(row), Expect::Version(version)) => row.version == version,
                (Some(row), Expect::Epoch { at_most }) => {
                    row.value.len() >= 8 && epoch_of(&row.value) <= Some(at_most)
                }
            };
            if !holds {
                return Outcome::Failed { check, found };
            }
        }
        let before = self.bytes();
        let version = index << 8 | place as u64;
        for (key, value) in puts {
            let (version, writer) = (Version::from_u64(version), *id);
            let row = Row { version, writer, value: value.clone() };
            self.rows.insert((key.space.0, key.key.to_vec()), row);
            self.version = version.as_u64();
        }
        for key in deletes {
            if self.rows.remove(&(key.space.0, key.key.to_vec())).is_some() {
                self.version = version;
            }
        }
        let (actual, limit) = (self.bytes(), LIMITS.group_bytes);
        if actual > limit && actual > before {
            return Refusal::Full { actual, limit }.into();
        }
        Outcome::Done { version: Version::from_u64(self.version) }
    }

    fn create(&mut self, version: u64, id: u8, name: &str) -> Outcome {
        let limit = |what, actual, limit| Refusal::Limit { what, actual, limit }.into();
        let known = self.spaces.iter().find(|(_, (known, ..))| known == name);
        match (name, known) {
            ("", _) => Refusal::EmptyName.into(),
            ("xyz", _) => limit(Limited::SpaceNameBytes, 3, 2),
            (_, Some((space, (_, creator, version)))) if *creator == id => {
                let version = Version::from_u64(*version);
                Outcome::Created { space: SpaceId(*space), version }
            }
            (_, Some((space, _))) => Refusal::SpaceExists { space: SpaceId(*space) }.into(),
            _ if self.spaces.len() == LIMITS.spaces => limit(Limited::Spaces, 3, 2),
            _ => {
                self.spaces_made += 1;
                self.version = version;
                self.spaces.insert(self.spaces_made, (name.to_owned(), id, version));
                let version = Version::from_u64(version);
                Outcome::Created { space: SpaceId(self.spaces_made), version }
            }
        }
    }

    fn drop(&mut self, version: u64, space: u32) -> Outcome {
        if self.spaces.remove(&space).is_none() {
            return Refusal::UnknownSpace { space: SpaceId(space) }.into();
        }
        self.rows.retain(|(of, _), _| *of != space);
        self.version = version;
        Outcome::Done { version: Version::from_u64(version) }
    }

    pub(crate) fn has_space(&self, space: SpaceId) -> bool {
        self.spaces.contains_key(&space.0)
    }

    /// Rows of a space whose keys begin with `prefix`.
    pub(crate) fn rows_of(&self, space: u32, prefix: &[u8]) -> BTreeMap<Bytes, Row> {
        let rows =
            self.rows.iter().filter(|((of, key), _)| *of == space && key.starts_with(prefix));
        rows.map(|((_, key), row)| (key.clone().into(), row.clone())).collect()
    }
}

fn encoded_bytes(transaction: &Transaction) -> usize {
    let transactions = vec![transaction.clone()];
    let command = Command::Transact { transactions, now: Timestamp::default() };
    let mut bytes = BytesMut::new();
    command.encode(&mut bytes);
    bytes.len() - 13
}

/// A watcher of one space and prefix, as `reads.rs` describes it.
#[derive(Debug)]
struct Watcher {
    space: SpaceId,
    prefix: &'static [u8],
    max_bytes: usize,
    since: Version,
    copy: BTreeMap<Bytes, Row>,
    resets: usize,
}

impl Watcher {
    fn new(space: SpaceId, prefix: &'static [u8], max_bytes: usize) -> Self {
        Self { space, prefix, max_bytes, since: Version::START, copy: BTreeMap::new(), resets: 0 }
    }

    /// Takes one page. Returns whether the copy is exact now, or `None` if the space is gone.
    fn step(&mut self, table: &TableState) -> Option<bool> {
        match table.changes(self.space, self.prefix, self.since, self.max_bytes) {
            Err(UnknownSpace(_)) => return None,
            Ok(Changes::Ahead { version }) => panic!("{version} of {self:?}"),
            Ok(Changes::Reset) => self.read_all(table),
            Ok(Changes::Page { changes, up_to, is_complete }) => {
                assert!(up_to > self.since || is_complete, "{self:?} makes no progress");
                assert!(changes.is_sorted_by(|a, b| a.version <= b.version));
                for change in changes {
                    assert!(change.version > self.since && change.version <= up_to);
                    assert!(change.key.starts_with(self.prefix));
                    assert!(change.row.as_ref().is_none_or(|row| row.version == change.version));
                    match change.row {
                        Some(row) => self.copy.insert(change.key, row),
                        None => self.copy.remove(&change.key),
                    };
                }
                self.since = up_to;
                return Some(is_complete);
            }
        }
        Some(false)
    }

    fn read_all(&mut self, table: &TableState) {
        self.resets += 1;
        self.copy.clear();
        self.since = table.version();
        let mut after: Option<Bytes> = None;
        loop {
            let page = table.range(self.space, self.prefix, after.as_deref(), self.max_bytes);
            let page = page.unwrap();
            assert_eq!(page.version, self.since);
            after = page.rows.last().map(|(key, _)| key.clone());
            self.copy.extend(page.rows);
            if !page.more {
                return;
            }
        }
    }
}

pub(crate) fn restored(table: &TableState, part_bytes: usize) -> TableState {
    let mut reader = CheckpointReader::new(LIMITS);
    for part in table.checkpoint().parts_of(part_bytes) {
        reader.read(part).unwrap();
    }
    reader.finish().unwrap()
}

/// Log index and command of each step.
pub(crate) fn run(steps: &[Step], mut each: impl FnMut(u64, &Command, &[Outcome], &Model)) {
    let (mut model, mut index) = (Model::default(), 0);
    for step in steps {
        index += 1;
        if let Step::Skip { entries } = step {
            index += entries;
        }
        let Some(command) = model.command(index, step) else { continue };
        let outcomes = model.apply(index, &command);
        each(index, &command, &outcomes, &model);
    }
}

/// The command after a way through the log.
fn decoded(command: &Command) -> Command {
    let mut bytes = BytesMut::new();
    command.encode(&mut bytes);
    Command::decode(bytes.freeze()).unwrap()
}

fn assert_same(table: &TableState, model: &Model) {
    table.contents.assert_invariants();
    let spaces: Vec<_> =
        table.spaces().map(|(id, space)| (id.0, space.name().to_owned())).collect();
    let expected = model.spaces.iter().map(|(id, (name, ..))| (*id, name.clone()));
    assert_eq!(spaces, expected.collect::<Vec<_>>());
    assert_eq!(table.bytes(), model.bytes());
    assert_eq!(table.version().as_u64(), model.version);
    assert_eq!(table.time().as_millis(), model.time);
    for (space, name) in spaces {
        let id = SpaceId(space);
        assert_eq!(table.space_named(&name).map(|(id, _)| id), Some(id));
        for prefix in [&b""[..], b"a", b"ab", b"abc"] {
            let page = table.range(id, prefix, None, usize::MAX).unwrap();
            let rows: BTreeMap<_, _> = page.rows.into_iter().collect();
            let mut expected = model.rows_of(space, prefix);
            if page.more {
                let last = rows.last_key_value().unwrap().0;
                expected.retain(|key, _| key <= last);
            }
            assert_eq!(rows, expected);
        }
    }
}

proptest! {
    #[test]
    fn the_state_does_what_the_model_does(steps in steps()) {
        let mut table = TableState::new(LIMITS);
        run(&steps, |index, command, expected, model| {
            let before = table.clone();
            let outcomes = table.apply(index, decoded(command));
            assert_eq!(outcomes, expected, "{index}: {command:?}");
            assert_same(&table, model);
            // A reader with an older clone is not disturbed.
            before.contents.assert_invariants();
        });
    }

    #[test]
    fn replicas_are_the_same_also_after_a_checkpoint(steps in steps(), part_bytes in 1usize..900) {
        let mut replicas = [TableState::new(LIMITS), TableState::new(LIMITS)];
        run(&steps, |index, command, _, _| {
            let [outcomes, others] = replicas.each_mut().map(|table| table.apply(index, decoded(command)));
            assert_eq!(outcomes, others);
            let [one, other] = &mut replicas;
            assert_eq!(one.contents, other.contents);
            let parts = |table: &TableState| table.checkpoint().parts().collect::<Vec<_>>();
            assert_eq!(parts(one), parts(other));
            // One of them starts again from a checkpoint before every third entry.
            if index % 3 == 0 {
                *other = restored(other, part_bytes);
                other.contents.assert_invariants();
            }
        });
    }

    #[test]
    fn watchers_have_exactly_the_rows_of_each_version_that_they_reach(
        steps in steps(),
        haste in vec(0usize..4, 60),
        with_restart in any::<bool>(),
    ) {
        let mut table = TableState::new(LIMITS);
        let prefixes = [(&b""[..], 1), (b"", usize::MAX), (b"a", 300), (b"ab", 500)];
        let spaces = (1..8).map(SpaceId);
        let mut watchers: Vec<_> = spaces
            .flat_map(|space| prefixes.map(|(prefix, max)| Watcher::new(space, prefix, max)))
            .collect();
        let mut haste = haste.into_iter().cycle();
        run(&steps, |index, command, _, model| {
            table.apply(index, decoded(command));
            if with_restart && index % 17 == 0 {
                table = restored(&table, 500);
            }
            for watcher in &mut watchers {
                for _ in 0..haste.next().unwrap_or_default() {
                    if watcher.step(&table) == Some(true) {
                        assert_eq!(watcher.since, table.version());
                        let expected = model.rows_of(watcher.space.0, watcher.prefix);
                        assert_eq!(watcher.copy, expected, "{index}: {:?}", watcher.space);
                    }
                }
            }
        });
        for watcher in &mut watchers {
            let mut pages = 0;
            while watcher.step(&table) == Some(false) {
                pages += 1;
                prop_assert!(pages < 100, "the watcher does not reach the end");
            }
        }
    }
}

/// The random commands are of use only if all outcomes are among them.
#[test]
fn random_commands_have_all_outcomes() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let (mut runner, mut seen) = (TestRunner::deterministic(), BTreeSet::new());
    let (mut resets, mut pages) = (0, 0);
    for _ in 0..200 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let mut table = TableState::new(LIMITS);
        let mut watcher = Watcher::new(SpaceId(1), b"", 300);
        run(&steps, |index, command, outcomes, _| {
            table.apply(index, decoded(command));
            if index % 8 == 0 {
                pages += usize::from(watcher.step(&table).is_some());
            }
            seen.extend(outcomes.iter().map(|outcome| match outcome {
                Outcome::Done { .. } => "done".to_owned(),
                Outcome::Failed { .. } => "failed".to_owned(),
                Outcome::Created { .. } => "created".to_owned(),
                Outcome::Refused(Refusal::Limit { what, .. }) => what.to_string(),
                Outcome::Refused(refusal) => {
                    format!("{refusal:?}").split(' ').next().unwrap().to_owned()
                }
            }));
        });
        resets += watcher.resets;
    }
    let expected = [
        "DuplicateKey",
        "EmptyKey",
        "EmptyName",
        "Full",
        "SpaceExists",
        "UnknownSpace",
        "bytes of a key",
        "bytes of a transaction",
        "bytes of a value",
        "bytes of the name of a space",
        "created",
        "done",
        "failed",
        "keys of a transaction",
        "spaces of a group",
        "transactions of a command",
    ];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    assert!((pages / 10..pages / 2).contains(&resets), "{resets} resets in {pages} steps");
}
