//! The first line of a history: what was run, and what the cluster promised.

use serde::{Deserialize, Serialize};

use super::numbers::Millis;

/// Seed, settings and promises of a run. Members that a file does not have get their defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Header {
    /// Version of the format of the file.
    pub format: u32,
    /// The seed of the run.
    pub seed: u64,
    /// The nodes of the cluster.
    pub nodes: Vec<u64>,
    /// How far the injected clock faults may move what the cluster believes to be the time.
    pub clock_skew_ms: Millis,
    /// Time after the last heal in which the cluster must recover.
    pub recovery_ms: Millis,
    /// How far a reader may be behind the tip after the recovery.
    pub lag_limit_ms: Millis,
    /// The length of one hour of retention. A test build may make it shorter.
    pub hour_ms: Millis,
    /// The retention of a stream that was created without one, in hours.
    pub default_retention_hours: u64,
    /// Time after the end of its retention in which a record must be gone. `None` promises nothing.
    pub trim_slack_ms: Option<Millis>,
    /// Least percentage of puts that succeed while a minority of the nodes is down. `None` promises nothing.
    pub least_availability_percent: Option<u32>,
    /// Pressure on processors or memory above which nothing is said about recovery times, in percent.
    pub stall_percent: f64,
    /// The faults that must have had their effect. Otherwise the run proves little, and its verdict is *unknown*.
    pub wanted: Vec<Wanted>,
    /// What the cluster promised.
    pub promises: Promises,
    /// How many states the search for a linear order may visit for one key.
    pub linear_states: usize,
}

/// A fault that must have had its effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The name of the fault. `failed-operations` stands for calls that failed or are unknown.
    pub fault: String,
    /// How often it must have had its effect.
    pub least: u64,
}

/// Promises that are not part of the Kinesis API. A rule about a promise that was not made only reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Promises {
    /// A read that says that it is at the tip has seen all acknowledged records (C6).
    pub strong_reads: bool,
    /// A put that begins after another put ended gets a higher number in the same shard (O2, order by design).
    pub design_order: bool,
    /// The records of one PutRecords call for one shard keep their order (O4).
    pub array_order: bool,
    /// A resharding call succeeds only after the parents are closed (R3). The service responds earlier.
    pub reshard_waits: bool,
    /// DescribeStream and the calls that change a stream are linearizable (R8).
    pub linearizable_streams: bool,
    /// A user may do what was granted as soon as the grant is acknowledged (A2).
    pub immediate_grants: bool,
    /// How long a read may still show a record that another read no longer showed (T3, T4).
    pub trim_staleness_ms: Millis,
}

impl Header {
    /// The version of the format that this crate reads and writes.
    pub const FORMAT: u32 = 1;
}

impl Default for Header {
    fn default() -> Self {
        Self {
            format: Self::FORMAT,
            seed: 0,
            nodes: vec![1, 2, 3],
            clock_skew_ms: Millis(0),
            recovery_ms: Millis(30_000),
            lag_limit_ms: Millis(10_000),
            hour_ms: Millis(3_600_000),
            default_retention_hours: 24,
            trim_slack_ms: None,
            least_availability_percent: None,
            stall_percent: 60.0,
            wanted: Vec::new(),
            promises: Promises::default(),
            linear_states: 2_000_000,
        }
    }
}

impl Default for Promises {
    fn default() -> Self {
        Self {
            strong_reads: true,
            design_order: true,
            array_order: false,
            reshard_waits: false,
            linearizable_streams: true,
            immediate_grants: false,
            trim_staleness_ms: Millis(0),
        }
    }
}
