//! Outcomes: what a table group answers to a transaction or a command.
//!
//! A refused transaction is committed in the log like any other; it changes nothing. The texts are for logs and
//! operators. A service writes the texts that its users see.

use std::fmt;

use crate::row::{Key, Row, SpaceId, Version};

/// Result of applying a transaction, or a command about a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The change is made.
    Done {
        /// Version of the change. If the transaction changed nothing (it only checked, or deleted absent rows), the
        /// version of the state that it saw.
        version: Version,
    },
    /// A check failed. Nothing changed.
    Failed {
        /// Place of the first check that failed.
        check: usize,
        /// The row that the check found. `None` if the row does not exist.
        found: Option<Row>,
    },
    /// The space is created.
    Created {
        /// Number of the space.
        space: SpaceId,
        /// Version of the creation.
        version: Version,
    },
    /// The command breaks a rule. Nothing changed.
    Refused(Refusal),
}

/// The rule that a transaction or a command breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Something is too large, or there is too much of it.
    #[error("{what}: {actual} is over the limit of {limit}")]
    Limit {
        /// The limited quantity.
        what: Limited,
        /// Value that the command has or would lead to.
        actual: u64,
        /// Highest value that is allowed.
        limit: u64,
    },
    /// The transaction would make the group larger than it may be. Deletes are still accepted, and so is every
    /// transaction that does not make the group larger. Services answer with a throttling error.
    #[error("the group is full: {actual} bytes of rows are over the limit of {limit}")]
    Full {
        /// Bytes of rows after the transaction.
        actual: u64,
        /// Highest number that is allowed.
        limit: u64,
    },
    /// A key is empty.
    #[error("a key of space {space} is empty")]
    EmptyKey {
        /// Space of the key.
        space: SpaceId,
    },
    /// The transaction puts or deletes a key twice, or does both.
    #[error("a key of space {} is written twice", key.space)]
    DuplicateKey {
        /// The first such key.
        key: Key,
    },
    /// The group has no space of that number, or it was dropped.
    #[error("space {space} not found")]
    UnknownSpace {
        /// Number in the command.
        space: SpaceId,
    },
    /// The name of a space is empty.
    #[error("the name of a space is empty")]
    EmptyName,
    /// The request breaks a limit or a rule. Only in responses that came from another node, which sent the text.
    #[error("{text}")]
    Invalid {
        /// The rule.
        text: String,
    },
    /// Another transaction has created a space of that name.
    #[error("the space exists already, with number {space}")]
    SpaceExists {
        /// Number of the existing space.
        space: SpaceId,
    },
}

/// A limited quantity. [`Limits`](crate::Limits) has the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Bytes of a key.
    KeyBytes,
    /// Bytes of a value.
    ValueBytes,
    /// Keys of a transaction.
    TransactionKeys,
    /// Bytes of a transaction.
    TransactionBytes,
    /// Transactions of a command.
    CommandTransactions,
    /// Bytes of the name of a space.
    SpaceNameBytes,
    /// Spaces of a group.
    Spaces,
    /// Numbers of spaces, which are never used again.
    SpaceNumbers,
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyBytes => "bytes of a key",
            Self::ValueBytes => "bytes of a value",
            Self::TransactionKeys => "keys of a transaction",
            Self::TransactionBytes => "bytes of a transaction",
            Self::CommandTransactions => "transactions of a command",
            Self::SpaceNameBytes => "bytes of the name of a space",
            Self::Spaces => "spaces of a group",
            Self::SpaceNumbers => "numbers of spaces",
        })
    }
}

impl Limited {
    /// Refuses `actual` if it is over `limit`.
    pub(crate) fn check(self, actual: usize, limit: usize) -> Result<(), Refusal> {
        if actual <= limit {
            return Ok(());
        }
        Err(Refusal::Limit { what: self, actual: actual as u64, limit: limit as u64 })
    }
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
