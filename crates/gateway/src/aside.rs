//! Work that takes milliseconds is done aside: other tasks of the same thread, Raft's among them, go on meanwhile.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Bytes that are hashed or decoded where they are: about a millisecond.
const SHORT_BYTES: usize = 512 * 1024;

/// Does `work` on `bytes` of input. If they are many, the thread first hands its other tasks to another thread.
pub(crate) fn aside<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes > SHORT_BYTES { handed_over(work) } else { work() }
}

/// Does `work` after the thread has handed its other tasks to another thread, where the runtime has others.
pub(crate) fn handed_over<T>(work: impl FnOnce() -> T) -> T {
    let has_others = |handle: Handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread;
    if Handle::try_current().is_ok_and(has_others) { block_in_place(work) } else { work() }
}
