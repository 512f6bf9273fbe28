//! Which checkpoints a replica keeps: at most [`MAX_CHECKPOINTS`], spread evenly over the time that its log covers.
//!
//! If there are more, some are removed: those whose two neighbours are the closest in time. The oldest and the
//! newest always stay. A trim goes to a checkpoint. So it may come later than retention asks, but only by a small
//! share of the log's time (4 of [`MAX_CHECKPOINTS`] parts), however long that time is. And a search by time begins
//! between two checkpoints.
//!
//! Each replica removes checkpoints by itself. So a replica may lack the checkpoint to which the leader trims. Then
//! it purges up to the checkpoint before that.

use anabranch_types::Timestamp;

/// Maximum number of checkpoints. The time between two neighbours is at most 4/512 of the time that the log covers,
/// unless no checkpoint was made in between.
pub(crate) const MAX_CHECKPOINTS: usize = 512;

/// The checkpoints of one replica.
///
/// Invariant: log indexes rise, and arrival times never fall.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints(Vec<Kept>);

/// A checkpoint that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Log index of the `Checkpoint` entry.
    pub(crate) index: u64,
    /// Arrival time of the newest record up to that entry.
    pub(crate) arrival: Timestamp,
}

impl Checkpoints {
    /// Adds the newest checkpoint. Returns the indexes of the checkpoints that were removed for it.
    pub(crate) fn add(&mut self, index: u64, arrival: Timestamp) -> Vec<u64> {
        self.extend([Kept { index, arrival }])
    }

    /// Adds checkpoints with rising indexes. Returns the indexes of the checkpoints that were removed for them.
    pub(crate) fn extend(&mut self, newer: impl IntoIterator<Item = Kept>) -> Vec<u64> {
        for kept in newer {
            if self.newest().is_none_or(|newest| newest.index < kept.index) {
                self.0.push(kept);
            }
        }
        let mut gone = Vec::new();
        while let Some(over) = self.0.len().checked_sub(MAX_CHECKPOINTS).filter(|over| *over > 0) {
            // At most an eighth at a time: there are always that many close checkpoints of which no two are
            // neighbours. If neighbours were removed together, their gaps would add up.
            gone.extend(self.thin(over.min(self.0.len().div_ceil(8))));
        }
        gone
    }

    /// Removes up to `count` checkpoints, no two of them neighbours. Removes those first whose two neighbours are
    /// the closest in time. Returns their indexes.
    fn thin(&mut self, count: usize) -> Vec<u64> {
        let mut places: Vec<usize> = (1..self.0.len().saturating_sub(1)).collect();
        places.sort_by_key(|place| self.0[place + 1].arrival.since(self.0[place - 1].arrival));
        let mut goes = vec![false; self.0.len()];
        let mut left = count;
        for place in places {
            if left > 0 && !goes[place - 1] && !goes[place + 1] {
                goes[place] = true;
                left -= 1;
            }
        }
        let all = std::mem::take(&mut self.0).into_iter().zip(goes);
        let (gone, kept): (Vec<_>, Vec<_>) = all.partition(|(_, goes)| *goes);
        self.0 = kept.into_iter().map(|(kept, _)| kept).collect();
        gone.into_iter().map(|(gone, _)| gone.index).collect()
    }

    /// Removes the checkpoints below `index`. Returns their indexes.
    pub(crate) fn remove_below(&mut self, index: u64) -> Vec<u64> {
        let below = self.0.partition_point(|kept| kept.index < index);
        self.0.drain(..below).map(|kept| kept.index).collect()
    }

    /// Removes all checkpoints. Returns their indexes.
    pub(crate) fn clear(&mut self) -> Vec<u64> {
        self.remove_below(u64::MAX)
    }

    /// The newest checkpoint.
    pub(crate) fn newest(&self) -> Option<Kept> {
        self.0.last().copied()
    }

    /// The newest checkpoint at or below `index`.
    pub(crate) fn newest_up_to(&self, index: u64) -> Option<Kept> {
        let after = self.0.partition_point(|kept| kept.index <= index);
        self.0.get(after.checked_sub(1)?).copied()
    }

    /// The indexes of the checkpoints below `index`.
    pub(crate) fn below(&self, index: u64) -> Vec<u64> {
        self.0.iter().map(|kept| kept.index).take_while(|known| *known < index).collect()
    }

    /// The newest checkpoint up to which all records arrived before `time`, and the checkpoint after it.
    pub(crate) fn around(&self, time: Timestamp) -> (Option<Kept>, Option<Kept>) {
        let after = self.0.partition_point(|kept| kept.arrival < time);
        let before = after.checked_sub(1).and_then(|place| self.0.get(place));
        (before.copied(), self.0.get(after).copied())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// One checkpoint for each step, at every third index. A step is the time since the checkpoint before, in
    /// milliseconds.
    fn made(steps: &[u64]) -> Vec<Kept> {
        let times = steps.iter().scan(1_000_000, |time, step| {
            *time += step;
            Some(*time)
        });
        (1..).zip(times).map(|(n, time)| Kept { index: 3 * n, arrival: at(time) }).collect()
    }

    fn span(checkpoints: &[Kept]) -> Duration {
        let ends = checkpoints.first().zip(checkpoints.last());
        ends.map_or(Duration::ZERO, |(first, last)| last.arrival.since(first.arrival))
    }

    /// Checks which checkpoints of `all` are kept, and that `gone` are the others.
    fn check(kept: &Checkpoints, all: &[Kept], mut gone: Vec<u64>) {
        assert!(kept.0.len() <= MAX_CHECKPOINTS);
        assert_eq!((kept.0.first(), kept.0.last()), (all.first(), all.last()));
        gone.extend(kept.0.iter().map(|kept| kept.index));
        gone.sort_unstable();
        assert_eq!(gone, all.iter().map(|one| one.index).collect::<Vec<_>>(), "each once");
        let share = span(all) * 4 / u32::try_from(MAX_CHECKPOINTS).unwrap();
        for pair in kept.0.windows(2) {
            let after = all.partition_point(|one| one.index <= pair[0].index);
            let is_natural = all.get(after) == Some(&pair[1]);
            let gap = pair[1].arrival.since(pair[0].arrival);
            assert!(is_natural || gap <= share, "{gap:?} of {:?}", span(all));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn checkpoints_are_bounded_and_spread_over_time(
            steps in vec(prop_oneof![8 => 0u64..100, 2 => 0u64..5_000, 1 => 0u64..2_000_000], 1..4_000),
            at_once in any::<bool>(),
        ) {
            let (all, mut kept) = (made(&steps), Checkpoints::default());
            let gone = if at_once {
                kept.extend(all.iter().copied())
            } else {
                all.iter().flat_map(|one| kept.add(one.index, one.arrival)).collect()
            };
            check(&kept, &all, gone);
        }

        #[test]
        fn searches_find_the_same_as_a_linear_scan(
            steps in vec(0u64..4, 0..40),
            time in 999_990u64..1_000_100,
            index in 0u64..130,
        ) {
            let mut kept = Checkpoints::default();
            kept.extend(made(&steps));
            let all = kept.0.clone();
            let last = |is: &dyn Fn(&Kept) -> bool| all.iter().rfind(|kept| is(kept)).copied();
            let first = |is: &dyn Fn(&Kept) -> bool| all.iter().find(|kept| is(kept)).copied();
            let around = (last(&|k| k.arrival < at(time)), first(&|k| k.arrival >= at(time)));
            prop_assert_eq!(kept.around(at(time)), around);
            prop_assert_eq!(kept.newest_up_to(index), last(&|kept| kept.index <= index));
            prop_assert_eq!(kept.newest(), all.last().copied());
            let below = kept.below(index);
            prop_assert_eq!(&below, &kept.remove_below(index));
            prop_assert_eq!(below.len() + kept.0.len(), all.len());
        }
    }

    #[test]
    fn a_year_of_checkpoints_is_thinned_in_one_call() {
        let all = made(&vec![60_000; 525_600]);
        let mut kept = Checkpoints::default();
        let gone = kept.extend(all.iter().copied());
        check(&kept, &all, gone);
    }

    #[test]
    fn one_wrong_stamp_does_not_thin_the_others() {
        let mut steps = vec![60_000; MAX_CHECKPOINTS - 1];
        steps.push(u64::from(u32::MAX) * 1000);
        let all = made(&steps);
        let mut kept = Checkpoints::default();
        assert!(kept.extend(all).is_empty());
        let next = Kept { index: 1 << 20, arrival: kept.newest().unwrap().arrival };
        assert_eq!(kept.extend([next]).len(), 1, "one for one");
    }
}
