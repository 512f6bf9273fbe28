//! The clock of a node whose configuration has a `clock-offset-file`: tests set the date with it.
//!
//! The file holds whole seconds, with a sign. The clock shows the machine's time plus these seconds. The file is read
//! again after 100 ms, so a test can move the clock of a running node forward and back. A file that is missing or
//! cannot be parsed leaves the offset unchanged.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anabranch_types::{Clock, SystemClock, Timestamp};

/// The machine's clock and an offset from a file.
#[derive(Debug)]
pub(crate) struct OffsetClock {
    file: PathBuf,
    seen: Mutex<Seen>,
}

/// Offset in the file, and the machine's time when the file was read.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Timestamp,
    offset_millis: i64,
}

const READ_AGAIN: Duration = Duration::from_millis(100);

impl OffsetClock {
    /// A clock with the offset in `file`; without an offset as long as the file is missing.
    pub(crate) fn new(file: PathBuf) -> Self {
        let offset_millis = read_millis(&file).unwrap_or_default();
        Self { file, seen: Mutex::new(Seen { at: SystemClock.now(), offset_millis }) }
    }
}

impl Clock for OffsetClock {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(seen.at) >= READ_AGAIN || now < seen.at {
            let offset_millis = read_millis(&self.file).unwrap_or(seen.offset_millis);
            *seen = Seen { at: now, offset_millis };
        }
        now.shifted(seen.offset_millis)
    }
}

fn read_millis(file: &Path) -> Option<i64> {
    let seconds: i64 = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    seconds.checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole seconds by which `clock` is ahead of the machine's clock, read after the file has changed.
    fn ahead(clock: &OffsetClock) -> i64 {
        clock.seen.lock().unwrap().at = Timestamp::default();
        let before = SystemClock.now();
        let millis = clock.now().ahead_of(before);
        millis.div_euclid(1000)
    }

    #[test]
    fn the_clock_follows_the_file_forward_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("offset");
        let clock = OffsetClock::new(file.clone());
        assert_eq!(ahead(&clock), 0, "there is no file");
        for (text, offset) in [("3600\n", 3600), ("12", 12), ("-31536000", -31_536_000), ("0", 0)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(ahead(&clock), offset, "{text:?}");
            assert_eq!(ahead(&OffsetClock::new(file.clone())), offset, "{text:?} at the start");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_leaves_the_offset_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("offset");
        std::fs::write(&file, "7200").unwrap();
        let clock = OffsetClock::new(file.clone());
        for nonsense in ["", "soon", "1.5", "9223372036854775807"] {
            std::fs::write(&file, nonsense).unwrap();
            assert_eq!(ahead(&clock), 7200, "{nonsense:?}");
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(ahead(&clock), 7200);
    }
}
