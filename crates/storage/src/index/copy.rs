//! A copy of the index's state rows in a plain file, `index.copy`, in case RocksDB's files are damaged.
//!
//! The segments hold every live entry. But votes, rows and bounds from a reclaimed segment are only in RocksDB. So
//! all state rows are copied, as of one position, before the index forgets segments. Guarantee: every segment with
//! entries that are live in the copy exists, and so does the log from the copy's position on.
//!
//! Format: magic, version u32, count u64; for each row key length u32, key, value length u32, value; CRC-32C of all
//! bytes before it.

use std::{collections::BTreeMap, fs, io, path::Path};

use anabranch_types::GroupId;

use super::Index;
use crate::{
    Error,
    dir::{directory_error, replace_file},
    keys::{GroupRow, Key, Position, SegmentRow},
    segment::{file::sync_dir, round::LogEnd},
    space::is_short_of_space,
};

const FILE: &str = "index.copy";
const MAGIC: &[u8; 8] = b"ANABRIDX";
const VERSION: u32 = 1;

/// Keys and values of state rows, as they are in RocksDB.
pub(crate) type RawRows = Vec<(Box<[u8]>, Box<[u8]>)>;

/// The content of a copy, decoded.
pub(crate) struct Copy {
    pub(crate) position: LogEnd,
    pub(crate) segments: BTreeMap<u64, SegmentRow>,
    pub(crate) groups: BTreeMap<GroupId, GroupRow>,
    /// The rows of groups. They go into the new index unchanged.
    pub(crate) rows: RawRows,
}

/// Replaces the copy with one of the current index. Returns its bytes. If the disk has no space for it, the old copy
/// is deleted: the segments that it refers to will be reclaimed next, so it would be wrong.
pub(crate) fn write(index: &Index, root: &Path) -> Result<u64, Error> {
    let bytes = encode(&index.state_dump()?);
    match replace_file(root, FILE, &bytes) {
        Ok(()) => Ok(bytes.len() as u64),
        Err(error) if is_short_of_space(&error) => {
            tracing::warn!(%error, "no disk space for a copy of the index");
            remove(root).map_err(|error| directory_error(root, &error))?;
            Ok(0)
        }
        Err(error) => Err(directory_error(&root.join(FILE), &error)),
    }
}

/// Whether a copy exists.
pub(crate) fn exists(root: &Path) -> bool {
    root.join(FILE).exists()
}

/// Reads the copy. `None` if there is no copy, or if its content is invalid.
pub(crate) fn read(root: &Path) -> io::Result<Option<Copy>> {
    match fs::read(root.join(FILE)) {
        Ok(bytes) => Ok(decode(&bytes).and_then(interpret)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove(root: &Path) -> io::Result<()> {
    for name in [FILE.to_owned(), format!("{FILE}.new")] {
        match fs::remove_file(root.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    sync_dir(root)
}

fn encode(rows: &RawRows) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((rows.len() as u64).to_le_bytes());
    for part in rows.iter().flat_map(|(key, value)| [key, value]) {
        let length = u32::try_from(part.len()).expect("RocksDB's keys and values are below 4 GiB");
        bytes.extend(length.to_le_bytes());
        bytes.extend(part);
    }
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<RawRows> {
    let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if crc32c::crc32c(body).to_le_bytes() != crc {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC)?.strip_prefix(&VERSION.to_le_bytes())?;
    let count = u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
    let part = |rest: &mut &[u8]| {
        let length = u32::from_le_bytes(take(rest, 4)?.try_into().ok()?);
        Some(Box::from(take(rest, usize::try_from(length).ok()?)?))
    };
    let rows = (0..count).map(|_| Some((part(&mut rest)?, part(&mut rest)?)));
    rows.collect::<Option<RawRows>>()
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn interpret(rows: RawRows) -> Option<Copy> {
    let mut position = None;
    let (mut segments, mut groups) = (BTreeMap::new(), BTreeMap::new());
    let mut kept = RawRows::new();
    for (key, value) in rows {
        match Key::decode(&key)? {
            Key::Position => position = Some(Position::decode(&value)?.0),
            Key::Segment { serial } => {
                segments.insert(serial, SegmentRow::decode(&value)?);
            }
            Key::Group { group } => {
                groups.insert(group, GroupRow::decode(&value)?);
                kept.push((key, value));
            }
            Key::State { .. } => kept.push((key, value)),
            Key::Run { .. } | Key::Placed { .. } => return None,
        }
    }
    Some(Copy { position: position?, segments, groups, rows: kept })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_reads_back_and_a_changed_or_shortened_copy_is_rejected() {
        let end = LogEnd { segment: 3, offset: 4096, round: 9 };
        let row = (Key::Position.encode().into(), Position(end).encode().into());
        let bytes = encode(&vec![row]);
        assert_eq!(decode(&bytes).and_then(interpret).map(|copy| copy.position), Some(end));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(decode(&changed).is_none(), "byte {at}");
            assert!(decode(&bytes[..at]).is_none(), "cut at {at}");
        }
    }
}
