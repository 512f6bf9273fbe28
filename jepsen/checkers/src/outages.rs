//! How long each fault kept shards from taking records: figures, not rules.
//!
//! Only a fault that had no other fault beside it is measured, from its begin until every shard that took a record
//! before it has taken one again. Closed shards do not count.
//!
//! ```text
//! acknowledgements of one shard   | | |        |          | | | |
//! fault                                begin        end
//! interruption                        |--------| longest time without an acknowledgement
//! recovery                                          |-----| from the end to the first put that began after it
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::history::{Fault, Nanos, Phase};
use crate::run::{Run, ShardKey, ends};

const NANOS_PER_MS: u64 = 1_000_000;

/// What one fault cost the clients, in milliseconds. The worst shard counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// The kind of the fault, for example `kill`.
    pub fault: String,
    /// Longest time without an acknowledged put, from the begin of the fault to the recovery.
    pub interruption_ms: u64,
    /// Time from the end of the fault until a put that began after the end was acknowledged.
    pub recovery_ms: u64,
}

/// A put that was acknowledged.
#[derive(Clone, Copy)]
struct Acknowledged {
    at: Nanos,
    invoked: Nanos,
}

/// Measures every fault that was alone.
pub(crate) fn outages(run: &Run<'_>) -> Vec<Outage> {
    let mut shards: BTreeMap<ShardKey, Vec<Acknowledged>> = BTreeMap::new();
    for (put, ack) in run.acks() {
        let acknowledged = Acknowledged { at: ack.at, invoked: put.invoked };
        shards.entry(ack.shard).or_default().push(acknowledged);
    }
    for acknowledged in shards.values_mut() {
        acknowledged.sort_by_key(|put| put.at);
    }
    let shards: Vec<_> = shards.into_values().collect();
    let faults = &run.surroundings.faults;
    let mut active: Vec<&Fault> = Vec::new();
    let mut outages = Vec::new();
    for (place, begun) in faults.iter().enumerate() {
        if begun.value.phase == Phase::Stop {
            active.retain(|other| !ends(begun.value, other));
            continue;
        }
        active.push(begun.value);
        let Some(end) = faults.get(place + 1) else { break };
        let ends_next = end.value.phase == Phase::Stop && ends(end.value, begun.value);
        let is_alone = active.len() == 1 && ends_next;
        if !is_alone {
            continue;
        }
        let next = faults.get(place + 2).map_or(run.end, |next| next.time);
        if let Some((interruption, recovery)) = worst(&shards, begun.time, end.time, next) {
            outages.push(Outage {
                fault: begun.value.name.clone(),
                interruption_ms: interruption / NANOS_PER_MS,
                recovery_ms: recovery / NANOS_PER_MS,
            });
        }
    }
    outages
}

/// The longest interruption and the longest recovery of all shards. `None` if a shard had not recovered when the next
/// fault began, or if no shard was used.
fn worst(
    shards: &[Vec<Acknowledged>],
    begin: Nanos,
    end: Nanos,
    next: Nanos,
) -> Option<(u64, u64)> {
    let mut worst = None;
    for puts in shards {
        let begun = puts.partition_point(|put| put.at <= begin);
        let Some(last_before) = begun.checked_sub(1).map(|last| puts[last].at) else { continue };
        let Some(recovered) = puts[begun..].iter().find(|put| put.invoked >= end) else { continue };
        if recovered.at > next {
            return None;
        }
        let meanwhile = puts[begun..].iter().map(|put| put.at).take_while(|at| *at <= recovered.at);
        let mut last = last_before;
        let mut interruption = 0;
        for at in meanwhile {
            interruption = interruption.max(at.since(last.max(begin)));
            last = at;
        }
        let of_shard = (interruption, recovered.at.since(end));
        let (longest, latest) = worst.unwrap_or(of_shard);
        worst = Some((of_shard.0.max(longest), of_shard.1.max(latest)));
    }
    worst
}
