//! Planted bugs (`crates/planted`) that the simulation must find within a bounded number of seeds.

use std::process::Command;

/// Runs up to a hundred seeds with a bug. One must fail.
fn is_found(bug: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    let output =
        command.args(["--seeds", "1..101"]).env("ANABRANCH_PLANTED_BUG", bug).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{bug} was not found: {printed}");
    assert!(printed.contains("FAILED"), "{bug}: {printed}");
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    is_found("ack-before-fsync");
}
