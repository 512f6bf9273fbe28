//! The data directory: its lock, its format file, and the paths in it.
//!
//! [`DataDir::open`] takes the lock and creates the directory if it is missing. The opening of the store then reads
//! everything. Only after that does [`DataDir::upgrade`] write the current version into the format file, so a failed
//! opening leaves the directory as it was. Two processes never have one directory open.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anabranch_types::Incarnation;
use tracing::info;

use crate::{
    Error,
    segment::{
        file::{DATA_START, sync_dir},
        round::LogEnd,
    },
    tail::Tail,
};

const FORMAT_FILE: &str = "format";
const LOCK_FILE: &str = "lock";
const VERSION_WORDS: &str = "anabranch storage, version ";
/// Version that this binary writes.
const VERSION: u32 = 2;
/// Oldest version that this binary reads. The opening upgrades the directory to [`VERSION`].
const OLDEST_VERSION: u32 = 1;

/// Serial of the first segment of a store.
pub(crate) const FIRST_SEGMENT: u64 = 1;

/// A data directory that is open and locked.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    pub(crate) incarnation: Incarnation,
    /// Whether the opening created the directory.
    pub(crate) fresh: bool,
    /// Version in the format file.
    version: u32,
}

impl DataDir {
    /// Locks the directory. Creates it if it is empty or missing. The lock lasts as long as the returned file is
    /// open.
    pub(crate) fn open(root: &Path) -> Result<(Self, File), Error> {
        let problem = |error: io::Error| directory_error(root, &error);
        fs::create_dir_all(root).map_err(problem)?;
        let lock = lock(root)?;
        let format = root.join(FORMAT_FILE);
        let (version, incarnation, fresh) = match fs::read_to_string(&format) {
            Ok(text) => {
                let (version, incarnation) = parse_format(&format, &text)?;
                (version, incarnation, false)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (VERSION, create(root)?, true),
            Err(error) => return Err(directory_error(&format, &error)),
        };
        Ok((Self { root: root.to_owned(), incarnation, fresh, version }, lock))
    }

    /// Writes this binary's version into the format file, so that an older binary refuses the directory from now on.
    /// Call it before writing anything that an older binary would misread.
    ///
    /// This replaces one file in one step. A crash leaves either version, and this binary opens both.
    pub(crate) fn upgrade(&mut self) -> Result<(), Error> {
        if self.version == VERSION {
            return Ok(());
        }
        write_format(&self.root, self.incarnation)?;
        info!(dir = %self.root.display(), from = self.version, to = VERSION, "data directory upgraded");
        self.version = VERSION;
        Ok(())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index")
    }
}

/// Position at which the log of a new store begins.
pub(crate) fn log_start() -> LogEnd {
    LogEnd { segment: FIRST_SEGMENT, offset: DATA_START, round: 0 }
}

/// Replaces a file atomically: after a crash the file has either the old content or the new content.
pub(crate) fn replace_file(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(name))?;
    sync_dir(dir)
}

pub(crate) fn directory_error(path: &Path, error: &io::Error) -> Error {
    Error::Directory { path: path.display().to_string(), detail: error.to_string() }
}

/// Refuses a directory that another process or store has open. Creates nothing and keeps no lock. It is only for
/// callers that write files next to the directory before they open the store. The opening itself takes the lock.
pub(crate) fn check_free(root: &Path) -> Result<(), Error> {
    if root.join(LOCK_FILE).exists() { lock(root).map(drop) } else { Ok(()) }
}

fn lock(root: &Path) -> Result<File, Error> {
    let path = root.join(LOCK_FILE);
    let options = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = options.map_err(|error| directory_error(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Directory {
            path: root.display().to_string(),
            detail: "in use by another process or store".to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(directory_error(&path, &error)),
    }
}

/// Creates a new directory. The format file is written last: a directory without it is an unfinished creation.
fn create(root: &Path) -> Result<Incarnation, Error> {
    let problem = |error: io::Error| directory_error(root, &error);
    if root.join("index").exists() {
        return Err(Error::Directory {
            path: root.display().to_string(),
            detail: "holds an index but no format file".to_owned(),
        });
    }
    let incarnation = Incarnation(rand::random());
    fs::create_dir_all(root.join("segments")).map_err(problem)?;
    Tail::create(root, log_start()).map_err(problem)?;
    write_format(root, incarnation)?;
    if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_dir(parent).map_err(problem)?;
    }
    Ok(incarnation)
}

fn write_format(root: &Path, incarnation: Incarnation) -> Result<(), Error> {
    let text = format!("{VERSION_WORDS}{VERSION}\nincarnation {:016x}\n", incarnation.0);
    let written = replace_file(root, FORMAT_FILE, text.as_bytes());
    written.map_err(|error| directory_error(&root.join(FORMAT_FILE), &error))
}

fn parse_format(path: &Path, text: &str) -> Result<(u32, Incarnation), Error> {
    let problem = |detail| Error::Directory { path: path.display().to_string(), detail };
    let version = text.lines().next().and_then(|line| line.strip_prefix(VERSION_WORDS));
    let version: u32 = version
        .and_then(|version| version.parse().ok())
        .ok_or_else(|| problem(format!("does not begin with `{VERSION_WORDS}` and a number")))?;
    if !(OLDEST_VERSION..=VERSION).contains(&version) {
        return Err(problem(format!(
            "is of storage version {version}, this binary reads versions {OLDEST_VERSION} to {VERSION}: use a binary that \
             knows version {version}"
        )));
    }
    let incarnation = text.lines().nth(1).and_then(|line| line.strip_prefix("incarnation "));
    let incarnation = incarnation.and_then(|hex| u64::from_str_radix(hex.trim_end(), 16).ok());
    let incarnation = incarnation.map(Incarnation);
    Ok((version, incarnation.ok_or_else(|| problem("names no incarnation".to_owned()))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format_of(root: &Path) -> String {
        fs::read_to_string(root.join(FORMAT_FILE)).unwrap()
    }

    #[test]
    fn a_directory_of_the_oldest_version_is_upgraded_and_keeps_its_incarnation() {
        let dir = tempfile::tempdir().unwrap();
        let (made, lock) = DataDir::open(dir.path()).unwrap();
        drop(lock);
        let new = format_of(dir.path());
        let old = new.replace("version 2", "version 1");
        assert_ne!(new, old);
        fs::write(dir.path().join(FORMAT_FILE), &old).unwrap();
        let (mut opened, lock) = DataDir::open(dir.path()).unwrap();
        assert_eq!((opened.incarnation, opened.fresh), (made.incarnation, false));
        assert_eq!(format_of(dir.path()), old, "opening alone does not upgrade it");
        opened.upgrade().unwrap();
        assert_eq!(format_of(dir.path()), new);
        drop(lock);
        assert_eq!(DataDir::open(dir.path()).unwrap().0.incarnation, made.incarnation);
    }

    #[test]
    fn a_directory_of_a_newer_version_is_refused_with_both_versions() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path()).unwrap());
        let newer = format_of(dir.path()).replace("version 2", "version 3");
        fs::write(dir.path().join(FORMAT_FILE), newer).unwrap();
        let refused = DataDir::open(dir.path()).unwrap_err().to_string();
        assert!(
            refused.contains("is of storage version 3, this binary reads versions 1 to 2"),
            "{refused}"
        );
    }

    #[test]
    fn the_error_for_an_invalid_format_file_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path()).unwrap());
        for text in ["", "something else", "anabranch storage, version 2\n"] {
            fs::write(dir.path().join(FORMAT_FILE), text).unwrap();
            let refused = DataDir::open(dir.path()).unwrap_err().to_string();
            assert!(refused.contains(FORMAT_FILE), "{text:?}: {refused}");
        }
    }
}
