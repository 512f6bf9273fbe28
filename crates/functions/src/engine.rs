//! Runs the state machine of one shard: reads, calls, delivers documents, and keeps the checkpoint.
//!
//! ```text
//!            +-- Source.read ----> Lanes.offer
//! Worker ----+-- Lanes.next  ----> Invoker.call, Destination.put ----> Lanes.answered, delivered
//!            +-- Lanes.checkpoint ----> Checkpoints.commit, one at a time
//! ```
//!
//! Order of events: the worker loads the checkpoint. A shard without one is looked up at the mapping's starting
//! position, and that position is stored before anything is read, so a restart begins at the same place. Then reads,
//! calls and commits run beside each other.
//!
//! - **Stop.** The worker reads and calls no more, waits a limited time for calls in flight, commits, and returns.
//! - **Fenced.** Another worker has the shard. The worker drops everything at once. It notices at its next commit, so
//!   the caller stops it when it knows earlier.
//! - **No commits.** While the table cannot be reached for longer than [`EngineSettings::patience`], the worker begins
//!   nothing new: another worker may have the shard already.
//!
//! Memory is bounded: the buffer of [`crate::Lanes`], one page, and one event for each lane.

mod begin;
mod parts;
mod run;
mod worker;

pub use parts::{
    Checkpoints, CommitError, Destination, Invoker, Page, ProcessingResult, Progress, Source,
    SourceError,
};
pub use worker::{End, EngineSettings, Worker};
