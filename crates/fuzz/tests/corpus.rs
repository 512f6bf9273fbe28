//! Every target takes its corpus and a few thousand mutations of it. `make fuzz` goes on for longer.

use anabranch_fuzz::{Limit, TARGETS, drive, inputs, replay};

/// Mutations of each target: a few seconds for all of them.
const MUTATIONS: u64 = 3_000;
const SEED: u64 = 20_261_126;

#[test]
fn what_was_found_once_is_never_found_again() {
    for target in TARGETS {
        let inputs = inputs(target.name).unwrap();
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
        for (name, input) in inputs {
            assert!(replay(target, &input), "{} panics at {name}", target.name);
        }
    }
}

#[test]
fn no_target_panics() {
    for target in TARGETS {
        let corpus: Vec<_> =
            inputs(target.name).unwrap().into_iter().map(|(_, input)| input).collect();
        if let Err(crash) = drive(target, &corpus, SEED, Limit::Count(MUTATIONS)) {
            let path = crash.keep().unwrap();
            panic!("{} panics at {}", target.name, path.display());
        }
    }
}
