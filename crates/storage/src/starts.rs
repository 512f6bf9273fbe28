//! The file `starts`: how often a data directory was opened.
//!
//! The catalog remembers the number. If an operator restores an older copy of the disk, the file has a lower number
//! than the catalog, or the same number for another process. So the catalog notices that the disk went back in time
//! (ADR-0007).
//!
//! The file is text: one line, `starts N`. It is replaced as a whole and synced. A missing file counts as 0. A file
//! with invalid content counts as 0 too: then the catalog takes the disk for an older copy and rebuilds its replicas.
//! That is safe, and the disk is damaged in any case. A file that cannot be read is an error.

use std::{fs, io, path::Path};

use crate::{
    Error,
    dir::{directory_error, replace_file},
    space::is_short_of_space,
};

const FILE: &str = "starts";

/// Adds one to the number of starts and returns the new number. The caller holds the lock of the directory. Returns 0
/// if the disk has no space for the file: then the number is unknown, the catalog does not compare it, and the file
/// keeps the old number.
pub(crate) fn raise(root: &Path) -> Result<u64, Error> {
    let path = root.join(FILE);
    let problem = |error: io::Error| directory_error(&path, &error);
    let before = match fs::read(&path) {
        Ok(text) => parse(&text).unwrap_or_else(|| {
            tracing::error!(file = %path.display(), "the count of starts is invalid: it begins again");
            0
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(problem(error)),
    };
    let starts = before.saturating_add(1);
    match replace_file(root, FILE, format!("starts {starts}\n").as_bytes()) {
        Ok(()) => Ok(starts),
        Err(error) if is_short_of_space(&error) => {
            tracing::warn!(file = %path.display(), "no disk space to count this start");
            Ok(0)
        }
        Err(error) => Err(problem(error)),
    }
}

fn parse(text: &[u8]) -> Option<u64> {
    let number = str::from_utf8(text).ok()?.strip_prefix("starts ")?.strip_suffix('\n')?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_adds_one_and_the_first_is_number_one() {
        let dir = tempfile::tempdir().unwrap();
        let counted: Vec<_> = (0..3).map(|_| raise(dir.path()).unwrap()).collect();
        assert_eq!(counted, [1, 2, 3]);
        assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap(), "starts 3\n");
    }

    #[test]
    fn counting_continues_from_a_restored_older_file() {
        let dir = tempfile::tempdir().unwrap();
        raise(dir.path()).unwrap();
        let copy = fs::read(dir.path().join(FILE)).unwrap();
        raise(dir.path()).unwrap();
        raise(dir.path()).unwrap();
        fs::write(dir.path().join(FILE), copy).unwrap();
        assert_eq!(raise(dir.path()).unwrap(), 2);
    }

    #[test]
    fn an_invalid_file_counts_as_zero() {
        let torn: [&[u8]; 7] = [
            b"",
            b"starts",
            b"starts 7",
            b"starts -7\n",
            b"starts +7\n",
            b"stops 7\n",
            b"\xff\xfe",
        ];
        for text in torn {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(FILE), text).unwrap();
            assert_eq!(raise(dir.path()).unwrap(), 1, "{text:?}");
        }
    }

    #[test]
    fn the_error_for_an_unreadable_file_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(FILE)).unwrap();
        let error = raise(dir.path()).unwrap_err().to_string();
        assert!(error.contains(FILE), "{error}");
    }
}
