//! Schedule of the scrub.
//!
//! The first pass verifies what the opening left, without pauses. After that, one pass follows the other as long as
//! the store is open. A pass verifies every sealed segment once and then the index, evenly spread over the period in
//! the settings. Each store begins its passes at another segment. So the nodes of a cluster do not read the copies of
//! the same records at the same time.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::ScrubProgress;

/// How soon a store without sealed segments checks again.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// An item to verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Segment(u64),
    Index,
}

/// The passes of one store.
pub(crate) struct Schedule {
    period: Duration,
    /// Selects the segment at which passes begin.
    seed: u64,
    left: VecDeque<(Item, u64)>,
    /// When the next item is due, and the time between two items of this pass.
    due: Instant,
    slot: Duration,
    progress: ScrubProgress,
    ended: Option<Instant>,
}

impl Schedule {
    /// `first` are segments that must be verified at once, with their bytes.
    pub(crate) fn new(
        period: Duration,
        seed: u64,
        first: impl IntoIterator<Item = (u64, u64)>,
        now: Instant,
    ) -> Self {
        let (left, progress) = (VecDeque::new(), ScrubProgress::default());
        let mut schedule =
            Self { period, seed, left, due: now, slot: Duration::ZERO, progress, ended: None };
        schedule.begin(first);
        schedule
    }

    /// Time until the next item is due.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }

    /// The item that is due, if any. For a new pass, `segments` returns the sealed segments with their bytes.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        segments: impl FnOnce() -> BTreeMap<u64, u64>,
    ) -> Option<Item> {
        if self.due > now {
            return None;
        }
        if let Some((item, bytes)) = self.left.pop_front() {
            self.due = now + self.slot;
            self.progress.done_bytes += bytes;
            if self.left.is_empty() {
                self.progress.passes += 1;
                self.ended = Some(now);
            }
            return Some(item);
        }
        let mut segments: Vec<(u64, u64)> = segments().into_iter().collect();
        if segments.is_empty() {
            self.due = now + self.period.min(LOOK_AGAIN);
            return None;
        }
        let turn = usize::try_from(self.seed % segments.len() as u64).unwrap_or(0);
        segments.rotate_left(turn);
        self.begin(segments);
        self.slot = self.period / u32::try_from(self.left.len()).unwrap_or(u32::MAX);
        self.due = now + self.slot;
        None
    }

    pub(crate) fn progress(&self, now: Instant) -> ScrubProgress {
        let since_pass = self.ended.map(|ended| now.saturating_duration_since(ended));
        ScrubProgress { since_pass, ..self.progress }
    }

    fn begin(&mut self, segments: impl IntoIterator<Item = (u64, u64)>) {
        let segments = segments.into_iter().map(|(serial, bytes)| (Item::Segment(serial), bytes));
        self.left = segments.chain([(Item::Index, 0)]).collect();
        self.progress.done_bytes = 0;
        self.progress.total_bytes = self.left.iter().map(|(_, bytes)| bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn three() -> BTreeMap<u64, u64> {
        [(4, 100), (5, 100), (6, 50)].into()
    }

    #[test]
    fn after_the_first_pass_each_pass_takes_one_period_and_begins_where_the_seed_says() {
        let began = Instant::now();
        let mut schedule = Schedule::new(8 * HOUR, 10, [(1, 70)], began);
        assert_eq!(schedule.next(began, three), Some(Item::Segment(1)), "at once");
        assert_eq!(schedule.next(began, three), Some(Item::Index));
        let progress = schedule.progress(began);
        assert_eq!((progress.passes, progress.done_bytes, progress.total_bytes), (1, 70, 70));
        assert_eq!(schedule.next(began, three), None, "a pass begins");
        assert_eq!(schedule.wait(began), 2 * HOUR);
        assert_eq!(schedule.next(began + HOUR, three), None);
        let order = [Item::Segment(5), Item::Segment(6), Item::Segment(4), Item::Index];
        for (turn, item) in (1..).zip(order) {
            let now = began + turn * 2 * HOUR;
            assert_eq!(schedule.next(now, three), Some(item));
            assert_eq!(schedule.progress(now).total_bytes, 250);
        }
        let progress = schedule.progress(began + 9 * HOUR);
        assert_eq!((progress.passes, progress.since_pass), (2, Some(HOUR)));
    }

    #[test]
    fn a_store_without_sealed_segments_checks_again_later() {
        let began = Instant::now();
        let mut schedule = Schedule::new(100 * HOUR, 0, [], began);
        assert_eq!(schedule.next(began, BTreeMap::new), Some(Item::Index));
        assert_eq!(schedule.next(began, BTreeMap::new), None);
        assert_eq!(schedule.wait(began), HOUR);
        assert_eq!(schedule.next(began + HOUR, three), None, "a pass begins");
        assert_eq!(schedule.wait(began + HOUR), 25 * HOUR);
    }
}
