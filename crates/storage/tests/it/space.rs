//! A full disk refuses only appends.

use std::time::{Duration, Instant};

use anabranch_smalldisk::SmallDisk;
use anabranch_storage::{
    DiskState, Error, GroupLog, Health, LogStore, SegmentStore, StateKey, StorageSettings, Vote,
    contract::{entries, open, read, wait},
};
use anabranch_types::{LogId, ReplicaId};
use bytes::Bytes;

use crate::fixtures::{Disk, small};

#[test]
fn a_full_disk_refuses_appends_and_accepts_everything_else() {
    let limit = 8 * (128 << 10);
    let mut disk = Disk::new(StorageSettings { max_segment_bytes_total: Some(limit), ..small() });
    let store = disk.open_store();
    let log = open(&*store, 1);
    let refused_at = (0..2000).find_map(|index| {
        match wait(|done| log.append(entries(1, index..index + 1, 1000), done)) {
            Ok(()) => None,
            Err(error) => Some((index, error)),
        }
    });
    let (index, error) = refused_at.unwrap();
    assert_eq!(error, Error::DiskFull);
    assert_eq!(store.disk(), DiskState::Full);
    assert_eq!(log.health(), Health::Healthy);
    assert_eq!(log.log_state().last, Some(LogId { term: 1, index: index - 1 }));
    assert_eq!(read(&*log, 0..5), Ok(entries(1, 0..5, 1000)));
    for term in 0..50 {
        let vote = Vote { term, replica: ReplicaId(1), committed: true };
        wait(|done| log.save_vote(vote, done)).unwrap();
        let rows = vec![(StateKey::Committed, Some(Bytes::from_static(b"row")))];
        wait(|done| log.put_state(rows, Some(done))).unwrap();
    }
    // The disk is still full when the store is opened again.
    let store = disk.open_store();
    let log = open(&*store, 1);
    assert_eq!(log.vote().map(|vote| vote.term), Some(49));
    wait(|done| log.purge(LogId { term: 1, index: index - 1 }, done)).unwrap();
    let taken = (0..1_000_000)
        .find_map(|_| wait(|done| log.append(entries(1, index..index + 1, 1000), done)).ok());
    assert_eq!(taken, Some(()), "the purge freed space");
}

#[test]
fn an_entry_larger_than_a_segment_is_refused() {
    let mut disk = Disk::new(small());
    let store = disk.open_store();
    let log = open(&*store, 1);
    let refused = wait(|done| log.append(entries(1, 0..1, 128 << 10), done));
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    let Err(Error::TooLarge { limit, .. }) = refused else { return };
    let largest = entries(1, 0..3, limit);
    wait(|done| log.append(largest.clone(), done)).unwrap();
    let store = disk.open_store();
    assert_eq!(read(&*open(&*store, 1), 0..3), Ok(largest));
}

/// Settings with which a few megabytes hold many segments.
fn on_a_small_disk() -> StorageSettings {
    StorageSettings { segment_bytes: 1 << 20, ballast_bytes: 8 << 20, ..small() }
}

fn until(store: &SegmentStore, what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}; {:?}", store.stats());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the disk of `store` is in `state`.
fn wait_for(store: &SegmentStore, state: DiskState) {
    until(store, &format!("the disk is {state}"), || store.disk() == state);
}

/// Appends records until the disk is almost full, as a leader does. Returns the next index.
fn append_until_almost_full(store: &SegmentStore, log: &dyn GroupLog, from: u64) -> u64 {
    let mut index = from;
    while log.disk().takes_records() {
        wait(|done| log.append(entries(1, index..index + 8, 30_000), done)).unwrap();
        index += 8;
    }
    assert_eq!(store.disk(), DiskState::AlmostFull);
    index
}

/// Makes votes and state rows: writes that a full disk must accept.
fn accepts_small_writes(log: &dyn GroupLog, times: u64) {
    for term in 0..times {
        let vote = Vote { term, replica: ReplicaId(1), committed: true };
        wait(|done| log.save_vote(vote, done)).unwrap();
        let rows = vec![(StateKey::Committed, Some(Bytes::from_static(b"row")))];
        wait(|done| log.put_state(rows, Some(done))).unwrap();
    }
}

#[test]
fn nothing_is_lost_while_a_disk_fills_and_empties() {
    let Some(disk) = SmallDisk::mount(64 << 20) else { return };
    let dir = disk.path().join("store");
    let open_store = || SegmentStore::open(&dir, on_a_small_disk()).unwrap();
    let store = open_store();
    let log = open(&*store, 1);
    let other = open(&*store, 2);
    wait(|done| other.append(entries(1, 0..3, 1000), done)).unwrap();
    wait_for(&store, DiskState::Normal);
    let end = append_until_almost_full(&store, &*log, 0);
    assert!(end > 500, "{end} entries on a disk of 64 MiB");
    assert_eq!(store.stats().ballast_bytes, 8 << 20, "the ballast is complete");
    // Small entries, votes and rows are still accepted.
    wait(|done| other.append(entries(1, 3..9, 100), done)).unwrap();
    accepts_small_writes(&*log, 50);

    // Another program uses the remaining space. The ballast is deleted, and all of these writes are still accepted.
    disk.fill_but(0);
    until(&store, "the ballast is deleted", || store.stats().ballast_bytes < 8 << 20);
    wait(|done| other.append(entries(1, 9..12, 100), done)).unwrap();
    accepts_small_writes(&*log, 50);
    assert_eq!(read(&*log, 0..end), Ok(entries(1, 0..end, 30_000)));

    // Open the store on the full disk, after another program took the space of the ballast too.
    drop((log, other, store));
    disk.fill_but(0);
    assert_eq!(disk.available(), 0);
    let store = open_store();
    assert_eq!(store.disk(), DiskState::AlmostFull);
    let log = open(&*store, 1);
    assert_eq!(log.health(), Health::Healthy);
    assert_eq!(read(&*log, 0..end), Ok(entries(1, 0..end, 30_000)));
    accepts_small_writes(&*log, 10);

    // A purge frees space, although no other program does.
    wait(|done| log.purge(LogId { term: 1, index: end - 10 }, done)).unwrap();
    wait_for(&store, DiskState::Normal);
    let next = append_until_almost_full(&store, &*log, end);
    assert!(next > end + 500);

    // The other program frees its space too.
    disk.clear();
    wait_for(&store, DiskState::Normal);
    let last = next + 8;
    wait(|done| log.append(entries(1, next..last, 30_000), done)).unwrap();
    drop((log, store));
    let store = open_store();
    let log = open(&*store, 1);
    assert_eq!(read(&*log, end - 9..last), Ok(entries(1, end - 9..last, 30_000)));
    assert_eq!(read(&*open(&*store, 2), 0..12).unwrap().len(), 12);
    until(&store, "the ballast is made again", || store.stats().ballast_bytes == 8 << 20);
}

#[test]
fn the_index_is_written_once_disk_space_is_free_again() {
    let Some(disk) = SmallDisk::mount(64 << 20) else { return };
    let dir = disk.path().join("store");
    // Without a ballast RocksDB gets no space.
    let settings = StorageSettings { ballast_bytes: 0, ..on_a_small_disk() };
    let store = SegmentStore::open(&dir, settings.clone()).unwrap();
    let log = open(&*store, 1);
    wait(|done| log.append(entries(1, 0..200, 30_000), done)).unwrap();
    disk.fill_but(0);
    // RocksDB must forget dead segments before their files can be freed. It cannot, because it has no space.
    wait(|done| log.purge(LogId { term: 1, index: 100 }, done)).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(store.stats().segments_reclaimed, 0, "{:?}", store.stats());
    assert_eq!(read(&*log, 101..200), Ok(entries(1, 101..200, 30_000)));
    accepts_small_writes(&*log, 50);
    disk.clear();
    until(&store, "RocksDB continues", || store.stats().segments_reclaimed > 0);
    wait_for(&store, DiskState::Normal);
    wait(|done| log.append(entries(1, 200..300, 30_000), done)).unwrap();
    drop((log, store));
    let store = SegmentStore::open(&dir, settings).unwrap();
    assert_eq!(read(&*open(&*store, 1), 101..300), Ok(entries(1, 101..300, 30_000)));
}
