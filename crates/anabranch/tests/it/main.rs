//! Tests of the process from outside: clusters of `anabranch server` that are killed, damaged and overloaded, and an
//! oracle that knows every acknowledged record.
//!
//! `ANABRANCH_TEST_SEED` repeats the random choices of a run that printed its seed. `ANABRANCH_TEST_ROUNDS` makes the
//! crash tests shorter or longer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod admin;
mod cluster;
mod consumer_groups;
mod crashes;
mod damage;
mod full_disk;
mod load;
mod nodes;
mod on_demand;
mod oracle;
mod overload;
mod planted;
mod recovery;
mod sick_disk;
mod waiting;
