//! The commands in a table group's log, and the limits of transactions that can be checked without the state.
//!
//! Order of events: a service builds a [`Transaction`]. The leader checks it ([`Transaction::check`]) and proposes it
//! with others in one [`Command`]. Every replica checks it again when it applies the command, because a replica does
//! not trust the proposer.

use std::collections::BTreeSet;

use anabranch_types::Timestamp;
use bytes::Bytes;

use crate::limits::Limits;
use crate::outcome::{Limited, Refusal};
use crate::row::{Key, Row, SpaceId, TransactionId, Version, epoch_of};

/// One change to a table group. It is replicated and stored: add variants at the end, never reuse a tag (`codec.rs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Transactions that share an entry of the log (group commit). Each succeeds or fails alone, in this order, and
    /// sees the changes of the earlier ones.
    Transact {
        /// The transactions: at most [`Limits::command_transactions`]. Those beyond are refused.
        transactions: Vec<Transaction>,
        /// Time on the leader's clock. Other replicas use this time and no clock.
        now: Timestamp,
    },
    /// Creates a space. If the same `id` has created the space of that name before, the outcome is the same again.
    CreateSpace {
        /// Id of this creation. The proposer chooses it at random.
        id: TransactionId,
        /// The name, which the service chooses, for example "dynamodb/TABLE". It is unique in the group.
        name: String,
    },
    /// Drops a space with all its rows. Its number is never used again.
    DropSpace {
        /// Number of the space.
        space: SpaceId,
    },
}

/// A conditional change of rows: all of it happens, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Id of the transaction. The rows that it puts keep it.
    pub id: TransactionId,
    /// Expectations about rows, as they are before the transaction. They are checked in this order.
    pub checks: Vec<(Key, Expect)>,
    /// Rows to write, with their new values.
    pub puts: Vec<(Key, Bytes)>,
    /// Rows to remove. A row that does not exist is ignored.
    pub deletes: Vec<Key>,
}

/// An expectation of a transaction about a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// There is no row.
    Absent,
    /// There is a row.
    Present,
    /// There is a row, and its last change has this version.
    Version(Version),
    /// There is a row, and its value begins with an epoch ([`epoch_of`]) that is not above `at_most`. An owner of a job
    /// expects its own epoch here: if the job has a later owner, the check fails.
    Epoch {
        /// Highest epoch that is accepted.
        at_most: u64,
    },
}

impl Expect {
    /// Whether `row` is as expected.
    pub fn holds(self, row: Option<&Row>) -> bool {
        match self {
            Self::Absent => row.is_none(),
            Self::Present => row.is_some(),
            Self::Version(version) => row.is_some_and(|row| row.version == version),
            Self::Epoch { at_most } => {
                let epoch = row.and_then(|row| epoch_of(&row.value));
                epoch.is_some_and(|epoch| epoch <= at_most)
            }
        }
    }
}

impl Transaction {
    /// Checks all rules that do not depend on the state of the group: sizes, empty keys, and keys that are written
    /// twice.
    ///
    /// # Errors
    /// The first rule that the transaction breaks.
    pub fn check(&self, limits: &Limits) -> Result<(), Refusal> {
        Limited::TransactionBytes.check(self.encoded_bytes(), limits.transaction_bytes)?;
        for key in self.keys() {
            if key.key.is_empty() {
                return Err(Refusal::EmptyKey { space: key.space });
            }
            Limited::KeyBytes.check(key.key.len(), limits.key_bytes)?;
        }
        for (_, value) in &self.puts {
            Limited::ValueBytes.check(value.len(), limits.value_bytes)?;
        }
        let mut keys = BTreeSet::new();
        for key in self.written_keys() {
            if !keys.insert(key) {
                return Err(Refusal::DuplicateKey { key: key.clone() });
            }
        }
        keys.extend(self.checks.iter().map(|(key, _)| key));
        Limited::TransactionKeys.check(keys.len(), limits.transaction_keys)
    }

    /// All keys, of checks, puts and deletes. A key may come twice.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.checks.iter().map(|(key, _)| key).chain(self.written_keys())
    }

    /// The keys that are put, then the keys that are deleted.
    fn written_keys(&self) -> impl Iterator<Item = &Key> {
        self.puts.iter().map(|(key, _)| key).chain(&self.deletes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(space: u32, key: &'static [u8]) -> Key {
        Key { space: SpaceId(space), key: Bytes::from_static(key) }
    }

    fn put(bytes: usize) -> Transaction {
        let puts = vec![(key(1, b"a"), Bytes::from(vec![7; bytes]))];
        Transaction { puts, ..Transaction::default() }
    }

    fn refusal(transaction: &Transaction) -> String {
        transaction.check(&Limits::default()).unwrap_err().to_string()
    }

    #[test]
    fn expectations_hold_for_the_right_rows() {
        let row = |value: &'static [u8]| Row {
            version: Version::new(5, 1),
            writer: TransactionId::default(),
            value: Bytes::from_static(value),
        };
        let (epoch_7, short) = (row(b"\x07\0\0\0\0\0\0\0node"), row(b"\x07\0"));
        let version = |index, place| Expect::Version(Version::new(index, place));
        let epoch = |at_most| Expect::Epoch { at_most };
        for (expect, of_none, of_row, of_short) in [
            (Expect::Absent, true, false, false),
            (Expect::Present, false, true, true),
            (version(5, 1), false, true, true),
            (version(5, 0), false, false, false),
            (epoch(6), false, false, false),
            (epoch(7), false, true, false),
            (epoch(u64::MAX), false, true, false),
        ] {
            assert_eq!(expect.holds(None), of_none, "{expect:?}");
            assert_eq!(expect.holds(Some(&epoch_7)), of_row, "{expect:?}");
            assert_eq!(expect.holds(Some(&short)), of_short, "{expect:?}");
        }
    }

    #[test]
    fn limits_are_inclusive() {
        let limits = Limits::default();
        assert_eq!(put(limits.value_bytes).check(&limits), Ok(()));
        assert_eq!(
            refusal(&put(limits.value_bytes + 1)),
            "bytes of a value: 409601 is over the limit of 409600"
        );
        let keyed = |bytes| {
            let key = Key { space: SpaceId(1), key: Bytes::from(vec![7; bytes]) };
            Transaction { deletes: vec![key], ..Transaction::default() }
        };
        assert_eq!(keyed(limits.key_bytes).check(&limits), Ok(()));
        assert_eq!(
            refusal(&keyed(limits.key_bytes + 1)),
            "bytes of a key: 2049 is over the limit of 2048"
        );
        assert_eq!(refusal(&keyed(0)), "a key of space 1 is empty");
    }

    #[test]
    fn keys_count_once_however_often_they_are_checked() {
        let numbered = |count: u8| {
            let key = |n| Key { space: SpaceId(1), key: Bytes::from(vec![n]) };
            let puts = (0..count).map(|n| (key(n), Bytes::new())).collect();
            let checks = (0..100).map(|n| (key(n), Expect::Absent)).collect();
            Transaction { checks, puts, ..Transaction::default() }
        };
        assert_eq!(numbered(100).check(&Limits::default()), Ok(()));
        assert_eq!(refusal(&numbered(101)), "keys of a transaction: 101 is over the limit of 100");
    }

    #[test]
    fn a_transaction_is_limited_as_a_whole() {
        let value = Bytes::from(vec![7; 350_000]);
        let keys = [key(1, b"a"), key(1, b"b"), key(1, b"c")];
        let puts = keys.map(|key| (key, value.clone())).to_vec();
        let transaction = Transaction { puts, ..Transaction::default() };
        assert_eq!(
            refusal(&transaction),
            "bytes of a transaction: 1050067 is over the limit of 1048576"
        );
    }

    #[test]
    fn a_key_is_written_once() {
        let (a, b) = (key(1, b"a"), key(2, b"a"));
        let puts = vec![(a.clone(), Bytes::new()), (b.clone(), Bytes::new())];
        let mut transaction = Transaction { puts, ..Transaction::default() };
        assert_eq!(transaction.check(&Limits::default()), Ok(()));
        transaction.deletes = vec![b.clone()];
        let twice = Err(Refusal::DuplicateKey { key: b });
        assert_eq!(transaction.check(&Limits::default()), twice);
        transaction.deletes = vec![key(3, b"a"), key(3, b"a")];
        let twice = Err(Refusal::DuplicateKey { key: key(3, b"a") });
        assert_eq!(transaction.check(&Limits::default()), twice);
    }
}
