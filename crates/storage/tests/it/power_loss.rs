//! A power loss at any moment loses no write that was reported as completed.

use anabranch_smalldisk::SmallDisk;
use anabranch_storage::{
    SegmentStore,
    contract::{entries, open, read, wait},
};

use crate::fixtures::small;

#[test]
fn a_power_loss_loses_no_reported_write() {
    let Some(disk) = SmallDisk::mount(64 << 20) else { return };
    let dir = disk.path().join("store");
    let store = SegmentStore::open(&dir, small()).unwrap();
    let log = open(&*store, 1);
    for batch in entries(1, 0..100, 1000).chunks(5) {
        wait(|done| log.append(batch.to_vec(), done)).unwrap();
    }
    disk.fail();
    drop(log);
    store.abort();
    drop(store);
    disk.mount_again();
    let store = SegmentStore::open(&dir, small()).unwrap();
    assert_eq!(read(&*open(&*store, 1), 0..100), Ok(entries(1, 0..100, 1000)));
}
