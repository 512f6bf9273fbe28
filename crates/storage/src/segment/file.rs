//! One segment file: its header, and reading and writing at offsets.
//!
//! ```text
//! 0         4096                                    end of file
//! | header  | frames, one after the other ... | old bytes or zeroes |
//! ```
//! A *life* of a file is one use of it, from the writing of a header until the file is recycled. The header has a
//! random life number, and the checksum of every frame depends on it. So frames of an earlier life are never valid.
//! No function here decides what is damage, except that [`SegmentFile::open`] checks the header.

use std::{
    fs::{File, OpenOptions},
    io::{self, IoSlice},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anabranch_types::Incarnation;
use tracing::warn;

use crate::{damage::Damage, segment::frame};

/// Unit in which the device is written, and size of a segment's header.
pub(crate) const BLOCK_BYTES: u64 = 4096;
/// Length of the header block as an array.
const HEADER_BLOCK_BYTES: usize = 4096;
/// Offset of the first frame of a segment.
pub(crate) const DATA_START: u64 = BLOCK_BYTES;

const MAGIC: [u8; 8] = *b"ANABRSEG";
const VERSION: u32 = 1;
const HEADER_FIELDS_BYTES: usize = 44;
/// Most slices that one pwritev accepts.
const IOV_MAX: usize = 1024;

/// A segment file in one life, with its serial in this life.
///
/// Header block: magic, version u32, incarnation u64, serial u64, file length u64, life u64 (random for each life),
/// CRC-32C of these; zeroes up to 4 KiB.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) serial: u64,
    pub(crate) bytes: u64,
    pub(crate) path: PathBuf,
    /// Seed of the checksums of all frames in this life.
    pub(crate) seed: u32,
    file: File,
}

impl SegmentFile {
    /// Name of the file with this serial. Names sort as serials do.
    pub(crate) fn file_name(serial: u64) -> String {
        format!("{serial:020}.segment")
    }

    pub(crate) fn serial_in_name(name: &str) -> Option<u64> {
        let serial = name.strip_suffix(".segment")?.parse().ok()?;
        (Self::file_name(serial) == name).then_some(serial)
    }

    /// Begins a new life of `file`: writes the header and syncs it. The caller then renames the file.
    pub(crate) fn begin(
        file: File,
        dir: &Path,
        serial: u64,
        bytes: u64,
        incarnation: Incarnation,
    ) -> io::Result<Self> {
        let life = rand::random();
        file.write_all_at(&header(serial, bytes, incarnation, life), 0)?;
        file.sync_all()?;
        let path = dir.join(Self::file_name(serial));
        let seed = frame::segment_seed(incarnation, serial, life);
        Ok(Self { serial, bytes, path, seed, file })
    }

    /// Opens an existing segment. Corrects one wrong bit in its header.
    ///
    /// # Errors
    /// Outer: errors of the operating system. Inner: the file is not this segment, or it is incomplete.
    pub(crate) fn open(
        dir: &Path,
        serial: u64,
        incarnation: Incarnation,
    ) -> io::Result<Result<Self, Damage>> {
        let path = dir.join(Self::file_name(serial));
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Err(Damage::new(&path, 0, "a segment file", "no file")));
            }
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        if length < DATA_START {
            let found = format!("a file of {length} bytes");
            return Ok(Err(Damage::new(&path, 0, "a segment header", found)));
        }
        let mut block = [0; HEADER_BLOCK_BYTES];
        file.read_exact_at(&mut block, 0)?;
        let Some((life, is_whole)) = life_in(&block, serial, length, incarnation) else {
            let expected = format!("header of segment {serial} with {length} bytes");
            let found = "another header, or another length";
            return Ok(Err(Damage::new(&path, 0, expected, found)));
        };
        if !is_whole {
            warn!(file = %path.display(), "a wrong bit in the segment's header was corrected");
            file.write_all_at(&header(serial, length, incarnation, life), 0)?;
            file.sync_data()?;
        }
        let seed = frame::segment_seed(incarnation, serial, life);
        Ok(Ok(Self { serial, bytes: length, path, seed, file }))
    }

    pub(crate) fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    /// Overwrites bytes in place, and syncs.
    ///
    /// The file is opened again for that. The operating system reports a failed write once to each open file, and the
    /// writer must get the reports of its own writes. A block that the device cannot read is first overwritten with
    /// zeroes, because a part of such a block cannot be written.
    pub(crate) fn repair(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        match file.write_all_at(bytes, offset) {
            Err(error) if is_unreadable(&error) => {
                let end = offset + bytes.len() as u64;
                let mut block = vec![0; HEADER_BLOCK_BYTES];
                let blocks = offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES);
                for at in blocks.map(|block| block * BLOCK_BYTES) {
                    match file.read_exact_at(&mut block, at) {
                        Err(error) if is_unreadable(&error) => {
                            file.write_all_at(&[0; HEADER_BLOCK_BYTES], at)?;
                        }
                        read => read?,
                    }
                }
                file.write_all_at(bytes, offset)?;
            }
            written => written?,
        }
        file.sync_data()
    }

    /// Writes all slices, one after the other.
    pub(crate) fn write_all_vectored_at(
        &self,
        mut slices: &mut [IoSlice<'_>],
        mut offset: u64,
    ) -> io::Result<()> {
        while !slices.is_empty() {
            let batch = &slices[..slices.len().min(IOV_MAX)];
            let written = match rustix::io::pwritev(&self.file, batch, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            IoSlice::advance_slices(&mut slices, written);
            offset += written as u64;
        }
        Ok(())
    }

    /// Overwrites the rest of the file from `offset` on with zeroes where it is not zero, and syncs.
    pub(crate) fn zero_from(&self, offset: u64) -> io::Result<()> {
        let mut chunk = vec![0; 1 << 20];
        let zeroes = vec![0; 1 << 20];
        let mut at = offset;
        while at < self.bytes {
            let count = usize::try_from(self.bytes - at).unwrap_or(usize::MAX).min(chunk.len());
            self.file.read_exact_at(&mut chunk[..count], at)?;
            if chunk[..count] != zeroes[..count] {
                self.file.write_all_at(&zeroes[..count], at)?;
            }
            at += count as u64;
        }
        self.file.sync_data()
    }

    /// Begins a new life with the same serial, for a segment that holds no data.
    pub(crate) fn begin_again(self, dir: &Path, incarnation: Incarnation) -> io::Result<Self> {
        Self::begin(self.file, dir, self.serial, self.bytes, incarnation)
    }

    /// Writes the bytes from `offset` to `end` once more, so that the next sync writes them to the disk even if the
    /// kernel considers them clean. Returns the number of bytes.
    pub(crate) fn rewrite(&self, offset: u64, end: u64) -> io::Result<u64> {
        let mut chunk = vec![0; 1 << 20];
        let mut at = offset;
        while at < end {
            let count = usize::try_from(end - at).unwrap_or(usize::MAX).min(chunk.len());
            self.file.read_exact_at(&mut chunk[..count], at)?;
            self.file.write_all_at(&chunk[..count], at)?;
            at += count as u64;
        }
        Ok(end.saturating_sub(offset))
    }

    pub(crate) fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// The life number in a header block of this segment, and whether the whole block is as it was written. One wrong bit
/// in the fields is corrected. The zeroes after the fields carry no information.
fn life_in(
    block: &[u8; HEADER_BLOCK_BYTES],
    serial: u64,
    bytes: u64,
    incarnation: Incarnation,
) -> Option<(u64, bool)> {
    const BYTES: usize = HEADER_FIELDS_BYTES + 4;
    let life = |block: &[u8; HEADER_BLOCK_BYTES]| {
        let mut life = [0; 8];
        life.copy_from_slice(&block[36..44]);
        let life = u64::from_le_bytes(life);
        let expected = header(serial, bytes, incarnation, life);
        (block[..BYTES] == expected[..BYTES]).then_some(life)
    };
    if let Some(life) = life(block) {
        return Some((life, block[BYTES..].iter().all(|byte| *byte == 0)));
    }
    (0..BYTES * 8).find_map(|bit| {
        let mut right = *block;
        right[bit / 8] ^= 1 << (bit % 8);
        Some((life(&right)?, false))
    })
}

fn header(
    serial: u64,
    bytes: u64,
    incarnation: Incarnation,
    life: u64,
) -> [u8; HEADER_BLOCK_BYTES] {
    let mut block = [0; HEADER_BLOCK_BYTES];
    block[..8].copy_from_slice(&MAGIC);
    block[8..12].copy_from_slice(&VERSION.to_le_bytes());
    block[12..20].copy_from_slice(&incarnation.0.to_le_bytes());
    block[20..28].copy_from_slice(&serial.to_le_bytes());
    block[28..36].copy_from_slice(&bytes.to_le_bytes());
    block[36..44].copy_from_slice(&life.to_le_bytes());
    let crc = crc32c::crc32c(&block[..HEADER_FIELDS_BYTES]);
    block[HEADER_FIELDS_BYTES..HEADER_FIELDS_BYTES + 4].copy_from_slice(&crc.to_le_bytes());
    block
}

/// Whether the device cannot read a block (EIO).
pub(crate) fn is_unreadable(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
