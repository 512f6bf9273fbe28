//! The data directory: its lock, its format file, and the names of what is in it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anabranch_types::Incarnation;

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
const VERSION_LINE: &str = "anabranch storage, version 1";

/// Serial of the first segment of a store.
pub(crate) const FIRST_SEGMENT: u64 = 1;

/// An opened and locked data directory.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    pub(crate) incarnation: Incarnation,
    /// Whether opening made it.
    pub(crate) fresh: bool,
}

impl DataDir {
    /// Locks the directory, and makes it if it is empty or missing. The lock lasts as long as the file given back.
    pub(crate) fn open(root: &Path) -> Result<(Self, File), Error> {
        let problem = |error: io::Error| directory_error(root, &error);
        fs::create_dir_all(root).map_err(problem)?;
        let lock = lock(root)?;
        let format = root.join(FORMAT_FILE);
        let (incarnation, fresh) = match fs::read_to_string(&format) {
            Ok(text) => (parse_format(&format, &text)?, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (create(root)?, true),
            Err(error) => return Err(directory_error(&format, &error)),
        };
        Ok((Self { root: root.to_owned(), incarnation, fresh }, lock))
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

/// Where the log of a new store begins.
pub(crate) fn log_start() -> LogEnd {
    LogEnd { segment: FIRST_SEGMENT, offset: DATA_START, round: 0 }
}

/// Replaces a file in one step that a crash cannot tear.
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

/// Refuses a directory that another process or store has open. Creates nothing and keeps no lock, so it is only for
/// callers that write beside the directory before they open it: opening takes the lock.
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

/// Makes a new directory. The format file comes last: without it, what is there is an unfinished creation.
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
    let format = format!("{VERSION_LINE}\nincarnation {:016x}\n", incarnation.0);
    replace_file(root, FORMAT_FILE, format.as_bytes()).map_err(problem)?;
    if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_dir(parent).map_err(problem)?;
    }
    Ok(incarnation)
}

fn parse_format(path: &Path, text: &str) -> Result<Incarnation, Error> {
    let incarnation = text
        .strip_prefix(VERSION_LINE)
        .and_then(|rest| rest.strip_prefix("\nincarnation "))
        .and_then(|rest| u64::from_str_radix(rest.trim_end(), 16).ok());
    incarnation.map(Incarnation).ok_or_else(|| Error::Directory {
        path: path.display().to_string(),
        detail: format!("does not say `{VERSION_LINE}` and an incarnation"),
    })
}
