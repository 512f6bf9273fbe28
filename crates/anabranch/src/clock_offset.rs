use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anabranch_types::{Clock, SystemClock, Timestamp};

/// The machine's clock, set forward by the whole seconds that a file says: for tests of time.
///
/// The file is read again when it was last read 100 ms ago. The offset never falls: a smaller number, a
/// missing file and one that can't be read leave it as it was.
#[derive(Debug)]
pub(crate) struct OffsetClock {
    file: PathBuf,
    seen: Mutex<Seen>,
}

/// What the file said, and when.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Timestamp,
    offset: Duration,
}

const READ_AGAIN: Duration = Duration::from_millis(100);

impl OffsetClock {
    /// A clock that is as far ahead as `file` says.
    pub(crate) fn new(file: PathBuf) -> Self {
        let seen = Seen { at: SystemClock.now(), offset: read(&file).unwrap_or_default() };
        Self { file, seen: Mutex::new(seen) }
    }
}

impl Clock for OffsetClock {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(seen.at) >= READ_AGAIN {
            let offset = read(&self.file).unwrap_or_default().max(seen.offset);
            *seen = Seen { at: now, offset };
        }
        now.plus(seen.offset)
    }
}

fn read(file: &std::path::Path) -> Option<Duration> {
    let seconds = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_ahead_by_what_the_file_says_and_never_falls_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("offset");
        let ahead = |clock: &OffsetClock| clock.now().since(SystemClock.now()).as_secs() + 1;
        assert_eq!(ahead(&OffsetClock::new(file.clone())), 1);
        std::fs::write(&file, "3600\n").unwrap();
        let clock = OffsetClock::new(file.clone());
        assert!((3600..=3601).contains(&ahead(&clock)));
        for nonsense in ["12", "-5", "", "soon"] {
            std::fs::write(&file, nonsense).unwrap();
            clock.seen.lock().unwrap().at = Timestamp::default();
            assert!((3600..=3601).contains(&ahead(&clock)), "{nonsense:?}");
        }
        std::fs::write(&file, "7200").unwrap();
        clock.seen.lock().unwrap().at = Timestamp::default();
        assert!((7200..=7201).contains(&ahead(&clock)));
    }
}
