//! The segment log: files of fixed size. One thread writes them from front to back. A file is recycled when it holds
//! no live data.
//!
//! Start at [`writer`] for the path of a write, and at [`recovery`] for the replay at an opening.

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
