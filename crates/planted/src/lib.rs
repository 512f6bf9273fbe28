//! Planted bugs: mistakes in the real server that the chaos harness must find, so that its checkers are known to work.
//!
//! Code asks [`planted`] at the place of the mistake. Without the cargo feature `planted-bugs`, that is the constant
//! `false`, and the compiler removes the mistake. With the feature, the environment variable `ANABRANCH_PLANTED_BUG`
//! chooses the bugs of the process: names of [`Bug`], separated by commas.
//!
//! ```text
//! scripts/build.sh planted                                 builds the binary anabranch-planted
//! ANABRANCH_PLANTED_BUG=forget-window anabranch-planted …  runs it with one bug
//! ```
//!
//! Give all nodes of a cluster the same bugs. Some bugs are in state machines, which must be equal on all replicas.
//!
//! This never happens: the binary `anabranch` runs with a bug. If it was built with the feature, [`check_start`] ends
//! it at once.

mod bug;
#[cfg(feature = "planted-bugs")]
mod chosen;

pub use bug::Bug;
#[cfg(feature = "planted-bugs")]
pub use chosen::{check_start, planted};

/// Why a process with planted bugs does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// `ANABRANCH_PLANTED_BUG` has a name that is not one of a bug.
    #[error("ANABRANCH_PLANTED_BUG: {name:?} is not a bug, the bugs are: {known}")]
    UnknownBug {
        /// The name in the variable.
        name: String,
        /// All names.
        known: String,
    },
    /// Another program than `anabranch-planted` was built with the bugs.
    #[error(
        "this program was built with planted bugs: build it again without the feature planted-bugs"
    )]
    WrongProgram,
}

/// Whether `bug` is planted in this process. Never, because the feature `planted-bugs` is off.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub const fn planted(_: Bug) -> bool {
    false
}

/// Checks that the program of this name may start. It may, because the feature `planted-bugs` is off.
///
/// # Errors
/// None.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub const fn check_start(_: &str) -> Result<(), StartError> {
    Ok(())
}
