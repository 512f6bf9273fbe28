//! A damaged index is rebuilt from the segments, at the opening or after damage that is found while the store is
//! open.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anabranch_storage::{
    Error, Health, LogStore, SegmentStore, Vote,
    contract::{Fixture as _, block_on, entries, open, read, wait},
};
use anabranch_types::{GroupId, LogId, ReplicaId};

use crate::fixtures::{Disk, copy_dir, directory, uncached};

const ENTRIES: u64 = 200;

fn vote() -> Vote {
    Vote { term: 3, replica: ReplicaId(7), committed: true }
}

/// A closed store with two groups in several segments. No segment is reclaimed.
fn filled() -> Disk {
    let mut disk = Disk::new(uncached());
    let store = disk.open_store();
    for group in [1, 2] {
        let log = open(&*store, group);
        wait(|done| log.save_vote(vote(), done)).unwrap();
        for batch in entries(1, 0..ENTRIES, 1000).chunks(3) {
            wait(|done| log.append(batch.to_vec(), done)).unwrap();
        }
    }
    block_on(store.close());
    disk.crash();
    disk
}

fn index_files(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("index")).unwrap().map(|file| file.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let counts = |path: &PathBuf| {
        let name = name(path);
        name.ends_with(".sst") || name.starts_with("MANIFEST") || name == "CURRENT"
    };
    let mut files: Vec<PathBuf> = files.filter(counts).collect();
    files.sort();
    files
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

/// Checks that both groups are complete. Returns false if damage of the index was found, by a read here or by the
/// store itself: then the store has ended and must be opened again.
fn holds_everything(store: &Arc<SegmentStore>, what: &str) -> bool {
    for group in [1, 2] {
        let held = store.group(GroupId(group)).and_then(|log| {
            assert_eq!(log.health(), Health::Healthy, "{what}");
            Ok((read(&*log, 0..ENTRIES)?, log.vote()))
        });
        match held {
            Ok((found, voted)) => {
                assert_eq!(found, entries(1, 0..ENTRIES, 1000), "{what}");
                assert_eq!(voted, Some(vote()), "{what}");
            }
            Err(Error::IndexDamaged { .. } | Error::Failed { .. }) => {
                let deadline = Instant::now() + Duration::from_secs(30);
                while store.check().is_ok() && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(10));
                }
                assert!(matches!(store.check(), Err(Error::Failed { .. })), "{what}");
                assert!(store.heals_by_restart(), "{what}");
                return false;
            }
            Err(error) => assert_eq!(error.to_string(), "", "{what}: this error is not expected"),
        }
    }
    true
}

#[test]
fn a_flipped_bit_anywhere_in_the_index_loses_nothing_after_one_more_opening() {
    let disk = filled();
    for path in index_files(disk.path()) {
        let name = path.file_name().unwrap().to_owned();
        let bytes = fs::metadata(&path).unwrap().len();
        for part in 0..4 {
            let offset = bytes * part / 4 + 1;
            let what = format!("{name:?} at {offset}");
            let copy = directory();
            copy_dir(disk.path(), copy.path());
            flip(&copy.path().join("index").join(&name), offset);
            let store = SegmentStore::open(copy.path(), uncached()).unwrap();
            if !holds_everything(&store, &what) {
                drop(store);
                let store = SegmentStore::open(copy.path(), uncached()).unwrap();
                assert!(holds_everything(&store, &what), "{what}: damaged again");
            }
        }
    }
}

#[test]
fn an_index_with_missing_files_is_rebuilt() {
    let disk = filled();
    let mut victims = index_files(disk.path());
    victims.push(disk.path().join("index"));
    for victim in victims {
        let copy = directory();
        copy_dir(disk.path(), copy.path());
        let path = copy.path().join(victim.strip_prefix(disk.path()).unwrap());
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        let store = SegmentStore::open(copy.path(), uncached()).unwrap();
        assert!(holds_everything(&store, &format!("without {victim:?}")));
    }
}

/// A closed store with reclaimed segments and entries that were copied forward. Group 1 keeps its last entries, and
/// group 2 keeps entries that are as old as the store.
fn reclaimed() -> Disk {
    let mut disk = Disk::new(uncached());
    let store = disk.open_store();
    let (log, old) = (open(&*store, 1), open(&*store, 2));
    wait(|done| old.append(entries(1, 0..3, 500), done)).unwrap();
    wait(|done| old.save_vote(vote(), done)).unwrap();
    for batch in entries(1, 0..600, 1000).chunks(3) {
        wait(|done| log.append(batch.to_vec(), done)).unwrap();
    }
    wait(|done| log.purge(LogId { term: 1, index: 500 }, done)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while store.stats().segments_reclaimed < 3 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(store.stats().copied_forward_bytes > 0 && store.stats().segments_reclaimed >= 3);
    // Add entries that the copy of the index does not know.
    wait(|done| log.append(entries(1, 600..620, 1000), done)).unwrap();
    wait(|done| log.truncate_after(Some(609), done)).unwrap();
    block_on(store.close());
    disk.crash();
    disk
}

#[test]
fn after_segments_were_reclaimed_a_damaged_index_is_rebuilt_from_its_copy() {
    let mut disk = reclaimed();
    for path in index_files(disk.path()).iter().filter(|path| path.ends_with("CURRENT")) {
        flip(path, 1);
    }
    for _again in 0..2 {
        let store = disk.open_store();
        let (log, old) = (open(&*store, 1), open(&*store, 2));
        assert_eq!((log.health(), old.health()), (Health::Healthy, Health::Healthy));
        assert_eq!(log.log_state().purged, Some(LogId { term: 1, index: 500 }));
        assert_eq!(read(&*log, 501..700), Ok(entries(1, 501..610, 1000)));
        assert_eq!(read(&*old, 0..3), Ok(entries(1, 0..3, 500)));
        assert_eq!(old.vote(), Some(vote()));
        block_on(store.close());
    }
    let store = disk.open_store();
    let log = open(&*store, 1);
    wait(|done| log.append(entries(1, 610..640, 1000), done)).unwrap();
    wait(|done| log.purge(LogId { term: 1, index: 620 }, done)).unwrap();
    assert_eq!(read(&*log, 621..640), Ok(entries(1, 621..640, 1000)));
}

#[test]
fn the_next_opening_completes_a_rebuild_that_a_crash_interrupted() {
    let disk = reclaimed();
    fs::rename(disk.path().join("index"), disk.path().join("index.damaged")).unwrap();
    fs::create_dir(disk.path().join("index.new")).unwrap();
    fs::write(disk.path().join("index.new/CURRENT"), "half").unwrap();
    let store = SegmentStore::open(disk.path(), uncached()).unwrap();
    assert_eq!(read(&*open(&*store, 1), 501..700), Ok(entries(1, 501..610, 1000)));
}

#[test]
fn without_its_copy_a_damaged_index_quarantines_the_replicas_but_the_store_opens() {
    let mut disk = reclaimed();
    fs::remove_file(disk.path().join("index.copy")).unwrap();
    fs::remove_dir_all(disk.path().join("index")).unwrap();
    let store = disk.open_store();
    assert!(matches!(open(&*store, 1).health(), Health::Quarantined { .. }));
    wait(|done| store.remove_group(anabranch_types::GroupId(1), done)).unwrap();
    let log = open(&*store, 1);
    wait(|done| log.append(entries(2, 0..3, 100), done)).unwrap();
    assert_eq!(read(&*log, 0..3), Ok(entries(2, 0..3, 100)));
}
