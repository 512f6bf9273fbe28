//! Prints the runs of the simulated streams of `tests/it/on_demand.rs` as JSON lines: for each scenario one line of
//! the run, one per minute and one per split or merge.
//!
//! `cargo run --release -p anabranch-catalog --example on_demand`; `make scaling` draws them.

#[path = "../tests/it/scenario.rs"]
mod scenario;
#[path = "../tests/it/simulation.rs"]
mod simulation;

use anabranch_catalog::scaling::Action;
use scenario::{DIURNAL, FLAPPING, HOT_KEY, SPIKE, Scenario};
use simulation::{Done, Minute, Run, run};

const SEED: u64 = 1;

fn main() {
    for scenario in [DIURNAL, SPIKE, HOT_KEY, FLAPPING] {
        print(&scenario, &run(&scenario, SEED));
    }
}

fn print(scenario: &Scenario, run: &Run) {
    let (name, hours, hot_key_seen) = (scenario.name, scenario.hours, run.hot_key_seen);
    println!(
        r#"{{"line":"run","scenario":"{name}","hours":{hours},"seed":{SEED},"hot_key_seen":{hot_key_seen}}}"#
    );
    for (index, minute) in run.minutes.iter().enumerate() {
        print_minute(name, index, minute);
    }
    for done in &run.actions {
        print_action(name, done);
    }
}

fn print_minute(name: &str, index: usize, minute: &Minute) {
    let Minute { offered_bytes, accepted_bytes, shards, .. } = minute;
    let Minute { offered_other_bytes, accepted_other_bytes, hot_key_range, .. } = minute;
    let share = |range: anabranch_types::HashKeyRange| {
        (range.end().0 - range.start().0) as f64 / u128::MAX as f64
    };
    let hot_key_share = hot_key_range.map_or("null".to_owned(), |range| share(range).to_string());
    println!(
        r#"{{"line":"minute","scenario":"{name}","minute":{index},"offered_bytes":{offered_bytes},"accepted_bytes":{accepted_bytes},"offered_other_bytes":{offered_other_bytes},"accepted_other_bytes":{accepted_other_bytes},"hot_key_share":{hot_key_share},"shards":{shards}}}"#
    );
}

fn print_action(name: &str, done: &Done) {
    let Done { second, action, child } = done;
    let action = match action {
        Action::Split { .. } => "split",
        Action::Merge { .. } => "merge",
    };
    let child = child.0;
    println!(
        r#"{{"line":"action","scenario":"{name}","second":{second},"action":"{action}","child":{child}}}"#
    );
}
