//! What processes cost, as the kernel counts it.

use std::fs;

use anyhow::{Context, Result};

/// Ticks per second of the times in `/proc/PID/stat`: fixed for user space on every Linux port.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a set of processes has used up to a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// CPU seconds, user and system.
    pub(crate) cpu_s: f64,
    /// Bytes that went to block devices (`write_bytes`: pages made dirty, whether written back or not).
    pub(crate) disk_bytes: u64,
    /// Resident set now.
    pub(crate) resident_bytes: u64,
}

impl Usage {
    /// Of this process.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub(crate) fn own() -> Result<Self> {
        Self::of("self")
    }

    /// Of all `pids` together.
    ///
    /// # Errors
    /// When one of them doesn't run.
    pub(crate) fn of_all(pids: &[u32]) -> Result<Self> {
        let mut sum = Self::default();
        for pid in pids {
            let usage = Self::of(&pid.to_string())?;
            sum.cpu_s += usage.cpu_s;
            sum.disk_bytes += usage.disk_bytes;
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
            disk_bytes: field(&read("io")?, "write_bytes").unwrap_or(0),
            resident_bytes: field(&read("status")?, "VmRSS").unwrap_or(0) * 1024,
        })
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`, counted behind the name, which may hold anything but `)` last.
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
    fn cpu_time_stands_behind_any_process_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 99 1 1";
        assert_eq!(cpu_s(stat), Some(2.0));
        assert_eq!(cpu_s("7 (a"), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let io = "wchar: 5\ncancelled_write_bytes: 6\nwrite_bytes: 7\n";
        assert_eq!(field(io, "write_bytes"), Some(7));
        assert_eq!(field(io, "write"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(Usage::own().unwrap().resident_bytes > 0);
        assert!(Usage::of_all(&[u32::MAX]).is_err());
    }
}
