//! Cooperative yielding: work that takes milliseconds lets the other tasks of its thread run on another thread
//! meanwhile. Tasks of Raft are among them.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Hashing or decoding this many bytes takes about a millisecond.
const SHORT_BYTES: usize = 512 * 1024;

/// Runs `work`, whose input has `bytes` bytes. For a large input the thread first moves its other tasks to another
/// thread.
pub(crate) fn cooperatively<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes > SHORT_BYTES { while_others_run(work) } else { work() }
}

/// Runs `work` after the thread has moved its other tasks to another thread. A runtime with one thread has no other
/// thread, so there `work` runs at once.
pub(crate) fn while_others_run<T>(work: impl FnOnce() -> T) -> T {
    let has_others = |handle: Handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread;
    if Handle::try_current().is_ok_and(has_others) { block_in_place(work) } else { work() }
}
