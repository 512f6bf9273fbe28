//! Replicas over a network and disks that fail. Each trap of the design has a test with its name.

#![allow(clippy::unwrap_used, clippy::panic, reason = "the way a test fails")]

mod batching;
mod clocks;
mod crashes;
mod duplicates;
mod full_disk;
mod leadership;
mod leadership_transfer;
mod metrics;
mod rebuild;
mod recovery;
mod stalled_disk;
mod suite;
mod tables;
mod trim;
mod watches;
mod went_back;
