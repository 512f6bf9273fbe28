//! Opens the index, and makes it anew where it is damaged.
//!
//! Everything in RocksDB comes from the segments. As long as none has been reclaimed the log is replayed from its beginning
//! into an empty index. After that a copy of the state rows says what reclaimed segments held (`index/copy.rs`), and the
//! places of entries are found in the segments that are left (`index_rebuild.rs`). Without a copy that is whole, the replay
//! finds the log without its beginning, and that is damage as any other: a verdict on the replicas.
//!
//! Damage that is found while the store is open leaves a note; the store ends, and the next opening acts on the note.

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

/// Says that the index was found damaged while the store was open, and why.
const NOTE: &str = "index.note";
/// Where a damaged index is kept, for whoever wants to look into it.
const SET_ASIDE: &str = "index.damaged";
/// Where a new index is made.
const NEW: &str = "index.new";

/// The index, and what it says.
pub(super) struct Loaded {
    pub(super) index: Index,
    pub(super) segment_rows: BTreeMap<u64, SegmentRow>,
    pub(super) replay: Replay,
    pub(super) start: Option<Position>,
    /// Entries that a new index should have and has not.
    pub(super) missing: Missing,
}

/// Opens and reads the index; an empty one if that cannot be done for damage.
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

/// Leaves the note that the index is damaged. It is on the disk when this returns.
pub(crate) fn note_damage(dir: &DataDir, damage: &str) {
    if let Err(error) = replace_file(dir.root(), NOTE, damage.as_bytes()) {
        warn!(%error, "damage of the index could not be noted, the next opening has to find it again");
    }
}

fn read(dir: &DataDir) -> Result<Loaded, Error> {
    let index = Index::open(&dir.index())?;
    let segment_rows = index.segments()?;
    let replay = Replay::load(&index)?;
    let start = index.position()?;
    Ok(Loaded { index, segment_rows, replay, start, missing: Missing::new() })
}

/// An index that is gone is damaged, unless it can be empty: an opening may have died before it made one.
fn read_unless_gone(dir: &DataDir) -> Result<Loaded, Error> {
    if copy::exists(dir.root()) && !dir.index().join("CURRENT").exists() {
        return Err(Error::IndexDamaged { detail: "there is none".to_owned() });
    }
    read(dir)
}

/// Puts the index in `new`, or an empty one if there is none, in the place of the damaged one. The note goes last. A crash
/// in between is met by the next opening with the note, or by that there is no index.
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
