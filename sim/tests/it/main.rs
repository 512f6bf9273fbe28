//! Runs the program `sim`, because a run replaces the clocks and random numbers of its whole process.

use std::process::{Command, Output};

#[cfg(feature = "planted-bugs")]
mod planted;

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().expect("the program runs")
}

/// Runs the program, which must succeed. Returns what it printed.
fn holds(arguments: &[&str]) -> Vec<u8> {
    let output = sim(arguments);
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "sim {arguments:?}\n{printed}\n{errors}");
    output.stdout
}

#[test]
fn one_seed_gives_one_history_in_two_processes() {
    for seed in ["3", "4"] {
        let history = holds(&["--seed", seed, "--trace"]);
        assert!(history.split(|byte| *byte == b'\n').count() > 100);
        assert!(history == holds(&["--seed", seed, "--trace"]), "seed {seed} has two histories");
    }
}

#[test]
fn one_seed_gives_one_history_twice_in_one_process() {
    holds(&["--seed", "7", "--twice"]);
}

#[test]
fn two_seeds_give_two_histories() {
    assert!(holds(&["--seed", "1", "--trace"]) != holds(&["--seed", "2", "--trace"]));
}

#[test]
fn sixty_seeds_keep_every_promise() {
    holds(&["--seeds", "1..61"]);
}

#[test]
fn a_cluster_without_faults_keeps_every_promise() {
    holds(&["--seeds", "1..4", "--calm"]);
}

#[test]
fn a_wiped_disk_that_loses_power_again_does_not_take_the_place_of_the_founder() {
    holds(&["--scenario", "wiped-disk-loses-power"]);
}

#[test]
fn a_leader_whose_target_was_wiped_gives_its_leadership_to_another_replica() {
    holds(&["--scenario", "transfer-to-a-wiped-disk"]);
}

#[test]
fn a_voter_without_entries_lets_go_of_a_leader_whose_disk_was_wiped() {
    holds(&["--scenario", "empty-voter-of-a-wiped-leader"]);
}
