//! The node's log: every group's entries, votes and state rows, on one disk, through one queue.
//!
//! [`LogStore`] and [`GroupLog`] say what a log store does and what always holds. [`SegmentStore`] keeps it on a
//! disk; [`SimStore`] keeps it in memory and loses unsynced writes on demand; [`contract`] is the suite that both pass.
//! How bytes lie on the disk, and what opening does after a crash, is written in `OVERVIEW.md`.
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
