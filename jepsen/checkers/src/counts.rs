//! Figures of a run, for the report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::history::{Function, History, Operation, Outcome};
use crate::outages::{Outage, outages};
use crate::run::{PutOutcome, Run};
use crate::{cluster, completeness, integrity, leases};

/// How the calls of one kind ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Calls that succeeded.
    pub ok: u64,
    /// Calls that certainly had no effect.
    pub fail: u64,
    /// Calls with an unknown outcome.
    pub info: u64,
}

/// How often a fault was injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCount {
    /// How often it began.
    pub begun: u64,
    /// How often it certainly had its effect.
    pub bit: u64,
}

/// Figures of a run. Times are in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Events of the history.
    pub events: u64,
    /// Time from the first event to the last one.
    pub duration_ms: u64,
    /// Calls by kind and outcome.
    pub operations: BTreeMap<Function, Outcomes>,
    /// Faults by name.
    pub faults: BTreeMap<String, FaultCount>,
    /// Records by the outcome of their put.
    pub records: Outcomes,
    /// Shards that the history names.
    pub shards: u64,
    /// Different positions that were acknowledged or read.
    pub positions: u64,
    /// Positions whose record has another position too.
    pub duplicates: u64,
    /// Acknowledged records that no read found.
    pub unseen: u64,
    /// Reads that said that they are at the tip, and were not.
    pub stale_reads: u64,
    /// The longest time from an acknowledgement to a stale read.
    pub stale_latency_ms: u64,
    /// The longest time for which an acknowledged record was ahead of a reader with an empty page.
    pub realtime_lag_ms: u64,
    /// The longest time from an acknowledgement until a read first found the record.
    pub read_latency_ms: u64,
    /// How often a lease consumer processed a record again.
    pub redeliveries: u64,
    /// Puts through healthy nodes while a minority of the nodes had a fault, and how many of them succeeded.
    pub minority_puts: u64,
    /// How many of `minority_puts` succeeded.
    pub minority_puts_ok: u64,
    /// What each fault cost that had no other fault beside it.
    #[serde(default)]
    pub outages: Vec<Outage>,
    /// Whether the machine was too busy to say anything about times.
    pub stalled: bool,
}

const NANOS_PER_MS: u64 = 1_000_000;

/// Counts.
pub(crate) fn count(run: &Run<'_>, history: &History) -> Counts {
    let (stale_reads, stale_latency) = completeness::count_stale(run);
    let (minority_puts_ok, minority_puts) = cluster::puts_in_minority_faults(run);
    let faults = cluster::faults(run).into_iter();
    let faults = faults.map(|(name, (begun, bit))| (name.to_owned(), FaultCount { begun, bit }));
    let begin = history.events().first().map(|event| event.time).unwrap_or_default();
    Counts {
        events: history.events().len() as u64,
        duration_ms: run.end.since(begin) / NANOS_PER_MS,
        operations: count_operations(&run.operations),
        faults: faults.collect(),
        records: count_records(run),
        shards: run.shards.len() as u64,
        positions: run.shards.keys().map(|shard| run.shards[shard].log.len() as u64).sum(),
        duplicates: integrity::count_duplicates(run),
        unseen: integrity::count_unseen(run),
        stale_reads,
        stale_latency_ms: stale_latency / NANOS_PER_MS,
        realtime_lag_ms: completeness::longest_lag(run) / NANOS_PER_MS,
        read_latency_ms: integrity::longest_until_read(run) / NANOS_PER_MS,
        redeliveries: leases::count_redeliveries(run),
        minority_puts,
        minority_puts_ok,
        outages: outages(run),
        stalled: run.stalled,
    }
}

fn count_operations(operations: &[Operation<'_>]) -> BTreeMap<Function, Outcomes> {
    let mut counts: BTreeMap<Function, Outcomes> = BTreeMap::new();
    for operation in operations {
        let count = counts.entry(operation.call.function()).or_default();
        match operation.outcome {
            Outcome::Ok { .. } => count.ok += 1,
            Outcome::Failed { .. } => count.fail += 1,
            Outcome::Unknown => count.info += 1,
        }
    }
    counts
}

fn count_records(run: &Run<'_>) -> Outcomes {
    let mut count = Outcomes::default();
    for put in &run.puts {
        match put.outcome {
            PutOutcome::Acked(_) => count.ok += 1,
            PutOutcome::Refused => count.fail += 1,
            PutOutcome::Unknown => count.info += 1,
        }
    }
    count
}
