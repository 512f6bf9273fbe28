//! When a stream is split and merged, and which reasons are given.

use proptest::prelude::*;

use super::*;
use crate::scaling::{BUCKETS, BucketLoad, KeyLoad};

const MINUTE: u64 = 60;

/// A stream and its scaler. Loads are in thousandths of a shard's limit.
struct Script {
    scaler: Scaler,
    shards: Vec<(ShardId, HashKeyRange)>,
    second: u64,
    bounds: Bounds,
}

impl Script {
    fn with_shards(count: u32) -> Self {
        let shards = (0..).map(ShardId).zip(HashKeyRange::split_evenly(count)).collect();
        let bounds = Bounds::new(1, 100).unwrap();
        Self { scaler: Scaler::new(), shards, second: 1000, bounds }
    }

    /// Decides every 5 s at this load, until there is an action or `seconds` have passed. Returns the last decision.
    fn after(&mut self, seconds: u64, permille: &[u64]) -> String {
        let end = self.second + seconds;
        loop {
            let decision = self.decide(permille);
            if decision.action.is_some() || self.second >= end {
                return said(decision);
            }
            self.second += 5;
        }
    }

    fn decide(&mut self, permille: &[u64]) -> Decision {
        let loads = permille.iter().map(|permille| Some(even(*permille)));
        self.decide_with(loads.collect())
    }

    fn decide_with(&mut self, loads: Vec<Option<ShardLoad>>) -> Decision {
        let shards = self.open_shards(loads);
        self.scaler.decide(Timestamp::from_millis(self.second * 1000), &shards, self.bounds)
    }

    fn open_shards(&self, loads: Vec<Option<ShardLoad>>) -> Vec<OpenShard> {
        assert_eq!(loads.len(), self.shards.len());
        let shards = self.shards.iter().zip(loads);
        shards.map(|((id, range), load)| OpenShard { id: *id, range: *range, load }).collect()
    }
}

fn said(decision: Decision) -> String {
    match decision.action {
        Some(Action::Split { shard, .. }) => format!("split {}", shard.0),
        Some(Action::Merge { lower, upper }) => format!("merge {} {}", lower.0, upper.0),
        None => decision.reason.to_string(),
    }
}

/// A load of this share of the limit, evenly over all hash keys, measured for a long time.
fn even(permille: u64) -> ShardLoad {
    let records_per_minute = permille * 60 / BUCKETS as u64 + 1;
    let buckets = [BucketLoad { bytes_per_minute: 0, records_per_minute }; BUCKETS];
    ShardLoad::new(Duration::from_secs(9999), Box::new(buckets), None)
}

/// As [`even`], but of one key.
fn one_key(permille: u64, key: HashKey) -> ShardLoad {
    let mut buckets = [BucketLoad::default(); BUCKETS];
    buckets[0].records_per_minute = permille * 60;
    let weight_per_minute = crate::scaling::load::weight(0, permille * 60);
    let candidate = Some(KeyLoad { key, weight_per_minute });
    ShardLoad::new(Duration::from_secs(9999), Box::new(buckets), candidate)
}

#[test]
fn a_shard_is_split_in_the_middle_after_a_minute_above_half() {
    let mut script = Script::with_shards(2);
    assert_eq!(script.after(55, &[510, 400]), "the shards fit the load");
    script.second += 5;
    let decision = script.decide(&[510, 400]);
    let middle = HashKeyRange::split_evenly(4)[1].start();
    assert_eq!(decision.action, Some(Action::Split { shard: ShardId(0), at: middle }));
    let why = "shardId-000000000000 took 51.0 % of its limit for a minute";
    assert_eq!(decision.reason.to_string(), why);
}

#[test]
fn a_dip_restarts_the_minute() {
    let mut script = Script::with_shards(1);
    assert_eq!(script.after(55, &[900]), "the shards fit the load");
    script.second += 5;
    assert_eq!(script.after(0, &[490]), "the shards fit the load");
    script.second += 5;
    assert_eq!(script.after(55, &[900]), "the shards fit the load");
    script.second += 5;
    assert_eq!(script.after(0, &[900]), "split 0");
}

#[test]
fn a_split_that_did_not_happen_is_decided_again_after_a_minute() {
    let mut script = Script::with_shards(1);
    assert_eq!(script.after(MINUTE, &[900]), "split 0");
    script.second += 5;
    assert_eq!(script.after(55, &[900]), "the shards fit the load");
    script.second += 5;
    assert_eq!(script.after(5, &[900]), "split 0");
}

#[test]
fn neighbours_are_merged_after_twenty_minutes_and_never_below_the_floor() {
    let mut script = Script::with_shards(3);
    script.bounds = Bounds::new(2, 100).unwrap();
    assert_eq!(script.after(20 * MINUTE - 5, &[100, 90, 80]), "the shards fit the load");
    script.second += 5;
    assert_eq!(script.after(0, &[100, 90, 80]), "merge 1 2");
    script.bounds = Bounds::new(3, 100).unwrap();
    assert_eq!(script.after(60 * MINUTE, &[100, 90, 80]), "the shards fit the load");
}

#[test]
fn neighbours_that_fill_a_quarter_together_are_not_merged() {
    let mut script = Script::with_shards(2);
    assert_eq!(script.after(60 * MINUTE, &[130, 130]), "the shards fit the load");
    assert_eq!(script.after(60 * MINUTE, &[10, 201]), "the shards fit the load");
    assert_eq!(script.after(20 * MINUTE, &[100, 130]), "merge 0 1");
}

#[test]
fn a_split_delays_merges_but_a_merge_does_not_delay_splits() {
    let mut script = Script::with_shards(4);
    assert_eq!(script.after(19 * MINUTE, &[9, 9, 400, 9]), "the shards fit the load");
    script.second += 5;
    assert_eq!(script.after(MINUTE, &[9, 9, 600, 9]), "merge 0 1");
    script.second += 5;
    assert_eq!(script.after(0, &[9, 9, 600, 9]), "split 2");
    let mut script = Script::with_shards(4);
    assert_eq!(script.after(17 * MINUTE, &[9, 9, 400, 9]), "the shards fit the load");
    assert_eq!(script.after(2 * MINUTE, &[9, 9, 600, 9]), "split 2");
    let held = "a merge waits: a shard was split lately";
    assert_eq!(script.after(4 * MINUTE, &[9, 9, 400, 9]), held);
    assert_eq!(script.after(MINUTE, &[9, 9, 400, 9]), "merge 0 1");
}

#[test]
fn splits_and_merges_have_separate_limits_per_minute() {
    let mut script = Script::with_shards(8);
    let loads = [900, 900, 900, 900, 900, 900, 1, 1];
    let mut split = Vec::new();
    assert_eq!(script.after(MINUTE, &loads), "split 0");
    for _ in 0..5 {
        split.push(script.after(0, &loads));
    }
    let held = "a split waits: the stream may split 4 shards in a minute";
    assert_eq!(split, ["split 1", "split 2", "split 3", held, held]);
    script.second += 15;
    assert_eq!(script.after(0, &loads), "split 4");

    let mut script = Script::with_shards(4);
    assert_eq!(script.after(20 * MINUTE, &[1, 1, 2, 2]), "merge 0 1");
    let held = "a merge waits: the stream may make 1 in a minute";
    assert_eq!(script.after(0, &[1, 1, 2, 2]), held);
    assert_eq!(script.after(MINUTE, &[1, 1, 2, 2]), "merge 2 3");
}

#[test]
fn a_hot_key_is_reported_and_other_shards_are_still_split() {
    let mut script = Script::with_shards(2);
    let loads = || vec![Some(one_key(1000, HashKey(5))), Some(even(400))];
    for _ in 0..20 {
        script.decide_with(loads());
        script.second += 5;
    }
    let why = "one key is too much for shardId-000000000000, and no split helps: its hash is 5";
    assert_eq!(said(script.decide_with(loads())), why);
    for _ in 0..12 {
        script.second += 5;
        script.decide_with(vec![Some(one_key(1000, HashKey(5))), Some(even(400))]);
    }
    let mut decision = String::new();
    for _ in 0..13 {
        script.second += 5;
        decision = said(script.decide_with(vec![Some(one_key(1000, HashKey(5))), Some(even(600))]));
    }
    assert_eq!(decision, "split 1");
}

#[test]
fn a_stream_below_its_floor_is_split_at_once_in_its_widest_shard() {
    let mut script = Script::with_shards(2);
    script.bounds = Bounds::for_warm_throughput(0);
    let decision = script.decide_with(vec![None, None]);
    let middle = HashKeyRange::split_evenly(4)[1].start();
    assert_eq!(decision.action, Some(Action::Split { shard: ShardId(0), at: middle }));
    assert_eq!(decision.reason.to_string(), "the stream has 2 shards and shall have 4");
}

#[test]
fn a_stream_at_its_ceiling_is_not_split() {
    let mut script = Script::with_shards(2);
    script.bounds = Bounds::new(1, 2).unwrap();
    let held = "a split waits: the stream may have 2 shards";
    assert_eq!(script.after(MINUTE, &[900, 900]), held);
}

#[test]
fn warm_throughput_raises_the_floor_by_a_shard_for_each_mib() {
    let bounds = |warm| Bounds::for_warm_throughput(warm);
    assert_eq!((bounds(0).floor(), bounds(0).ceiling()), (4, 400));
    assert_eq!((bounds(100).floor(), bounds(100).ceiling()), (100, 400));
    assert_eq!((bounds(300).floor(), bounds(300).ceiling()), (300, 600));
    assert_eq!((bounds(99_999).floor(), bounds(99_999).ceiling()), (10_000, 10_000));
    assert_eq!(Bounds::new(0, 1), None);
    assert_eq!(Bounds::new(3, 2), None);
}

#[test]
fn a_scaler_without_recent_observations_waits_for_whole_windows() {
    let mut script = Script::with_shards(1);
    assert_eq!(script.after(55, &[900]), "the shards fit the load");
    script.second += 31;
    assert_eq!(script.after(55, &[900]), "the shards fit the load");
    script.scaler = Scaler::new();
    script.second += 5;
    assert_eq!(script.after(55, &[900]), "the shards fit the load");
    script.second += 5;
    assert_eq!(script.after(0, &[900]), "split 0");
}

#[test]
fn a_shard_is_not_split_before_its_leader_has_measured_for_a_minute() {
    let mut script = Script::with_shards(1);
    let young = |seconds| {
        let load = even(900);
        ShardLoad::new(Duration::from_secs(seconds), Box::new(*load.buckets()), None)
    };
    assert_eq!(script.after(55, &[900]), "the shards fit the load");
    for seconds in (15..60).step_by(5) {
        script.second += 5;
        let decision = script.decide_with(vec![Some(young(seconds))]);
        assert_eq!(said(decision), "the shards fit the load");
    }
    script.second += 5;
    assert_eq!(said(script.decide_with(vec![Some(young(60))])), "split 0");
}

#[test]
fn observations_during_a_job_count() {
    let mut script = Script::with_shards(1);
    for _ in 0..12 {
        let shards = script.open_shards(vec![Some(even(900))]);
        script.scaler.observe(Timestamp::from_millis(script.second * 1000), &shards);
        script.second += 5;
    }
    assert_eq!(script.after(0, &[900]), "split 0");
}

proptest! {
    /// With any loads: actions name open shards and neighbours, split at allowed keys, stay within the bounds and the
    /// token buckets, and depend on nothing else.
    #[test]
    fn any_loads_give_actions_that_can_be_carried_out(
        steps in proptest::collection::vec(
            (0u64..60, proptest::collection::vec(proptest::option::of(0u64..1200), 40)), 1..150
        ),
        floor in 1u32..6,
        room in 0u32..20,
    ) {
        let mut script = Script::with_shards(3);
        script.bounds = Bounds::new(floor, floor + room).unwrap();
        let mut next = 3;
        let mut splits = Vec::new();
        for (wait, loads) in steps {
            script.second += wait;
            let mut loads: Vec<_> = loads.iter().map(|permille| permille.map(even)).collect();
            loads.truncate(script.shards.len());
            let mut twin = script.scaler.clone();
            let decision = script.decide_with(loads.clone());
            let now = Timestamp::from_millis(script.second * 1000);
            let shuffled: Vec<_> = script.open_shards(loads).into_iter().rev().collect();
            prop_assert_eq!(twin.decide(now, &shuffled, script.bounds), decision);
            let before = count_of(&script);
            match decision.action {
                None => continue,
                Some(Action::Split { shard, at }) => {
                    prop_assert!(before < script.bounds.ceiling());
                    splits.push(script.second);
                    let place = script.shards.iter().position(|(id, _)| *id == shard).unwrap();
                    let range = script.shards[place].1;
                    prop_assert!(range.start().0 + 1 < at.0 && at < range.end());
                    let below = HashKeyRange::new(range.start(), HashKey(at.0 - 1)).unwrap();
                    let above = HashKeyRange::new(at, range.end()).unwrap();
                    let children = [(ShardId(next), below), (ShardId(next + 1), above)];
                    script.shards.splice(place..=place, children);
                    next += 2;
                }
                Some(Action::Merge { lower, upper }) => {
                    prop_assert!(before > script.bounds.floor());
                    let place = script.shards.iter().position(|(id, _)| *id == lower).unwrap();
                    prop_assert_eq!(script.shards[place + 1].0, upper);
                    let [start, end] =
                        [script.shards[place].1.start(), script.shards[place + 1].1.end()];
                    let joined = (ShardId(next), HashKeyRange::new(start, end).unwrap());
                    script.shards.splice(place..=place + 1, [joined]);
                    next += 1;
                }
            }
        }
        let most_in_a_minute = (SPLITS_PER_MINUTE.max(26 / SPLITS_SHARDS_DIVISOR) * 2) as usize;
        for split in &splits {
            let within = splits.iter().filter(|other| (*split..split + 60).contains(other));
            prop_assert!(within.count() <= most_in_a_minute);
        }
    }
}

fn count_of(script: &Script) -> u32 {
    u32::try_from(script.shards.len()).unwrap()
}
