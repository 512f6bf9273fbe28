//! The rules of one shard, without I/O: what an entry of its log means, what applying it changes, and which retries
//! of a call are recognised.
//!
//! Invariant: nothing here reads a clock, draws a random number or does I/O. The leader stamps arrival times, and
//! replicas take them from the log.
//!
//! Start at [`ShardState::apply`].

mod batch;
mod command;
#[cfg(test)]
mod cost;
mod page;
mod position;
mod state;
mod window;

pub use batch::{Batch, BatchBuilder, BatchError, Producer, Record, Records};
pub use command::{Command, CommandError, Step};
pub use page::{Page, PageBatch};
pub use position::{Position, Run, Start};
pub use state::{Ending, Gate, Outcome, ShardState, Shut, Voids};
pub use window::DeduplicationWindow;
