//! Tests both log stores against the contract, and the segment store with crashes, damage and full disks.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixtures;
mod index_damage;

mod contract;
mod damage;
mod kill;
mod power_loss;
mod reclaim;
mod space;
mod torn_tail;
