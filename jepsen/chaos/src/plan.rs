//! The plan of a run: which faults happen when. It is a function of the seed, so a run can be repeated.
//!
//! A run has periods. A quarter of them is quiet. In each other period one or two faults begin, last together, and end
//! one after the other. Faults are drawn from a shuffled deck, so that every kind comes before any kind comes again.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::fault::{Cost, FaultKind};

/// Nominal length of a period. A period is longer when a node needs time to come back.
pub(crate) const PERIOD: Duration = Duration::from_secs(7);
/// Longest time between the end of a period and the next one.
const REST_MILLIS: u64 = 1500;

/// The faults of one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    /// Indexes of the faults in the list of selected kinds. Empty in a quiet period.
    pub(crate) faults: Vec<usize>,
    /// Time from the beginning of the last fault to the end of the first.
    pub(crate) lasts: Duration,
    /// Time until the next period.
    pub(crate) rest: Duration,
}

/// Plans a run of the given length.
pub(crate) fn plan(kinds: &[FaultKind], length: Duration, random: &mut StdRng) -> Vec<Period> {
    let periods = (length.as_secs_f64() / PERIOD.as_secs_f64()).ceil();
    let mut deck = Vec::new();
    let mut periods_left = 0.0;
    let mut planned = Vec::new();
    while periods_left < periods {
        periods_left += 1.0;
        planned.push(period(kinds, &mut deck, random));
    }
    planned
}

fn period(kinds: &[FaultKind], deck: &mut Vec<usize>, random: &mut StdRng) -> Period {
    let rest = Duration::from_millis(random.random_range(300..REST_MILLIS));
    if kinds.is_empty() || random.random_ratio(1, 4) {
        return Period { faults: Vec::new(), lasts: PERIOD / 2, rest };
    }
    let wanted = random.random_range(1..=2);
    let mut faults: Vec<usize> = Vec::new();
    for _ in 0..wanted {
        if deck.is_empty() {
            deck.extend(0..kinds.len());
            deck.shuffle(random);
        }
        let fits = |index: &usize| {
            let kind = &kinds[*index];
            faults.iter().all(|other| *other != *index && fit(kinds[*other].cost, kind.cost))
        };
        if let Some(place) = deck.iter().rposition(fits) {
            faults.push(deck.remove(place));
        }
    }
    let (from, to) = faults.first().map(|index| kinds[*index].lasts).unwrap_or_default();
    let lasts = from + (to - from).mul_f64(random.random());
    Period { faults, lasts, rest }
}

/// Whether two faults may happen together. A cluster of three nodes promises nothing about two lost disks, and a node
/// that comes back needs a majority that is there.
fn fit(one: Cost, other: Cost) -> bool {
    matches!(one, Cost::Disturbs) || matches!(other, Cost::Disturbs)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::fault;

    #[test]
    fn one_seed_gives_one_plan() {
        let kinds = fault::select("all", 5).unwrap();
        let planned =
            |seed| plan(&kinds, Duration::from_secs(600), &mut StdRng::seed_from_u64(seed));
        assert_eq!(planned(7), planned(7));
        assert_ne!(planned(7), planned(8));
    }

    #[test]
    fn every_kind_comes_before_any_comes_again() {
        let kinds = fault::select("all", 5).unwrap();
        let mut random = StdRng::seed_from_u64(1);
        let periods = plan(&kinds, PERIOD * 200, &mut random);
        let faults: Vec<_> = periods.into_iter().flat_map(|period| period.faults).collect();
        let mut first: Vec<_> = faults[..kinds.len()].to_vec();
        first.sort_unstable();
        // Faults that do not fit together may swap places around the end of a deck.
        first.dedup();
        assert!(first.len() + 1 >= kinds.len(), "{} of {}", first.len(), kinds.len());
    }

    #[test]
    fn two_faults_together_leave_a_majority_and_all_copies() {
        let kinds = fault::select("all", 5).unwrap();
        let periods = plan(&kinds, PERIOD * 500, &mut StdRng::seed_from_u64(2));
        for Period { faults, .. } in periods {
            let hard = faults.iter().filter(|index| kinds[**index].cost != Cost::Disturbs);
            assert!(hard.count() <= 1);
        }
    }
}
