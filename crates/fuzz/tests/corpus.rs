//! Runs every target on its corpus and on a few thousand mutations. `make fuzz` runs for longer.

use anabranch_fuzz::{Limit, TARGETS, drive, inputs, replay};

/// Mutations of each target. All targets together take a few seconds.
const MUTATIONS: u64 = 3_000;
const SEED: u64 = 20_261_126;

#[test]
fn no_input_of_the_corpus_makes_a_target_panic() {
    for target in TARGETS {
        let inputs = inputs(target.name).unwrap();
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
        for (name, input) in inputs {
            assert!(replay(target, &input), "{} panics at {name}", target.name);
        }
    }
}

#[test]
fn no_mutation_makes_a_target_panic() {
    for target in TARGETS {
        let corpus: Vec<_> =
            inputs(target.name).unwrap().into_iter().map(|(_, input)| input).collect();
        if let Err(crash) = drive(target, &corpus, SEED, Limit::Count(MUTATIONS)) {
            let path = crash.keep().unwrap();
            panic!("{} panics at {}", target.name, path.display());
        }
    }
}
