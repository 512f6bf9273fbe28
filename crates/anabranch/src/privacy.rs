//! The files and the memory of a node belong to its user alone.
//!
//! Records, keys and `token-key` are in both. A node's files are readable only for its user, whatever umask the shell
//! has, and a crash leaves no core file.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, setrlimit, umask};

const USER_ALONE: u32 = 0o700;
const OTHERS: u32 = 0o077;

/// From now on, files that this process makes are readable only for its user, and the process dumps no core.
pub(crate) fn keep() {
    umask(Mode::from_raw_mode(OTHERS));
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::warn!(%error, "core files stay on");
    }
}

/// Makes the folder if it is missing, and closes it to other users. An existing folder is closed too, with everything
/// in it.
pub(crate) fn make_dir(dir: &Path) -> anyhow::Result<()> {
    let named = || format!("data-dir {}", dir.display());
    fs::create_dir_all(dir).with_context(named)?;
    if is_open(dir).with_context(named)?
        && let Err(error) = fs::set_permissions(dir, Permissions::from_mode(USER_ALONE))
    {
        tracing::warn!(dir = %dir.display(), %error, "others can read the data");
    }
    Ok(())
}

/// Warns if other users can read the file.
pub(crate) fn look_at(file: &Path) {
    if is_open(file).unwrap_or(false) {
        eprintln!(
            "warning: {}: others can read it, and token-key in it: chmod 600",
            file.display()
        );
    }
}

fn is_open(path: &Path) -> std::io::Result<bool> {
    Ok(fs::metadata(path)?.permissions().mode() & OTHERS != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_is_closed_to_other_users_also_if_it_existed_before() {
        let outside = tempfile::tempdir().unwrap();
        let mode = |dir: &Path| fs::metadata(dir).unwrap().permissions().mode() & 0o777;
        let open = outside.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        for dir in [open, outside.path().join("new/data")] {
            make_dir(&dir).unwrap();
            assert_eq!(mode(&dir), 0o700, "{}", dir.display());
        }
    }
}
