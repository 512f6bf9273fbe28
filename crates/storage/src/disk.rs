//! States of a disk by its free space, and the thresholds between them. Pure rules: no I/O.
//!
//! ```text
//! free space   large ────────────────────────────────> small
//! state        Normal   │  AlmostFull               │  Full
//!              records  │  no records from clients  │  no appends; votes, purges and rows continue
//! ```
//! A state is left with a little more free space than it is entered with. So a disk at a threshold does not flip
//! between two states. `space.rs` measures the disk and acts on the state.

use std::fmt;

/// State of a disk by its free space.
///
/// Free space is what the file system has free, plus the prepared segments. The thresholds are
/// [`crate::StorageSettings::reserve_segments`] and [`crate::StorageSettings::ballast_bytes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskState {
    /// There is enough free space.
    #[default]
    Normal,
    /// The reserve is reached. Callers must stop adding records. The store itself still accepts every write: the
    /// reserve is for trims, checkpoints and deletions, and these are appends too.
    AlmostFull,
    /// Only the last segment is left, or a write failed for lack of space. The store refuses appends. Votes,
    /// truncations, purges, state rows and removals continue.
    Full,
}

impl DiskState {
    /// Whether clients may add records. All other writes are allowed as long as the store accepts them.
    #[must_use]
    pub fn takes_records(self) -> bool {
        self == Self::Normal
    }

    /// Inverse of the conversion to `u8`.
    pub(crate) fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Normal,
            1 => Self::AlmostFull,
            _ => Self::Full,
        }
    }
}

impl From<DiskState> for u8 {
    fn from(state: DiskState) -> Self {
        match state {
            DiskState::Normal => 0,
            DiskState::AlmostFull => 1,
            DiskState::Full => 2,
        }
    }
}

impl fmt::Display for DiskState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Normal => "normal",
            Self::AlmostFull => "almost full",
            Self::Full => "full",
        })
    }
}

/// Segments that appends must leave for votes, truncations, purges, state rows and removals.
pub(crate) const LAST_SEGMENTS: u64 = 1;

/// Measured free space of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FreeSpace {
    /// Bytes of the file system that this process can still use.
    pub(crate) available: u64,
    /// Bytes that the ballast files take now.
    pub(crate) ballast: u64,
    /// Segments that only need a header to be written.
    pub(crate) ready: u64,
    /// Bytes that segment files may still take by the settings.
    pub(crate) allowed: u64,
}

/// Sizes from which the thresholds between the states are calculated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thresholds {
    pub(crate) segment_bytes: u64,
    pub(crate) reserve_segments: u64,
    pub(crate) ballast_bytes: u64,
}

impl Thresholds {
    /// Bytes that are free besides a whole ballast. The result is the same whether the ballast files exist or not.
    fn spare(&self, space: &FreeSpace) -> u64 {
        (space.available + space.ballast).saturating_sub(self.ballast_bytes)
    }

    /// Free bytes that segments must leave besides the ballast: for RocksDB and for directory entries.
    fn floor(&self) -> u64 {
        self.ballast_bytes / 2
    }

    /// Number of segments that fit into the free space.
    pub(crate) fn allocatable(&self, space: &FreeSpace) -> u64 {
        let free = self.spare(space).saturating_sub(self.floor());
        free.min(space.allowed) / self.segment_bytes
    }

    /// State of a disk with this free space. Leaving a state takes a little more space than entering it. Otherwise a
    /// disk at a threshold would flip between two states.
    pub(crate) fn state(&self, space: &FreeSpace, before: DiskState) -> DiskState {
        let segments = space.ready + self.allocatable(space);
        let more_segments = |state| u64::from(before >= state);
        let more_bytes = if before == DiskState::Normal { 0 } else { self.ballast_bytes / 8 };
        if segments <= LAST_SEGMENTS + more_segments(DiskState::Full) {
            DiskState::Full
        } else if segments < self.reserve_segments + more_segments(DiskState::AlmostFull)
            || self.spare(space) < self.floor() + more_bytes
        {
            DiskState::AlmostFull
        } else {
            DiskState::Normal
        }
    }

    /// Whether so little is free that the ballast must be deleted.
    pub(crate) fn needs_ballast(&self, space: &FreeSpace) -> bool {
        self.spare(space) < self.floor() / 2
    }

    /// Whether the ballast is incomplete and the file system has enough space to complete it.
    pub(crate) fn has_space_for_ballast(&self, space: &FreeSpace) -> bool {
        space.ballast < self.ballast_bytes && self.spare(space) >= self.floor()
    }

    /// Whether so little is free that an opening could fail. Counts only free bytes, not the ballast files that
    /// exist.
    pub(crate) fn is_too_little_to_open(&self, space: &FreeSpace) -> bool {
        space.available < self.floor() / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds =
        Thresholds { segment_bytes: 100, reserve_segments: 4, ballast_bytes: 80 };

    /// A disk with two ready segments and a whole ballast, and `free` bytes besides it.
    fn space(free: u64) -> FreeSpace {
        FreeSpace { available: free, ballast: 80, ready: 2, allowed: u64::MAX }
    }

    /// States of a disk whose free bytes take these values one after the other.
    fn states(free: &[u64]) -> Vec<DiskState> {
        let mut state = DiskState::Normal;
        let mut states = Vec::new();
        for free in free {
            state = THRESHOLDS.state(&space(*free), state);
            states.push(state);
        }
        states
    }

    #[test]
    fn leaving_a_state_takes_more_free_space_than_entering_it() {
        use DiskState::{AlmostFull, Full, Normal};
        assert_eq!(
            states(&[1000, 240, 239, 240, 339, 340]),
            [Normal, Normal, AlmostFull, AlmostFull, AlmostFull, Normal]
        );
        // Other programs use up the free bytes. Ready segments do not help RocksDB then.
        let many = |free, before| THRESHOLDS.state(&FreeSpace { ready: 9, ..space(free) }, before);
        assert_eq!([many(40, Normal), many(39, Normal)], [Normal, AlmostFull]);
        assert_eq!([many(49, AlmostFull), many(50, AlmostFull)], [AlmostFull, Normal]);
        assert_eq!(many(0, Normal), AlmostFull);
        assert_eq!(THRESHOLDS.state(&FreeSpace { ready: 1, ..space(0) }, Normal), Full);
    }

    #[test]
    fn appends_may_not_use_the_last_segment() {
        let space = |ready, available| FreeSpace { ready, ..space(available) };
        let state = |space| THRESHOLDS.state(&space, DiskState::Normal);
        assert_eq!(state(space(2, 50)), DiskState::AlmostFull);
        assert_eq!(state(space(1, 50)), DiskState::Full);
        assert_eq!(state(space(1, 140)), DiskState::AlmostFull, "another segment can be made");
        let again = |space| THRESHOLDS.state(&space, DiskState::Full);
        assert_eq!(again(space(2, 50)), DiskState::Full);
        assert_eq!(again(space(3, 50)), DiskState::AlmostFull);
    }

    #[test]
    fn a_configured_limit_counts_as_the_size_of_the_disk() {
        let space = FreeSpace { allowed: 199, ..space(1 << 20) };
        assert_eq!(THRESHOLDS.allocatable(&space), 1);
        assert_eq!(THRESHOLDS.state(&space, DiskState::Normal), DiskState::AlmostFull);
    }

    #[test]
    fn deleting_or_making_the_ballast_does_not_change_the_state() {
        let with = space(45);
        let without = FreeSpace { available: 125, ballast: 0, ..with };
        for before in [DiskState::Normal, DiskState::AlmostFull, DiskState::Full] {
            assert_eq!(THRESHOLDS.state(&with, before), THRESHOLDS.state(&without, before));
        }
        assert!(THRESHOLDS.has_space_for_ballast(&without));
        assert!(!THRESHOLDS.has_space_for_ballast(&with), "the ballast is complete");
        assert!(!THRESHOLDS.has_space_for_ballast(&FreeSpace { available: 119, ..without }));
        assert!(!THRESHOLDS.needs_ballast(&FreeSpace { available: 100, ..without }));
        assert!(THRESHOLDS.needs_ballast(&FreeSpace { available: 99, ..without }));
    }

    #[test]
    fn without_a_ballast_only_the_number_of_segments_determines_the_state() {
        let thresholds = Thresholds { ballast_bytes: 0, ..THRESHOLDS };
        let space = |available| FreeSpace { available, ballast: 0, ready: 2, allowed: u64::MAX };
        assert_eq!(thresholds.state(&space(0), DiskState::Normal), DiskState::AlmostFull);
        assert_eq!(thresholds.state(&space(200), DiskState::Normal), DiskState::Normal);
    }

    #[test]
    fn states_convert_to_numbers_and_back() {
        for state in [DiskState::Normal, DiskState::AlmostFull, DiskState::Full] {
            assert_eq!(DiskState::from_number(state.into()), state);
        }
    }
}
