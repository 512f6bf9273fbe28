//! The surroundings of a worker, as traits. The futures own what they need, so a worker can keep several
//! of them and drop them at any time.

use std::sync::Arc;
use std::time::Duration;

use anabranch_shard::{Position, Start};
use anabranch_types::Timestamp;
use bytes::Bytes;
use futures::future::BoxFuture;
use uuid::Uuid;

use crate::checkpoint::Checkpoint;
use crate::event::Record;
use crate::function::Function;
use crate::lanes::{Answer, Counts, Delivery};

/// Neighbouring records of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Records in order; may be empty.
    pub records: Vec<Record>,
    /// Position after the last record.
    pub next: Position,
    /// Whether the shard has ended before `next`: it is closed, and no record comes any more.
    pub is_end: bool,
}

/// Why a shard could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The stream is gone.
    #[error("the stream is gone")]
    Gone,
    /// The shard cannot be read now.
    #[error("the shard cannot be read: {0}")]
    Unavailable(String),
}

/// The records of one shard.
pub trait Source: Send + Sync + 'static {
    /// Where a reader that starts at `start` begins.
    fn seek(&self, start: Start) -> BoxFuture<'static, Result<Position, SourceError>>;

    /// The next records from `from` on, of a size that suits the source. Waits for the first one; may return an empty
    /// page after some time. If records from `from` on have expired, the page begins at the oldest record.
    fn read(&self, from: Position) -> BoxFuture<'static, Result<Page, SourceError>>;

    /// The retention of the stream, as it is now.
    fn retention(&self) -> Duration;
}

/// Calls functions.
pub trait Invoker: Send + Sync + 'static {
    /// Calls `function` with `event`, and waits for the end of the call.
    fn call(
        &self,
        function: Arc<Function>,
        request_id: Uuid,
        event: Bytes,
    ) -> BoxFuture<'static, Answer>;
}

/// Why a checkpoint was not loaded or stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Another worker has the shard.
    #[error("another worker has the shard")]
    Fenced,
    /// The table cannot be reached, or the outcome is unknown.
    #[error("the checkpoint is not stored: {0}")]
    Failed(String),
}

/// The checkpoint of one mapping and shard, under the epoch of this worker.
pub trait Checkpoints: Send + Sync + 'static {
    /// The stored checkpoint; `None` if nothing was stored yet.
    fn load(&self) -> BoxFuture<'static, Result<Option<Checkpoint>, CommitError>>;

    /// Stores `checkpoint` in place of the last one, unless another worker has the shard.
    fn commit(&self, checkpoint: Checkpoint) -> BoxFuture<'static, Result<(), CommitError>>;
}

/// Takes documents about discarded records.
pub trait Destination: Send + Sync + 'static {
    /// Stores `document`.
    fn put(&self, document: Bytes) -> BoxFuture<'static, Delivery>;
}

/// `LastProcessingResult` of a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessingResult {
    /// No call has ended yet.
    #[default]
    NoRecords,
    /// The last call succeeded.
    Ok,
    /// The last call failed.
    Failed,
}

impl ProcessingResult {
    /// The text in Lambda's API.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoRecords => "No records processed",
            Self::Ok => "OK",
            Self::Failed => "PROBLEM: Function call failed",
        }
    }
}

/// How the work goes, for metrics and status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Counts since the start of this worker.
    pub counts: Counts,
    /// Arrival of the oldest record that was read and is not finished.
    pub oldest: Option<Timestamp>,
    /// Result of the last call.
    pub result: ProcessingResult,
}
