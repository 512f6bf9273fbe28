//! Damage before the synced end of the log is never truncated and never forgotten. Single entries are repaired from a
//! copy. More damage quarantines the replica.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use anabranch_storage::{
    Error, Health, LogStore, SegmentStore, StorageSettings,
    contract::{Fixture as _, block_on, entries, ignore, open, read, wait},
};
use anabranch_types::{GroupId, LogId};

use crate::{
    fixtures::{Disk, copy_dir, directory, seeds, small, uncached},
    torn_tail::synced_end,
};

/// A store with two groups in several segments, closed or crashed.
fn filled(settings: StorageSettings, close: bool) -> Disk {
    let mut disk = Disk::new(settings);
    let store = disk.open_store();
    for group in [1, 2] {
        let log = open(&*store, group);
        for batch in entries(1, 0..200, 1000).chunks(3) {
            wait(|done| log.append(batch.to_vec(), done)).unwrap();
        }
    }
    if close {
        block_on(store.close());
    }
    disk.crash();
    disk
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], offset).unwrap();
}

fn quarantined(store: &dyn LogStore, group: u64) -> Option<String> {
    match open(store, group).health() {
        Health::Healthy => None,
        Health::Quarantined { reason } => Some(reason),
    }
}

fn check_refuses(store: &dyn LogStore, group: u64) {
    let log = open(store, group);
    let refused = |result: Result<(), Error>| matches!(result, Err(Error::Quarantined { .. }));
    assert!(refused(wait(|done| log.append(entries(1, 200..201, 10), done))));
    assert!(refused(wait(|done| log.purge(LogId { term: 1, index: 5 }, done))));
    assert!(matches!(read(&*log, 0..1), Err(Error::Quarantined { .. })));
}

/// Reads all 200 entries of a filled group, and repairs damaged ones with a copy, as from a peer. Returns the number
/// of repaired entries.
fn read_repairing(store: &dyn LogStore, group: u64, what: &str) -> usize {
    let log = open(store, group);
    let whole = entries(1, 0..200, 1000);
    let mut mended = 0;
    let mut found = Vec::new();
    while found.len() < 200 {
        match read(&*log, found.len() as u64..1000) {
            Err(Error::Damaged { log_id, .. }) => {
                assert!(log.damaged().contains(&log_id), "{what}");
                assert!(store.damaged_groups().contains(&GroupId(group)), "{what}");
                let copy = whole[usize::try_from(log_id.index).unwrap()].clone();
                block_on(log.repair(copy)).unwrap();
                mended += 1;
            }
            read => found.extend(read.expect(what)),
        }
    }
    assert_eq!(found, whole, "{what}");
    for id in log.damaged() {
        block_on(log.repair(whole[usize::try_from(id.index).unwrap()].clone())).unwrap();
        mended += 1;
    }
    block_on(log.until_repaired());
    mended
}

#[test]
fn one_wrong_bit_anywhere_in_a_segment_quarantines_no_replica() {
    use rand::{Rng, SeedableRng};
    for seed in seeds(0, 120) {
        let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
        let disk = filled(small(), rng.random());
        let (active, end) = synced_end(disk.path());
        let segments = disk.segments();
        let at = rng.random_range(0..usize::try_from(active).unwrap());
        let end = if at + 1 == usize::try_from(active).unwrap() { end } else { 128 << 10 };
        // Every eighth seed damages the header.
        let offset = rng.random_range(if seed % 8 == 0 { 0..4096 } else { 4096..end });
        flip(&segments[at], offset);
        let what = format!("seed {seed}: segment {} at {offset}", at + 1);
        let store = SegmentStore::open(disk.path(), uncached()).unwrap();
        let mut mended = 0;
        for group in [1, 2] {
            assert_eq!(quarantined(&*store, group), None, "{what}");
            mended += read_repairing(&*store, group, &what);
        }
        assert!(mended <= 1, "{what}: {mended}");
        store.abort();
        // A repaired entry is as it was written, whichever way it is read.
        let store = SegmentStore::open(disk.path(), uncached()).unwrap();
        for group in [1, 2] {
            assert_eq!(
                read(&*open(&*store, group), 0..1000),
                Ok(entries(1, 0..200, 1000)),
                "{what}"
            );
        }
        assert_eq!(store.damaged_groups(), [], "{what}");
        store.abort();
    }
}

#[test]
fn two_damaged_entries_of_the_unindexed_tail_are_both_repaired() {
    let disk = filled(small(), false);
    let (active, end) = synced_end(disk.path());
    let path = &disk.segments()[usize::try_from(active).unwrap() - 1];
    // These offsets are in the payloads of two entries that are not neighbours.
    for offset in [4096 + 400, end - 500] {
        flip(path, offset);
    }
    let store = SegmentStore::open(disk.path(), uncached()).unwrap();
    assert_eq!(store.stats().quarantined_groups, 0);
    let mended: usize = [1, 2].map(|group| read_repairing(&*store, group, "tail")).iter().sum();
    assert_eq!(mended, 2);
    store.abort();
}

#[test]
fn a_wrong_copy_is_refused_and_a_condemned_replica_stays_quarantined() {
    let settings = StorageSettings { verify_bytes_at_open: 0, ..uncached() };
    let mut disk = filled(settings, true);
    let store = disk.open_store();
    flip(&disk.segments()[0], 20_700);
    let log = open(&*store, 1);
    let log =
        if read(&*log, 0..200).is_ok_and(|e| e.len() == 200) { open(&*store, 2) } else { log };
    let mut from = 0;
    let damaged = loop {
        match read(&*log, from..200) {
            Ok(more) => from = more.last().unwrap().log_id.index + 1,
            Err(Error::Damaged { log_id, .. }) => break log_id,
            Err(error) => panic!("{error}"),
        }
    };
    for payload_bytes in [999, 1000] {
        let mut wrong = entries(1, damaged.index..damaged.index + 1, payload_bytes).remove(0);
        wrong.payload = vec![7; payload_bytes].into();
        let refused = block_on(log.repair(wrong));
        assert!(matches!(refused, Err(Error::Damaged { .. })), "{payload_bytes}: {refused:?}");
    }
    assert_eq!(log.damaged(), [damaged]);
    log.condemn("no peer has the entry");
    block_on(log.until_repaired());
    assert!(matches!(read(&*log, 0..1), Err(Error::Quarantined { .. })));
}

#[test]
fn an_entry_without_a_copy_is_repaired_by_its_checksum_if_one_bit_is_wrong() {
    let settings = StorageSettings { verify_bytes_at_open: 0, ..uncached() };
    for wrong_bytes in [1, 2] {
        let mut disk = filled(settings.clone(), true);
        let store = disk.open_store();
        (0..wrong_bytes).for_each(|byte| flip(&disk.segments()[0], 20_700 + byte));
        let damaged = [1, 2].map(|group| {
            let log = open(&*store, group);
            let read = read(&*log, 0..40);
            let from = read.map_or(0, |entries| entries.len() as u64);
            let _found = self::read(&*log, from..from + 1);
            log.damaged().first().map(|id| (log, *id))
        });
        let (log, id) = damaged.into_iter().flatten().next().unwrap();
        assert_eq!(block_on(log.repair_by_checksum(id)), Ok(wrong_bytes == 1));
        assert_eq!(log.damaged().is_empty(), wrong_bytes == 1);
        let whole = entries(1, id.index..id.index + 1, 1000);
        assert_eq!(read(&*log, id.index..id.index + 1).ok(), (wrong_bytes == 1).then_some(whole));
    }
}

#[test]
fn damage_before_the_synced_end_is_never_truncated() {
    for close in [false, true] {
        let disk = filled(small(), close);
        let (active, end) = synced_end(disk.path());
        for (number, path) in (1..).zip(disk.segments()) {
            if number > active {
                break;
            }
            for offset in [9, 4096 + 5, 4096 + 40, 4096 + 77, 20_700, end - 3] {
                if number == active && offset >= end {
                    continue;
                }
                let copy = directory();
                copy_dir(disk.path(), copy.path());
                let file = copy.path().join("segments").join(path.file_name().unwrap());
                flip(&file, offset);
                check_all_there_or_quarantined(copy.path(), &format!("{path:?} at {offset}"));
            }
        }
    }
}

/// Checks that every group is quarantined or has all of its 200 entries after repairs.
fn check_all_there_or_quarantined(dir: &Path, what: &str) {
    for again in [false, true] {
        let store = SegmentStore::open(dir, uncached()).unwrap();
        let mut hit = 0;
        for group in [1, 2] {
            if quarantined(&*store, group).is_some() {
                check_refuses(&*store, group);
                hit += 1;
                continue;
            }
            hit += read_repairing(&*store, group, what);
        }
        assert!(hit > 0 || again || !what.contains("at 20700"), "{what}: damage was not found");
        store.abort();
    }
}

#[test]
fn the_tail_file_distinguishes_a_shortened_log_from_a_torn_tail() {
    let mut disk = filled(small(), false);
    let (segment, end) = synced_end(disk.path());
    let path = disk.segments().into_iter().find(|path| {
        path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap() == segment
    });
    let file = OpenOptions::new().write(true).open(path.unwrap()).unwrap();
    file.write_all_at(&[0; 2000], end - 2000).unwrap();
    let store = disk.open_store();
    assert!(quarantined(&*store, 1).unwrap().contains("tail file"));
}

#[test]
fn damage_of_unknown_extent_quarantines_unknown_groups_until_they_are_removed() {
    let mut disk = filled(small(), false);
    fs::write(disk.path().join("tail"), vec![7; 5000]).unwrap();
    let store = disk.open_store();
    for group in [1, 2, 99] {
        assert!(quarantined(&*store, group).is_some());
    }
    check_refuses(&*store, 1);
    wait(|done| store.remove_group(GroupId(1), done)).unwrap();
    let log = open(&*store, 1);
    wait(|done| log.append(entries(9, 0..20, 1000), done)).unwrap();
    for close in [false, true, false] {
        let store = disk.open_store();
        assert_eq!(quarantined(&*store, 1), None);
        assert_eq!(read(&*open(&*store, 1), 0..100), Ok(entries(9, 0..20, 1000)));
        check_refuses(&*store, 2);
        if close {
            block_on(store.close());
        }
    }
}

#[test]
fn after_the_damage_is_bounded_groups_that_are_made_later_are_healthy() {
    let mut disk = filled(small(), false);
    fs::write(disk.path().join("tail"), vec![7; 5000]).unwrap();
    let store = disk.open_store();
    store.bound_damage(&[GroupId(1), GroupId(7)].into()).unwrap();
    for again in [false, true] {
        let store = disk.open_store();
        for lost in [1, 2, 7] {
            assert!(quarantined(&*store, lost).is_some(), "group {lost}");
        }
        let log = open(&*store, 8);
        assert_eq!(log.health(), Health::Healthy);
        let first = u64::from(again) * 10;
        wait(|done| log.append(entries(1, first..first + 10, 1000), done)).unwrap();
    }
    let store = disk.open_store();
    for lost in [1, 2, 7] {
        wait(|done| store.remove_group(GroupId(lost), done)).unwrap();
    }
    let store = disk.open_store();
    assert!([1, 2, 7, 9].iter().all(|group| quarantined(&*store, *group).is_none()));
    assert_eq!(read(&*open(&*store, 8), 0..100), Ok(entries(1, 0..20, 1000)));
}

#[test]
fn missing_and_shortened_segments_are_damage() {
    for lose in [true, false] {
        for which in [0, 1] {
            let mut disk = filled(small(), true);
            let path = disk.segments().remove(which);
            if lose {
                fs::remove_file(&path).unwrap();
            } else {
                OpenOptions::new().write(true).open(&path).unwrap().set_len(70_000).unwrap();
            }
            let store = disk.open_store();
            let reason = quarantined(&*store, 1).unwrap();
            assert!(reason.contains(path.file_name().unwrap().to_str().unwrap()), "{reason}");
            assert!(reason.contains("expected") && reason.contains("found"), "{reason}");
            let store = disk.open_store();
            assert!(quarantined(&*store, 1).is_some(), "the quarantine survives a restart");
        }
    }
}

#[test]
fn a_segment_of_another_store_is_damage() {
    let other = filled(small(), true);
    let mut disk = filled(small(), true);
    fs::copy(&other.segments()[0], &disk.segments()[0]).unwrap();
    let store = disk.open_store();
    assert!(quarantined(&*store, 1).unwrap().contains("header of segment 1"));
}

#[test]
fn only_live_entries_of_a_damaged_sealed_segment_are_damaged() {
    let mut disk = Disk::new(small());
    let store = disk.open_store();
    // Group 1 fills the first segments, and group 2 the following ones.
    for group in [1, 2] {
        let log = open(&*store, group);
        wait(|done| log.append(entries(1, 0..300, 1000), done)).unwrap();
    }
    block_on(store.close());
    flip(&disk.segments()[0], 30_000);
    let store = disk.open_store();
    assert_eq!(store.damaged_groups(), [GroupId(1)]);
    let log = open(&*store, 1);
    let damaged = log.damaged();
    assert!(matches!(damaged[..], [LogId { term: 1, index: 0..100 }]), "{damaged:?}");
    assert_eq!(store.stats().quarantined_groups, 0);
    // After a purge past the damaged entry, the damage is harmless.
    wait(|done| log.purge(LogId { term: 1, index: 150 }, done)).unwrap();
    assert_eq!(log.damaged(), []);
    let store = disk.open_store();
    assert_eq!(store.damaged_groups(), []);
    assert_eq!(read(&*open(&*store, 2), 0..1000), Ok(entries(1, 0..300, 1000)));
}

#[test]
fn damage_that_the_opening_did_not_check_is_found_by_a_read() {
    let settings = StorageSettings { verify_bytes_at_open: 0, ..uncached() };
    let mut disk = filled(settings, true);
    let store = disk.open_store();
    let path = &disk.segments()[0];
    let log = open(&*store, 1);
    assert_eq!(read(&*log, 0..5), Ok(entries(1, 0..5, 1000)));
    flip(path, 20_700);
    let mended: usize = [1, 2].map(|group| read_repairing(&*store, group, "sealed")).iter().sum();
    assert_eq!(mended, 1);
    assert_eq!(store.stats().quarantined_groups, 0);
}

#[test]
fn an_invalid_directory_is_refused_and_an_open_one_is_locked() {
    let mut disk = filled(small(), true);
    let store = disk.open_store();
    let again = SegmentStore::open(disk.path(), small());
    assert!(matches!(again, Err(Error::Directory { detail, .. }) if detail.contains("in use")));
    block_on(store.close());
    fs::write(disk.path().join("format"), "anabranch storage, version 2\n").unwrap();
    assert!(matches!(SegmentStore::open(disk.path(), small()), Err(Error::Directory { .. })));
}

#[test]
fn a_lost_index_is_rebuilt_from_the_log_or_quarantines_the_replicas() {
    let mut disk = filled(small(), true);
    fs::remove_dir_all(disk.path().join("index")).unwrap();
    let store = disk.open_store();
    for group in [1, 2] {
        let log = open(&*store, group);
        assert_eq!(log.health(), Health::Healthy);
        assert_eq!(read(&*log, 0..1000), Ok(entries(1, 0..200, 1000)));
        log.purge(LogId { term: 1, index: 150 }, ignore());
    }
    // Without its first segment, the log cannot be replayed from its beginning.
    block_on(store.close());
    fs::remove_dir_all(disk.path().join("index")).unwrap();
    fs::remove_file(&disk.segments()[0]).unwrap();
    let store = disk.open_store();
    assert!(quarantined(&*store, 1).is_some());
}
