//! Disk space is freed by recycling segments, by deleting them, and by copying long-lived entries forward.

use std::time::{Duration, Instant};

use anabranch_storage::{
    GroupLog, LogStore, SegmentStore, Stats, StorageSettings,
    contract::{block_on, entries, open, read, wait},
};
use anabranch_types::{GroupId, LogId};

use crate::fixtures::{Disk, small, uncached};

fn append(log: &dyn GroupLog, from: u64, to: u64) {
    for batch in entries(1, from..to, 1000).chunks(20) {
        wait(|done| log.append(batch.to_vec(), done)).unwrap();
    }
}

fn purge(log: &dyn GroupLog, index: u64) {
    wait(|done| log.purge(LogId { term: 1, index }, done)).unwrap();
}

/// Waits for the maintenance thread. Only the counters show its progress.
fn until(store: &SegmentStore, what: &str, reached: impl Fn(&Stats) -> bool) {
    let begun = Instant::now();
    while !reached(&store.stats()) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}: {:?}", store.stats());
        std::thread::yield_now();
    }
}

#[test]
fn disk_usage_falls_after_a_purge() {
    let mut disk = Disk::new(small());
    let store = disk.open_store();
    let log = open(&*store, 1);
    append(&*log, 0, 2000);
    until(&store, "segments in use", |stats| stats.segments_live > 15);
    purge(&*log, 1999);
    until(&store, "only the active segment is left", |stats| stats.segments_live == 1);
    until(&store, "few files left", |_| disk.segments().len() <= 4);
    block_on(store.close());
    let store = disk.open_store();
    let log = open(&*store, 1);
    assert_eq!(log.log_state().last, Some(LogId { term: 1, index: 1999 }));
    append(&*log, 2000, 2100);
    assert_eq!(read(&*log, 2000..3000), Ok(entries(1, 2000..2100, 1000)));
}

#[test]
fn segments_are_recycled_while_old_entries_are_purged_and_new_ones_appended() {
    let mut disk = Disk::new(uncached());
    let store = disk.open_store();
    let log = open(&*store, 1);
    for step in 0..60 {
        append(&*log, step * 50, step * 50 + 50);
        if step >= 4 {
            purge(&*log, (step - 3) * 50);
            let first = (step - 3) * 50 + 1;
            assert_eq!(read(&*log, first..first + 3), Ok(entries(1, first..first + 3, 1000)));
        }
    }
    until(&store, "old segments are reclaimed", |stats| {
        stats.segments_live < 8 && stats.segments_reclaimed > 15
    });
    let store = disk.open_store();
    assert_eq!(read(&*open(&*store, 1), 2801..4000), Ok(entries(1, 2801..3000, 1000)));
}

#[test]
fn removing_a_group_frees_its_space() {
    let mut disk = Disk::new(small());
    let store = disk.open_store();
    append(&*open(&*store, 1), 0, 1000);
    wait(|done| store.remove_group(GroupId(1), done)).unwrap();
    until(&store, "only the active segment is left", |stats| stats.segments_live == 1);
}

#[test]
fn long_lived_entries_survive_being_copied_forward() {
    let mut disk = Disk::new(StorageSettings { verify_bytes_at_open: 0, ..uncached() });
    let store = disk.open_store();
    let (short, long) = (open(&*store, 1), open(&*store, 2));
    for step in 0..60 {
        append(&*short, step * 40, step * 40 + 40);
        append(&*long, step * 3, step * 3 + 3);
        if step % 10 == 9 {
            purge(&*short, step * 40 + 39);
        }
    }
    wait(|done| long.truncate_after(Some(170), done)).unwrap();
    until(&store, "copied forward", |stats| {
        stats.copied_forward_bytes > 100_000 && stats.segments_live <= 6
    });
    let check = |store: &SegmentStore| {
        let long = open(store, 2);
        assert_eq!(read(&*long, 0..1000), Ok(entries(1, 0..171, 1000)));
        assert_eq!(read(&*long, 100..101), Ok(entries(1, 100..101, 1000)));
    };
    check(&store);
    for close in [false, true, false] {
        let store = disk.open_store();
        check(&store);
        if close {
            block_on(store.close());
        }
    }
    // Entries that were copied forward can be purged like all others.
    let store = disk.open_store();
    purge(&*open(&*store, 2), 170);
    purge(&*open(&*store, 1), 2399);
    until(&store, "only the active segment is left", |stats| stats.segments_live == 1);
}
