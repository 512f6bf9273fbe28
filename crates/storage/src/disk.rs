use std::fmt;

/// How much room a store has for more, and what it does about it.
///
/// Room is what the file system has free and the segments that stand ready for a new life. The thresholds are
/// [`crate::StorageSettings::reserve_segments`] and [`crate::StorageSettings::ballast_bytes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskState {
    /// There is room.
    #[default]
    Normal,
    /// The reserve is reached: whoever adds records is to stop. The store itself takes everything, because
    /// trims, checkpoints and deletions, which are what the reserve is for, come as appends too.
    AlmostFull,
    /// The last segment is reached, or something found no room: the store refuses appends. Votes, truncations,
    /// purges, state rows and removals go on.
    Full,
}

impl DiskState {
    /// Whether records may be added. Everything else may as long as the store takes it.
    #[must_use]
    pub fn takes_records(self) -> bool {
        self == Self::Normal
    }

    /// The state that [`u8::from`] made this number of.
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

/// Segments that appends leave for votes, truncations, purges, rows and removals.
pub(crate) const LAST_SEGMENTS: u64 = 1;

/// What was found of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Bytes that this process may still take from the file system.
    pub(crate) available: u64,
    /// Bytes that the ballast takes now.
    pub(crate) ballast: u64,
    /// Segments that only need a header to be written.
    pub(crate) ready: u64,
    /// Bytes that segment files may still take by the settings.
    pub(crate) allowed: u64,
}

/// From which room on a disk is what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thresholds {
    pub(crate) segment_bytes: u64,
    pub(crate) reserve_segments: u64,
    pub(crate) ballast_bytes: u64,
}

impl Thresholds {
    /// Bytes that are free besides a whole ballast. Making it and giving it back change nothing here.
    fn spare(&self, room: &Room) -> u64 {
        (room.available + room.ballast).saturating_sub(self.ballast_bytes)
    }

    /// What segments leave free besides the ballast, for RocksDB and for names of files.
    fn floor(&self) -> u64 {
        self.ballast_bytes / 2
    }

    /// Segments that can be made of what is free.
    pub(crate) fn allocatable(&self, room: &Room) -> u64 {
        let free = self.spare(room).saturating_sub(self.floor());
        free.min(room.allowed) / self.segment_bytes
    }

    /// The state of a disk with `room`. A disk leaves a state only when it has a little more than what makes it
    /// enter, or it would go to and fro between two.
    pub(crate) fn state(&self, room: &Room, before: DiskState) -> DiskState {
        let segments = room.ready + self.allocatable(room);
        let more_segments = |state| u64::from(before >= state);
        let more_bytes = if before == DiskState::Normal { 0 } else { self.ballast_bytes / 8 };
        if segments <= LAST_SEGMENTS + more_segments(DiskState::Full) {
            DiskState::Full
        } else if segments < self.reserve_segments + more_segments(DiskState::AlmostFull)
            || self.spare(room) < self.floor() + more_bytes
        {
            DiskState::AlmostFull
        } else {
            DiskState::Normal
        }
    }

    /// Whether so little is free that the ballast has to help.
    pub(crate) fn needs_ballast(&self, room: &Room) -> bool {
        self.spare(room) < self.floor() / 2
    }

    /// Whether the file system has room for what the ballast lacks, and then some.
    pub(crate) fn has_room_for_ballast(&self, room: &Room) -> bool {
        room.ballast < self.ballast_bytes && self.spare(room) >= self.floor()
    }

    /// Whether so little is free, with what there is of the ballast, that an opening could fail.
    pub(crate) fn is_too_little_to_open(&self, room: &Room) -> bool {
        room.available < self.floor() / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds =
        Thresholds { segment_bytes: 100, reserve_segments: 4, ballast_bytes: 80 };

    /// A disk with `free` bytes besides its whole ballast, and two ready segments.
    fn room(free: u64) -> Room {
        Room { available: free, ballast: 80, ready: 2, allowed: u64::MAX }
    }

    /// What a disk is called while it goes through these amounts of free bytes.
    fn states(free: &[u64]) -> Vec<DiskState> {
        let mut state = DiskState::Normal;
        let mut states = Vec::new();
        for free in free {
            state = THRESHOLDS.state(&room(*free), state);
            states.push(state);
        }
        states
    }

    #[test]
    fn a_disk_fills_and_has_a_little_more_than_that_before_it_is_normal_again() {
        use DiskState::{AlmostFull, Full, Normal};
        assert_eq!(
            states(&[1000, 240, 239, 240, 339, 340]),
            [Normal, Normal, AlmostFull, AlmostFull, AlmostFull, Normal]
        );
        // Others take what is left: the segments that stand ready don't help RocksDB.
        let many = |free, before| THRESHOLDS.state(&Room { ready: 9, ..room(free) }, before);
        assert_eq!([many(40, Normal), many(39, Normal)], [Normal, AlmostFull]);
        assert_eq!([many(49, AlmostFull), many(50, AlmostFull)], [AlmostFull, Normal]);
        assert_eq!(many(0, Normal), AlmostFull);
        assert_eq!(THRESHOLDS.state(&Room { ready: 1, ..room(0) }, Normal), Full);
    }

    #[test]
    fn the_last_segment_is_not_for_appends() {
        let room = |ready, available| Room { ready, ..room(available) };
        let state = |room| THRESHOLDS.state(&room, DiskState::Normal);
        assert_eq!(state(room(2, 50)), DiskState::AlmostFull);
        assert_eq!(state(room(1, 50)), DiskState::Full);
        assert_eq!(state(room(1, 140)), DiskState::AlmostFull, "another one can be made");
        let again = |room| THRESHOLDS.state(&room, DiskState::Full);
        assert_eq!(again(room(2, 50)), DiskState::Full);
        assert_eq!(again(room(3, 50)), DiskState::AlmostFull);
    }

    #[test]
    fn a_limit_of_the_settings_counts_as_the_end_of_the_disk() {
        let room = Room { allowed: 199, ..room(1 << 20) };
        assert_eq!(THRESHOLDS.allocatable(&room), 1);
        assert_eq!(THRESHOLDS.state(&room, DiskState::Normal), DiskState::AlmostFull);
    }

    #[test]
    fn the_ballast_changes_no_state_when_it_goes_and_comes() {
        let with = room(45);
        let without = Room { available: 125, ballast: 0, ..with };
        for before in [DiskState::Normal, DiskState::AlmostFull, DiskState::Full] {
            assert_eq!(THRESHOLDS.state(&with, before), THRESHOLDS.state(&without, before));
        }
        assert!(THRESHOLDS.has_room_for_ballast(&without));
        assert!(!THRESHOLDS.has_room_for_ballast(&with), "it is there");
        assert!(!THRESHOLDS.has_room_for_ballast(&Room { available: 119, ..without }));
        assert!(!THRESHOLDS.needs_ballast(&Room { available: 100, ..without }));
        assert!(THRESHOLDS.needs_ballast(&Room { available: 99, ..without }));
    }

    #[test]
    fn without_a_ballast_only_segments_count() {
        let thresholds = Thresholds { ballast_bytes: 0, ..THRESHOLDS };
        let room = |available| Room { available, ballast: 0, ready: 2, allowed: u64::MAX };
        assert_eq!(thresholds.state(&room(0), DiskState::Normal), DiskState::AlmostFull);
        assert_eq!(thresholds.state(&room(200), DiskState::Normal), DiskState::Normal);
    }

    #[test]
    fn states_survive_being_numbers() {
        for state in [DiskState::Normal, DiskState::AlmostFull, DiskState::Full] {
            assert_eq!(DiskState::from_number(state.into()), state);
        }
    }
}
