//! Opens the index, and rebuilds it if it is damaged.
//!
//! All data in RocksDB comes from the segments. While no segment has been reclaimed, the log is replayed from its
//! beginning into an empty index. After that, a copy of the state rows has what the reclaimed segments held
//! (`index/copy.rs`), and the remaining segments are searched for the locations of entries (`index_rebuild.rs`).
//! Without a valid copy, the replay finds that the beginning of the log is missing. That is damage like any other,
//! and the replicas are quarantined.
//!
//! If damage of the index is found while the store is open, a note is written and the store ends. The next opening
//! finds the note and rebuilds the index.

use std::{collections::BTreeMap, fs, io, path::Path};

use tracing::{error, warn};

use crate::{
    Error,
    dir::{DataDir, directory_error, replace_file},
    index::{Index, copy},
    keys::{Position, SegmentRow},
    segment::{file::sync_dir, recovery::Replay},
    store::index_rebuild::{self, Missing},
};

/// Note that the index was found damaged while the store was open, with the reason.
const NOTE: &str = "index.note";
/// The damaged index is kept here for later analysis.
const SET_ASIDE: &str = "index.damaged";
/// A new index is built here.
const NEW: &str = "index.new";

/// The index and its content.
pub(super) struct Loaded {
    pub(super) index: Index,
    pub(super) segment_rows: BTreeMap<u64, SegmentRow>,
    pub(super) replay: Replay,
    pub(super) start: Option<Position>,
    /// Entries that the new index should have but that were not found.
    pub(super) missing: Missing,
}

/// Opens and reads the index. If it is damaged, rebuilds it.
pub(super) fn load(dir: &DataDir) -> Result<Loaded, Error> {
    let damage = match fs::read_to_string(dir.root().join(NOTE)) {
        Ok(note) => note,
        Err(error) if error.kind() == io::ErrorKind::NotFound => match read_unless_gone(dir) {
            Err(Error::IndexDamaged { detail }) => detail,
            read => return read,
        },
        Err(error) => return Err(directory_error(&dir.root().join(NOTE), &error)),
    };
    error!(dir = %dir.root().display(), damage, "index is damaged, it is made anew from the segments");
    let problem = |error: io::Error| directory_error(dir.root(), &error);
    let new = dir.root().join(NEW);
    remove_dir(&new).map_err(problem)?;
    let missing = match copy::read(dir.root()).map_err(problem)? {
        Some(copy) => index_rebuild::rebuild(dir, &copy, &new)?,
        None => Missing::new(),
    };
    replace(dir, &new).map_err(problem)?;
    Ok(Loaded { missing, ..read(dir)? })
}

/// Writes the note that the index is damaged. The note is durable when this returns.
pub(crate) fn note_damage(dir: &DataDir, damage: &str) {
    if let Err(error) = replace_file(dir.root(), NOTE, damage.as_bytes()) {
        warn!(%error, "the note about the damaged index could not be written, the next opening has to find the damage again");
    }
}

fn read(dir: &DataDir) -> Result<Loaded, Error> {
    let index = Index::open(&dir.index())?;
    let segment_rows = index.segments()?;
    let replay = Replay::load(&index)?;
    let start = index.position()?;
    Ok(Loaded { index, segment_rows, replay, start, missing: Missing::new() })
}

/// A missing index is damage if a copy of its state rows exists. Without a copy the index may have been empty: the
/// first opening may have crashed before it made one.
fn read_unless_gone(dir: &DataDir) -> Result<Loaded, Error> {
    if copy::exists(dir.root()) && !dir.index().join("CURRENT").exists() {
        return Err(Error::IndexDamaged { detail: "there is no index".to_owned() });
    }
    read(dir)
}

/// Replaces the damaged index with the index in `new`, or with an empty one if there is no `new`. The note is deleted
/// last. After a crash in between, the next opening finds the note, or finds that the index is missing.
fn replace(dir: &DataDir, new: &Path) -> io::Result<()> {
    if dir.index().exists() {
        let aside = dir.root().join(SET_ASIDE);
        remove_dir(&aside)?;
        fs::rename(dir.index(), aside)?;
    }
    if new.exists() {
        fs::rename(new, dir.index())?;
    }
    sync_dir(dir.root())?;
    match fs::remove_file(dir.root().join(NOTE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => sync_dir(dir.root()),
    }
}

fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
