use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Keeps what goes wrong again and again, or what a stranger can make go wrong, from filling the log.
#[derive(Debug, Default)]
pub struct Complaints(Mutex<Option<Instant>>);

/// Until the next one is written.
const PAUSE: Duration = Duration::from_secs(10);

impl Complaints {
    /// Whether the last one was written long enough before `now`; then `now` is when the last one was written.
    pub fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an instant to count from; there is no other")]
    fn one_complaint_is_written_in_ten_seconds() {
        let (complaints, began) = (Complaints::default(), Instant::now());
        let due = |seconds| complaints.is_due(began + Duration::from_secs(seconds));
        assert_eq!(
            [0, 1, 9, 10, 11, 19, 20].map(due),
            [true, false, false, true, false, false, true]
        );
    }
}
