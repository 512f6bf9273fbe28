//! The tail file: how far the log is known to be synced.
//!
//! The file has two slots. The writer writes them in turn after each round's sync. It does not sync the file, except
//! on close and at the opening. So a slot may be older than the log: its position is only a lower bound. If the log
//! ends before that position, the log was shortened, and that is damage.
//!
//! Slot: counter u64, clean u8, segment u64, offset u64, round u64, CRC-32C of these. One slot for each 4 KiB block.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use crate::segment::round::LogEnd;

const SLOT_BYTES: usize = 37;
const SLOT_DISTANCE: u64 = 4096;
pub(crate) const TAIL_FILE: &str = "tail";

/// The open tail file.
#[derive(Debug)]
pub(crate) struct Tail {
    file: File,
    counter: u64,
}

/// Content of the newest valid slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hint {
    pub(crate) end: LogEnd,
    /// The store was closed cleanly and wrote nothing after this position.
    pub(crate) clean: bool,
}

impl Tail {
    pub(crate) fn create(dir: &Path, end: LogEnd) -> io::Result<()> {
        let path = dir.join(TAIL_FILE);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        let mut tail = Self { file, counter: 0 };
        tail.write(end, true)?;
        tail.write(end, true)?;
        tail.file.sync_all()
    }

    /// Opens the file. The hint is `None` if no slot is valid.
    pub(crate) fn open(dir: &Path) -> io::Result<(Self, Option<Hint>)> {
        let file = OpenOptions::new().read(true).write(true).open(dir.join(TAIL_FILE))?;
        let slots = [read_slot(&file, 0)?, read_slot(&file, 1)?];
        let newest = slots.into_iter().flatten().max_by_key(|(counter, _)| *counter);
        let counter = newest.map_or(0, |(counter, _)| counter + 1);
        Ok((Self { file, counter }, newest.map(|(_, hint)| hint)))
    }

    pub(crate) fn write(&mut self, end: LogEnd, clean: bool) -> io::Result<()> {
        let mut slot = [0; SLOT_BYTES];
        slot[..8].copy_from_slice(&self.counter.to_le_bytes());
        slot[8] = u8::from(clean);
        slot[9..17].copy_from_slice(&end.segment.to_le_bytes());
        slot[17..25].copy_from_slice(&end.offset.to_le_bytes());
        slot[25..33].copy_from_slice(&end.round.to_le_bytes());
        let crc = crc32c::crc32c(&slot[..33]);
        slot[33..].copy_from_slice(&crc.to_le_bytes());
        self.file.write_all_at(&slot, self.counter % 2 * SLOT_DISTANCE)?;
        self.counter += 1;
        Ok(())
    }

    pub(crate) fn write_synced(&mut self, end: LogEnd, clean: bool) -> io::Result<()> {
        self.write(end, clean)?;
        self.file.sync_all()
    }
}

fn read_slot(file: &File, slot: u64) -> io::Result<Option<(u64, Hint)>> {
    let mut bytes = [0; SLOT_BYTES];
    match file.read_exact_at(&mut bytes, slot * SLOT_DISTANCE) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    if crc32c::crc32c(&bytes[..33]).to_le_bytes() != bytes[33..] {
        return Ok(None);
    }
    let end = LogEnd { segment: word(9), offset: word(17), round: word(25) };
    Ok(Some((word(0), Hint { end, clean: bytes[8] == 1 })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_valid_slot_counts_even_if_the_other_one_is_torn() {
        let dir = tempfile::tempdir().unwrap();
        let end = |round| LogEnd { segment: 1, offset: 4096 + round, round };
        Tail::create(dir.path(), end(0)).unwrap();
        let (mut tail, hint) = Tail::open(dir.path()).unwrap();
        assert_eq!(hint, Some(Hint { end: end(0), clean: true }));
        tail.write(end(1), false).unwrap();
        tail.write(end(2), false).unwrap();
        let (tail, hint) = Tail::open(dir.path()).unwrap();
        assert_eq!(hint, Some(Hint { end: end(2), clean: false }));
        tail.file.write_all_at(&[9; 20], (tail.counter - 1) % 2 * SLOT_DISTANCE).unwrap();
        let (tail, hint) = Tail::open(dir.path()).unwrap();
        assert_eq!(hint, Some(Hint { end: end(1), clean: false }));
        tail.file.set_len(0).unwrap();
        assert_eq!(Tail::open(dir.path()).unwrap().1, None);
    }
}
