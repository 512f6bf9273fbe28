//! Planted bugs (`crates/planted`) that the simulation must find within a hundred seeds.

use std::process::Command;

/// Runs up to a hundred seeds with a bug. One must fail.
fn is_found(bug: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    let command = command.args(["--seeds", "1..101"]).env("ANABRANCH_PLANTED_BUG", bug);
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{bug} was not found: {printed}");
    assert!(printed.contains("FAILED"), "{bug}: {printed}");
}

macro_rules! bugs {
    ($($test:ident $bug:literal;)*) => {
        $(#[test] fn $test() { is_found($bug); })*
    };
}

bugs! {
    an_acknowledgement_before_the_sync_is_found "ack-before-fsync";
    a_lease_that_never_ends_is_found "lease-after-pause";
    a_read_of_an_uncommitted_entry_is_found "serve-uncommitted";
    a_forgotten_deduplication_window_is_found "forget-window";
    a_vote_that_is_written_late_is_found "forget-vote";
    the_old_identity_of_a_wiped_disk_is_found "keep-identity";
    swapped_responses_are_found "reorder-batch";
    children_that_open_early_are_found "open-children-early";
    a_skipped_freeze_is_found "skip-freeze";
    a_follower_that_reports_the_tip_is_found "follower-tip";
    a_second_proposal_after_a_timeout_is_found "repropose-on-timeout";
}
