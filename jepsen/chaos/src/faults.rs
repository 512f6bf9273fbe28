//! The kinds of faults, one file for each family.

pub(crate) mod certificates;
pub(crate) mod clocks;
pub(crate) mod disks;
pub(crate) mod losses;
pub(crate) mod machine;
pub(crate) mod network;
pub(crate) mod operations;
pub(crate) mod processes;

use std::time::Duration;

/// A span of seconds.
const fn seconds(from: u64, to: u64) -> (Duration, Duration) {
    (Duration::from_secs(from), Duration::from_secs(to))
}
