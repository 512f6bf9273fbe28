//! CPU time, memory and disk writes, as the kernel counts them.

use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Ticks per second of the times in `/proc/PID/stat`: the same on every Linux port.
const TICKS_PER_SECOND: f64 = 100.0;

/// Resources that a set of processes has used until a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// CPU seconds, user and system.
    pub(crate) cpu_s: f64,
    /// Resident set at this moment.
    pub(crate) resident_bytes: u64,
}

impl Usage {
    /// The usage of this process.
    ///
    /// # Errors
    /// When there is no `/proc`.
    pub(crate) fn own() -> Result<Self> {
        Self::of("self")
    }

    /// The sum over all `pids`.
    ///
    /// # Errors
    /// When a process does not run.
    pub(crate) fn of_all(pids: &[u32]) -> Result<Self> {
        let mut sum = Self::default();
        for pid in pids {
            let usage = Self::of(&pid.to_string())?;
            sum.cpu_s += usage.cpu_s;
            sum.resident_bytes += usage.resident_bytes;
        }
        Ok(sum)
    }

    fn of(process: &str) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{process}/{file}");
            fs::read_to_string(&path).with_context(|| format!("reading {path}"))
        };
        Ok(Self {
            cpu_s: cpu_s(&read("stat")?).context("/proc/PID/stat has another form")?,
            resident_bytes: field(&read("status")?, "VmRSS").unwrap_or(0) * 1024,
        })
    }
}

/// Bytes that the block device under `directory` has written since the system started. Dirty pages are written out
/// first. The counters of `/proc/PID/io` are not usable: they count a whole large folio for each byte that changes in
/// it.
///
/// # Errors
/// When the directory is not on a block device.
pub(crate) fn written_by_device(directory: &Path) -> Result<u64> {
    rustix::fs::sync();
    device_bytes(directory)
}

/// As [`written_by_device`], without the dirty pages that are still to be written.
///
/// # Errors
/// When the directory is not on a block device.
pub(crate) fn device_bytes(directory: &Path) -> Result<u64> {
    const SECTOR_BYTES: u64 = 512;
    let device = fs::metadata(directory).with_context(|| directory.display().to_string())?.st_dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let path = format!("/sys/dev/block/{major}:{minor}/stat");
    let stat = fs::read_to_string(&path)
        .with_context(|| format!("{}: no block device {major}:{minor}", directory.display()))?;
    let sectors = sectors_written(&stat).with_context(|| format!("{path} has another form"))?;
    Ok(sectors * SECTOR_BYTES)
}

/// Field 7 of `/sys/dev/block/*/stat`.
fn sectors_written(stat: &str) -> Option<u64> {
    stat.split_whitespace().nth(6)?.parse().ok()
}

/// Fields 14 and 15 of `/proc/PID/stat`. They are counted from the end of the process name: the name may hold any
/// character, but its last is `)`.
fn cpu_s(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// The number behind `name:`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_process_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 99 1 1";
        assert_eq!(cpu_s(stat), Some(2.0));
        assert_eq!(cpu_s("7 (a"), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = "VmHWM:\t 5 kB\nVmRSSx:\t 6 kB\nVmRSS:\t 7 kB\n";
        assert_eq!(field(status, "VmRSS"), Some(7));
        assert_eq!(field(status, "Vm"), None);
    }

    #[test]
    fn a_device_counts_sectors() {
        let stat =
            "  639079  24481 33199658  2005000  396741  161257 323381480   412200 0 147200 2458700";
        assert_eq!(sectors_written(stat), Some(323_381_480));
        assert_eq!(sectors_written("1 2"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(Usage::own().unwrap().resident_bytes > 0);
        assert!(Usage::of_all(&[u32::MAX]).is_err());
    }
}
