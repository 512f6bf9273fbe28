//! Order (O1 to O5): numbers rise with time, in each shard and from parents to children.

use std::collections::{BTreeMap, HashMap};

use crate::history::{Record, Seq};
use crate::run::{Ack, Put, Run, ShardKey};
use crate::verdict::Report;

/// O1.
pub(crate) fn order_of_reads(run: &Run<'_>, report: &mut Report) {
    for chain in &run.chains {
        for (before, page) in chain.steps() {
            if let Some((a, b)) = first_fall(before, &page.page.records) {
                let place = run.place(chain.shard, b);
                let message = format!("chain {}: {place} was returned after {a}", chain.number);
                report.invalid(message, &[page.index]);
            }
        }
    }
    for drain in &run.drains {
        if let Some((a, b)) = first_fall(None, drain.records) {
            let (place, through) = (run.place(drain.shard, b), drain.through());
            report.invalid(
                format!("full read through {through}: {place} came after {a}"),
                &[drain.index],
            );
        }
    }
}

/// The first number that is not above the number before it.
fn first_fall(mut last: Option<Seq>, records: &[Record]) -> Option<(Seq, Seq)> {
    for record in records {
        if let Some(before) = last.filter(|before| *before >= record.seq) {
            return Some((before, record.seq));
        }
        last = Some(record.seq);
    }
    None
}

/// An acknowledged put.
type Acked<'r, 'a> = (&'r Put<'a>, Ack);

/// The acknowledged puts of each shard, in the order of their first invocations.
fn acked_by_shard<'r, 'a>(run: &'r Run<'a>) -> BTreeMap<ShardKey, Vec<Acked<'r, 'a>>> {
    let mut shards: BTreeMap<ShardKey, Vec<Acked<'_, '_>>> = BTreeMap::new();
    for (put, ack) in run.acks() {
        shards.entry(ack.shard).or_default().push((put, ack));
    }
    for acked in shards.values_mut() {
        acked.sort_by_key(|(put, ack)| (put.since, put.index, ack.seq));
    }
    shards
}

/// The highest number so far of each process. Knows the highest of all processes but one.
#[derive(Default)]
struct Highest<'r, 'a> {
    of_process: HashMap<u64, Acked<'r, 'a>>,
    best: Option<Acked<'r, 'a>>,
    /// The highest number of the processes other than that of `best`.
    second: Option<Acked<'r, 'a>>,
}

impl<'r, 'a> Highest<'r, 'a> {
    fn add(&mut self, acked: Acked<'r, 'a>) {
        let own = self.of_process.entry(acked.0.process).or_insert(acked);
        if own.1.seq < acked.1.seq {
            *own = acked;
        }
        let is_above = |known: Option<Acked<'_, '_>>| known.is_none_or(|k| k.1.seq < acked.1.seq);
        if is_above(self.best) {
            if self.best.is_some_and(|best| best.0.process != acked.0.process) {
                self.second = self.best;
            }
            self.best = Some(acked);
        } else if self.best.is_some_and(|best| best.0.process != acked.0.process)
            && is_above(self.second)
        {
            self.second = Some(acked);
        }
    }

    fn of_others(&self, process: u64) -> Option<Acked<'r, 'a>> {
        if self.best.is_some_and(|best| best.0.process == process) {
            self.second
        } else {
            self.best
        }
    }
}

/// Calls `look` with each acknowledged put, and with what was acknowledged in its shard before it began.
fn sweep<'r, 'a>(run: &'r Run<'a>, mut look: impl FnMut(Acked<'r, 'a>, &Highest<'r, 'a>)) {
    for acked in acked_by_shard(run).into_values() {
        let mut completed = acked.clone();
        completed.sort_by_key(|(_, ack)| ack.at);
        let mut completed = completed.into_iter().peekable();
        let mut highest = Highest::default();
        for next in acked {
            while let Some(before) = completed.next_if(|(_, ack)| ack.at < next.0.since) {
                highest.add(before);
            }
            look(next, &highest);
        }
    }
}

fn compare(run: &Run<'_>, before: Acked<'_, '_>, after: Acked<'_, '_>) -> String {
    let ((a, a_ack), (b, b_ack)) = (before, after);
    format!(
        "{}: record {} of process {} has number {}, and record {} of process {} began after that and has the lower number {}",
        run.shards.name(b_ack.shard),
        a.uid,
        a.process,
        a_ack.seq,
        b.uid,
        b.process,
        b_ack.seq
    )
}

/// O2. Two classes: *order-contract* is promised by the API (SequenceNumberForOrdering), *order-design* by our design.
/// Pairs of one process belong to O3.
pub(crate) fn real_time_order(run: &Run<'_>, report: &mut Report) {
    for (put, ack) in run.acks() {
        if let Some(ord) = broken_contract(run, put, ack) {
            let place = run.place(ack.shard, ack.seq);
            let (uid, process) = (put.uid, put.process);
            let message = format!(
                "order-contract: {place}: record {uid} of process {process} was to come after number {ord}"
            );
            report.invalid(message, &[put.index, ack.index]);
        }
    }
    let promised = run.header.promises.design_order;
    sweep(run, |after, highest| {
        let Some(before) = highest.of_others(after.0.process) else { return };
        if before.1.seq >= after.1.seq && before.0.uid != after.0.uid {
            let message = format!("order-design: {}", compare(run, before, after));
            report.promised(promised, message, &[before.1.index, after.0.index, after.1.index]);
        }
    });
}

/// The number that the put was to come after, if it does not. A number of another key promises nothing.
fn broken_contract(run: &Run<'_>, put: &Put<'_>, ack: Ack) -> Option<Seq> {
    let ord = put.ord.filter(|ord| ack.seq <= *ord)?;
    let family = run.shards.ancestors(ack.shard).into_iter().chain([ack.shard]);
    let mut named = family.filter_map(|shard| run.shards[shard].position(ord)?.uid);
    named.any(|uid| run.put_of(uid).is_some_and(|before| before.pk == put.pk)).then_some(ord)
}

/// O3. Pairs that break the contract of O2 are left out.
pub(crate) fn order_of_a_process(run: &Run<'_>, report: &mut Report) {
    sweep(run, |after, highest| {
        let Some(before) = highest.of_process.get(&after.0.process) else { return };
        let (put, ack) = after;
        let falls = before.1.seq >= ack.seq && before.0.uid != put.uid;
        if falls && broken_contract(run, put, ack).is_none() {
            let events = [before.1.index, put.index, ack.index];
            report.invalid(compare(run, *before, after), &events);
        }
    });
}

/// O4. After a retry the order may change.
pub(crate) fn array_order(run: &Run<'_>, report: &mut Report) {
    let promised = run.header.promises.array_order;
    for call in run.puts.chunk_by(|a, b| a.index == b.index) {
        let mut last: HashMap<ShardKey, &Put<'_>> = HashMap::new();
        for (put, ack) in call.iter().filter_map(|put| Some((put, put.ack()?))) {
            let before = last.insert(ack.shard, put);
            let higher = before.and_then(Put::ack).filter(|before| before.seq >= ack.seq);
            if let (Some(before), Some(higher), 1) = (before, higher, put.attempts) {
                let shard = run.shards.name(ack.shard);
                let message = format!(
                    "{shard}: record {} is before record {} in one call, but has number {}, above {}",
                    before.uid, put.uid, higher.seq, ack.seq
                );
                report.promised(promised, message, &[put.index, ack.index]);
            }
        }
    }
}

/// O5. Looks at numbers, then at times: a record of a child was acknowledged, so no later put is acknowledged in an
/// ancestor.
pub(crate) fn order_across_resharding(run: &Run<'_>, report: &mut Report) {
    let mut first_child_ack: HashMap<ShardKey, Acked<'_, '_>> = HashMap::new();
    let by_shard = acked_by_shard(run);
    for child in run.shards.keys() {
        let ancestors = run.shards.ancestors(child);
        let first_ack =
            by_shard.get(&child).and_then(|acked| acked.iter().min_by_key(|(_, ack)| ack.at));
        for ancestor in ancestors {
            compare_numbers(run, report, ancestor, child);
            let Some(first) = first_ack else { continue };
            let known = first_child_ack.entry(ancestor).or_insert(*first);
            if first.1.at < known.1.at {
                *known = *first;
            }
        }
    }
    for (shard, acked) in &by_shard {
        let Some((child_put, child_ack)) = first_child_ack.get(shard) else { continue };
        for (put, ack) in acked.iter().filter(|(put, _)| put.since > child_ack.at) {
            let message = format!(
                "{}: record {} of process {} was acknowledged here, but record {} was in {} before it began",
                run.place(ack.shard, ack.seq),
                put.uid,
                put.process,
                child_put.uid,
                run.shards.name(child_ack.shard)
            );
            report.invalid(message, &[child_ack.index, put.index, ack.index]);
        }
    }
}

fn compare_numbers(run: &Run<'_>, report: &mut Report, ancestor: ShardKey, child: ShardKey) {
    let (Some(last), Some(first)) =
        (run.shards[ancestor].log.last(), run.shards[child].log.first())
    else {
        return;
    };
    if ancestor != child && last.seq >= first.seq {
        let (above, below) = (run.place(ancestor, last.seq), run.place(child, first.seq));
        let message = format!("a record of an ancestor ({above}) is not below {below}");
        report.invalid(message, &[last.index, first.index]);
    }
}
