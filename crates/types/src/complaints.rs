use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Limits how often a log message is written: for failures that repeat, and for messages that a stranger can cause.
/// Without it they would fill the log.
#[derive(Debug, Default)]
pub struct LogLimiter(Mutex<Option<Instant>>);

/// Shortest time between two messages.
const PAUSE: Duration = Duration::from_secs(10);

impl LogLimiter {
    /// Whether a message may be written at `now`: yes if the last message is at least ten seconds old, or if this is
    /// the first one. If so, `now` becomes the time of the last message.
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
    fn one_message_is_due_every_ten_seconds() {
        let (complaints, began) = (LogLimiter::default(), Instant::now());
        let due = |seconds| complaints.is_due(began + Duration::from_secs(seconds));
        assert_eq!(
            [0, 1, 9, 10, 11, 19, 20].map(due),
            [true, false, false, true, false, false, true]
        );
    }
}
