//! A history of half a million events is checked in seconds.

use std::time::{Duration, Instant};

use chaos_checkers::{Judgement, check};

use crate::model::{Shape, generate};

#[test]
fn half_a_million_events_are_checked_in_seconds() {
    let shape = Shape { steps: 1_000_000, trims: false, faults: true, changes: 300 };
    let begin = Instant::now();
    let history = generate(3, shape);
    println!("generated in {:?}", begin.elapsed());
    assert!(history.events().len() > 500_000, "only {} events", history.events().len());
    let begin = Instant::now();
    let verdict = check(&history);
    let took = begin.elapsed();
    println!("{} events in {took:?}", history.events().len());
    assert_eq!(verdict.verdict, Judgement::Valid, "{:?}", verdict.findings.first());
    assert!(took < Duration::from_secs(60), "{took:?}");
}
