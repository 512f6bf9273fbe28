//! The log store of a node: entries, votes and state rows of every group, on one disk, through one queue.
//!
//! [`LogStore`] and [`GroupLog`] define what a log store does and what it guarantees. [`SegmentStore`] implements
//! them on a disk. [`SimStore`] implements them in memory and loses unsynced writes on demand. [`contract`] is the
//! test suite that both implementations pass. `OVERVIEW.md` describes every file on the disk and the opening after a
//! crash.
//!
//! Start reading at [`LogStore`]. This crate never names the consensus library and never looks into a payload.

mod bounds;
mod cache;
pub mod contract;
mod core;
#[cfg(test)]
mod cost;
mod damage;
mod dir;
mod disk;
mod error;
mod group;
mod index;
mod keys;
mod log;
mod metrics;
mod model;
mod rows;
mod segment;
mod settings;
mod sim;
mod space;
mod starts;
mod state_key;
mod store;
mod tail;
mod verdict;

pub use disk::DiskState;
pub use error::Error;
pub use log::{
    Completion, Entry, GroupLog, Health, LogState, LogStore, ScrubProgress, Stats, Vote,
};
pub use settings::StorageSettings;
pub use sim::{SimSettings, SimStore, SimSync};
pub use state_key::StateKey;
pub use store::SegmentStore;
