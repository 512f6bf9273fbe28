//! The moments at which calls are sent.
//!
//! A closed loop sends the next call of a connection when the last one is done, so a slow server gets fewer calls. An
//! open loop sends calls at fixed moments, whatever the server does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// Gives the moments at which calls should be sent to any number of connections.
///
/// Invariant: call `n` of an open loop is due at `start + n × interval`, however late earlier calls are.
#[derive(Debug)]
pub(crate) struct Schedule {
    start: Instant,
    next: AtomicU64,
    calls: Option<u64>,
    end: Option<Instant>,
    pace: Option<Pace>,
}

#[derive(Debug)]
struct Pace {
    interval: Duration,
    /// One permit for each call that is due and not yet taken.
    due: Semaphore,
}

/// A call to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// Number of the call; from 0.
    pub(crate) number: u64,
    /// When the call should be sent. Its latency counts from here.
    pub(crate) due: Instant,
}

impl Schedule {
    /// Calls as fast as the connections allow: `calls` of them, or until `duration` has passed.
    pub(crate) fn closed(calls: Option<u64>, duration: Option<Duration>) -> Self {
        let start = Instant::now();
        let end = duration.map(|duration| start + duration);
        Self { start, next: AtomicU64::new(0), calls, end, pace: None }
    }

    /// `calls` calls, one in each `interval`. [`Self::run_pace`] must run, or no call becomes due.
    pub(crate) fn open(calls: u64, interval: Duration) -> Self {
        let pace = Pace { interval, due: Semaphore::new(0) };
        let next = AtomicU64::new(0);
        Self { start: Instant::now(), next, calls: Some(calls), end: None, pace: Some(pace) }
    }

    /// When the first call is due.
    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// Waits for the next call; `None` when there are no more.
    pub(crate) async fn next(&self) -> Option<Ticket> {
        if let Some(pace) = &self.pace {
            pace.due.acquire().await.ok()?.forget();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if self.calls.is_some_and(|calls| number >= calls) {
            return None;
        }
        match &self.pace {
            Some(pace) => Some(Ticket { number, due: self.start + times(pace.interval, number) }),
            None => {
                let due = Instant::now();
                self.end.is_none_or(|end| due < end).then_some(Ticket { number, due })
            }
        }
    }

    /// Makes the calls of an open loop due, one after another, and returns. It needs a thread of its own: timers of
    /// the async runtime have a resolution of one millisecond, which is as long as the calls.
    pub(crate) fn run_pace(&self) {
        let (Some(pace), Some(calls)) = (&self.pace, self.calls) else { return };
        for number in 0..calls {
            let due = self.start + times(pace.interval, number);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            pace.due.add_permits(1);
        }
        // Connections that still wait find that there are no more calls.
        pace.due.add_permits(Semaphore::MAX_PERMITS / 2);
    }
}

/// `interval × number` without the 32-bit limit of `Duration`'s own product.
fn times(interval: Duration, number: u64) -> Duration {
    let nanos = interval.as_nanos().saturating_mul(u128::from(number));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    async fn drain(schedule: &Schedule) -> Vec<Ticket> {
        let mut tickets = Vec::new();
        while let Some(ticket) = schedule.next().await {
            tickets.push(ticket);
        }
        tickets
    }

    #[tokio::test]
    async fn a_closed_loop_ends_after_a_count_or_a_duration() {
        assert_eq!(drain(&Schedule::closed(Some(3), None)).await.len(), 3);
        assert_eq!(drain(&Schedule::closed(None, Some(Duration::ZERO))).await.len(), 0);
    }

    #[tokio::test]
    async fn calls_of_an_open_loop_are_due_at_fixed_moments() {
        let interval = Duration::from_micros(10);
        let schedule = Arc::new(Schedule::open(4, interval));
        let pace = Arc::clone(&schedule);
        let pacer = thread::spawn(move || pace.run_pace());
        let due: Vec<Duration> =
            drain(&schedule).await.iter().map(|ticket| ticket.due - schedule.start()).collect();
        pacer.join().unwrap();
        assert_eq!(due, [0, 1, 2, 3].map(|number| interval * number));
    }
}
