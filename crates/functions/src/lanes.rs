//! The state machine of one shard: gathers records into batches, and decides what is called, repeated, cut, discarded
//! and finished. No I/O and no clock: the time is an argument, and randomness comes from a seed.
//!
//! ```text
//! records -> filter -> lane by partition key -> batch -> call -+-> processed -> checkpoint
//!                      |  lane 0 ..                            +-> failed: wait, then all, the rest, or a half again
//!                      |  lane N - 1                           +-> discarded: document -> checkpoint
//! ```
//!
//! Order of events: [`Lanes::offer`] takes a page of records. [`Lanes::next`] gives what is to be done now, until it
//! gives nothing. The caller does it, and reports with [`Lanes::answered`] or [`Lanes::delivered`]. Without a report,
//! something may be due at [`Lanes::wake_at`].
//!
//! A partition key belongs to one lane, and a lane has one call in flight. So two calls never have records of one key,
//! and a lane that waits does not stop the others until the buffer is full. A tumbling window needs a single lane,
//! because each call gets the state that the last one returned.
//!
//! The checkpoint is the lowest position that is not finished in any lane. Records above it may be finished; they are
//! repeated after a restart.

mod batch;
mod delay;
mod lane;
mod open_window;
#[cfg(test)]
mod properties;
mod random;
mod report;
mod rules;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use anabranch_shard::Position;
use anabranch_types::{Timestamp, partition_key_hash};
use bytes::Bytes;
use uuid::Uuid;

use crate::checkpoint::Checkpoint;
use crate::event::{EventSource, Record};
use crate::lanes::lane::{Lane, Start};
use crate::lanes::random::Random;
use crate::lanes::rules::Rules;
use crate::limits::PAYLOAD_BYTES;
use crate::mapping::Mapping;

pub use crate::lanes::report::{Answer, Counts, Delivery};

/// Records that are buffered even if batches are small.
const LEAST_BUFFERED: usize = 1000;

/// The work on one shard.
#[derive(Debug)]
pub struct Lanes {
    rules: Rules,
    lanes: Vec<Lane>,
    /// Every record before this position was offered.
    read_to: Position,
    has_ended: bool,
    random: Random,
    last_serial: u64,
    counts: Counts,
}

/// Names a call or a delivery, for the report about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    lane: usize,
    serial: u64,
}

/// Something that is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Call the function, then report with [`Lanes::answered`].
    Call {
        /// For the report.
        ticket: Ticket,
        /// Id of this call.
        request_id: Uuid,
        /// The event, JSON.
        event: Bytes,
    },
    /// Put a document into the destination, then report with [`Lanes::delivered`].
    Deliver {
        /// For the report.
        ticket: Ticket,
        /// The document about discarded records, JSON.
        document: Bytes,
    },
}

impl Lanes {
    /// The work on a shard from `checkpoint` on. `retention` is that of the stream.
    pub fn new(
        mapping: Arc<Mapping>,
        source: EventSource,
        checkpoint: Checkpoint,
        retention: Duration,
        seed: u64,
    ) -> Self {
        let count = mapping.parallelization_factor;
        let mut lanes: Vec<Lane> = (0..count).map(|_| Lane::default()).collect();
        if let Some(first) = lanes.first_mut() {
            first.restore(checkpoint.window);
        }
        let mut made = Self {
            rules: Rules { mapping, source, longest_age: retention },
            lanes,
            read_to: checkpoint.next,
            has_ended: checkpoint.is_finished,
            random: Random::new(seed),
            last_serial: 0,
            counts: Counts::default(),
        };
        made.set_retention(retention);
        made
    }

    /// The retention of the stream changed.
    pub fn set_retention(&mut self, retention: Duration) {
        let longest = self.rules.mapping.maximum_age.unwrap_or(retention);
        self.rules.longest_age = longest.min(retention);
    }

    /// Where the next page has to begin.
    pub const fn read_to(&self) -> Position {
        self.read_to
    }

    /// Whether there is room for more records, and there may be more.
    pub fn wants_records(&self) -> bool {
        let lanes = self.lanes.len();
        let most = (2 * lanes * self.rules.mapping.batch_size).max(LEAST_BUFFERED);
        !self.has_ended
            && self.lanes.iter().map(Lane::bytes).sum::<usize>() < lanes * PAYLOAD_BYTES
            && self.lanes.iter().map(Lane::records).sum::<usize>() < most
    }

    /// Takes records, in order, of a page that ends before `next`. Records before [`Self::read_to`] were offered
    /// before and are left out.
    pub fn offer(&mut self, records: &[Record], next: Position) {
        let from = self.read_to;
        for record in records.iter().filter(|record| Position::of(record.number) >= from) {
            self.counts.polled += 1;
            if self.rules.mapping.filters.pass(record) {
                let lane = self.lane_of(record);
                self.lanes[lane].push(self.rules.source.item(record));
            } else {
                self.counts.filtered_out += 1;
            }
            self.read_to = Position::of(record.number).next();
        }
        self.read_to = self.read_to.max(next);
    }

    /// The shard has ended: no record comes any more.
    pub fn end(&mut self) {
        self.has_ended = true;
    }

    /// The next action that is due at `now`; `None` if nothing is due.
    pub fn next(&mut self, now: Timestamp) -> Option<Action> {
        for index in 0..self.lanes.len() {
            let (lane, serial) = (&mut self.lanes[index], self.last_serial + 1);
            let context = lane::Context {
                rules: &self.rules,
                now,
                has_ended: self.has_ended,
                random: &mut self.random,
                counts: &mut self.counts,
            };
            let Some(start) = lane.next(serial, context) else { continue };
            self.last_serial = serial;
            let ticket = Ticket { lane: index, serial };
            return Some(match start {
                Start::Call { request_id, event } => Action::Call { ticket, request_id, event },
                Start::Deliver(document) => Action::Deliver { ticket, document },
            });
        }
        None
    }

    /// The call of `ticket` ended with `answer`. A report about anything else has no effect.
    pub fn answered(&mut self, ticket: Ticket, answer: Answer, now: Timestamp) {
        let Some(lane) = self.lanes.get_mut(ticket.lane) else { return };
        let context = lane::Context {
            rules: &self.rules,
            now,
            has_ended: self.has_ended,
            random: &mut self.random,
            counts: &mut self.counts,
        };
        lane.answered(ticket.serial, answer, context);
    }

    /// The delivery of `ticket` ended. A report about anything else has no effect.
    pub fn delivered(&mut self, ticket: Ticket, delivery: Delivery, now: Timestamp) {
        let Some(lane) = self.lanes.get_mut(ticket.lane) else { return };
        let context = lane::Context {
            rules: &self.rules,
            now,
            has_ended: self.has_ended,
            random: &mut self.random,
            counts: &mut self.counts,
        };
        lane.delivered(ticket.serial, delivery, context);
    }

    /// When [`Self::next`] may give something without a report or a page; `None` if never.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.lanes.iter().filter_map(|lane| lane.wake_at(&self.rules)).min()
    }

    /// How far the work is. It never passes a record that is not finished.
    pub fn checkpoint(&self) -> Checkpoint {
        let unfinished = self.lanes.iter().filter_map(Lane::unfinished).min();
        Checkpoint {
            next: unfinished.unwrap_or(self.read_to),
            is_finished: self.is_finished(),
            window: self.lanes.first().and_then(Lane::safe_window),
        }
    }

    /// Whether the shard has ended and all its records are finished.
    pub fn is_finished(&self) -> bool {
        self.has_ended && self.lanes.iter().all(Lane::is_empty)
    }

    /// Arrival of the oldest record that is not finished.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.lanes.iter().filter_map(Lane::oldest).min()
    }

    /// Counts since the start.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    fn lane_of(&self, record: &Record) -> usize {
        let lanes = self.lanes.len() as u128;
        let hash = partition_key_hash(&String::from_utf8_lossy(&record.partition_key)).0;
        usize::try_from(hash % lanes).unwrap_or(0)
    }
}
