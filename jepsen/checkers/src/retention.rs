//! Retention (T1 to T5): records are trimmed from the front, in time, and for good.

use std::collections::BTreeMap;

use crate::history::{IterStart, Nanos, Record, Seq};
use crate::run::{Position, Run, ShardKey};
use crate::verdict::Report;

/// T1. Looks at single responses: a full read takes several, and a trim may fall between them. Positions that are
/// too young to be trimmed belong to C3.
pub(crate) fn prefix(run: &Run<'_>, report: &mut Report) {
    for chain in run.chains.iter().filter(|chain| !run.is_deleted(chain.shard)) {
        for page in &chain.pages {
            for pair in page.page.records.windows(2) {
                if let Some(hole) = first_hole(run, chain.shard, pair, page.at) {
                    let place = run.place(chain.shard, hole.seq);
                    let message = format!(
                        "chain {}: {place} is trimmed, but one response has the records {} and {} around it",
                        chain.number, pair[0].seq, pair[1].seq
                    );
                    report.invalid(message, &[hole.index, page.index]);
                }
            }
        }
    }
}

fn first_hole<'r>(
    run: &'r Run<'_>,
    shard: ShardKey,
    pair: &[Record],
    at: Nanos,
) -> Option<&'r Position> {
    let (above, below) = (pair[0].seq, pair[1].seq);
    if below <= above {
        return None;
    }
    let between = run.shards[shard].between(Some(above), Some(below));
    between.iter().find(|position| run.may_be_trimmed(shard, position, at))
}

/// T2. Looks at chains that begin at the oldest record. Full reads belong to C1.
pub(crate) fn not_early(run: &Run<'_>, report: &mut Report) {
    let chains = run.chains.iter().filter(|chain| chain.start == IterStart::TrimHorizon);
    for chain in chains {
        let first = chain.pages.iter().find_map(|page| Some((page, page.page.records.first()?)));
        let Some((page, first)) = first else { continue };
        let below = run.shards[chain.shard].between(None, Some(first.seq));
        let young = |known: &&Position| !run.may_be_trimmed(chain.shard, known, page.at);
        if let Some(position) = below.iter().find(young) {
            let place = run.place(chain.shard, position.seq);
            let age = Nanos(page.at.since(position.since));
            let message = format!(
                "chain {}: {place} was {age} old and already trimmed: the oldest record was {}",
                chain.number, first.seq
            );
            report.invalid(message, &[chain.index, page.index, position.index]);
        }
    }
}

/// A response that shows the oldest record of a shard at some time.
#[derive(Clone, Copy)]
struct Horizon {
    oldest: Seq,
    invoked: Nanos,
    at: Nanos,
    index: u64,
}

/// What was read, for the search of trimmed records that come back.
#[derive(Default)]
struct Reads {
    horizons: Vec<Horizon>,
    /// The lowest number of each response, with the times and the index of the response.
    lowest: Vec<Horizon>,
}

fn collect(run: &Run<'_>) -> BTreeMap<ShardKey, Reads> {
    let mut shards: BTreeMap<ShardKey, Reads> = BTreeMap::new();
    for chain in &run.chains {
        let reads = shards.entry(chain.shard).or_default();
        let mut is_first = chain.start == IterStart::TrimHorizon;
        for page in &chain.pages {
            let Some(oldest) = page.page.records.iter().map(|record| record.seq).min() else {
                continue;
            };
            let (invoked, at, index) = (page.invoked, page.at, page.index);
            let seen = Horizon { oldest, invoked, at, index };
            reads.lowest.push(seen);
            if std::mem::take(&mut is_first) {
                reads.horizons.push(seen);
            }
        }
    }
    for drain in &run.drains {
        let Some(oldest) = drain.records.iter().map(|record| record.seq).min() else { continue };
        let (invoked, at, index) = (drain.invoked, drain.at, drain.index);
        let reads = shards.entry(drain.shard).or_default();
        reads.lowest.push(Horizon { oldest, invoked, at, index });
        reads.horizons.push(Horizon { oldest, invoked, at, index });
    }
    shards
}

/// A record that was trimmed, and was read later.
struct Returned {
    shard: ShardKey,
    trimmed: Horizon,
    read: Horizon,
    raised: bool,
}

/// All reads of a record that an earlier read no longer had. A record that was too young to be trimmed belongs to T2.
fn returned(run: &Run<'_>) -> Vec<Returned> {
    let staleness = run.header.promises.trim_staleness_ms;
    let mut found = Vec::new();
    for (shard, mut reads) in collect(run) {
        if run.is_deleted(shard) {
            continue;
        }
        reads.horizons.sort_by_key(|horizon| horizon.at);
        reads.lowest.sort_by_key(|read| read.invoked);
        let mut horizons = reads.horizons.into_iter().peekable();
        let mut newest: Option<Horizon> = None;
        for read in reads.lowest {
            while let Some(next) = horizons.next_if(|next| next.at.plus(staleness) < read.invoked) {
                newest = newest.filter(|known| known.oldest >= next.oldest).or(Some(next));
            }
            let Some(trimmed) = newest.filter(|known| known.oldest > read.oldest) else { continue };
            let position = run.shards[shard].position(read.oldest);
            if position.is_some_and(|known| run.may_be_trimmed(shard, known, trimmed.at)) {
                let mut raises = run.raises(run.shards[shard].stream).iter();
                let raised = raises.any(|at| trimmed.invoked <= *at && *at <= read.at);
                found.push(Returned { shard, trimmed, read, raised });
            }
        }
    }
    found
}

fn report_returned(run: &Run<'_>, report: &mut Report, raised: bool, why: &str) {
    for found in returned(run).iter().filter(|found| found.raised == raised) {
        let place = run.place(found.shard, found.read.oldest);
        let message = format!(
            "{place}: read at {}, although {} was the oldest record at {}{why}",
            found.read.at, found.trimmed.oldest, found.trimmed.at
        );
        report.invalid(message, &[found.trimmed.index, found.read.index]);
    }
}

/// T3.
pub(crate) fn trim_monotone(run: &Run<'_>, report: &mut Report) {
    report_returned(run, report, false, "");
}

/// T4.
pub(crate) fn raise_restores_nothing(run: &Run<'_>, report: &mut Report) {
    report_returned(run, report, true, "; the retention was raised meanwhile");
}

/// T5. Nothing is said unless a time is promised.
pub(crate) fn trimmed_in_time(run: &Run<'_>, report: &mut Report) {
    let Some(slack) = run.header.trim_slack_ms else { return };
    let slack = slack.as_nanos().saturating_add(run.header.clock_skew_ms.as_nanos());
    for (shard, reads) in collect(run) {
        for read in reads.lowest {
            let Some(position) = run.shards[shard].position(read.oldest) else { continue };
            let Some(acked) = position.acked else { continue };
            let (_, most) = run.retention(run.shards[shard].stream, acked, read.invoked);
            let age = read.invoked.since(acked);
            if age > most.saturating_add(slack) {
                let (place, age) = (run.place(shard, read.oldest), Nanos(age));
                report.late(
                    format!("{place}: it was read {age} after it was acknowledged"),
                    &[position.index, read.index],
                );
            }
        }
    }
}
