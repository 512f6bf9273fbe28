//! The seam to the storage: plain types for what an operation reads, and for what it decides.
//!
//! The storage is an ordered map of rows. A transaction changes rows under conditions on their versions, all or
//! nothing. This crate does no I/O. It says what to read ([`Reads`]), gets the rows ([`Found`]), and says what to
//! write ([`Decision`]). The caller goes through these steps:
//!
//! ```text
//! 1. read the definitions of the tables that the request names      -> Tables
//! 2. plan      request + definitions                                -> Plan, or an error
//! 3. read      plan.reads()                                         -> Found
//! 4. decide    plan.decide(found)                                   -> Decision, or an error
//! 5. create the spaces, run one transaction with all writes, drop the spaces
//!    a row has another version than expected: drop the new spaces, go back to 1
//! ```
//!
//! Every write of items expects the version of the definition that was read. So an item is never written by the rules
//! of an old definition: an index that was just added misses no item. For this the row of a definition must be in the
//! same group as the rows of its table.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Identifies a table from its creation on, also if another table gets the same name later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TableId(pub [u8; 16]);

/// The keyspaces of this service. The caller maps each to a space of a table group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Table name -> definition ([`crate::table::Definition`]).
    Definitions,
    /// Encoded primary key -> item.
    Items(TableId),
    /// Encoded key of an index and primary key -> projected item. The number is unique within the table, for ever.
    Index(TableId, u32),
    /// Token of a client -> what its transaction did ([`crate::token`]). One in each group.
    Tokens,
}

/// Names one row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// The keyspace.
    pub space: Space,
    /// The key in it.
    pub key: Vec<u8>,
}

/// A row as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Changes with every write of the row.
    pub version: u64,
    /// The content.
    pub value: Vec<u8>,
}

/// The rows that an operation reads before it decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Single rows.
    pub rows: Vec<RowKey>,
    /// Part of a keyspace.
    pub range: Option<Range>,
}

/// Rows of one keyspace whose keys are in `start..end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The keyspace.
    pub space: Space,
    /// Lowest key, inclusive.
    pub start: Vec<u8>,
    /// Highest key, exclusive. `None`: up to the end of the keyspace.
    pub end: Option<Vec<u8>>,
    /// Whether the rows are wanted from the highest key downwards.
    pub descending: bool,
    /// Most rows. The storage may return fewer, if their bytes are too many for one read.
    pub max_rows: usize,
}

/// The rows that were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The single rows that exist.
    pub rows: BTreeMap<RowKey, Row>,
    /// The rows of the range.
    pub page: Page,
}

/// Rows of a range, in the order that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Key and row.
    pub rows: Vec<(Vec<u8>, Row)>,
    /// Whether rows of the range follow that were not returned.
    pub has_more: bool,
}

impl Page {
    /// The key at which the next page begins. `None` if no row follows. For ranges in ascending order.
    pub fn next_start(&self) -> Option<Vec<u8>> {
        self.rows.last().filter(|_| self.has_more).map(|(last, _)| successor(last))
    }
}

/// The lowest key above a key.
pub fn successor(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The state of a row that a transaction expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// There is no such row.
    Absent,
    /// The row has this version.
    Version(u64),
    /// Any state. The row belongs to another row of the transaction, which is checked.
    Anything,
}

/// The change of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Put this value.
    Put(Vec<u8>),
    /// Delete the row, if it exists.
    Delete,
    /// Leave the row. Only its expectation matters.
    Keep,
}

/// One change of a transaction, with its expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The row.
    pub key: RowKey,
    /// The state that the row must have.
    pub expect: Expect,
    /// The change.
    pub change: Change,
}

/// The decision of an operation: one transaction, and the response after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<R> {
    /// Keyspaces to create before the transaction. A keyspace that exists stays.
    pub creates: Vec<Space>,
    /// The transaction. Empty: nothing to do. Each row is named at most once.
    pub writes: Vec<Write>,
    /// Keyspaces to drop after the transaction.
    pub drops: Vec<Space>,
    /// The response, if the transaction succeeds.
    pub response: R,
}

impl<R> Decision<R> {
    /// A decision that changes nothing.
    pub const fn response(response: R) -> Self {
        Self { creates: Vec::new(), writes: Vec::new(), drops: Vec::new(), response }
    }

    /// A decision that only writes rows.
    pub const fn write(writes: Vec<Write>, response: R) -> Self {
        Self { creates: Vec::new(), writes, drops: Vec::new(), response }
    }
}

impl Found {
    /// The row, if it exists.
    pub fn row(&self, key: &RowKey) -> Option<&Row> {
        self.rows.get(key)
    }
}

impl Expect {
    /// The row is as it was read.
    pub fn unchanged(row: Option<&Row>) -> Self {
        row.map_or(Self::Absent, |row| Self::Version(row.version))
    }
}

/// The form of AWS: hexadecimal digits in five groups.
impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

impl From<TableId> for String {
    fn from(id: TableId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for TableId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const FAULT: &str = "a table id has 32 hexadecimal digits";
        let digits: Vec<_> = text.bytes().filter(|byte| *byte != b'-').collect();
        let (pairs, rest) = digits.as_chunks::<2>();
        let mut id = [0; 16];
        if pairs.len() != id.len() || !rest.is_empty() {
            return Err(FAULT);
        }
        for (byte, pair) in id.iter_mut().zip(pairs) {
            let pair = std::str::from_utf8(pair).map_err(|_| FAULT)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| FAULT)?;
        }
        Ok(Self(id))
    }
}
