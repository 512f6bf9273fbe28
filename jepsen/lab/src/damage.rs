//! Damage to the files of a stopped node: flipped bits, cut files, lost tails.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// A kind of file in a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A segment of the log.
    Segment,
    /// The write-ahead log of RocksDB.
    Wal,
    /// A table of RocksDB.
    Sst,
    /// The list of files of RocksDB.
    Manifest,
}

/// A kind of damage to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One bit is flipped at a random place of the written part.
    FlipBit,
    /// A block of 512 bytes of the written part is set to zero, as a torn sector is.
    ZeroBlock,
    /// The file ends at a random place of its written part.
    Truncate,
    /// The last bytes of the written part are set to zero, as if they never reached the disk.
    LoseTail,
}

/// Bytes of a torn sector.
const BLOCK: u64 = 512;
/// Largest number of bytes that are lost at the end of a file.
const TAIL: u64 = 16 * 1024;

impl FileKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Segment, Self::Wal, Self::Sst, Self::Manifest];

    fn matches(self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match self {
            Self::Segment => name.ends_with(".segment"),
            Self::Wal => name.ends_with(".log"),
            Self::Sst => name.ends_with(".sst"),
            Self::Manifest => name.starts_with("MANIFEST-"),
        }
    }
}

impl Damage {
    /// All kinds of damage.
    pub const ALL: [Self; 4] = [Self::FlipBit, Self::ZeroBlock, Self::Truncate, Self::LoseTail];

    /// Does the damage to a random file of `kind` under `data`, and syncs it. Returns a sentence that says what was
    /// done, or `None` if there is no such file with content.
    ///
    /// # Errors
    /// If a file can't be read or written.
    pub fn inflict(
        self,
        kind: FileKind,
        data: &Path,
        random: &mut StdRng,
    ) -> Result<Option<String>> {
        let mut written = Vec::new();
        for path in files(data)?.into_iter().filter(|path| kind.matches(path)) {
            let bytes = written_bytes(&path)?;
            if bytes > 0 {
                written.push((path, bytes));
            }
        }
        written.sort();
        let Some((path, bytes)) = written.choose(random) else { return Ok(None) };
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let done = self.apply(&file, *bytes, random)?;
        file.sync_all()?;
        let shown = path.strip_prefix(data).unwrap_or(path).display();
        Ok(Some(format!("{shown} ({bytes} bytes written): {done}")))
    }

    fn apply(self, file: &File, bytes: u64, random: &mut StdRng) -> Result<String> {
        let at = random.random_range(0..bytes);
        Ok(match self {
            Self::FlipBit => {
                let (mut byte, bit) = ([0], random.random_range(0..8));
                file.read_exact_at(&mut byte, at)?;
                byte[0] ^= 1 << bit;
                file.write_all_at(&byte, at)?;
                format!("bit {bit} of byte {at} flipped")
            }
            Self::ZeroBlock => {
                let (from, to) = (at / BLOCK * BLOCK, bytes.min(at / BLOCK * BLOCK + BLOCK));
                zero(file, from, to)?;
                format!("bytes {from}..{to} set to zero")
            }
            Self::Truncate => {
                file.set_len(at)?;
                format!("cut at byte {at}")
            }
            Self::LoseTail => {
                let from = bytes - random.random_range(1..=bytes.min(TAIL));
                zero(file, from, bytes)?;
                format!("tail {from}..{bytes} set to zero")
            }
        })
    }
}

fn zero(file: &File, from: u64, to: u64) -> Result<()> {
    let zeros = vec![0; usize::try_from(to - from)?];
    file.write_all_at(&zeros, from).context("zeros")
}

/// Length of a file without the zeros at its end: segment files are allocated before they are written.
fn written_bytes(path: &Path) -> Result<u64> {
    let content = fs::read(path)?;
    Ok(content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1))
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn damaged(damage: Damage) -> (Vec<u8>, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segments/1.segment");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut content = vec![7; 2000];
        content.resize(4000, 0);
        fs::write(&path, &content).unwrap();
        let said = damage.inflict(FileKind::Segment, dir.path(), &mut StdRng::seed_from_u64(5));
        assert!(said.unwrap().unwrap().contains("2000 bytes written"));
        (content, fs::read(path).unwrap())
    }

    #[test]
    fn a_flipped_bit_changes_one_written_byte() {
        let (before, after) = damaged(Damage::FlipBit);
        let changed: Vec<_> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
        assert!(matches!(changed[..], [at] if at < 2000), "{changed:?}");
    }

    #[test]
    fn a_cut_file_ends_within_its_written_part() {
        assert!(damaged(Damage::Truncate).1.len() < 2000);
    }

    #[test]
    fn a_lost_tail_and_a_torn_block_are_zeros() {
        let (_, after) = damaged(Damage::LoseTail);
        assert_eq!((after.len(), after[1999]), (4000, 0));
        let (_, after) = damaged(Damage::ZeroBlock);
        assert!(after[..2000].windows(400).any(|block| block.iter().all(|byte| *byte == 0)));
    }

    #[test]
    fn a_folder_without_such_a_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let done =
            Damage::Truncate.inflict(FileKind::Sst, dir.path(), &mut StdRng::seed_from_u64(1));
        assert_eq!(done.unwrap(), None);
    }
}
