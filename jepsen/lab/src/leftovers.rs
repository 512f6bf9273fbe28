//! Removes what the lab of a dead harness left: processes, namespaces, mounts, control groups, folders.
//!
//! Every name begins with `chaos` and the process id of its harness. Nothing of a living process is touched.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::command::{run, sh};

/// The folder of all labs.
const ROOT: &str = "/tmp";

/// Beginning of the names of everything that this process makes.
pub(crate) fn prefix() -> String {
    format!("chaos{}", std::process::id())
}

/// Folder of this process's lab.
pub(crate) fn directory() -> PathBuf {
    Path::new(ROOT).join(format!("anabranch-{}", prefix()))
}

/// Removes folders that dead harnesses of this user left. A folder that can't be removed is printed and left.
pub(crate) fn remove_folders() {
    let user = rustix::process::geteuid().as_raw();
    let is_own = |path: &PathBuf| fs::metadata(path).is_ok_and(|folder| folder.uid() == user);
    let dead = entries(ROOT).into_iter().filter(|path| is_dead(&path.to_string_lossy()));
    for folder in dead.filter(is_own) {
        report(fs::remove_dir_all(&folder).map_err(Into::into));
    }
}

/// Removes everything that dead harnesses left. A thing that can't be removed is printed and left.
pub(crate) fn remove() {
    namespaces();
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let ours =
        mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|path| is_dead(path));
    // The inner mount (the disk) comes after the outer one in the list.
    for path in ours.collect::<Vec<_>>().into_iter().rev() {
        report(sh(&format!("umount -l {path}")).map(drop));
    }
    remove_folders();
    for controller in ["memory", "cpu", "blkio"] {
        for group in entries(&format!("/sys/fs/cgroup/{controller}")) {
            if is_dead(&group.to_string_lossy()) {
                report(fs::remove_dir(&group).map_err(Into::into));
            }
        }
    }
}

fn namespaces() {
    for path in entries("/run/netns").into_iter().filter(|path| is_dead(&path.to_string_lossy())) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let processes = run(["ip", "netns", "pids", &name]).unwrap_or_default();
        for process in processes.split_whitespace() {
            report(run(["kill", "-9", process]).map(drop));
        }
        report(run(["ip", "netns", "del", &name]).map(drop));
    }
}

/// Whether a path names a lab whose harness does not run.
fn is_dead(path: &str) -> bool {
    path.split(['/', '-']).filter_map(|part| part.strip_prefix("chaos")).any(|process| {
        let is_number = !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit());
        is_number && !Path::new("/proc").join(process).exists()
    })
}

fn entries(dir: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn report(removed: anyhow::Result<()>) {
    if let Err(error) = removed {
        eprintln!("lab: left over: {error:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_labs_of_dead_processes_are_left_over() {
        let living = std::process::id();
        assert!(!is_dead(&format!("/run/netns/chaos{living}-n1")));
        assert!(!is_dead(&format!("/tmp/anabranch-chaos{living}/node-1/disk")));
        // Process ids end below 2^22.
        assert!(is_dead("/run/netns/chaos4194305-n1"));
        assert!(is_dead("/tmp/anabranch-chaos4194305/node-1/disk"));
        assert!(!is_dead("/run/netns/chaosproxy-n1"));
        assert!(!is_dead("/tmp/chaos"));
    }
}
