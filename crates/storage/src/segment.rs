//! The segment log: files of fixed size, written front to back by one thread, recycled when nothing in them lives.
//!
//! Start at [`writer`] for what happens to a write, at [`recovery`] for what opening makes of the files.

pub(crate) mod file;
pub(crate) mod frame;
pub(crate) mod pool;
pub(crate) mod queue;
pub(crate) mod reclaim;
pub(crate) mod recovery;
pub(crate) mod round;
pub(crate) mod salvage;
pub(crate) mod scan;
pub(crate) mod schedule;
pub(crate) mod scrub;
pub(crate) mod writer;
