//! The rules of a table group, without I/O: a replicated ordered map of rows, which changes by conditional
//! transactions.
//!
//! Services keep definitions, checkpoints and consumer leases in table groups. A group holds several *spaces*: a space
//! is one table, or the rows of one service. The group knows bytes, versions and expectations. It knows nothing of the
//! services.
//!
//! ```text
//! entry of the log -> Command::decode -> TableState::apply -> one Outcome for each transaction
//!                                            |
//!                                            +-> get, range       rows of a space, as of one version
//!                                            +-> changes          what a watcher has not seen yet
//!                                            |     Watcher -> pages -> RowCopy   a copy that follows (watch.rs)
//!                                            +-> checkpoint       parts of 1 MiB, which CheckpointReader reads
//! ```
//!
//! Invariant: nothing here reads a clock, draws a random number or does I/O. A command carries the leader's time and
//! the ids of its transactions. Replicas that apply the same commands have the same rows, versions and time.
//!
//! Start at [`TableState::apply`].

mod checkpoint;
mod codec;
mod command;
mod fields;
mod limits;
#[cfg(test)]
mod model;
mod outcome;
mod reads;
mod request;
mod ring;
mod row;
mod row_copy;
mod state;
mod watch;
#[cfg(test)]
mod watch_model;

pub use checkpoint::{Checkpoint, CheckpointError, CheckpointReader};
pub use codec::CommandError;
pub use command::{Command, Expect, Transaction};
pub use limits::Limits;
pub use outcome::{Limited, Outcome, Refusal};
pub use reads::{Change, Changes, KeyRange, RangePage, UnknownSpace};
pub use request::{Request, Response, SpaceSummary};
pub use row::{Key, Row, SpaceId, TransactionId, Version, epoch_of, row_bytes};
pub use row_copy::{RowCopy, RowsByKey, WentBack};
pub use state::{Space, TableState};
pub use watch::{Next, WatchPage, Watched, WatchedRange, Watcher};
