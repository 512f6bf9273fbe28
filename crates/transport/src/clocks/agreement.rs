//! The rule by which the clocks of a cluster agree on the time (ADR-0024): the median, if a majority of all nodes is
//! near it.
//!
//! So wrong clocks can't move the agreed time out of the range of the right ones, however wrong they are, as long as
//! a majority is right. Nodes whose clock is not known count against the majority.

/// The median of `clocks`, if more than half of all `nodes` have a clock within `limit` of it. `clocks` are the
/// known clocks, all in one unit and from one origin.
///
/// If a majority of all nodes have clocks within `limit` of each other, the result is between the earliest and the
/// latest of these, whatever the other clocks show: fewer than half of the clocks can be on either side of them.
pub(super) fn median_of_majority(mut clocks: Vec<i64>, nodes: usize, limit: u64) -> Option<i64> {
    clocks.sort_unstable();
    // Of two clocks in the middle take the earlier one: a record that has expired by it has expired by the other
    // one, too.
    let median = *clocks.get(clocks.len().checked_sub(1)? / 2)?;
    let near = clocks.iter().filter(|clock| clock.abs_diff(median) <= limit).count();
    (near > nodes / 2).then_some(median)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: u64 = 1000;
    const DAY: i64 = 24 * 3600 * 1000;

    fn median(clocks: &[i64], nodes: usize) -> Option<i64> {
        median_of_majority(clocks.to_vec(), nodes, LIMIT)
    }

    #[test]
    fn a_node_alone_trusts_its_own_clock() {
        assert_eq!(median(&[7], 1), Some(7));
    }

    #[test]
    fn one_clock_of_several_nodes_is_never_enough() {
        assert_eq!(median(&[7], 2), None);
        assert_eq!(median(&[7], 3), None);
        assert_eq!(median(&[], 3), None);
    }

    #[test]
    fn two_of_three_decide_against_the_third() {
        for wrong in [DAY, -DAY, i64::MAX, i64::MIN] {
            assert!(median(&[0, 20, wrong], 3).is_some_and(|at| (0..=20).contains(&at)), "{wrong}");
        }
        assert_eq!(median(&[0, 20], 3), Some(0), "the third one is away");
    }

    #[test]
    fn without_a_majority_that_agrees_there_is_no_time() {
        assert_eq!(median(&[0, DAY], 2), None);
        assert_eq!(median(&[0, DAY], 3), None);
        assert_eq!(median(&[0, 10, DAY], 5), None, "two of five agree");
        assert_eq!(median(&[0, 0, DAY, DAY], 4), None);
        assert_eq!(median(&[0, DAY, 2 * DAY], 3), None);
    }

    proptest! {
        #[test]
        fn a_majority_decides_whatever_the_others_show(
            good in prop::collection::vec(0..=LIMIT as i64, 1..6),
            bad in prop::collection::vec(any::<i64>(), 0..5),
            away in 0..5_usize,
        ) {
            let nodes = good.len() + bad.len() + away;
            prop_assume!(good.len() > nodes / 2);
            let agreed = median(&[good.clone(), bad].concat(), nodes);
            let span = good.iter().min().unwrap()..=good.iter().max().unwrap();
            prop_assert!(agreed.is_some_and(|at| span.contains(&&at)), "{agreed:?}");
        }

        #[test]
        fn the_agreed_time_is_near_the_clocks_of_a_majority(
            clocks in prop::collection::vec(-3000..3000_i64, 1..8),
            away in 0..4_usize,
        ) {
            let nodes = clocks.len() + away;
            if let Some(agreed) = median(&clocks, nodes) {
                let near = clocks.iter().filter(|clock| clock.abs_diff(agreed) <= LIMIT).count();
                prop_assert!(near > nodes / 2);
            }
        }
    }
}
