//! The history of a chaos run.
//!
//! The first line of a file is the [`Header`]: seed, settings and promises. Each further line is an [`Event`]. Times
//! are nanoseconds of the harness's monotonic clock. A process has at most one open call, and its next event is the
//! outcome of that call: `ok`, `fail` (certainly not applied) or `info` (unknown). A call without an outcome is
//! unknown too.

mod calls;
mod edn;
mod event;
mod header;
mod json;
mod numbers;
mod observations;
mod operations;
mod text;

pub use calls::{
    AddMember, Answer, Api, Assigned, AssignedShard, Attempt, Attempted, Call, Checkpoint,
    CheckpointAt, Child, CompareAndSet, Copies, Create, Delete, Describe, Done, Drain, Drained,
    Dump, Dumped, Entry, EntryResult, Function, Get, GetApi, Grant, Iter, IterStart, Lease,
    LeaseTake, LeaseTaken, Leases, ListLeases, ListSet, ListShards, MemberAction, Members,
    Membership, Merge, Page, Process, Put, Puts, PutsResults, Read, ReadCopies, ReadValue, Record,
    Recover, RecoverLease, Recovered, RemoveMember, Renew, Retention, Revoke, Scale, Shard, Shards,
    Split, Status, Stored, StreamStatus, Swapped, WatchShards, Write,
};
pub use edn::write_edn;
pub use event::{Event, Kind};
pub use header::{Header, Promises, Wanted};
pub use json::{ReadError, read_history, write_event, write_header};
pub use numbers::{HashKey, HashRange, Millis, Nanos, NotADecimal, Seq};
pub use observations::{
    Clocks, Exit, Fault, Leader, Leaders, LogLine, Nemesis, Note, Observation, Phase, Pressure,
};
pub use operations::{Malformed, Operation, Outcome};
pub use text::{ShardId, StreamName, Uid};

/// A complete history. A value of this type has been checked: indexes rise, times do not fall, and each outcome
/// belongs to an open call of its process.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    header: Header,
    events: Vec<Event>,
}

impl History {
    /// Checks the order of the events.
    ///
    /// # Errors
    /// The first event that cannot be in a history.
    pub fn new(header: Header, events: Vec<Event>) -> Result<Self, Malformed> {
        operations::check(&events)?;
        Ok(Self { header, events })
    }

    /// Seed, settings and promises of the run.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// All events, in the order of their indexes.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Each call with its outcome, in the order of the invocations.
    pub fn operations(&self) -> Vec<Operation<'_>> {
        operations::pair(&self.events)
    }

    /// Takes the history apart, for example to change it in a test.
    pub fn into_parts(self) -> (Header, Vec<Event>) {
        (self.header, self.events)
    }
}
