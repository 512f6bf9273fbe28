//! Leases of consumers (L1 to L6): one owner at a time takes effect, and a new owner goes on where the old one stopped.
//!
//! An *epoch* is the number of an ownership. A checkpoint is fenced: the store accepts it only from the newest epoch.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{
    Answer, Call, Checkpoint, CheckpointAt, LeaseTake, Nanos, Operation, Outcome, Process, Seq,
    ShardId, StreamName, Uid,
};
use crate::linearizable::{self, Fenced, LeaseCall};
use crate::run::{Run, ShardKey};
use crate::verdict::Report;

/// Application, stream and shard.
type LeaseName<'a> = (&'a str, &'a StreamName, &'a ShardId);

/// What happened to a lease. Calls that failed are left out, because they have no effect.
#[derive(Default)]
struct Lease<'r, 'a> {
    takes: Vec<(&'a LeaseTake, &'r Operation<'a>)>,
    checkpoints: Vec<(&'a Checkpoint, &'r Operation<'a>)>,
    processed: Vec<(&'a Process, &'r Operation<'a>)>,
}

fn leases<'r, 'a>(run: &'r Run<'a>) -> BTreeMap<LeaseName<'a>, Lease<'r, 'a>> {
    let mut leases: BTreeMap<LeaseName<'_>, Lease<'_, '_>> = BTreeMap::new();
    for operation in &run.operations {
        if matches!(operation.outcome, Outcome::Failed { .. }) {
            continue;
        }
        match operation.call {
            Call::LeaseTake(call) => {
                let lease = leases.entry((&call.app, &call.stream, &call.shard)).or_default();
                lease.takes.push((call, operation));
            }
            Call::Checkpoint(call) => {
                let lease = leases.entry((&call.app, &call.stream, &call.shard)).or_default();
                lease.checkpoints.push((call, operation));
            }
            Call::Process(call) => {
                let lease = leases.entry((&call.app, &call.stream, &call.shard)).or_default();
                lease.processed.push((call, operation));
            }
            _ => {}
        }
    }
    leases
}

fn describe((app, stream, shard): &LeaseName<'_>) -> String {
    format!("application {app}, stream {stream}, shard {shard}")
}

fn completed(operation: &Operation<'_>) -> Option<Nanos> {
    match operation.outcome {
        Outcome::Ok { at, .. } => Some(at),
        Outcome::Failed { .. } | Outcome::Unknown => None,
    }
}

/// The two owners of one epoch, if there are two.
fn shared_epoch<'r, 'a>(lease: &Lease<'r, 'a>) -> Option<[(&'a LeaseTake, &'r Operation<'a>); 2]> {
    let mut owners: BTreeMap<u64, (&LeaseTake, &Operation<'_>)> = BTreeMap::new();
    let taken = lease.takes.iter().filter(|(_, operation)| completed(operation).is_some());
    for (take, operation) in taken {
        let first = *owners.entry(take.epoch).or_insert((take, operation));
        if first.1.index != operation.index {
            return Some([first, (take, operation)]);
        }
    }
    None
}

/// L1.
pub(crate) fn one_owner(run: &Run<'_>, report: &mut Report) {
    for (name, lease) in leases(run) {
        if let Some([one, other]) = shared_epoch(&lease) {
            let message = format!(
                "{}: epoch {} was given to {} and to {}",
                describe(&name),
                one.0.epoch,
                one.0.owner,
                other.0.owner
            );
            report.invalid(message, &[one.1.index, other.1.index]);
        }
    }
}

/// L2. A lease with two owners of one epoch belongs to L1.
pub(crate) fn fencing(run: &Run<'_>, report: &mut Report) {
    for (name, lease) in leases(run) {
        if shared_epoch(&lease).is_some() {
            continue;
        }
        let takes = lease.takes.iter().map(|(take, operation)| {
            let returned = match operation.outcome {
                Outcome::Ok { answer: Answer::LeaseTake(taken), .. } => Some(taken.checkpoint),
                Outcome::Ok { .. } | Outcome::Failed { .. } | Outcome::Unknown => None,
            };
            (*operation, LeaseCall::Take { epoch: take.epoch, returned })
        });
        let checkpoints = lease.checkpoints.iter().map(|(checkpoint, operation)| {
            (*operation, LeaseCall::Checkpoint { epoch: checkpoint.epoch, at: checkpoint.at })
        });
        let calls = linearizable::calls(takes.chain(checkpoints));
        linearizable::judge(run, report, &describe(&name), &Fenced, &calls);
    }
}

/// The records that each epoch processed, in the order of the calls.
fn by_epoch<'r, 'a>(lease: &Lease<'r, 'a>) -> BTreeMap<u64, Vec<(&'a Process, &'r Operation<'a>)>> {
    let mut epochs: BTreeMap<u64, Vec<(&Process, &Operation<'_>)>> = BTreeMap::new();
    for (process, operation) in &lease.processed {
        epochs.entry(process.epoch).or_default().push((process, operation));
    }
    epochs
}

/// L3.
pub(crate) fn handover(run: &Run<'_>, report: &mut Report) {
    for (name, lease) in leases(run) {
        let Some(shard) = run.shards.find(name.1, name.2) else { continue };
        let skips = by_epoch(&lease)
            .into_iter()
            .filter(|(epoch, processed)| {
                report_skips(run, report, &name, shard, *epoch, &lease, processed)
            })
            .count();
        if skips == 0 {
            report_unprocessed(run, report, &name, shard, &lease);
        }
    }
}

/// Records that an epoch left out, from the checkpoint at which it began to the last record that it processed.
/// Returns whether there are any.
fn report_skips(
    run: &Run<'_>,
    report: &mut Report,
    name: &LeaseName<'_>,
    shard: ShardKey,
    epoch: u64,
    lease: &Lease<'_, '_>,
    processed: &[(&Process, &Operation<'_>)],
) -> bool {
    let start = lease.takes.iter().find_map(|(take, operation)| match operation.outcome {
        Outcome::Ok { answer: Answer::LeaseTake(taken), .. } if take.epoch == epoch => {
            Some(taken.checkpoint)
        }
        _ => None,
    });
    let Some(start) = start else { return false };
    let mut last = match start {
        None => None,
        Some(CheckpointAt::Seq(seq)) => Some(seq),
        Some(CheckpointAt::ShardEnd) => return false,
    };
    for (process, operation) in processed {
        let between = run.shards[shard].between(last, Some(process.seq));
        let due =
            |known: &&crate::run::Position| !run.may_be_trimmed(shard, known, operation.invoked);
        if let Some(position) = between.iter().find(due) {
            let message = format!(
                "{}: epoch {epoch} processed {} and left out {}",
                describe(name),
                process.seq,
                position.seq
            );
            report.invalid(message, &[operation.index, position.index]);
            return true;
        }
        last = last.max(Some(process.seq));
    }
    false
}

/// Acknowledged records up to the last checkpoint that no epoch processed.
fn report_unprocessed(
    run: &Run<'_>,
    report: &mut Report,
    name: &LeaseName<'_>,
    shard: ShardKey,
    lease: &Lease<'_, '_>,
) {
    let stored = lease.checkpoints.iter().filter(|(_, call)| completed(call).is_some());
    let Some((last, operation)) = stored.max_by_key(|(checkpoint, _)| checkpoint.at) else {
        return;
    };
    let below = match last.at {
        CheckpointAt::Seq(seq) => Some(seq),
        CheckpointAt::ShardEnd => None,
    };
    let processed: BTreeSet<Seq> = lease.processed.iter().map(|(call, _)| call.seq).collect();
    let within = |seq: Seq| below.is_none_or(|below| seq <= below);
    let lost = run.shards[shard].log.iter().find(|known| {
        known.acked.is_some()
            && within(known.seq)
            && !processed.contains(&known.seq)
            && !run.may_be_trimmed(shard, known, operation.invoked)
    });
    if let Some(position) = lost {
        let message = format!(
            "{}: the checkpoint {} was stored, but nobody processed {}",
            describe(name),
            last.at,
            position.seq
        );
        report.invalid(message, &[position.index, operation.index]);
    }
}

/// L4.
pub(crate) fn order_of_an_epoch(run: &Run<'_>, report: &mut Report) {
    for (name, lease) in leases(run) {
        for (epoch, processed) in by_epoch(&lease) {
            let fall = processed.windows(2).find(|pair| pair[0].0.seq >= pair[1].0.seq);
            if let Some([before, after]) = fall {
                let message = format!(
                    "{}: epoch {epoch} processed {} and then {}",
                    describe(&name),
                    before.0.seq,
                    after.0.seq
                );
                report.invalid(message, &[before.1.index, after.1.index]);
            }
        }
    }
}

/// L5.
pub(crate) fn parent_first(run: &Run<'_>, report: &mut Report) {
    let leases = leases(run);
    for (name, lease) in &leases {
        let (app, stream, id) = *name;
        let Some(shard) = run.shards.find(stream, id) else { continue };
        let Some((process, operation)) = lease.processed.first() else { continue };
        for parent in &run.shards[shard].parents {
            let parent = run.shards[*parent].id;
            let finished = leases.get(&(app, stream, parent)).is_some_and(|parent| {
                parent.checkpoints.iter().any(|(checkpoint, call)| {
                    checkpoint.at == CheckpointAt::ShardEnd && call.invoked < operation.invoked
                })
            });
            if !finished {
                let message = format!(
                    "{}: record {} was processed before the parent {parent} was finished",
                    describe(name),
                    process.uid
                );
                report.invalid(message, &[operation.index]);
            }
        }
    }
}

/// L6.
pub(crate) fn two_owners(run: &Run<'_>, report: &mut Report) {
    for (name, lease) in leases(run) {
        for (epoch, processed) in by_epoch(&lease) {
            let Some((_, last)) = processed.last() else { continue };
            let next = lease.takes.iter().filter(|(take, _)| take.epoch > epoch);
            let next = next.filter_map(|(take, call)| Some((take, call, completed(call)?)));
            let Some((take, call, at)) = next.min_by_key(|(_, _, at)| *at) else { continue };
            let overlap = last.invoked.since(at) / 1_000_000;
            if last.invoked > at {
                let message = format!(
                    "{}: epoch {epoch} worked for {overlap} ms after {} took epoch {}",
                    describe(&name),
                    take.owner,
                    take.epoch
                );
                report.note(message, &[call.index, last.index]);
            }
        }
    }
}

/// How often an application processed a record again.
pub(crate) fn count_redeliveries(run: &Run<'_>) -> u64 {
    let mut redeliveries = 0;
    for lease in leases(run).values() {
        let distinct: BTreeSet<(Uid, Seq)> =
            lease.processed.iter().map(|(call, _)| (call.uid, call.seq)).collect();
        redeliveries += (lease.processed.len() - distinct.len()) as u64;
    }
    redeliveries
}
