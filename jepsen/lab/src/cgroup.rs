//! Limits of a process by control groups: memory, CPU, and the rate of writes to a disk.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// The control group of one node, in the first version of the kernel's interface. It is removed when the value is
/// dropped.
#[derive(Debug)]
pub struct ControlGroup {
    name: String,
}

const CONTROLLERS: [&str; 3] = ["memory", "cpu", "blkio"];
/// Length of a period of the CPU limit, in microseconds.
const CPU_PERIOD: u64 = 100_000;

impl ControlGroup {
    /// Makes a control group. `None` if this machine has no such interface.
    pub(crate) fn create(name: &str) -> Option<Self> {
        let group = Self { name: name.to_owned() };
        for controller in CONTROLLERS {
            fs::create_dir_all(group.dir(controller)).ok()?;
        }
        group.dir("memory").join("memory.limit_in_bytes").exists().then_some(group)
    }

    fn dir(&self, controller: &str) -> PathBuf {
        PathBuf::from("/sys/fs/cgroup").join(controller).join(&self.name)
    }

    fn write(&self, controller: &str, file: &str, value: &str) -> Result<()> {
        let path = self.dir(controller).join(file);
        fs::write(&path, value).with_context(|| format!("{}: {value}", path.display()))
    }

    /// Moves a process into the group.
    ///
    /// # Errors
    /// If the process has ended.
    pub(crate) fn add(&self, process: u32) -> Result<()> {
        CONTROLLERS
            .into_iter()
            .try_for_each(|controller| self.write(controller, "cgroup.procs", &process.to_string()))
    }

    /// Limits the memory to `bytes`. The kernel kills the process if it can't free enough. `None` ends the limit.
    ///
    /// # Errors
    /// If the process already uses more than it can free.
    pub fn limit_memory(&self, bytes: Option<u64>) -> Result<()> {
        let limit = bytes.map_or_else(|| "-1".to_owned(), |bytes| bytes.to_string());
        self.write("memory", "memory.limit_in_bytes", &limit)
    }

    /// How often the group came to its limit of memory.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn memory_shortages(&self) -> Result<u64> {
        let path = self.dir("memory").join("memory.failcnt");
        fs::read_to_string(path)?.trim().parse().context("memory.failcnt")
    }

    /// Limits the CPU to a share of one core, in percent. `None` ends the limit.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn limit_cpu(&self, percent: Option<u64>) -> Result<()> {
        self.write("cpu", "cpu.cfs_period_us", &CPU_PERIOD.to_string())?;
        let quota = percent.map_or_else(|| "-1".to_owned(), |p| (CPU_PERIOD * p / 100).to_string());
        self.write("cpu", "cpu.cfs_quota_us", &quota)
    }

    /// Limits the rate at which the processes write to a device, in bytes a second. 0 ends the limit.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn limit_writes(&self, device: &str, bytes_per_second: u64) -> Result<()> {
        let line = format!("{device} {bytes_per_second}");
        self.write("blkio", "blkio.throttle.write_bps_device", &line)
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        for controller in CONTROLLERS {
            // The kernel removes the group only when it has no process; leftovers.rs removes it otherwise.
            let _removed = fs::remove_dir(self.dir(controller));
        }
    }
}
