//! The cluster as a whole (M2 to M7): equal replicas, recovery, crashes, coverage, availability, damaged disks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::history::{
    Answer, Call, Dump, Dumped, Nanos, Operation, Outcome, Phase, ShardId, Status, StreamName,
};
use crate::run::Run;
use crate::verdict::Report;

/// The name of [`Wanted::fault`](crate::history::Wanted) for calls that failed or are unknown while a fault lasts.
const FAILED_OPERATIONS: &str = "failed-operations";

/// Faults that damage the files of a node. The event with the phase `stop` says that the node is repaired, or that it
/// was made new.
const DAMAGE: &str = "damage";

/// M2. Looks at the leaders that nodes reported, then at the states of replicas.
pub(crate) fn equal_replicas(run: &Run<'_>, report: &mut Report) {
    let mut leaders: HashMap<(&str, u64), (u64, u64)> = HashMap::new();
    for seen in &run.surroundings.leaders {
        for leader in &seen.value.leaders {
            let key = (&*leader.group, leader.term);
            let first = *leaders.entry(key).or_insert((leader.node, seen.index));
            if first.0 != leader.node {
                let message = format!(
                    "group {}, term {}: node {} leads, and so does node {}",
                    leader.group, leader.term, first.0, leader.node
                );
                report.invalid(message, &[first.1, seen.index]);
            }
        }
    }
    for ((stream, shard), dumps) in dumps(run) {
        compare_dumps(report, stream, shard, &dumps);
    }
}

type Dumps<'a> = Vec<(&'a Dump, &'a Dumped, u64)>;

fn dumps<'a>(run: &Run<'a>) -> BTreeMap<(&'a StreamName, &'a ShardId), Dumps<'a>> {
    let mut dumps: BTreeMap<(&StreamName, &ShardId), Dumps<'_>> = BTreeMap::new();
    for operation in &run.operations {
        if let (Call::Dump(call), Outcome::Ok { answer: Answer::Dump(dumped), index, .. }) =
            (operation.call, operation.outcome)
        {
            dumps.entry((&call.stream, &call.shard)).or_default().push((call, dumped, index));
        }
    }
    dumps
}

/// Replicas with the same bounds have the same records. The last state of a node must be comparable with another one.
fn compare_dumps(report: &mut Report, stream: &StreamName, shard: &ShardId, dumps: &Dumps<'_>) {
    let bounds = |dumped: &Dumped| (dumped.first, dumped.applied);
    let mut first: HashMap<(u64, u64), (&Dump, &Dumped, u64)> = HashMap::new();
    for (call, dumped, index) in dumps {
        let known = *first.entry(bounds(dumped)).or_insert((call, dumped, *index));
        if (known.1.count, &known.1.hash) != (dumped.count, &dumped.hash) {
            let message = format!(
                "stream {stream}, shard {shard}: nodes {} and {} applied the entries {} to {}, but hold {} and {} records with other hashes",
                known.0.node, call.node, dumped.first, dumped.applied, known.1.count, dumped.count
            );
            report.invalid(message, &[known.2, *index]);
        }
    }
    let last: BTreeMap<u64, (&Dumped, u64)> =
        dumps.iter().map(|(call, dumped, index)| (call.node, (*dumped, *index))).collect();
    for (node, (dumped, index)) in &last {
        let mut others = dumps.iter().filter(|(call, _, _)| call.node != *node);
        let is_comparable = others.any(|(_, other, _)| bounds(other) == bounds(dumped));
        if !is_comparable && last.len() > 1 {
            let message = format!(
                "stream {stream}, shard {shard}: the state of node {node} ({} to {}) is comparable with no other replica",
                dumped.first, dumped.applied
            );
            report.unknown(message, &[*index]);
        }
    }
}

/// M3.
pub(crate) fn recovery(run: &Run<'_>, report: &mut Report) {
    let limit = run.header.recovery_ms;
    let mut recovered = BTreeSet::new();
    let mut failed: BTreeMap<_, &Operation<'_>> = BTreeMap::new();
    for operation in &run.operations {
        let Call::Recover(call) = operation.call else { continue };
        let key = (&call.stream, &call.shard, operation.gateway);
        let Outcome::Ok { answer: Answer::Recover(answer), index, .. } = operation.outcome else {
            failed.insert(key, operation);
            continue;
        };
        recovered.insert(key);
        if answer.ms > limit.0 {
            let message = format!(
                "stream {}, shard {}: a put and a read {} took {} ms after the heal, and the limit is {} ms",
                call.stream,
                call.shard,
                through(operation.gateway),
                answer.ms,
                limit.0
            );
            report.late(message, &[operation.index, index]);
        }
    }
    for ((stream, shard, gateway), operation) in failed {
        if !recovered.contains(&(stream, shard, gateway)) {
            let through = through(gateway);
            let message =
                format!("stream {stream}, shard {shard}: no put and read {through} after the heal");
            report.late(message, &[operation.index]);
        }
    }
    if let Some(heal) = run.surroundings.last_heal {
        if recovered.is_empty() && !run.puts.is_empty() {
            report.unknown("nothing says how long the recovery took".to_owned(), &[]);
        }
        check_active(run, report, heal);
    }
}

fn through(gateway: Option<u64>) -> String {
    gateway.map_or_else(
        || "through an unknown gateway".to_owned(),
        |node| format!("through gateway {node}"),
    )
}

/// Each stream is ACTIVE at the end. Only a response after the recovery can show that it is not.
fn check_active(run: &Run<'_>, report: &mut Report, heal: Nanos) {
    let mut last: BTreeMap<&StreamName, (Nanos, Status, u64)> = BTreeMap::new();
    for operation in &run.operations {
        if let (Call::Describe(call), Outcome::Ok { answer: Answer::Describe(answer), index, .. }) =
            (operation.call, operation.outcome)
            && operation.invoked > heal
        {
            last.insert(&call.stream, (operation.invoked, answer.status, index));
        }
    }
    let streams: BTreeSet<&StreamName> = run.puts.iter().map(|put| put.stream).collect();
    for stream in streams.into_iter().filter(|stream| !run.is_stream_deleted(stream)) {
        match last.get(stream) {
            Some((_, Status::Active, _)) => {}
            Some((at, status, index)) if *at > heal.plus(run.header.recovery_ms) => {
                let message = format!("stream {stream}: it is {status:?} long after the heal");
                report.late(message, &[*index]);
            }
            Some((_, status, index)) => {
                let message =
                    format!("stream {stream}: it was {status:?} when it was last asked for");
                report.unknown(message, &[*index]);
            }
            None => {
                let message =
                    format!("stream {stream}: nothing says that it is ACTIVE after the heal");
                report.unknown(message, &[]);
            }
        }
    }
}

/// M4.
pub(crate) fn no_crash(run: &Run<'_>, report: &mut Report) {
    for exit in run.surroundings.exits.iter().filter(|exit| !exit.value.expected) {
        let how = match (exit.value.code, exit.value.signal) {
            (_, Some(signal)) => format!("by signal {signal}"),
            (Some(code), None) => format!("with code {code}"),
            (None, None) => "for an unknown reason".to_owned(),
        };
        let message = format!("node {} ended {how} at {}", exit.value.node, exit.time);
        report.invalid(message, &[exit.index]);
    }
    for line in &run.surroundings.lines {
        let message = format!("node {} logged: {}", line.value.node, line.value.line);
        report.invalid(message, &[line.index]);
    }
}

/// How often each fault began, and how often it had its effect.
pub(crate) fn faults<'a>(run: &Run<'a>) -> BTreeMap<&'a str, (u64, u64)> {
    let mut faults: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for fault in &run.surroundings.faults {
        let [begun, bit_at_start, bit_at_stop] = faults.entry(&fault.value.name).or_default();
        let bit = u64::from(fault.value.bit == Some(true));
        match fault.value.phase {
            Phase::Start => (*begun, *bit_at_start) = (*begun + 1, *bit_at_start + bit),
            Phase::Stop => *bit_at_stop += bit,
        }
    }
    let count = |[begun, start, stop]: [u64; 3]| (begun, start.max(stop));
    faults.into_iter().map(|(name, counts)| (name, count(counts))).collect()
}

/// How many calls failed or are unknown that began while a node had a fault.
fn failed_in_faults(run: &Run<'_>) -> u64 {
    let periods = run.surroundings.periods(run.end);
    let is_in_fault = |operation: &&Operation<'_>| {
        periods
            .iter()
            .any(|period| period.from <= operation.invoked && operation.invoked <= period.to)
    };
    let failed = run.operations.iter().filter(|operation| !is_ok(operation));
    failed.filter(is_in_fault).count() as u64
}

fn is_ok(operation: &Operation<'_>) -> bool {
    matches!(operation.outcome, Outcome::Ok { .. })
}

/// M5.
pub(crate) fn coverage(run: &Run<'_>, report: &mut Report) {
    let faults = faults(run);
    for wanted in &run.header.wanted {
        let found = if wanted.fault == FAILED_OPERATIONS {
            failed_in_faults(run)
        } else {
            faults.get(&*wanted.fault).map_or(0, |(_, bit)| *bit)
        };
        if found < wanted.least {
            let message = format!(
                "the fault {} had its effect {found} times, and at least {} were wanted",
                wanted.fault, wanted.least
            );
            report.unknown(message, &[]);
        }
    }
}

/// M6. Counts puts through nodes without a fault, while less than half of the nodes have one.
pub(crate) fn availability(run: &Run<'_>, report: &mut Report) {
    let Some(least) = run.header.least_availability_percent else { return };
    let (ok, all) = puts_in_minority_faults(run);
    if all > 0 && ok * 100 < all * u64::from(least) {
        let message = format!(
            "{ok} of {all} puts through healthy nodes succeeded while a minority had a fault, and {least} % were promised"
        );
        report.late(message, &[]);
    }
}

/// How many puts through nodes without a fault succeeded, and how many there were.
pub(crate) fn puts_in_minority_faults(run: &Run<'_>) -> (u64, u64) {
    let mut periods = run.surroundings.periods(run.end);
    periods.retain(|period| period.nodes.len() * 2 < run.header.nodes.len());
    let (mut ok, mut all) = (0, 0);
    for operation in &run.operations {
        if !matches!(operation.call, Call::Put(_) | Call::Puts(_)) {
            continue;
        }
        let is_healthy = periods.iter().any(|period| {
            let gateway = operation.gateway.filter(|node| !period.nodes.contains(node));
            period.from <= operation.invoked && operation.invoked < period.to && gateway.is_some()
        });
        if is_healthy {
            all += 1;
            ok += u64::from(is_ok(operation));
        }
    }
    (ok, all)
}

/// M7. Faults whose names begin with `damage` damage the files of a node. Until the event that ends the fault, the
/// node must lead nothing.
pub(crate) fn damage_never_leads(run: &Run<'_>, report: &mut Report) {
    let is_damage = |name: &str| name.starts_with(DAMAGE);
    let faults = &run.surroundings.faults;
    for (place, begun) in faults.iter().enumerate() {
        if !is_damage(&begun.value.name) || begun.value.phase == Phase::Stop {
            continue;
        }
        let stop = faults[place..].iter().find(|end| {
            end.value.phase == Phase::Stop
                && end.value.name == begun.value.name
                && end.value.nodes == begun.value.nodes
        });
        let to = stop.map_or(Nanos(u64::MAX), |end| end.time);
        for seen in &run.surroundings.leaders {
            let leads =
                seen.value.leaders.iter().find(|leader| begun.value.nodes.contains(&leader.node));
            if let Some(leader) = leads.filter(|_| begun.time < seen.time && seen.time < to) {
                let message = format!(
                    "node {} leads group {} in term {} with a damaged disk ({})",
                    leader.node, leader.group, leader.term, begun.value.name
                );
                report.invalid(message, &[begun.index, seen.index]);
            }
        }
    }
}
