//! Events that no client caused: faults, and what the harness observed.

use serde::{Deserialize, Serialize};

/// An event of the nemesis, the part of the harness that injects faults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "f", content = "value", rename_all = "kebab-case")]
pub enum Nemesis {
    /// A fault begins or ends.
    Fault(Fault),
    /// All faults are over. The last such event begins the recovery.
    Heal {},
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The kind of the fault, for example `kill`.
    pub name: String,
    /// The nodes with the fault.
    pub nodes: Vec<u64>,
    /// Whether the fault begins or ends.
    pub phase: Phase,
    /// More about the fault, for the reader of the report.
    #[serde(default)]
    pub detail: String,
    /// Whether the fault had its effect. `None` if the harness cannot know.
    pub bit: Option<bool>,
}

/// Whether a fault begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The fault begins.
    Start,
    /// The fault ends.
    Stop,
}

/// What the harness observed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "f", content = "value", rename_all = "kebab-case")]
pub enum Observation {
    /// The leaders that the nodes reported.
    Leaders(Leaders),
    /// A process of the cluster ended.
    Exit(Exit),
    /// A line of a node's log that names a panic or a failed assertion.
    Log(LogLine),
    /// How long tasks waited for the machine.
    Pressure(Pressure),
    /// A remark for the reader of the report.
    Note(Note),
}

/// The leaders that the nodes reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaders {
    /// One leader for each group.
    pub leaders: Vec<Leader>,
}

/// The leader of a Raft group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// The group, for example `catalog` or `orders/shardId-000000000000`.
    pub group: String,
    /// The node that leads the group.
    pub node: u64,
    /// The term that it leads.
    pub term: u64,
}

/// A process of the cluster ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The node.
    pub node: u64,
    /// The exit code.
    pub code: Option<i32>,
    /// The signal that ended the process.
    pub signal: Option<i32>,
    /// Whether the harness caused the exit, or a fault allows it.
    pub expected: bool,
}

/// A line of a node's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The node.
    pub node: u64,
    /// The line.
    pub line: String,
}

/// How long tasks waited for the machine: the ten-second averages of `/proc/pressure`, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// Percent of the time in which a task waited for a processor.
    pub cpu_some: f64,
    /// Percent of the time in which a task waited for memory.
    pub mem_some: f64,
}

/// A remark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The remark.
    pub text: String,
}
