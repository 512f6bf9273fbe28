//! The actions of the scaler in each scenario, and the rules that hold in all scenarios.

use std::time::Duration;

use anabranch_catalog::scaling::Action;
use anabranch_catalog::scaling::limits::{MERGE_AFTER, SHARD_BYTES_PER_SECOND, SPLIT_AFTER};
use anabranch_types::ShardId;

use crate::scenario::{
    DIURNAL, FLAPPING, HOT_KEY, HOT_KEY_BEGINS_SECOND, HOT_KEY_ENDS_SECOND, SPIKE,
    SPIKE_BEGINS_SECOND, SPIKE_ENDS_SECOND, Scenario,
};
use crate::simulation::{Done, Minute, Run, run};

/// As [`FLAPPING`], but each level lasts up to an hour, so that the stream has time to follow.
const TIDES: Scenario = Scenario::flapping("tides", 12, 60);

const FLOOR: u64 = 4;
/// Upper bound for the number of shards, as a multiple of the number of full shards that the load needs. The rules
/// alone would allow eight: neighbours that use a quarter of one shard's limit together are not merged.
const SHARDS_PER_NEEDED: u64 = 6;

/// Runs a scenario and checks what must hold with any load.
fn checked(scenario: &Scenario, seed: u64) -> Run {
    let run = run(scenario, seed);
    let what = format!("{}, seed {seed}", scenario.name);
    assert_between_needed_and_a_multiple(&run, &what);
    assert_windows_were_waited_out(&run, &what);
    run
}

/// The number of shards is at least what the lowest load of the last ten minutes needs, and at most a multiple of
/// what the highest load of the last two hours needs.
fn assert_between_needed_and_a_multiple(run: &Run, what: &str) {
    for (index, minute) in run.minutes.iter().enumerate() {
        let lately = |minutes| run.minutes[index.saturating_sub(minutes)..=index].iter();
        let least = lately(10).map(needed).min().unwrap_or(0);
        let most = lately(120).map(needed).max().unwrap_or(0);
        let shards = u64::from(minute.shards);
        assert!(shards >= least, "{what}, minute {index}: {shards} of {least} shards needed");
        assert!(
            shards <= most * SHARDS_PER_NEEDED,
            "{what}, minute {index}: {shards} shards for {most}"
        );
    }
}

fn needed(minute: &Minute) -> u64 {
    minute.offered_bytes.div_ceil(60 * SHARD_BYTES_PER_SECOND).max(FLOOR)
}

/// A shard that a split or merge made is not split within a minute, and not merged within twenty.
fn assert_windows_were_waited_out(run: &Run, what: &str) {
    for (index, done) in run.actions.iter().enumerate() {
        let (from, window) = match done.action {
            Action::Split { shard, .. } => (vec![shard], SPLIT_AFTER),
            Action::Merge { lower, upper } => (vec![lower, upper], MERGE_AFTER),
        };
        for earlier in &run.actions[..index] {
            let age = Duration::from_secs(done.second - earlier.second);
            let made_it = children(earlier).iter().any(|child| from.contains(child));
            assert!(!made_it || age >= window, "{what}: {done:?} after {earlier:?}");
        }
    }
}

fn children(done: &Done) -> Vec<ShardId> {
    match done.action {
        Action::Split { .. } => vec![done.child, ShardId(done.child.0 + 1)],
        Action::Merge { .. } => vec![done.child],
    }
}

fn splits(run: &Run) -> impl Iterator<Item = &Done> {
    run.actions.iter().filter(|done| matches!(done.action, Action::Split { .. }))
}

/// Number of actions at `second` and later.
fn actions_since(run: &Run, second: u64) -> usize {
    run.actions.iter().filter(|done| done.second >= second).count()
}

fn most_actions_in_an_hour(run: &Run) -> usize {
    let hour_of = |done: &Done| done.second..done.second + 3600;
    let within =
        |done| run.actions.iter().filter(move |other| hour_of(done).contains(&other.second));
    run.actions.iter().map(|done| within(done).count()).max().unwrap_or(0)
}

/// Accepted bytes of a thousand offered ones, those of the hot key left out.
fn accepted_permille(minutes: &[Minute]) -> u64 {
    let offered: u64 = minutes.iter().map(|minute| minute.offered_other_bytes).sum();
    let accepted: u64 = minutes.iter().map(|minute| minute.accepted_other_bytes).sum();
    accepted * 1000 / offered
}

fn minute(second: u64) -> usize {
    usize::try_from(second / 60).expect("some hours")
}

#[test]
fn the_shards_follow_two_days_up_and_down_without_refusals() {
    let run = checked(&DIURNAL, 1);
    assert!(accepted_permille(&run.minutes) >= 998, "{}", accepted_permille(&run.minutes));
    assert!(most_actions_in_an_hour(&run) <= 20, "{}", most_actions_in_an_hour(&run));
    // Up to forty shards and back to four, on each of two days.
    assert!(run.actions.len() <= 4 * 40, "{}", run.actions.len());
}

#[test]
fn six_minutes_after_a_spike_of_twenty_times_the_shards_suffice_and_are_merged_slowly() {
    for seed in 1..=2 {
        let run = checked(&SPIKE, seed);
        let [begins, ends] = [SPIKE_BEGINS_SECOND, SPIKE_ENDS_SECOND].map(minute);
        assert!(accepted_permille(&run.minutes[begins + 6..ends]) >= 995, "seed {seed}");
        assert!(run.minutes[ends + 19].shards >= 40, "seed {seed}");
        let last = run.minutes[run.minutes.len() - 1].shards;
        assert!(last <= 8, "seed {seed}: {last}");
        let splits_after = splits(&run).filter(|done| done.second > SPIKE_BEGINS_SECOND + 900);
        assert_eq!(splits_after.count(), 0, "seed {seed}");
    }
}

#[test]
fn a_hot_key_gets_a_narrow_shard_and_other_keys_recover() {
    for seed in 1..=4 {
        let run = checked(&HOT_KEY, seed);
        let [begins, ends] = [HOT_KEY_BEGINS_SECOND, HOT_KEY_ENDS_SECOND].map(minute);
        assert!(accepted_permille(&run.minutes[begins..begins + 1]) < 950, "seed {seed}");
        assert!(accepted_permille(&run.minutes[begins + 5..ends]) >= 995, "seed {seed}");
        let range = run.minutes[ends - 1].hot_key_range.unwrap();
        let keys = range.end().0 - range.start().0;
        assert!(keys <= u128::MAX / 40, "seed {seed}: a {}th of all keys", u128::MAX / keys);
        assert!(run.hot_key_seen);
        assert!((1..=3).contains(&splits(&run).count()), "seed {seed}: {:?}", run.actions);
    }
}

#[test]
fn a_load_that_flaps_within_minutes_causes_few_actions() {
    for seed in 1..=4 {
        let run = checked(&FLAPPING, seed);
        assert!(actions_since(&run, 1800) <= 4, "seed {seed}: {:?}", run.actions);
        assert!(accepted_permille(&run.minutes) >= 999, "seed {seed}");
    }
}

#[test]
fn a_load_that_changes_within_an_hour_is_followed_with_few_actions() {
    for seed in 1..=2 {
        let run = checked(&TIDES, seed);
        // From four shards to eight, back to four, and to eight again.
        let most = most_actions_in_an_hour(&run);
        assert!(most <= 16, "seed {seed}: {most}");
    }
}

#[test]
fn a_seed_always_makes_the_same_run() {
    assert_eq!(run(&HOT_KEY, 7), run(&HOT_KEY, 7));
    assert_ne!(run(&HOT_KEY, 7), run(&HOT_KEY, 8));
}
