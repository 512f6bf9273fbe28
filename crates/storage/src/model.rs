//! A group's log as plain values, and the budget of a read.
//!
//! [`Model`] is the data of the simulated store, and tests compare the segment store with it. Each write is a
//! [`Change`], and [`Model::apply`] is deterministic and does no I/O. [`Budget`] decides for every store how many
//! entries fit into one answer.

use std::{collections::BTreeMap, ops::Range};

use anabranch_types::LogId;
use bytes::Bytes;

use crate::{Entry, StateKey, Vote, bounds::Bounds};

/// A group's log as plain values. The simulated store keeps its data in it, and tests compare results with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) bounds: Bounds,
    pub(crate) entries: BTreeMap<u64, Entry>,
    pub(crate) vote: Option<Vote>,
    pub(crate) rows: BTreeMap<StateKey, Bytes>,
}

/// One write to a group.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Append(Vec<Entry>),
    Vote(Vote),
    /// Removes every entry from this index on.
    Truncate(u64),
    Purge(LogId),
    State(Vec<(StateKey, Option<Bytes>)>),
    /// Removes the group with everything in it.
    Remove,
}

impl Model {
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Append(entries) => {
                for entry in entries {
                    self.bounds.append(entry.log_id);
                    self.entries.insert(entry.log_id.index, entry);
                }
            }
            Change::Vote(vote) => self.vote = Some(vote),
            Change::Truncate(from) => {
                self.bounds.truncate(from);
                self.entries.split_off(&from);
            }
            Change::Purge(up_to) => {
                if self.bounds.purge(up_to) {
                    self.entries = self.entries.split_off(&self.bounds.first());
                }
            }
            Change::State(rows) => {
                for (key, value) in rows {
                    match value {
                        Some(value) => self.rows.insert(key, value),
                        None => self.rows.remove(&key),
                    };
                }
            }
            Change::Remove => *self = Self::default(),
        }
    }

    /// Result of a read that begins at a live entry.
    pub(crate) fn read(&self, range: Range<u64>, max_bytes: usize) -> Vec<Entry> {
        let mut budget = Budget::new(max_bytes);
        let live = self.entries.range(range.start..range.end.max(range.start)).map(|(_, e)| e);
        live.take_while(|entry| budget.admits(entry.payload.len())).cloned().collect()
    }
}

/// Counts the payload bytes of one read. The first entry always fits. Later entries fit only within the limit.
#[derive(Clone)]
pub(crate) struct Budget {
    left: usize,
    first: bool,
    spent: bool,
}

impl Budget {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { left: max_bytes, first: true, spent: false }
    }

    pub(crate) fn admits(&mut self, payload_bytes: usize) -> bool {
        let fits = !self.spent && (self.first || payload_bytes <= self.left);
        self.first = false;
        self.left = self.left.saturating_sub(payload_bytes);
        self.spent |= !fits;
        fits
    }

    /// Refuses every entry from now on.
    pub(crate) fn spend(&mut self) {
        self.spent = true;
    }

    /// Whether an entry was refused. Then every later one is refused too.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent
    }
}
