//! The state machine of a table group: spaces, their rows, and what a command does to them.
//!
//! Order of events for a transaction:
//! 1. The limits that need no state ([`Transaction::check`]), although the leader has checked them.
//! 2. The spaces of all its keys exist.
//! 3. Its checks hold, in their order. A failed check says more than a full group, so it comes first.
//! 4. The group has room, unless the transaction does not make it larger.
//! 5. Only now the rows change. So a transaction that is refused or fails has changed nothing.
//!
//! This never happens: the time falls, a version or the number of a space is given twice, or a row keeps the entry that
//! it came with in memory.

use std::sync::Arc;

use anabranch_types::Timestamp;
use bytes::Bytes;
use rpds::RedBlackTreeMapSync;

use crate::command::{Command, Transaction};
use crate::limits::Limits;
use crate::outcome::{Limited, Outcome, Refusal};
use crate::ring::{Ring, Touched};
use crate::row::{Key, Row, SpaceId, TransactionId, Version, row_bytes};

/// State of a table group. A clone costs the same however many rows there are, so readers and checkpoints use clones.
#[derive(Clone, Debug)]
pub struct TableState {
    pub(crate) limits: Limits,
    pub(crate) contents: Contents,
    pub(crate) ring: Ring,
}

/// The part of the state that is the same on all replicas, and that a checkpoint holds.
///
/// Invariants: `rows` and `bytes` are the sums over the spaces. The names of spaces are distinct. `next_space` is above
/// all numbers of spaces, and never falls. No row and no space has a version above `version`, which is of an entry up
/// to `applied`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) applied: u64,
    pub(crate) version: Version,
    pub(crate) time: Timestamp,
    pub(crate) next_space: u32,
    pub(crate) spaces: RedBlackTreeMapSync<SpaceId, Space>,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// A space: one table, or the rows of one service.
///
/// Invariant: `bytes` is the sum of [`row_bytes`] of the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    pub(crate) name: Arc<str>,
    pub(crate) creator: TransactionId,
    pub(crate) created: Version,
    pub(crate) rows: RedBlackTreeMapSync<Bytes, Row>,
    pub(crate) bytes: u64,
}

impl Space {
    pub(crate) fn new(name: &str, creator: TransactionId, created: Version) -> Self {
        let rows = RedBlackTreeMapSync::new_sync();
        Self { name: name.into(), creator, created, rows, bytes: 0 }
    }

    /// The name that the service chose.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id of the creation.
    pub fn creator(&self) -> TransactionId {
        self.creator
    }

    /// Version of the creation.
    pub fn created(&self) -> Version {
        self.created
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.size()
    }

    /// Bytes of the rows, each counted by [`row_bytes`].
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes a row. Returns the key that the state keeps, and the number of bytes that the row counted for before.
    fn put(&mut self, key: &Bytes, row: Row) -> (Bytes, Option<u64>) {
        let old = self.rows.get_key_value(key);
        let old_bytes = old.map(|(key, old)| row_bytes(key, &old.value));
        // Copies, because `key` and `value` are slices of an entry of up to a mebibyte, which would stay in memory.
        let key = old.map_or_else(|| Bytes::copy_from_slice(key), |(key, _)| key.clone());
        let row = Row { value: Bytes::copy_from_slice(&row.value), ..row };
        self.bytes += row_bytes(&key, &row.value);
        self.bytes -= old_bytes.unwrap_or_default();
        self.rows.insert_mut(key.clone(), row);
        (key, old_bytes)
    }

    /// Removes a row. Returns the key that the state kept, and the number of bytes that the row counted for. `None` if
    /// there is no row.
    fn delete(&mut self, key: &Bytes) -> Option<(Bytes, u64)> {
        let (key, row) = self.rows.get_key_value(key)?;
        let (key, bytes) = (key.clone(), row_bytes(key, &row.value));
        self.rows.remove_mut(&key);
        self.bytes -= bytes;
        Some((key, bytes))
    }
}

impl TableState {
    /// State of a new group, without spaces. All replicas of a group must have the same limits.
    pub fn new(limits: Limits) -> Self {
        Self { limits, contents: Contents::new(), ring: Ring::default() }
    }

    /// Applies the command at `log_index`. Returns one outcome for each transaction, in their order, or the one outcome
    /// of a command about a space. The result depends on nothing but the state and the arguments.
    ///
    /// # Panics
    /// If `log_index` is not above that of the command before: the caller has lost the order of the log.
    pub fn apply(&mut self, log_index: u64, command: Command) -> Vec<Outcome> {
        let applied = self.contents.applied;
        assert!(log_index > applied, "{log_index} applied after {applied}");
        assert!(log_index <= Version::MAX_LOG_INDEX, "{log_index} does not fit into a version");
        let outcomes = match command {
            Command::Transact { transactions, now } => {
                // A new leader may have a slower clock.
                self.contents.time = self.contents.time.max(now);
                let numbered = transactions.iter().enumerate();
                let outcomes = numbered.map(|(place, transaction)| {
                    let result = self.transact(log_index, place, transaction);
                    result.map_or_else(|outcome| outcome, |version| Outcome::Done { version })
                });
                outcomes.collect()
            }
            Command::CreateSpace { id, name } => {
                let result = self.create_space(Version::new(log_index, 0), id, &name);
                vec![result.unwrap_or_else(Outcome::Refused)]
            }
            Command::DropSpace { space } => {
                let result = self.drop_space(Version::new(log_index, 0), space);
                vec![result.unwrap_or_else(Outcome::Refused)]
            }
        };
        self.contents.applied = log_index;
        outcomes
    }

    fn transact(
        &mut self,
        log_index: u64,
        place: usize,
        transaction: &Transaction,
    ) -> Result<Version, Outcome> {
        let version = Version::new(log_index, self.place(place)?);
        transaction.check(&self.limits)?;
        self.contents.check_spaces(transaction)?;
        self.contents.check_expectations(transaction)?;
        self.contents.check_room(transaction, self.limits.group_bytes)?;
        let touched = self.contents.write(version, transaction);
        if !touched.is_empty() {
            self.contents.version = version;
            self.ring.push(version, touched, &self.limits);
        }
        Ok(self.contents.version)
    }

    /// The place of a transaction in its entry, as part of a version.
    fn place(&self, place: usize) -> Result<u8, Refusal> {
        let limit = self.limits.command_transactions.min(1 << 8);
        Limited::CommandTransactions.check(place + 1, limit)?;
        Ok(u8::try_from(place).expect("below 256"))
    }

    fn create_space(
        &mut self,
        version: Version,
        id: TransactionId,
        name: &str,
    ) -> Result<Outcome, Refusal> {
        if name.is_empty() {
            return Err(Refusal::EmptyName);
        }
        Limited::SpaceNameBytes.check(name.len(), self.limits.space_name_bytes)?;
        if let Some((space, existing)) = self.space_named(name) {
            // The same creation again: its proposer did not learn the outcome.
            let is_same = existing.creator == id;
            let created = Outcome::Created { space, version: existing.created };
            return if is_same { Ok(created) } else { Err(Refusal::SpaceExists { space }) };
        }
        let contents = &mut self.contents;
        Limited::Spaces.check(contents.spaces.size() + 1, self.limits.spaces)?;
        let space = SpaceId(contents.next_space);
        contents.next_space = space.0.checked_add(1).ok_or(Refusal::Limit {
            what: Limited::SpaceNumbers,
            actual: u64::from(space.0),
            limit: u64::from(u32::MAX - 1),
        })?;
        contents.spaces.insert_mut(space, Space::new(name, id, version));
        contents.version = version;
        Ok(Outcome::Created { space, version })
    }

    fn drop_space(&mut self, version: Version, space: SpaceId) -> Result<Outcome, Refusal> {
        let contents = &mut self.contents;
        let dropped = contents.spaces.get(&space).ok_or(Refusal::UnknownSpace { space })?;
        contents.rows -= dropped.rows.size() as u64;
        contents.bytes -= dropped.bytes;
        contents.spaces.remove_mut(&space);
        contents.version = version;
        // The ring gets no changes: a watcher of the space learns that the space is dropped.
        Ok(Outcome::Done { version })
    }

    /// Log index of the last command that was applied. 0 if there was none.
    pub fn applied(&self) -> u64 {
        self.contents.applied
    }

    /// Version of the last change: of rows, or of the spaces that exist.
    pub fn version(&self) -> Version {
        self.contents.version
    }

    /// The highest time of a leader's clock in any command. It never falls.
    pub fn time(&self) -> Timestamp {
        self.contents.time
    }

    /// Number of rows in all spaces.
    pub fn rows(&self) -> u64 {
        self.contents.rows
    }

    /// Bytes of all rows, each counted by [`row_bytes`].
    pub fn bytes(&self) -> u64 {
        self.contents.bytes
    }

    /// The limits that the state was made with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// All spaces by number.
    pub fn spaces(&self) -> impl Iterator<Item = (SpaceId, &Space)> {
        self.contents.spaces.iter().map(|(id, space)| (*id, space))
    }

    /// The space of that number.
    pub fn space(&self, space: SpaceId) -> Option<&Space> {
        self.contents.spaces.get(&space)
    }

    /// Whether this state has never had a space of that number. Otherwise the space exists, or it was dropped.
    pub fn is_unborn(&self, space: SpaceId) -> bool {
        space.0 >= self.contents.next_space
    }

    /// The space of that name, and its number. Reads the names of all spaces.
    pub fn space_named(&self, name: &str) -> Option<(SpaceId, &Space)> {
        self.spaces().find(|(_, space)| space.name() == name)
    }
}

impl Contents {
    pub(crate) fn new() -> Self {
        Self {
            applied: 0,
            version: Version::START,
            time: Timestamp::default(),
            next_space: 1,
            spaces: RedBlackTreeMapSync::new_sync(),
            rows: 0,
            bytes: 0,
        }
    }

    pub(crate) fn row(&self, key: &Key) -> Option<&Row> {
        self.spaces.get(&key.space)?.rows.get(&key.key)
    }

    fn check_spaces(&self, transaction: &Transaction) -> Result<(), Refusal> {
        let unknown = transaction.keys().find(|key| !self.spaces.contains_key(&key.space));
        unknown.map_or(Ok(()), |key| Err(Refusal::UnknownSpace { space: key.space }))
    }

    fn check_expectations(&self, transaction: &Transaction) -> Result<(), Outcome> {
        for (check, (key, expect)) in transaction.checks.iter().enumerate() {
            let found = self.row(key);
            if !expect.holds(found) {
                return Err(Outcome::Failed { check, found: found.cloned() });
            }
        }
        Ok(())
    }

    fn check_room(&self, transaction: &Transaction, limit: u64) -> Result<(), Refusal> {
        let counted = |key: &Key| self.row(key).map_or(0, |row| row_bytes(&key.key, &row.value));
        let puts = || transaction.puts.iter();
        let removed = puts().map(|(key, _)| key).chain(&transaction.deletes).map(counted);
        let added = puts().map(|(key, value)| row_bytes(&key.key, value));
        // The keys are distinct, so no row is subtracted twice.
        let after = self.bytes + added.sum::<u64>() - removed.sum::<u64>();
        let fits = after <= limit || after <= self.bytes;
        if fits { Ok(()) } else { Err(Refusal::Full { actual: after, limit }) }
    }

    /// Writes what `transaction` puts and deletes, all of which is checked. Returns the rows that changed.
    fn write(&mut self, version: Version, transaction: &Transaction) -> Vec<Touched> {
        let mut touched = Vec::with_capacity(transaction.puts.len() + transaction.deletes.len());
        for (Key { space, key }, value) in &transaction.puts {
            let row = Row { version, writer: transaction.id, value: value.clone() };
            let added = row_bytes(key, value);
            let (key, replaced) = self.space_mut(*space).put(key, row);
            self.rows += u64::from(replaced.is_none());
            self.bytes += added;
            self.bytes -= replaced.unwrap_or_default();
            touched.push(Touched { space: *space, key, is_deleted: false });
        }
        for Key { space, key } in &transaction.deletes {
            let Some((key, removed)) = self.space_mut(*space).delete(key) else { continue };
            self.rows -= 1;
            self.bytes -= removed;
            touched.push(Touched { space: *space, key, is_deleted: true });
        }
        touched
    }

    fn space_mut(&mut self, space: SpaceId) -> &mut Space {
        self.spaces.get_mut(&space).expect("the spaces of the transaction are checked")
    }

    /// Checks the invariants, by a look at every row.
    #[cfg(test)]
    pub(crate) fn assert_invariants(&self) {
        let (mut rows, mut bytes, mut names) = (0, 0, std::collections::BTreeSet::new());
        assert!(self.version.log_index() <= self.applied);
        for (id, space) in &self.spaces {
            assert!(id.0 < self.next_space && space.created <= self.version);
            assert!(names.insert(space.name.clone()), "the name of {id} is used twice");
            let counted = space.rows.iter().map(|(key, row)| row_bytes(key, &row.value));
            assert_eq!(space.bytes, counted.sum(), "bytes of {id}");
            assert!(space.rows.values().all(|row| row.version <= self.version));
            rows += space.rows.size() as u64;
            bytes += space.bytes;
        }
        assert_eq!((self.rows, self.bytes), (rows, bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Expect;

    /// A group with two spaces, 1 and 2. The next log index is 3.
    fn group() -> TableState {
        let mut table = TableState::new(Limits::default());
        for (index, name) in [(1, "a"), (2, "b")] {
            let id = TransactionId([9; 16]);
            let space = SpaceId(u32::try_from(index).unwrap());
            let created = Outcome::Created { space, version: Version::new(index, 0) };
            let create = Command::CreateSpace { id, name: name.into() };
            assert_eq!(table.apply(index, create), [created]);
        }
        table
    }

    fn key(key: &str) -> Key {
        Key { space: SpaceId(1), key: Bytes::copy_from_slice(key.as_bytes()) }
    }

    fn put(name: &str, value: &str) -> Transaction {
        let puts = vec![(key(name), Bytes::copy_from_slice(value.as_bytes()))];
        Transaction { puts, ..Transaction::default() }
    }

    fn delete(name: &str) -> Transaction {
        Transaction { deletes: vec![key(name)], ..Transaction::default() }
    }

    fn expecting(mut transaction: Transaction, name: &str, expect: Expect) -> Transaction {
        transaction.checks.push((key(name), expect));
        transaction
    }

    fn run(table: &mut TableState, transactions: Vec<Transaction>) -> Vec<Outcome> {
        let command = Command::Transact { transactions, now: Timestamp::default() };
        let outcomes = table.apply(table.applied() + 1, command);
        table.contents.assert_invariants();
        outcomes
    }

    fn done(index: u64, place: u8) -> Outcome {
        Outcome::Done { version: Version::new(index, place) }
    }

    #[test]
    fn transactions_of_one_entry_see_each_other_and_have_their_own_versions() {
        let mut table = group();
        let at = |index, place| Expect::Version(Version::new(index, place));
        run(&mut table, vec![put("x", "0")]);
        let outcomes = run(
            &mut table,
            vec![
                expecting(put("x", "1"), "x", at(3, 0)),
                expecting(put("x", "2"), "x", at(3, 0)),
                expecting(put("x", "3"), "x", at(4, 0)),
                expecting(put("x", "4"), "x", at(4, 0)),
            ],
        );
        let found = |place, value: &'static str| {
            let (version, writer) = (Version::new(4, place), TransactionId::default());
            Some(Row { version, writer, value: Bytes::from_static(value.as_bytes()) })
        };
        let failed = |place, value| Outcome::Failed { check: 0, found: found(place, value) };
        assert_eq!(outcomes, [done(4, 0), failed(0, "1"), done(4, 2), failed(2, "3")]);
        assert_eq!(table.version(), Version::new(4, 2));
    }

    #[test]
    fn a_transaction_changes_all_rows_or_none() {
        let mut table = group();
        run(&mut table, vec![put("x", "0"), put("y", "0")]);
        let before = table.contents.clone();
        let mut both = expecting(put("x", "1"), "x", Expect::Present);
        both.deletes.push(key("y"));
        both.checks.push((key("z"), Expect::Present));
        let outcomes = run(&mut table, vec![both.clone()]);
        assert_eq!(outcomes, [Outcome::Failed { check: 1, found: None }]);
        assert_eq!(table.contents, Contents { applied: 4, ..before });
        both.checks.pop();
        assert_eq!(run(&mut table, vec![both]), [done(5, 0)]);
        assert_eq!(table.contents.row(&key("x")).unwrap().value, "1");
        assert_eq!(table.contents.row(&key("y")), None);
    }

    #[test]
    fn a_transaction_without_effect_has_the_version_that_it_saw() {
        let mut table = group();
        run(&mut table, vec![put("x", "0")]);
        let checks = expecting(Transaction::default(), "x", Expect::Present);
        assert_eq!(run(&mut table, vec![checks, delete("y")]), [done(3, 0), done(3, 0)]);
        assert_eq!(table.version(), Version::new(3, 0));
    }

    #[test]
    fn the_time_never_falls() {
        let mut table = group();
        for (index, now, time) in [(3, 50, 50), (4, 40, 50), (5, 60, 60)] {
            let now = Timestamp::from_millis(now);
            table.apply(index, Command::Transact { transactions: vec![], now });
            assert_eq!(table.time(), Timestamp::from_millis(time));
        }
    }

    #[test]
    fn a_full_group_takes_what_does_not_make_it_larger() {
        let mut table = group();
        table.limits.group_bytes = row_bytes(b"x", b"0123456789");
        assert_eq!(run(&mut table, vec![put("x", "0123456789")]), [done(3, 0)]);
        let full = |over| {
            let limit = table.limits.group_bytes;
            Outcome::Refused(Refusal::Full { actual: limit + over, limit })
        };
        let (full_by_one, full_by_row) = (full(1), full(row_bytes(b"y", b"")));
        let outcomes = run(&mut table, vec![put("x", "0123456789+"), put("y", "")]);
        assert_eq!(outcomes, [full_by_one, full_by_row]);
        assert_eq!(run(&mut table, vec![put("x", "9876543210")]), [done(5, 0)]);
        let mut exchange = put("y", "9876543210");
        exchange.deletes.push(key("x"));
        assert_eq!(run(&mut table, vec![exchange]), [done(6, 0)]);
        // The limit was lowered, or the group was filled under another rule: it still gets smaller.
        table.limits.group_bytes = 1;
        assert_eq!(run(&mut table, vec![put("y", "98765"), delete("y")]), [done(7, 0), done(7, 1)]);
        assert_eq!((table.bytes(), table.rows()), (0, 0));
    }

    #[test]
    fn transactions_beyond_the_limit_of_a_command_are_refused() {
        let mut table = group();
        let outcomes = run(&mut table, vec![put("x", ""); 258]);
        assert_eq!(outcomes[255], done(3, 255));
        let refused = |actual| {
            let what = Limited::CommandTransactions;
            Outcome::Refused(Refusal::Limit { what, actual, limit: 256 })
        };
        assert_eq!(outcomes[256..], [refused(257), refused(258)]);
    }

    #[test]
    fn a_replica_checks_the_limits_that_the_leader_has_checked() {
        let mut table = group();
        let mut twice = put("x", "1");
        twice.deletes.push(key("x"));
        let outcomes = run(&mut table, vec![put("", "1"), twice, put("x", "2")]);
        let refused = Outcome::Refused;
        assert_eq!(
            outcomes,
            [
                refused(Refusal::EmptyKey { space: SpaceId(1) }),
                refused(Refusal::DuplicateKey { key: key("x") }),
                done(3, 2),
            ]
        );
    }

    #[test]
    fn a_creation_is_repeatable_and_a_name_is_unique() {
        let mut table = group();
        let create = |id, name: &str| Command::CreateSpace {
            id: TransactionId([id; 16]),
            name: name.to_owned(),
        };
        let again = Outcome::Created { space: SpaceId(1), version: Version::new(1, 0) };
        assert_eq!(table.apply(3, create(9, "a")), [again]);
        let exists = Outcome::Refused(Refusal::SpaceExists { space: SpaceId(1) });
        assert_eq!(table.apply(4, create(8, "a")), [exists]);
        assert_eq!(table.apply(5, create(8, "")), [Outcome::Refused(Refusal::EmptyName)]);
        let long = table.apply(6, create(8, &"a".repeat(1025)));
        assert!(matches!(
            long[..],
            [Outcome::Refused(Refusal::Limit { what: Limited::SpaceNameBytes, .. })]
        ));
        assert_eq!(table.version(), Version::new(2, 0));
    }

    #[test]
    fn a_dropped_space_takes_its_rows_along_and_its_number_is_not_used_again() {
        let mut table = group();
        run(&mut table, vec![put("x", "1")]);
        let drop = |space| Command::DropSpace { space: SpaceId(space) };
        assert_eq!(table.apply(4, drop(1)), [done(4, 0)]);
        assert_eq!((table.bytes(), table.rows()), (0, 0));
        let unknown = |space| Refusal::UnknownSpace { space: SpaceId(space) }.into();
        assert_eq!(table.apply(5, drop(1)), [unknown(1)]);
        assert_eq!(run(&mut table, vec![put("x", "1")]), [unknown(1)]);
        assert_eq!(table.apply(7, drop(2)), [done(7, 0)]);
        let create = Command::CreateSpace { id: TransactionId([9; 16]), name: "a".into() };
        let created = Outcome::Created { space: SpaceId(3), version: Version::new(8, 0) };
        assert_eq!(table.apply(8, create), [created]);
    }

    #[test]
    fn spaces_and_their_numbers_are_limited() {
        let mut table = group();
        let create = || Command::CreateSpace { id: TransactionId([9; 16]), name: "c".into() };
        let refused = |table: &mut TableState, index| match &table.apply(index, create())[..] {
            [Outcome::Refused(refusal)] => refusal.to_string(),
            other => format!("{other:?}"),
        };
        table.limits.spaces = 2;
        assert_eq!(refused(&mut table, 3), "spaces of a group: 3 is over the limit of 2");
        table.limits.spaces = 3;
        table.contents.next_space = u32::MAX;
        assert_eq!(
            refused(&mut table, 4),
            "numbers of spaces: 4294967295 is over the limit of 4294967294"
        );
        assert_eq!(table.contents.next_space, u32::MAX);
    }

    #[test]
    fn rows_do_not_keep_their_entry_in_memory() {
        let mut table = group();
        let entry = Bytes::from(vec![b'e'; 1 << 20]);
        let key = Key { space: SpaceId(1), key: entry.slice(..3) };
        let puts = vec![(key.clone(), entry.slice(3..9))];
        run(&mut table, vec![Transaction { puts, ..Transaction::default() }]);
        drop(key);
        assert!(entry.is_unique());
    }

    #[test]
    #[should_panic(expected = "3 applied after 3")]
    fn an_entry_is_applied_once() {
        let mut table = group();
        run(&mut table, vec![]);
        table.apply(3, Command::DropSpace { space: SpaceId(1) });
    }
}
