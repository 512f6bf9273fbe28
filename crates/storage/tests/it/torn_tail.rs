//! The part of the log that a power loss leaves after the synced end is truncated. Data before the synced end is
//! never truncated.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use anabranch_storage::{
    Health, SegmentStore,
    contract::{self, Fixture as _, entries, open, read, wait},
};
use rand::{Rng, rngs::StdRng};

use crate::fixtures::{Disk, copy_dir, directory, seeds, segments_in, small};

/// End of the log as the newest slot of the tail file has it: (segment, offset).
pub(crate) fn synced_end(dir: &Path) -> (u64, u64) {
    let tail = File::open(dir.join("tail")).unwrap();
    let slot = |at: u64| {
        let mut bytes = [0; 37];
        tail.read_exact_at(&mut bytes, at).unwrap();
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        (word(0), word(9), word(17))
    };
    let (_, segment, offset) = slot(0).max(slot(4096));
    (segment, offset)
}

/// Changes the unsynced part of the log as a power loss may: parts of it are as written, overwritten, or zero.
fn tear(dir: &Path, rng: &mut StdRng) {
    let (segment, offset) = synced_end(dir);
    for path in segments_in(dir) {
        let serial: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let from = match serial.cmp(&segment) {
            std::cmp::Ordering::Less => continue,
            std::cmp::Ordering::Equal => offset,
            std::cmp::Ordering::Greater => 4096,
        };
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let length = file.metadata().unwrap().len();
        for _ in 0..rng.random_range(0..4) {
            let at = rng.random_range(from..length);
            let count = rng.random_range(1..=(length - at).min(9000));
            let byte = if rng.random_bool(0.5) { 0 } else { rng.random() };
            file.write_all_at(&vec![byte; usize::try_from(count).unwrap()], at).unwrap();
        }
    }
}

#[test]
fn random_writes_survive_torn_tails() {
    for seed in seeds(1000, 12) {
        let mut disk = Disk::new(small());
        let path = disk.path().to_owned();
        contract::random_writes(&mut disk, seed, 250, |rng| tear(&path, rng));
    }
}

/// The round that was being written when the power failed is cut after each of its parts.
#[test]
fn an_unreported_round_is_truncated_wherever_it_is_torn() {
    let mut disk = Disk::new(small());
    let store = disk.open_store();
    let log = open(&*store, 1);
    wait(|done| log.append(entries(1, 0..5, 500), done)).unwrap();
    let tail_before = fs::read(disk.path().join("tail")).unwrap();
    let (_, start) = synced_end(disk.path());
    wait(|done| log.append(entries(1, 5..9, 500), done)).unwrap();
    let (_, end) = synced_end(disk.path());
    disk.crash();
    for kept in (start..end).step_by(97) {
        let copy = directory();
        copy_dir(disk.path(), copy.path());
        fs::write(copy.path().join("tail"), &tail_before).unwrap();
        let segment = OpenOptions::new().write(true).open(&segments_in(copy.path())[0]).unwrap();
        let lost = usize::try_from(end - kept).unwrap();
        segment.write_all_at(&vec![0; lost], kept).unwrap();
        check_cut(copy.path(), kept - start);
    }
}

/// Checks that the log has the torn round's entries up to some index, and that other entries can replace the rest.
fn check_cut(dir: &Path, kept: u64) {
    let store = SegmentStore::open(dir, small()).unwrap();
    let log = open(&*store, 1);
    assert_eq!(log.health(), Health::Healthy, "{kept} bytes kept");
    let last = log.log_state().last.unwrap().index;
    assert!((4..8).contains(&last), "{kept} bytes kept, last {last}");
    assert_eq!(read(&*log, 0..100), Ok(entries(1, 0..last + 1, 500)));
    wait(|done| log.truncate_after(Some(4), done)).unwrap();
    wait(|done| log.append(entries(2, 5..7, 400), done)).unwrap();
    store.abort();
    let store = SegmentStore::open(dir, small()).unwrap();
    assert_eq!(read(&*open(&*store, 1), 5..100), Ok(entries(2, 5..7, 400)));
}
