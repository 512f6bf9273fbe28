//! Completeness (C1 to C7): nothing that was acknowledged or seen is missing, and readers leave nothing out.
//!
//! These rules rest on one property of a log: what is below a visible record never changes, except that a prefix is
//! trimmed. A record that may have been trimmed by its age never counts as missing.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{GetApi, IterStart, Millis, Nanos, Seq};
use crate::run::{Chain, Full, PageSeen, Position, Run, ShardKey};
use crate::verdict::Report;

/// Positions that a full read lacks although they were known before it began, and are too young to be trimmed.
fn missing<'r>(run: &'r Run<'_>, drain: &Full<'_>) -> Vec<&'r Position> {
    let found: BTreeSet<Seq> = drain.records.iter().map(|record| record.seq).collect();
    let known = |position: &&Position| {
        let is_older = |at: Option<Nanos>| at.is_some_and(|at| at < drain.invoked);
        is_older(position.acked) || is_older(position.read)
    };
    run.shards[drain.shard]
        .log
        .iter()
        .filter(|position| !found.contains(&position.seq))
        .filter(known)
        .filter(|position| !run.may_be_trimmed(drain.shard, position, drain.at))
        .collect()
}

/// C1. Each full read is checked on its own, so records that only one gateway lost are found. Positions that were
/// read but never acknowledged belong to C2.
pub(crate) fn lost_write(run: &Run<'_>, report: &mut Report) {
    for drain in &run.drains {
        let mut lost: BTreeMap<u64, Vec<&Position>> = BTreeMap::new();
        for position in missing(run, drain).into_iter().filter(|known| known.acked.is_some()) {
            let writer = position.uid.map_or(u64::MAX, |uid| uid.process);
            lost.entry(writer).or_default().push(position);
        }
        for (writer, lost) in lost {
            report_lost(run, report, drain, writer, &lost);
        }
    }
    report_undrained(run, report);
    for stream in &run.reused {
        let message = format!(
            "stream {stream}: it was created more than once, so its records are not checked"
        );
        report.note(message, &[]);
    }
}

/// One finding for each full read and writer. The class says which part of the writer's records is lost.
fn report_lost(
    run: &Run<'_>,
    report: &mut Report,
    drain: &Full<'_>,
    writer: u64,
    lost: &[&Position],
) {
    let class = class_of_loss(run, drain, writer, lost);
    let (shard, through) = (run.shards.name(drain.shard), drain.through());
    let listed: Vec<String> = lost.iter().take(5).map(|position| describe(position)).collect();
    let elsewhere = gateways_with(run, drain.shard, lost[0].seq);
    let message = format!(
        "{class}: {shard}: {} acknowledged records of process {writer} are missing in a full read through {through}: {}{}; {elsewhere}",
        lost.len(),
        listed.join(", "),
        if lost.len() > listed.len() { ", and more" } else { "" }
    );
    let mut events: Vec<u64> = lost.iter().take(5).map(|position| position.index).collect();
    events.push(drain.index);
    report.invalid(message, &events);
}

fn describe(position: &Position) -> String {
    let uid = position.uid.map_or_else(|| "unknown".to_owned(), |uid| uid.to_string());
    format!("{uid} at {}", position.seq)
}

/// Which part of the records of a writer is lost. A loss in the middle is the worst sign: the log has a hole.
fn class_of_loss(run: &Run<'_>, drain: &Full<'_>, writer: u64, lost: &[&Position]) -> &'static str {
    let is_of_writer = |position: &&Position| {
        let is_acked = position.acked.is_some_and(|at| at < drain.invoked);
        is_acked && position.uid.is_some_and(|uid| uid.process == writer)
    };
    let lost: BTreeSet<Seq> = lost.iter().map(|position| position.seq).collect();
    let log = &run.shards[drain.shard].log;
    let present: Vec<Seq> = log
        .iter()
        .filter(is_of_writer)
        .map(|position| position.seq)
        .filter(|seq| !lost.contains(seq))
        .collect();
    let (first_lost, last_lost) = (lost.first(), lost.last());
    match (present.first(), present.last()) {
        (None, _) | (_, None) => "lost-all",
        (Some(first), _) if last_lost < Some(first) => "lost-prefix",
        (_, Some(last)) if first_lost > Some(last) => "lost-postfix",
        _ => "lost-middle",
    }
}

fn gateways_with(run: &Run<'_>, shard: ShardKey, seq: Seq) -> String {
    let has = |drain: &&Full<'_>| {
        drain.shard == shard && drain.records.iter().any(|record| record.seq == seq)
    };
    let gateways: BTreeSet<String> =
        run.drains.iter().filter(has).map(|drain| drain.through()).collect();
    if gateways.is_empty() {
        return "no full read has the first of them".to_owned();
    }
    let gateways: Vec<String> = gateways.into_iter().collect();
    format!("the first of them is in full reads through {}", gateways.join(", "))
}

/// A shard with acknowledged records that no full read covers proves nothing.
fn report_undrained(run: &Run<'_>, report: &mut Report) {
    let drained: BTreeSet<ShardKey> = run.drains.iter().map(|drain| drain.shard).collect();
    for shard in run.shards.keys().filter(|shard| !drained.contains(shard)) {
        let is_due = |position: &&Position| {
            position.acked.is_some() && !run.may_be_trimmed(shard, position, run.end)
        };
        let due = run.shards[shard].log.iter().filter(is_due).count();
        if due > 0 {
            let shard = run.shards.name(shard);
            let message =
                format!("{shard}: no full read of this shard, so {due} records are not checked");
            report.unknown(message, &[]);
        }
    }
}

/// C2.
pub(crate) fn flicker(run: &Run<'_>, report: &mut Report) {
    for drain in &run.drains {
        for position in missing(run, drain).into_iter().filter(|known| known.acked.is_none()) {
            let place = run.place(drain.shard, position.seq);
            let (what, through) = (describe(position), drain.through());
            let message = format!(
                "{place}: record {what} was read, and a later full read through {through} lacks it"
            );
            report.invalid(message, &[position.index, drain.index]);
        }
    }
}

/// C3. The start of a chain belongs to C5 and T2, except behind the sequence number of its iterator. Positions that
/// may be trimmed belong to T1.
pub(crate) fn skip(run: &Run<'_>, report: &mut Report) {
    for chain in live_chains(run) {
        let start = match chain.start {
            IterStart::AtSequenceNumber(seq) | IterStart::AfterSequenceNumber(seq) => Some(seq),
            IterStart::TrimHorizon | IterStart::Latest | IterStart::AtTimestamp(_) => None,
        };
        for (before, page) in chain.steps() {
            let mut last = before.or(start);
            for record in &page.page.records {
                if let Some(above) = last {
                    report_skipped(run, report, chain, page, above, record.seq);
                }
                last = Some(record.seq);
            }
        }
    }
}

fn report_skipped(
    run: &Run<'_>,
    report: &mut Report,
    chain: &Chain<'_>,
    page: &PageSeen<'_>,
    above: Seq,
    below: Seq,
) {
    if below <= above {
        return;
    }
    let between = run.shards[chain.shard].between(Some(above), Some(below));
    let mut due =
        between.iter().filter(|position| !run.may_be_trimmed(chain.shard, position, page.at));
    if let Some(position) = due.next() {
        let place = run.place(chain.shard, position.seq);
        let more = due.count();
        let message = format!(
            "chain {}: {place} (record {}) was left out between {above} and {below}, and {more} more",
            chain.number,
            describe(position)
        );
        report.invalid(message, &[chain.index, page.index, position.index]);
    }
}

/// Chains of streams that were not deleted.
fn live_chains<'r, 'a>(run: &'r Run<'a>) -> impl Iterator<Item = &'r Chain<'a>> {
    run.chains.iter().filter(|chain| !run.is_deleted(chain.shard))
}

/// The first position that the chain still has to return, if it returned `last` as its newest record.
fn first_ahead<'r>(
    run: &'r Run<'_>,
    chain: &Chain<'_>,
    last: Option<Seq>,
    at: Nanos,
) -> Option<&'r Position> {
    let ahead = run.shards[chain.shard].between(last, None).iter();
    ahead
        .filter(|position| chain.is_ahead(last, position))
        .find(|position| !run.may_be_trimmed(chain.shard, position, at))
}

/// C4.
pub(crate) fn premature_end(run: &Run<'_>, report: &mut Report) {
    for chain in live_chains(run) {
        for (before, page) in chain.steps().filter(|(_, page)| !page.page.next) {
            let last = page.page.records.last().map(|record| record.seq).or(before);
            let shard = run.shards.name(chain.shard);
            if let Some(position) = first_ahead(run, chain, last, page.at) {
                let message = format!(
                    "chain {}: {shard}: the chain ended before record {}",
                    chain.number,
                    describe(position)
                );
                report.invalid(message, &[page.index, position.index]);
            } else if run.shards[chain.shard].closed.is_none() {
                let number = chain.number;
                let message = format!(
                    "chain {number}: {shard}: the chain ended, but the shard is not closed"
                );
                report.invalid(message, &[page.index]);
            }
        }
    }
}

/// C5. Looks at the first record of each chain, then at the arrival times of all records.
pub(crate) fn iterator_start(run: &Run<'_>, report: &mut Report) {
    for chain in live_chains(run) {
        let mut first =
            chain.pages.iter().filter_map(|page| Some((page, page.page.records.first()?)));
        let Some((page, record)) = first.next() else { continue };
        let why = too_early(run, chain, record.seq, record.ts)
            .or_else(|| too_late(run, chain, record.seq, page.at));
        if let Some(why) = why {
            let shard = run.shards.name(chain.shard);
            let message = format!("chain {} ({:?}): {shard}: {why}", chain.number, chain.start);
            report.invalid(message, &[chain.index, page.index]);
        }
    }
    for shard in run.shards.keys() {
        report_falling_arrivals(run, report, shard);
    }
}

/// Why the first record of a chain is before its start.
fn too_early(run: &Run<'_>, chain: &Chain<'_>, first: Seq, arrival: Millis) -> Option<String> {
    // Whether the record was acknowledged before the iterator was asked for.
    let is_old = || {
        let acked = run.shards[chain.shard].position(first).and_then(|position| position.acked);
        acked.is_some_and(|acked| acked < chain.invoked)
    };
    match chain.start {
        IterStart::TrimHorizon => None,
        IterStart::AtSequenceNumber(seq) => {
            (first < seq).then(|| format!("{first} is before the start"))
        }
        IterStart::AfterSequenceNumber(seq) => {
            (first <= seq).then(|| format!("{first} is not behind the start"))
        }
        IterStart::Latest => {
            is_old().then(|| format!("{first} was acknowledged before the iterator was asked for"))
        }
        // A record whose put was still on its way has the time at which the leader took it, and its place is behind all
        // records that the iterator could see.
        IterStart::AtTimestamp(time) => {
            let (at, time) = (arrival.0, time.0);
            (at < time && is_old()).then(|| format!("{first} arrived at {at}, before {time}"))
        }
    }
}

/// Why a record between the start of a chain and its first record is missing. C3 and T2 have the other starts.
fn too_late(run: &Run<'_>, chain: &Chain<'_>, first: Seq, at: Nanos) -> Option<String> {
    let shard = &run.shards[chain.shard];
    let left_out = match chain.start {
        IterStart::TrimHorizon | IterStart::AfterSequenceNumber(_) => None,
        IterStart::AtSequenceNumber(seq) => shard.position(seq).filter(|known| known.seq < first),
        IterStart::Latest | IterStart::AtTimestamp(_) => {
            shard.between(None, Some(first)).iter().find(|position| chain.is_ahead(None, position))
        }
    };
    let left_out = left_out.filter(|position| !run.may_be_trimmed(chain.shard, position, at))?;
    Some(format!("record {} was left out before the first record {first}", describe(left_out)))
}

fn report_falling_arrivals(run: &Run<'_>, report: &mut Report, shard: ShardKey) {
    let arrivals = run.shards[shard].log.iter().filter_map(|known| Some((known, known.arrival?)));
    let mut last: Option<(&Position, Millis)> = None;
    for (position, arrival) in arrivals {
        if let Some((before, _)) = last.filter(|(_, before)| *before > arrival) {
            let place = run.place(shard, position.seq);
            let message = format!(
                "{place}: it arrived at {}, before the record below it ({})",
                arrival.0, before.seq
            );
            report.invalid(message, &[before.index, position.index]);
        }
        last = Some((position, arrival));
    }
}

/// For each shard, the acknowledgements by time, each with the highest position up to it.
struct Newest<'r>(BTreeMap<ShardKey, Vec<(Nanos, &'r Position)>>);

impl<'r> Newest<'r> {
    fn of(run: &'r Run<'_>) -> Self {
        let mut shards = BTreeMap::new();
        for shard in run.shards.keys() {
            let acked =
                run.shards[shard].log.iter().filter_map(|known| Some((known.acked?, known)));
            let mut acked: Vec<(Nanos, &Position)> = acked.collect();
            acked.sort_by_key(|(at, _)| *at);
            let mut highest: Option<&Position> = None;
            for (_, position) in &mut acked {
                highest = highest.filter(|known| known.seq > position.seq).or(Some(*position));
                *position = highest.unwrap_or(*position);
            }
            shards.insert(shard, acked);
        }
        Self(shards)
    }

    /// The highest position that was acknowledged before this time.
    fn before(&self, shard: ShardKey, time: Nanos) -> Option<&'r Position> {
        let acked = self.0.get(&shard)?;
        let count = acked.partition_point(|(at, _)| *at < time);
        count.checked_sub(1).map(|last| acked[last].1)
    }
}

/// A page after which the chain should have gone on to a record that was acknowledged before a time.
struct Behind<'r> {
    page: PageSeen<'r>,
    chain: &'r Chain<'r>,
    position: &'r Position,
}

/// All pages that end before a record that was acknowledged `age` or longer before the read began.
fn pages_behind<'r>(run: &'r Run<'_>, age: Millis) -> Vec<Behind<'r>> {
    let newest = Newest::of(run);
    let mut behind = Vec::new();
    for chain in live_chains(run) {
        for (before, page) in chain.steps().filter(|(_, page)| page.page.next) {
            let last = page.page.records.last().map(|record| record.seq).or(before);
            let limit = Nanos(page.invoked.0.saturating_sub(age.as_nanos()));
            let Some(position) = newest.before(chain.shard, limit) else { continue };
            if chain.is_ahead(last, position) && !run.may_be_trimmed(chain.shard, position, page.at)
            {
                behind.push(Behind { page: *page, chain, position });
            }
        }
    }
    behind
}

/// C6. It fails only if strong reads are promised.
pub(crate) fn stale(run: &Run<'_>, report: &mut Report) {
    let promised = run.header.promises.strong_reads;
    for Behind { page, chain, position } in stale_pages(run) {
        let shard = run.shards.name(chain.shard);
        let message = format!(
            "chain {}: {shard}: a read at {} said that it is at the tip, but record {} was acknowledged at {}",
            chain.number,
            page.invoked,
            describe(position),
            position.acked.unwrap_or_default()
        );
        report.promised(promised, message, &[position.index, page.index]);
    }
}

/// A pushed event, or a page that a native reader has fetched ahead, was made before the harness asked for it. So only
/// GetRecords shows what a server knew after the call began.
fn stale_pages<'r>(run: &'r Run<'_>) -> impl Iterator<Item = Behind<'r>> {
    let behind = pages_behind(run, Millis(0)).into_iter();
    behind.filter(|Behind { page, .. }| page.page.behind_ms == 0 && page.api == GetApi::GetRecords)
}

/// How many reads were stale, and the longest time in nanoseconds from an acknowledgement to a stale read.
pub(crate) fn count_stale(run: &Run<'_>) -> (u64, u64) {
    let late = stale_pages(run)
        .map(|behind| behind.page.invoked.since(behind.position.acked.unwrap_or_default()));
    late.fold((0, 0), |(count, longest), late| (count + 1, longest.max(late)))
}

/// C7. A reader that gets an empty page waits for records. So it must not be far behind the tip. A page that says
/// that it is at the tip belongs to C6.
pub(crate) fn realtime_lag(run: &Run<'_>, report: &mut Report) {
    let Some(heal) = run.surroundings.last_heal else { return };
    let recovered = heal.plus(run.header.recovery_ms);
    for Behind { page, chain, position } in pages_behind(run, run.header.lag_limit_ms) {
        let waits = page.page.records.is_empty() && page.page.behind_ms > 0;
        if waits && page.invoked > recovered {
            let shard = run.shards.name(chain.shard);
            let message = format!(
                "chain {}: {shard}: an empty read at {}, long after the heal, but record {} was acknowledged at {}",
                chain.number,
                page.invoked,
                describe(position),
                position.acked.unwrap_or_default()
            );
            report.late(message, &[position.index, page.index]);
        }
    }
}

/// The longest time in nanoseconds for which an acknowledged record was ahead of a reader that got an empty page.
pub(crate) fn longest_lag(run: &Run<'_>) -> u64 {
    let waiting = pages_behind(run, Millis(0)).into_iter();
    let waiting = waiting.filter(|behind| behind.page.page.records.is_empty());
    waiting
        .map(|behind| behind.page.invoked.since(behind.position.acked.unwrap_or_default()))
        .max()
        .unwrap_or(0)
}
