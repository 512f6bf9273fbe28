use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Replaces a file, whole or not at all: a full disk must not cost the old content. No process can open the file with
/// other permissions than `mode`, not even for a moment.
///
/// # Errors
/// When the file cannot be written; the error names the path.
pub fn replace_file(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let written = (|| {
        if fresh.exists() {
            std::fs::remove_file(&fresh)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    })();
    written.with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_permissions_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.json");
        for (text, mode) in [("first", 0o644), ("second", 0o600)] {
            std::fs::write(dir.path().join("file.json.new"), "of a crash").unwrap();
            replace_file(&path, text, mode).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode);
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        let missing = dir.path().join("missing/file.json");
        let error = format!("{:#}", replace_file(&missing, "text", 0o600).unwrap_err());
        assert!(error.starts_with(&missing.display().to_string()), "{error}");
    }
}
