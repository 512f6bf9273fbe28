//! Rates, where a load is split, and how many splits isolate a hot key.

use proptest::prelude::*;

use super::*;
use crate::scaling::SplitPoint;

const KIB: u64 = 1024;

fn at(second: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + second * 1000)
}

/// A histogram of the full range after `seconds` seconds. In each of them `records` records of 1 KiB arrived for each
/// of `keys`.
fn after(seconds: u64, records: u64, keys: &[u128]) -> LoadHistogram {
    let mut histogram = LoadHistogram::new(HashKeyRange::FULL, at(0));
    for second in 0..seconds {
        histogram.advance(at(second));
        keys.iter().for_each(|key| histogram.add(HashKey(*key), records, records * KIB));
    }
    histogram
}

fn even(keys: u128) -> Vec<u128> {
    (0..keys).map(|key| u128::MAX / keys * key).collect()
}

#[test]
fn rates_are_right_from_the_beginning_and_follow_a_change_in_a_minute() {
    for seconds in [5, 30, 60, 600] {
        let load = after(seconds, 100, &even(2)).load(at(seconds));
        assert_eq!(load.records_per_second(), 200, "after {seconds} s");
        assert_eq!(load.bytes_per_second(), 200 * KIB, "after {seconds} s");
        assert_eq!(load.measured(), Duration::from_secs(seconds));
    }
    let mut histogram = after(600, 100, &even(2));
    let minute_later = histogram.load(at(660)).records_per_second();
    assert!((15..30).contains(&minute_later), "{minute_later}");
    assert_eq!(histogram.load(at(3600)).permille(), 0);
}

#[test]
fn the_share_of_the_limit_is_that_of_bytes_or_of_records() {
    let mut histogram = LoadHistogram::new(HashKeyRange::FULL, at(0));
    histogram.add(HashKey(7), 1000, 0);
    assert_eq!(histogram.load(at(4)).permille(), 250);
    histogram.add(HashKey(7), 1, 2 << 20);
    assert_eq!(histogram.load(at(4)).permille(), 500);
}

#[test]
fn an_even_load_is_split_in_the_middle_and_a_sloping_one_at_its_median() {
    let SplitPoint::At(middle) =
        after(60, 1, &even(256)).load(at(60)).split_point(HashKeyRange::FULL)
    else {
        unreachable!("an even load can be cut")
    };
    assert!(middle.0.abs_diff(1 << 127) < 1 << 75, "{middle}");
    // Three quarters of the keys are in the first quarter of the range.
    let mut keys: Vec<_> = even(64).iter().map(|key| key / 4).collect();
    keys.extend(even(64).iter().filter(|key| **key > u128::MAX / 3 * 2));
    let load = after(60, 1, &keys).load(at(60));
    let SplitPoint::At(median) = load.split_point(HashKeyRange::FULL) else {
        unreachable!("a sloping load can be cut")
    };
    let below = keys.iter().filter(|key| **key < median.0).count();
    assert!(below.abs_diff(keys.len() / 2) <= 4, "{below} of {}", keys.len());
}

/// Splits the full range repeatedly, and goes on with the child that has the first of `keys`. Returns the number of
/// splits, the last range, and the reason why it is not split.
fn narrowed(keys: &[u128]) -> (usize, HashKeyRange, SplitPoint) {
    let mut range = HashKeyRange::FULL;
    for cuts in 0.. {
        let mut histogram = LoadHistogram::new(range, at(0));
        let inside = keys.iter().filter(|key| range.contains(HashKey(**key)));
        inside.for_each(|key| histogram.record(HashKey(*key), KIB));
        range = match histogram.load(at(1)).split_point(range) {
            SplitPoint::At(cut) if keys[0] < cut.0 => {
                HashKeyRange::new(range.start(), HashKey(cut.0 - 1)).unwrap()
            }
            SplitPoint::At(cut) => HashKeyRange::new(cut, range.end()).unwrap(),
            end @ (SplitPoint::OneKey(_) | SplitPoint::TooNarrow) => return (cuts, range, end),
        };
    }
    unreachable!("a range gets narrower with each cut")
}

#[test]
fn two_splits_isolate_a_hot_key_and_then_its_shard_is_not_split() {
    let hot = u128::MAX / 7 * 3;
    let mut keys = vec![hot; 90];
    keys.extend(even(10));
    let (cuts, range, end) = narrowed(&keys);
    assert_eq!((cuts, end), (2, SplitPoint::OneKey(HashKey(hot))));
    assert!(range.end().0 - range.start().0 <= u128::MAX / 64 + 1);
}

#[test]
fn two_hot_keys_in_one_bucket_are_separated() {
    let (cuts, range, end) = narrowed(&[5 << 100, 9 << 100]);
    assert!(!range.contains(HashKey(9 << 100)));
    assert!(cuts <= 10, "{cuts}");
    assert_eq!(end, SplitPoint::OneKey(HashKey(5 << 100)));
}

#[test]
fn two_adjacent_hot_keys_need_many_splits_but_a_limited_number() {
    for keys in [[0, 1], [1 << 90, (1 << 90) + 1], [u128::MAX - 1, u128::MAX]] {
        let (cuts, range, end) = narrowed(&keys);
        assert_eq!(end, SplitPoint::TooNarrow);
        assert!(range.contains(HashKey(keys[1])));
        assert!((20..=42).contains(&cuts), "{cuts}");
    }
}

#[test]
fn the_narrowest_range_that_can_be_split_has_four_keys() {
    let load = |last| {
        let range = HashKeyRange::new(HashKey(10), HashKey(last)).unwrap();
        let mut histogram = LoadHistogram::new(range, at(0));
        (10..=last).for_each(|key| histogram.record(HashKey(key), KIB));
        histogram.load(at(1)).split_point(range)
    };
    assert_eq!(load(10), SplitPoint::TooNarrow);
    assert_eq!(load(12), SplitPoint::TooNarrow);
    assert_eq!(load(13), SplitPoint::At(HashKey(12)));
}

proptest! {
    #[test]
    fn a_load_can_be_rebuilt_from_its_numbers_and_every_split_is_allowed(
        start in any::<u128>(),
        last_offset in any::<u128>(),
        narrow in 0u32..128,
        records in proptest::collection::vec((any::<u128>(), 0u64..1 << 20, 0u64..9000), 0..200),
    ) {
        let end = start.saturating_add(last_offset >> narrow);
        let range = HashKeyRange::new(HashKey(start), HashKey(end)).unwrap();
        let mut histogram = LoadHistogram::new(range, at(0));
        let mut now = at(0);
        for (offset, bytes, wait_millis) in records {
            now = now.plus(Duration::from_millis(wait_millis));
            histogram.advance(now);
            histogram.record(HashKey(start.saturating_add(offset >> narrow).min(end)), bytes);
        }
        let load = histogram.load(now);
        let again =
            ShardLoad::new(load.measured(), Box::new(*load.buckets()), load.candidate());
        prop_assert_eq!(&again, &load);
        match load.split_point(range) {
            SplitPoint::At(key) => prop_assert!(start + 1 < key.0 && key.0 < end),
            SplitPoint::OneKey(key) => prop_assert!(range.contains(key)),
            SplitPoint::TooNarrow => prop_assert!(end - start < 3),
        }
    }

    #[test]
    fn the_heavier_child_has_at_most_half_of_the_load_and_half_a_bucket(
        keys in proptest::collection::vec((any::<u128>(), 1u64..100_000), 64..300),
    ) {
        let mut histogram = LoadHistogram::new(HashKeyRange::FULL, at(0));
        keys.iter().for_each(|(key, bytes)| histogram.add(HashKey(*key), 0, *bytes));
        let load = histogram.load(at(1));
        let SplitPoint::At(cut) = load.split_point(HashKeyRange::FULL) else {
            return Err(TestCaseError::reject("one key"));
        };
        let total: u64 = keys.iter().map(|(_, bytes)| bytes).sum();
        let below: u64 = keys.iter().filter(|(key, _)| *key < cut.0).map(|(_, bytes)| bytes).sum();
        let largest = load.buckets().iter().map(|bucket| bucket.bytes_per_minute / 60).max();
        let heavier = below.max(total - below);
        prop_assert!(heavier <= (total + largest.unwrap_or(0)).div_ceil(2) + 1);
    }

    #[test]
    fn the_reported_weight_of_a_key_is_at_most_its_load(
        keys in proptest::collection::vec(0u64..4, 1..300), waits in 0u64..3000,
    ) {
        let mut histogram = LoadHistogram::new(HashKeyRange::FULL, at(0));
        let mut now = at(0);
        // Far apart, so that each key has a bucket of its own, which has the key's load.
        let place = |key: u64| HashKey(u128::from(key) << 125);
        for key in keys {
            histogram.record(place(key), KIB);
            now = now.plus(Duration::from_millis(waits));
            histogram.advance(now);
        }
        let load = histogram.load(now);
        let buckets = Buckets::of(HashKeyRange::FULL);
        if let Some(most) = load.candidate() {
            let bucket = load.buckets()[buckets.index(most.key)];
            let carried = weight(bucket.bytes_per_minute, bucket.records_per_minute);
            // Each fading rounds down by less than one, and a record of 1 KiB weighs 2,072.
            prop_assert!(most.weight_per_minute <= carried + carried / 100 + 2100);
        }
    }
}
