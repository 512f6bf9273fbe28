//! Both log stores pass the contract, with fixed examples and with random writes.

use anabranch_storage::{SimSettings, contract};

use crate::fixtures::{Disk, Memory, seeds, small, uncached};

#[test]
fn simulated_store_keeps_the_contract() {
    contract::run(|| Memory::new(SimSettings::default(), 1));
}

#[test]
fn segment_store_keeps_the_contract() {
    contract::run(|| Disk::new(small()));
}

#[test]
fn segment_store_keeps_the_contract_without_a_cache() {
    contract::run(|| Disk::new(uncached()));
}

#[test]
fn simulated_store_keeps_a_prefix_of_random_writes() {
    for seed in seeds(0, 200) {
        let mut memory = Memory::new(SimSettings::default(), seed);
        contract::random_writes(&mut memory, seed, 200, |_| {});
    }
}

#[test]
fn segment_store_keeps_a_prefix_of_random_writes() {
    for seed in seeds(0, 12) {
        let settings = if seed % 2 == 0 { small() } else { uncached() };
        contract::random_writes(&mut Disk::new(settings), seed, 250, |_| {});
    }
}
