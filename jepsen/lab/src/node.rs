//! One node of the cluster: its process, its network, its disk, its clock.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::cgroup::ControlGroup;
use crate::disk::Disk;
use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::network::Network;
use crate::proxy::Senders;
use crate::shim::Shim;

/// Number of a node, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeNumber(pub u8);

impl fmt::Display for NodeNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// A node. Its process is killed when the value is dropped.
#[derive(Debug)]
pub struct Node {
    number: NodeNumber,
    directory: PathBuf,
    binary: PathBuf,
    environment: Vec<(String, String)>,
    process: Option<Child>,
    /// The disk, which can fail.
    pub disk: Disk,
    /// Faults of single file accesses.
    pub shim: Shim,
    /// Limits of memory, CPU and writes, if this machine has control groups.
    pub limits: Option<ControlGroup>,
    place: Place,
}

/// Where the process of a node runs, and by which addresses it is reached.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) wiring: NodeWiring,
    /// The network with faults, in which the node advertises its gRPC port.
    pub(crate) network: Network,
    /// The network of the harness.
    pub(crate) management: Network,
}

/// What joins a node with the other hosts.
#[derive(Debug)]
pub(crate) enum NodeWiring {
    /// A switch: the node has a network namespace of its own, and listens on all its addresses.
    Switch(Namespace),
    /// A proxy, which must know the node's process. The node listens on its address in the network of the harness.
    Proxy(Senders),
}

/// The wall clock of one node.
#[derive(Clone, Debug)]
pub struct NodeClock(PathBuf);

impl NodeClock {
    /// Sets the clock `seconds` ahead of the machine's clock, or behind it if the number is negative.
    ///
    /// # Errors
    /// If the file can't be replaced.
    pub fn set(&self, seconds: i64) -> Result<()> {
        let fresh = self.0.with_extension("new");
        fs::write(&fresh, seconds.to_string())?;
        fs::rename(&fresh, &self.0).context("clock of a node")
    }
}

/// The parts of a node. Its directory exists.
pub(crate) struct Parts {
    pub(crate) number: NodeNumber,
    pub(crate) directory: PathBuf,
    pub(crate) binary: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) disk: Disk,
    pub(crate) place: Place,
    pub(crate) library: PathBuf,
    pub(crate) group_name: String,
}

impl Node {
    /// Makes a node, without a process.
    pub(crate) fn create(parts: Parts) -> Result<Self> {
        let Parts { number, directory, binary, environment, disk, place, library, group_name } =
            parts;
        let shim = Shim::create(directory.join("shim"), library)?;
        let limits = ControlGroup::create(&group_name);
        Ok(Self {
            number,
            directory,
            binary,
            environment,
            process: None,
            disk,
            shim,
            limits,
            place,
        })
    }

    /// Number of the node.
    #[must_use]
    pub fn number(&self) -> NodeNumber {
        self.number
    }

    /// Folder of the node's files that are not on its disk.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes the node's configuration file. The lab gives the keys that name addresses and paths.
    ///
    /// # Errors
    /// If the file can't be written.
    pub(crate) fn configure(&self, cluster: &str) -> Result<()> {
        let (number, Place { wiring, network, management }) = (self.number, &self.place);
        let (mut api, mut grpc) = (management.api(number), management.grpc(number));
        if let NodeWiring::Switch(_) = wiring {
            api.set_ip(Ipv4Addr::UNSPECIFIED.into());
            grpc.set_ip(Ipv4Addr::UNSPECIFIED.into());
        }
        let own = format!(
            "node = {number}\nlisten-api = \"{api}\"\nlisten-grpc = \"{grpc}\"\n\
             advertise-grpc = \"{}\"\ndata-dir = \"{}\"\nclock-offset-file = \"{}\"\n",
            network.grpc(number),
            self.disk.data().display(),
            self.clock_file().display(),
        );
        fs::write(self.config_file(), own + cluster).context("configuration of a node")
    }

    fn config_file(&self) -> PathBuf {
        self.directory.join("node.toml")
    }

    fn clock_file(&self) -> PathBuf {
        self.directory.join("clock-offset")
    }

    /// Everything that the node's process printed.
    #[must_use]
    pub fn output_file(&self) -> PathBuf {
        self.directory.join("output.log")
    }

    /// The node's wall clock.
    #[must_use]
    pub fn clock(&self) -> NodeClock {
        NodeClock(self.clock_file())
    }

    /// Starts the node's process. A process that runs already is left alone.
    ///
    /// # Errors
    /// If the program can't be started.
    pub fn start(&mut self) -> Result<()> {
        if self.runs() {
            return Ok(());
        }
        let output = OpenOptions::new().create(true).append(true).open(self.output_file())?;
        let mut command = match &self.place.wiring {
            // `ip netns exec` would copy all mounts, and the copy would keep a disk from being mounted again.
            NodeWiring::Switch(namespace) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", namespace.path())).arg("setpriv");
                command
            }
            NodeWiring::Proxy(_) => Command::new("setpriv"),
        };
        // The kernel kills the node when the harness ends, however that happens.
        command.args(["--pdeathsig", "KILL", "env"]);
        command.args(
            self.shim.environment().map(|(name, value)| format!("{name}={}", value.display())),
        );
        command.arg(&self.binary).args(["server", "--config"]).arg(self.config_file());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        let process = command.spawn().context("cannot start a node")?;
        if let Some(limits) = &self.limits {
            limits.add(process.id())?;
        }
        if let NodeWiring::Proxy(senders) = &self.place.wiring {
            senders.set(Lab::host_of_node(self.number), process.id());
        }
        self.process = Some(process);
        Ok(())
    }

    /// Whether the node's process runs.
    #[must_use]
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// How the process ended, once, if it ended since the last call.
    #[must_use]
    pub fn ended(&mut self) -> Option<Exit> {
        let status = self.process.as_mut()?.try_wait().ok()??;
        self.process = None;
        Some(
            status
                .code()
                .map_or_else(|| Exit::Signal(status.signal().unwrap_or_default()), Exit::Code),
        )
    }

    /// Process id of the node, if it runs.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Sends a signal, if the process runs.
    fn signal(&mut self, signal: Signal) -> Result<()> {
        if !self.runs() {
            return Ok(());
        }
        let process = self.process.as_ref().map(Pid::from_child);
        process.map_or(Ok(()), |process| kill_process(process, signal)).context("signal to a node")
    }

    /// Stops the process without its notice (SIGSTOP).
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a stopped process continue (SIGCONT).
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Asks the process to end in order (SIGTERM).
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Kills the process (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// A power loss: the process is stopped at once, then everything unsynced is dropped. [`Self::power_up`] follows.
    ///
    /// # Errors
    /// If the disk can't be shut down.
    pub fn lose_power(&mut self) -> Result<()> {
        self.disk.image()?.lose_power()
    }

    /// Kills the stopped process, and mounts the disk again. The process is not started.
    ///
    /// # Errors
    /// If the disk can't be mounted.
    pub fn power_up(&mut self) -> Result<()> {
        self.kill()?;
        self.disk.image()?.remount()
    }

    /// Keeps a copy of the disk as it is now, as a snapshot of a volume does. The process goes on. Only a file system
    /// can be frozen, so the process is stopped for the moment that it takes to copy a folder.
    ///
    /// # Errors
    /// If the copy fails.
    pub fn keep_copy(&mut self) -> Result<()> {
        if let Disk::Image(_) = self.disk {
            return self.disk.keep_copy();
        }
        self.pause()?;
        let kept = self.disk.keep_copy();
        self.resume()?;
        kept
    }

    /// Resident memory of the process in bytes, and the number of its open files and threads.
    ///
    /// # Errors
    /// If the process does not run.
    pub fn resources(&self) -> Result<(u64, u64, u64)> {
        let process = self.process_id().context("the node does not run")?;
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse::<u64>().ok()).unwrap_or_default()
        };
        let files = fs::read_dir(format!("/proc/{process}/fd"))?.count() as u64;
        Ok((field("VmRSS:") << 10, files, field("Threads:")))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _healed = self.disk.heal();
        if let Err(error) = self.kill() {
            eprintln!("lab: node {}: {error:#}", self.number);
        }
    }
}
