//! A full disk refuses appends and nothing else; a device that fails stops everything.

use anabranch_storage::{
    Error, Health, LogStore, StateKey, StorageSettings, Vote,
    contract::{entries, open, read, wait},
};
use anabranch_types::{LogId, ReplicaId};
use bytes::Bytes;

use crate::fixtures::{Disk, small};

#[test]
fn a_full_disk_refuses_appends_and_takes_everything_else() {
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
    assert!(store.stats().disk_full);
    assert_eq!(log.health(), Health::Healthy);
    assert_eq!(log.log_state().last, Some(LogId { term: 1, index: index - 1 }));
    assert_eq!(read(&*log, 0..5), Ok(entries(1, 0..5, 1000)));
    for term in 0..50 {
        let vote = Vote { term, replica: ReplicaId(1), committed: true };
        wait(|done| log.save_vote(vote, done)).unwrap();
        let rows = vec![(StateKey::Committed, Some(Bytes::from_static(b"row")))];
        wait(|done| log.put_state(rows, Some(done))).unwrap();
    }
    // Still full when opened again.
    let store = disk.open_store();
    let log = open(&*store, 1);
    assert_eq!(log.vote().map(|vote| vote.term), Some(49));
    wait(|done| log.purge(LogId { term: 1, index: index - 1 }, done)).unwrap();
    let taken = (0..1_000_000)
        .find_map(|_| wait(|done| log.append(entries(1, index..index + 1, 1000), done)).ok());
    assert_eq!(taken, Some(()), "the purge gave space back");
}

#[test]
fn an_entry_that_no_segment_can_take_is_refused() {
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
