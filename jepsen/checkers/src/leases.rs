//! Leases of consumers (L1 to L7): one owner at a time takes effect, and a new owner goes on where the old one stopped.
//!
//! An *epoch* is the number of an ownership. A checkpoint is fenced: the store accepts it only from the newest epoch.
//!
//! A consumer takes a lease by a call ([`Call::LeaseTake`]), or a consumer group gives it to a member
//! ([`Call::Assigned`]). A response of a group may be old: the moment of the take is between the begin of the watch and
//! the first response that shows the epoch.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::history::{
    Answer, Call, Checkpoint, CheckpointAt, Nanos, Operation, Outcome, Process, Renew, Seq,
    ShardId, StreamName, Uid,
};
use crate::linearizable::{self, Fenced, LeaseCall, Timed};
use crate::run::{Run, ShardKey};
use crate::verdict::Report;

/// Application, stream and shard.
type LeaseName<'a> = (&'a str, &'a StreamName, &'a ShardId);

/// An owner gets a lease.
#[derive(Clone, Copy)]
struct Take<'a> {
    epoch: u64,
    owner: &'a str,
    /// Index of the first event after which it may have happened.
    begin: u64,
    /// Index and time of the response. `None` if the outcome is unknown.
    end: Option<(u64, Nanos)>,
    /// The checkpoint in the response.
    checkpoint: Option<Option<CheckpointAt>>,
    /// Whether a consumer group gave the lease.
    is_given: bool,
}

/// The calls about a lease. Calls that failed are left out, because they have no effect.
#[derive(Default)]
struct Lease<'r, 'a> {
    takes: Vec<Take<'a>>,
    checkpoints: Vec<(&'a Checkpoint, &'r Operation<'a>)>,
    renewals: Vec<(&'a Renew, &'r Operation<'a>)>,
    processed: Vec<(&'a Process, &'r Operation<'a>)>,
    /// Checkpoints that lists showed.
    seen: Vec<(Option<CheckpointAt>, &'r Operation<'a>)>,
}

type Leases<'r, 'a> = BTreeMap<LeaseName<'a>, Lease<'r, 'a>>;

fn leases<'r, 'a>(run: &'r Run<'a>) -> Leases<'r, 'a> {
    let mut leases = Leases::new();
    for operation in &run.operations {
        if matches!(operation.outcome, Outcome::Failed { .. }) {
            continue;
        }
        match operation.call {
            Call::LeaseTake(call) => {
                let end = match operation.outcome {
                    Outcome::Ok { index, at, .. } => Some((index, at)),
                    Outcome::Failed { .. } | Outcome::Unknown => None,
                };
                let checkpoint = match operation.outcome {
                    Outcome::Ok { answer: Answer::LeaseTake(taken), .. } => Some(taken.checkpoint),
                    Outcome::Ok { .. } | Outcome::Failed { .. } | Outcome::Unknown => None,
                };
                let (epoch, begin) = (call.epoch, operation.index);
                let owner = &*call.owner;
                let take = Take { epoch, owner, begin, end, checkpoint, is_given: false };
                let lease = leases.entry((&call.app, &call.stream, &call.shard)).or_default();
                lease.takes.push(take);
            }
            Call::Checkpoint(call) => {
                let lease = leases.entry((&call.app, &call.stream, &call.shard)).or_default();
                lease.checkpoints.push((call, operation));
            }
            Call::Renew(call) => {
                let lease = leases.entry((&call.app, &call.stream, &call.shard)).or_default();
                lease.renewals.push((call, operation));
            }
            Call::Process(call) => {
                let lease = leases.entry((&call.app, &call.stream, &call.shard)).or_default();
                lease.processed.push((call, operation));
            }
            Call::Leases(call) => {
                let Outcome::Ok { answer: Answer::Leases(listed), .. } = operation.outcome else {
                    continue;
                };
                for seen in &listed.leases {
                    let lease = leases.entry((&call.app, &call.stream, &seen.shard)).or_default();
                    lease.seen.push((seen.checkpoint, operation));
                }
            }
            _ => {}
        }
    }
    add_given(run, &mut leases);
    leases
}

/// Adds what consumer groups gave to their members. An epoch counts when a member sees it for the first time.
fn add_given<'a>(run: &Run<'a>, leases: &mut Leases<'_, 'a>) {
    let mut begins: HashMap<u64, u64> = HashMap::new();
    let mut known: HashSet<(LeaseName<'_>, u64, &str)> = HashSet::new();
    for operation in &run.operations {
        let Call::Assigned(call) = operation.call else { continue };
        let begin = *begins.entry(call.chain).or_insert(operation.index);
        let Outcome::Ok { index, at, answer: Answer::Assigned(assigned) } = operation.outcome
        else {
            continue;
        };
        for shard in &assigned.shards {
            let name = (&*call.app, &call.stream, &shard.shard);
            if known.insert((name, shard.epoch, &*call.member)) {
                leases.entry(name).or_default().takes.push(Take {
                    epoch: shard.epoch,
                    owner: &call.member,
                    begin,
                    end: Some((index, at)),
                    checkpoint: Some(shard.checkpoint),
                    is_given: true,
                });
            }
        }
    }
}

fn describe((app, stream, shard): &LeaseName<'_>) -> String {
    format!("application {app}, stream {stream}, shard {shard}")
}

fn is_done(operation: &Operation<'_>) -> bool {
    matches!(operation.outcome, Outcome::Ok { .. })
}

/// The two owners of one epoch, if there are two, each with the event that shows it. An owner that takes one epoch
/// twice counts as two.
fn shared_epoch<'a>(lease: &Lease<'_, 'a>) -> Option<(u64, [(&'a str, u64); 2])> {
    let mut owners: BTreeMap<u64, (&str, u64)> = BTreeMap::new();
    for take in lease.takes.iter().filter(|take| take.end.is_some()) {
        let first = *owners.entry(take.epoch).or_insert((take.owner, take.begin));
        if first.1 != take.begin {
            return Some((take.epoch, [first, (take.owner, take.begin)]));
        }
    }
    let checkpoints = lease.checkpoints.iter().map(|(call, at)| (call.epoch, &*call.owner, *at));
    let renewals = lease.renewals.iter().map(|(call, at)| (call.epoch, &*call.owner, *at));
    for (epoch, owner, operation) in checkpoints.chain(renewals) {
        if !owner.is_empty() && is_done(operation) {
            let first = *owners.entry(epoch).or_insert((owner, operation.index));
            if first.0 != owner {
                return Some((epoch, [first, (owner, operation.index)]));
            }
        }
    }
    None
}

/// L1.
pub(crate) fn one_owner(run: &Run<'_>, report: &mut Report) {
    for (name, lease) in leases(run) {
        if let Some((epoch, [one, other])) = shared_epoch(&lease) {
            let message = format!(
                "{}: epoch {epoch} belonged to {} and to {}",
                describe(&name),
                one.0,
                other.0
            );
            report.invalid(message, &[one.1, other.1]);
        }
    }
}

/// L2. A lease with two owners of one epoch belongs to L1.
pub(crate) fn fencing(run: &Run<'_>, report: &mut Report) {
    for (name, lease) in leases(run) {
        if shared_epoch(&lease).is_none() {
            linearizable::judge(run, report, &describe(&name), &Fenced, &fenced(&lease));
        }
    }
}

/// The calls about a lease for the search. Calls of unknown outcome whose effect nobody saw are left out: an order
/// without them explains all results if any order does, and the search is exponential in their number.
fn fenced(lease: &Lease<'_, '_>) -> Vec<Timed<LeaseCall>> {
    let returned = lease.takes.iter().filter_map(|take| take.checkpoint);
    let listed = lease.seen.iter().map(|(checkpoint, _)| *checkpoint);
    let found: BTreeSet<CheckpointAt> = returned.chain(listed).flatten().collect();
    let used = lease.checkpoints.iter().map(|(call, _)| call.epoch);
    let used = used.chain(lease.renewals.iter().map(|(call, _)| call.epoch));
    let used: BTreeSet<u64> = used.collect();
    let is_given = lease.takes.iter().any(|take| take.is_given);
    let mut calls = Vec::new();
    for take in &lease.takes {
        let Take { epoch, begin, checkpoint: returned, .. } = *take;
        if take.end.is_some() || used.contains(&epoch) {
            let end = take.end.map(|(index, _)| index);
            calls.push(Timed { begin, end, call: LeaseCall::Take { epoch, returned } });
        }
    }
    let matters = |call: &Checkpoint, operation: &Operation<'_>| {
        is_done(operation) || call.back || found.contains(&call.at)
    };
    let checkpoints = lease.checkpoints.iter().filter(|(call, at)| matters(call, at));
    let checkpoints = checkpoints.map(|(call, operation)| {
        let Checkpoint { epoch, at, release, .. } = **call;
        // A consumer group also stores a position before the last one. So a request that arrives late goes back.
        let back = call.back || (is_given && !is_done(operation));
        (*operation, LeaseCall::Checkpoint { epoch, at, back, release })
    });
    let renewals = lease.renewals.iter().filter(|(_, operation)| is_done(operation));
    let renewals =
        renewals.map(|(renew, operation)| (*operation, LeaseCall::Renew { epoch: renew.epoch }));
    let seen =
        lease.seen.iter().map(|(checkpoint, operation)| (*operation, LeaseCall::Saw(*checkpoint)));
    calls.extend(linearizable::calls(checkpoints.chain(renewals).chain(seen)));
    calls
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
    let leases = leases(run);
    let mut processing = leases.iter().filter(|(_, lease)| !lease.processed.is_empty());
    let processing: BTreeSet<&str> = processing.by_ref().map(|(name, _)| name.0).collect();
    // An application that processes nothing only tests its leases.
    for (name, lease) in leases.into_iter().filter(|(name, _)| processing.contains(name.0)) {
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
    let start = lease.takes.iter().filter(|take| take.epoch == epoch);
    let Some(start) = start.filter_map(|take| take.checkpoint).next() else { return false };
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
    let stored = lease.checkpoints.iter().filter(|(_, call)| is_done(call));
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
        let processed = lease.processed.first().map(|(process, operation)| {
            (operation.invoked, operation.index, format!("record {} was processed", process.uid))
        });
        let mut given = lease.takes.iter().filter(|take| take.is_given);
        let given = given.find_map(|take| {
            let (index, at) = take.end?;
            Some((at, index, format!("the shard was given to {}", take.owner)))
        });
        let Some((began, event, what)) = processed.or(given) else { continue };
        for parent in &run.shards[shard].parents {
            let parent = run.shards[*parent].id;
            let finished = leases.get(&(app, stream, parent)).is_some_and(|parent| {
                parent.checkpoints.iter().any(|(checkpoint, call)| {
                    checkpoint.at == CheckpointAt::ShardEnd && call.invoked < began
                })
            });
            if !finished {
                let message =
                    format!("{}: {what} before the parent {parent} was finished", describe(name));
                report.invalid(message, &[event]);
            }
        }
    }
}

/// L6.
pub(crate) fn two_owners(run: &Run<'_>, report: &mut Report) {
    for (name, lease) in leases(run) {
        for (epoch, processed) in by_epoch(&lease) {
            let Some((_, last)) = processed.last() else { continue };
            let next = lease.takes.iter().filter(|take| take.epoch > epoch);
            let next = next.filter_map(|take| Some((take, take.end?.1)));
            let Some((take, at)) = next.min_by_key(|(_, at)| *at) else { continue };
            let overlap = last.invoked.since(at) / 1_000_000;
            if last.invoked > at {
                let message = format!(
                    "{}: epoch {epoch} worked for {overlap} ms after {} took epoch {}",
                    describe(&name),
                    take.owner,
                    take.epoch
                );
                report.note(message, &[take.begin, last.index]);
            }
        }
    }
}

/// L7.
pub(crate) fn recovery(run: &Run<'_>, report: &mut Report) {
    let limit = run.header.recovery_ms;
    for operation in &run.operations {
        let Call::RecoverLease(call) = operation.call else { continue };
        let lease = describe(&(&call.app, &call.stream, &call.shard));
        match operation.outcome {
            Outcome::Ok { answer: Answer::RecoverLease(recovered), .. } => {
                if recovered.ms > limit.0 {
                    let message = format!(
                        "{lease}: a checkpoint took {} ms after the heal, and the limit is {} ms",
                        recovered.ms, limit.0
                    );
                    report.late(message, &[operation.index]);
                }
            }
            Outcome::Ok { .. } | Outcome::Failed { .. } | Outcome::Unknown => {
                report.late(format!("{lease}: no checkpoint after the heal"), &[operation.index]);
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
