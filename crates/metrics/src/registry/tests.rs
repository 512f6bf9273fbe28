//! Rendering of a registry, and the names that it refuses.

use std::sync::Weak;
use std::time::Duration;

use super::*;

const CALLS: Metric = Metric::new("anabranch_test_calls_total", "Calls by result.");
const TIMES: Metric = Metric::new("anabranch_test_call_duration_seconds", "Time of a call.");
const ROUNDS: Metric = Metric::new("anabranch_test_round_entries", "Entries of a round.");
const FREE: Metric = Metric::new("anabranch_test_free_bytes", "Free \"bytes\",\nand \\.");
const ROLES: Metric = Metric::new("anabranch_test_groups", "Groups by role.");

crate::label! {
    enum Role: "role" {
        Leader = "leader",
        Follower = "follower",
    }
}

#[test]
fn a_small_registry_is_rendered_as_the_text_format_of_prometheus() {
    let registry = Registry::default();
    let calls = registry.counter_set(CALLS, &["operation", "result"]);
    calls.with(&["Put\"x\"", "ok"]).add(3);
    calls.with(&["Get", "ok"]).increment();
    registry.gauge(FREE).set_count(1 << 40);
    let roles = registry.gauges::<Role>(ROLES);
    roles.of(Role::Follower).set(2.5);
    let rounds = registry.histogram(ROUNDS, Buckets::Count);
    [1, 3, 5000].into_iter().for_each(|entries| rounds.observe(entries));
    registry.histogram(TIMES, Buckets::Latency).observe_duration(Duration::from_micros(750));
    assert_eq!(registry.render(), include_str!("golden.txt"));
}

#[test]
fn two_registries_of_one_process_do_not_share_numbers() {
    let (one, other) = (Registry::default(), Registry::default());
    one.counter(CALLS).add(5);
    let counter = other.counter(CALLS);
    assert_eq!(counter.get(), 0);
    assert!(one.render().contains("anabranch_test_calls_total 5\n"));
    assert!(other.render().contains("anabranch_test_calls_total 0\n"));
}

#[test]
fn sums_and_gauges_take_labels_that_come_later() {
    let registry = Registry::default();
    let sums = registry.sum_set(CALLS, &["name"]);
    assert!(!registry.render().contains("anabranch_test_calls_total"));
    let sum = sums.with(&["a\\b\"c\nd"]);
    [0.25, 1.5, -3.0, f64::NAN].into_iter().for_each(|value| sum.add(value));
    assert!((sum.get() - 1.75).abs() < f64::EPSILON);
    registry.gauge_set(FREE, &["name"]).with(&["x"]).set(f64::NAN);
    let text = registry.render();
    assert!(text.contains("anabranch_test_calls_total{name=\"a\\\\b\\\"c\\nd\"} 1.75\n"), "{text}");
    assert!(text.contains("anabranch_test_free_bytes{name=\"x\"} NaN\n"), "{text}");
}

#[test]
fn a_label_value_that_was_never_observed_is_shown_as_zero() {
    let registry = Registry::default();
    let groups = registry.gauges::<Role>(ROLES);
    groups.of(Role::Leader).increment();
    let text = registry.render();
    assert!(text.contains("anabranch_test_groups{role=\"leader\"} 1\n"), "{text}");
    assert!(text.contains("anabranch_test_groups{role=\"follower\"} 0\n"), "{text}");
}

#[test]
fn gauges_are_refreshed_before_each_rendering() {
    let registry = Registry::default();
    let gauge = registry.gauge(FREE);
    registry.before_render(move || gauge.increment());
    assert!(registry.render().contains("anabranch_test_free_bytes 1\n"));
    assert!(registry.render().contains("anabranch_test_free_bytes 2\n"));
}

#[test]
fn a_counter_follows_a_total_that_is_counted_elsewhere() {
    let registry = Registry::default();
    let counter = registry.counter(CALLS);
    for (total, shown) in [(3, 3), (7, 7), (5, 7)] {
        counter.raise_to(total);
        assert_eq!(counter.get(), shown);
    }
}

#[test]
fn a_part_that_is_gone_leaves_its_last_numbers() {
    let registry = Registry::default();
    let (gauge, part) = (registry.gauge(FREE), Arc::new(7));
    let weak: Weak<u64> = Arc::downgrade(&part);
    registry.before_render(move || {
        if let Some(part) = weak.upgrade() {
            gauge.set_count(*part);
        }
    });
    assert!(registry.render().contains("anabranch_test_free_bytes 7\n"));
    assert_eq!(Arc::strong_count(&part), 1);
    drop(part);
    assert!(registry.render().contains("anabranch_test_free_bytes 7\n"));
}

#[test]
fn flags_and_times_are_numbers() {
    let registry = Registry::default();
    let gauge = registry.gauge(FREE);
    gauge.set_flag(true);
    assert!((gauge.get() - 1.0).abs() < f64::EPSILON);
    gauge.set_flag(false);
    assert!(gauge.get().abs() < f64::EPSILON);
    gauge.set_duration(Duration::from_millis(250));
    assert!((gauge.get() - 0.25).abs() < f64::EPSILON);
}

#[test]
#[should_panic(expected = "registered once")]
fn one_name_is_registered_once() {
    let registry = Registry::default();
    let _first = registry.counter(CALLS);
    let _second = registry.counter(CALLS);
}

#[test]
#[should_panic(expected = "counters end in _total")]
fn a_counter_ends_in_total() {
    let _counter = Registry::default().counter(FREE);
}

#[test]
#[should_panic(expected = "counters end in _total")]
fn a_gauge_does_not_end_in_total() {
    let _gauge = Registry::default().gauge(CALLS);
}

#[test]
#[should_panic(expected = "anabranch_<crate>_<what>_<unit>")]
fn a_name_says_that_it_is_of_anabranch() {
    let _gauge = Registry::default().gauge(Metric::new("free_bytes", "Free bytes."));
}
