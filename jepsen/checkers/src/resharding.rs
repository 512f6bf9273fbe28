//! Resharding (R1 to R7): splits and merges move hash keys from parents to children, once and without a gap.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Call, HashKey, HashRange, Nanos, Operation, Outcome, Seq, Shard, StreamName};
use crate::integrity;
use crate::run::{Listing, Run, ShardKey};
use crate::verdict::Report;

/// R1.
pub(crate) fn snapshot(run: &Run<'_>, report: &mut Report) {
    let mut had_shards: BTreeSet<&StreamName> = BTreeSet::new();
    for listing in &run.shards.listings {
        if listing.shards.is_empty() {
            let is_new = !had_shards.contains(listing.stream);
            if is_new || run.is_stream_deleted(listing.stream) {
                continue;
            }
        }
        had_shards.insert(listing.stream);
        if let Some(why) = wrong_cover(listing) {
            let message = format!("stream {}: {why}", listing.stream);
            report.invalid(message, &[listing.index]);
        }
    }
}

fn wrong_cover(listing: &Listing<'_>) -> Option<String> {
    let mut ids = BTreeSet::new();
    if let Some(twice) = listing.shards.iter().find(|shard| !ids.insert(&shard.shard)) {
        return Some(format!("shard {} is listed twice", twice.shard));
    }
    let mut open: Vec<&Shard> = listing.shards.iter().filter(|shard| shard.end.is_none()).collect();
    open.sort_by_key(|shard| shard.range);
    let mut next = Some(HashKey(0));
    for shard in open {
        let id = &shard.shard;
        match next {
            None => return Some(format!("open shard {id} overlaps another one")),
            Some(next) if shard.range.start > next => {
                return Some(format!("no open shard has hash key {next}, shard {id} is next"));
            }
            Some(next) if shard.range.start < next => {
                return Some(format!("open shard {id} overlaps another one"));
            }
            Some(_) => next = shard.range.end.0.checked_add(1).map(HashKey),
        }
    }
    next.map(|next| format!("no open shard has hash key {next}"))
}

/// R2. Each position is checked once.
pub(crate) fn routing(run: &Run<'_>, report: &mut Report) {
    for group in run.sightings.chunk_by(|a, b| (a.shard, a.seq) == (b.shard, b.seq)) {
        let seen = &group[0];
        let put = seen.uid.and_then(|uid| run.put_of(uid));
        let (Some(range), Some(put)) = (run.shards[seen.shard].range, put) else { continue };
        let key = put.hash_key();
        if !range.contains(key) {
            let message = format!(
                "{}: record {} has hash key {key}, but the shard has {} to {}",
                run.place(seen.shard, seen.seq),
                put.uid,
                range.start,
                range.end
            );
            report.invalid(message, &[put.index, seen.index]);
        }
    }
}

/// R3.
pub(crate) fn closed_stays_closed(run: &Run<'_>, report: &mut Report) {
    let closed = closings(run);
    for (put, ack) in run.acks() {
        let Some((at, index)) = closed.get(&ack.shard) else { continue };
        if put.since > *at {
            let place = run.place(ack.shard, ack.seq);
            let (uid, process) = (put.uid, put.process);
            let message = format!(
                "{place}: record {uid} of process {process} was acknowledged here, but the shard was closed before the put began"
            );
            report.invalid(message, &[*index, put.index, ack.index]);
        }
    }
    check_ends(run, report);
    for shard in closed.keys() {
        compare_drains(run, report, *shard);
    }
}

/// When each shard was known to be closed, and the event that says so.
fn closings(run: &Run<'_>) -> BTreeMap<ShardKey, (Nanos, u64)> {
    let mut closed: BTreeMap<ShardKey, (Nanos, u64)> = BTreeMap::new();
    let mut add = |shard: ShardKey, at: (Nanos, u64)| {
        let known = closed.entry(shard).or_insert(at);
        *known = at.min(*known);
    };
    for shard in run.shards.keys() {
        run.shards[shard].closed.into_iter().for_each(|at| add(shard, at));
    }
    if run.header.promises.reshard_waits {
        for operation in &run.operations {
            if let Outcome::Ok { at, index, .. } = operation.outcome {
                named_parents(run, operation).into_iter().for_each(|shard| add(shard, (at, index)));
            }
        }
    }
    closed
}

/// The shards that a split or a merge names.
fn named_parents(run: &Run<'_>, operation: &Operation<'_>) -> Vec<ShardKey> {
    let find = |stream, id| run.shards.find(stream, id);
    match operation.call {
        Call::Split(call) => find(&call.stream, &call.shard).into_iter().collect(),
        Call::Merge(call) => {
            [&call.a, &call.b].into_iter().filter_map(|id| find(&call.stream, id)).collect()
        }
        _ => Vec::new(),
    }
}

/// All lists agree on the end of a shard, and no record is above it.
fn check_ends(run: &Run<'_>, report: &mut Report) {
    let mut ends: BTreeMap<ShardKey, (Seq, u64)> = BTreeMap::new();
    for listing in &run.shards.listings {
        for shard in listing.shards {
            let key = run.shards.find(listing.stream, &shard.shard);
            let (Some(key), Some(end)) = (key, shard.end) else { continue };
            let known = *ends.entry(key).or_insert((end, listing.index));
            if known.0 != end {
                let shard = run.shards.name(key);
                let message =
                    format!("{shard}: its end is {} in one list and {end} in another", known.0);
                report.invalid(message, &[known.1, listing.index]);
            }
        }
    }
    for (shard, (end, index)) in ends {
        if let Some(last) = run.shards[shard].log.last().filter(|last| last.seq > end) {
            let place = run.place(shard, last.seq);
            report.invalid(
                format!("{place}: the record is above the end of the shard, {end}"),
                &[index, last.index],
            );
        }
    }
}

/// A record that a full read of a closed shard has, and an earlier full read lacks. Records that were acknowledged
/// belong to C1.
fn compare_drains(run: &Run<'_>, report: &mut Report, shard: ShardKey) {
    let Some((closed, _)) = run.shards[shard].closed else { return };
    let drains = || run.drains.iter().filter(move |drain| drain.shard == shard);
    for earlier in drains().filter(|drain| drain.invoked > closed) {
        let has: BTreeSet<Seq> = earlier.records.iter().map(|record| record.seq).collect();
        let is_new = |seq: Seq| {
            let position = run.shards[shard].position(seq);
            let is_due = position.is_some_and(|known| {
                known.acked.is_none() && !run.may_be_trimmed(shard, known, earlier.at)
            });
            !has.contains(&seq) && is_due
        };
        let was_read_before = |seq: Seq| {
            let position = run.shards[shard].position(seq);
            position.and_then(|known| known.read).is_some_and(|read| read < earlier.invoked)
        };
        for later in drains() {
            let mut seqs = later.records.iter().map(|record| record.seq);
            if let Some(seq) = seqs.find(|seq| is_new(*seq) && !was_read_before(*seq)) {
                let place = run.place(shard, seq);
                let (one, other) = (earlier.through(), later.through());
                let message = format!(
                    "{place}: the shard was closed, a full read through {one} lacks the record, and one through {other} has it"
                );
                report.invalid(message, &[earlier.index, later.index]);
            }
        }
    }
}

/// R4.
pub(crate) fn lineage(run: &Run<'_>, report: &mut Report) {
    check_agreement(run, report);
    for shard in run.shards.keys() {
        let facts = &run.shards[shard];
        let name = run.shards.name(shard);
        if run.shards.ancestors(shard).contains(&shard) {
            report.invalid(format!("{name}: the shard is its own ancestor"), &[]);
            continue;
        }
        for parent in &facts.parents {
            if let (Some(start), Some(end)) = (facts.start, run.shards[*parent].end)
                && start <= end
            {
                let parent = run.shards.name(*parent);
                let message = format!(
                    "{name}: it starts at {start}, not above the end {end} of its parent {parent}"
                );
                report.invalid(message, &[]);
            }
        }
        let why = wrong_child(run, shard).or_else(|| wrong_parent(run, shard));
        if let Some(why) = why {
            report.invalid(format!("{name}: {why}"), &[]);
        }
    }
}

/// All lists agree on what a shard is.
fn check_agreement(run: &Run<'_>, report: &mut Report) {
    let mut known: BTreeMap<(&StreamName, &str), (&Shard, u64)> = BTreeMap::new();
    let listings = run.shards.listings.iter();
    for listing in listings.filter(|listing| !run.is_stream_deleted(listing.stream)) {
        for shard in listing.shards {
            let first =
                known.entry((listing.stream, &shard.shard.0)).or_insert((shard, listing.index));
            let other = first.0;
            let same = (shard.range, shard.start, &shard.parents)
                == (other.range, other.start, &other.parents);
            if !same {
                let (stream, id) = (listing.stream, &shard.shard);
                let message = format!(
                    "stream {stream}, shard {id}: two lists differ in its hash keys, start or parents"
                );
                report.invalid(message, &[first.1, listing.index]);
            }
        }
    }
}

/// Why the hash keys of a child are not within those of its parents.
fn wrong_child(run: &Run<'_>, child: ShardKey) -> Option<String> {
    let facts = &run.shards[child];
    let range = facts.range?;
    let parents: Option<Vec<HashRange>> =
        facts.parents.iter().map(|parent| run.shards[*parent].range).collect();
    let mut parents = parents.filter(|parents| !parents.is_empty())?;
    parents.sort();
    let adjacent = |pair: &[HashRange]| pair[0].end.0.checked_add(1) == Some(pair[1].start.0);
    if !parents.windows(2).all(adjacent) {
        return Some("its parents are not adjacent".to_owned());
    }
    let (first, last) = (parents.first()?, parents.last()?);
    let is_within = first.start <= range.start && range.end <= last.end;
    (!is_within).then(|| "it has hash keys that its parents do not have".to_owned())
}

/// Why the children of a parent do not have its hash keys once. Children may reach into another parent too.
fn wrong_parent(run: &Run<'_>, parent: ShardKey) -> Option<String> {
    let facts = &run.shards[parent];
    let range = facts.range?;
    let children: Option<Vec<HashRange>> =
        facts.children.iter().map(|child| run.shards[*child].range).collect();
    let mut children = children.filter(|children| !children.is_empty())?;
    children.sort();
    let overlap = |pair: &[HashRange]| pair[0].end >= pair[1].start;
    let gap = |pair: &[HashRange]| pair[0].end.0.checked_add(1) < Some(pair[1].start.0);
    if children.windows(2).any(overlap) {
        return Some("two of its children have the same hash key".to_owned());
    }
    let covers = children.first()?.start <= range.start && children.last()?.end >= range.end;
    // A child that was split in its turn may have expired before any list showed it. Then a list names it as a parent
    // only.
    let mut others = run.shards.keys().map(|shard| &run.shards[shard]);
    let one_was_never_listed =
        others.any(|other| other.stream == facts.stream && other.range.is_none());
    let has_gap = !covers || children.windows(2).any(gap);
    (has_gap && !one_was_never_listed).then(|| "its children lack some of its hash keys".to_owned())
}

/// R5.
pub(crate) fn family_once(run: &Run<'_>, report: &mut Report) {
    for many in integrity::too_many(run).iter().filter(|many| many.is_in_family(run)) {
        report.invalid(many.message(run), &many.events());
    }
}

/// R6.
pub(crate) fn parent_before_child(run: &Run<'_>, report: &mut Report) {
    for chain in &run.chains {
        for page in &chain.pages {
            if let Some(why) = wrong_end(run, chain.shard, page.page) {
                let shard = run.shards.name(chain.shard);
                report.invalid(format!("chain {}: {shard}: {why}", chain.number), &[page.index]);
            }
        }
    }
    for child in run.shards.keys() {
        report_early_child(run, report, child);
    }
}

/// Why the children in a response are wrong. A chain that ends at a shard that is not closed belongs to C4.
fn wrong_end(run: &Run<'_>, shard: ShardKey, page: &crate::history::Page) -> Option<String> {
    let facts = &run.shards[shard];
    if page.next {
        let names_children = !page.children.is_empty();
        return names_children.then(|| "a read names children, but is not at the end".to_owned());
    }
    if page.children.is_empty() {
        return facts.end.is_some().then(|| "the end of the shard names no children".to_owned());
    }
    let stream = facts.stream;
    for child in &page.children {
        if !child.parents.contains(facts.id) {
            return Some(format!("child {} does not name this shard as a parent", child.shard));
        }
        let listed = run.shards.listings.iter().filter(|listing| listing.stream == stream);
        let listed = listed.flat_map(|listing| listing.shards).find(|at| at.shard == child.shard);
        let parents = |parents: &[crate::history::ShardId]| -> BTreeSet<String> {
            parents.iter().map(ToString::to_string).collect()
        };
        let differs = listed.is_some_and(|listed| {
            listed.range != child.range || parents(&listed.parents) != parents(&child.parents)
        });
        if differs {
            return Some(format!("child {} is different in the list of shards", child.shard));
        }
    }
    let named: BTreeSet<Option<ShardKey>> =
        page.children.iter().map(|child| run.shards.find(stream, &child.shard)).collect();
    let lacks = facts.children.iter().find(|child| !named.contains(&Some(**child)))?;
    Some(format!("the end of the shard does not name its child {}", run.shards[*lacks].id))
}

/// A record of a child that was acknowledged or read before any call that may have closed a parent began.
fn report_early_child(run: &Run<'_>, report: &mut Report, child: ShardKey) {
    let seen = |known: &crate::run::Position| known.acked.into_iter().chain(known.read).min();
    let first = run.shards[child]
        .log
        .iter()
        .filter_map(|known| Some((seen(known)?, known)))
        .min_by_key(|(at, _)| *at);
    let Some((at, position)) = first else { return };
    for parent in &run.shards[child].parents {
        let calls = Reshards::of(run, *parent);
        let Some(begun) = calls.possible().map(|call| call.invoked).min() else { continue };
        if at < begun {
            let place = run.place(child, position.seq);
            let parent = run.shards.name(*parent);
            let message = format!(
                "{place}: the record of a child was there at {at}, but the resharding of its parent ({parent}) began at {begun}"
            );
            report.invalid(message, &[position.index]);
        }
    }
}

/// The calls that may close a shard.
struct Reshards<'r, 'a> {
    splits: Vec<&'r Operation<'a>>,
    merges: Vec<&'r Operation<'a>>,
    scales: Vec<&'r Operation<'a>>,
}

fn may_work(operation: &Operation<'_>) -> bool {
    !matches!(operation.outcome, Outcome::Failed { .. })
}

impl<'r, 'a> Reshards<'r, 'a> {
    fn of(run: &'r Run<'a>, shard: ShardKey) -> Self {
        let facts = &run.shards[shard];
        let (mut splits, mut merges, mut scales) = (Vec::new(), Vec::new(), Vec::new());
        for operation in &run.reshards {
            match operation.call {
                Call::Split(call) if &call.stream == facts.stream && &call.shard == facts.id => {
                    splits.push(operation);
                }
                Call::Merge(call)
                    if &call.stream == facts.stream && [&call.a, &call.b].contains(&facts.id) =>
                {
                    merges.push(operation);
                }
                Call::Scale(call) if &call.stream == facts.stream => scales.push(operation),
                _ => {}
            }
        }
        Self { splits, merges, scales }
    }

    fn all(&self) -> impl Iterator<Item = &&'r Operation<'a>> {
        self.splits.iter().chain(&self.merges).chain(&self.scales)
    }

    /// The calls that did not fail.
    fn possible(&self) -> impl Iterator<Item = &&'r Operation<'a>> {
        self.all().filter(|call| may_work(call))
    }
}

/// R7. Says nothing about a shard that no call names: the load of an on-demand stream may have split it.
pub(crate) fn reshard_once(run: &Run<'_>, report: &mut Report) {
    for shard in run.shards.keys().filter(|shard| !run.shards[*shard].children.is_empty()) {
        let calls = Reshards::of(run, shard);
        if let Some(why) = wrong_effect(run, shard, &calls) {
            let events: Vec<u64> = calls.all().map(|call| call.index).collect();
            report.invalid(format!("{}: {why}", run.shards.name(shard)), &events);
        }
    }
}

fn wrong_effect(run: &Run<'_>, shard: ShardKey, calls: &Reshards<'_, '_>) -> Option<String> {
    calls.all().next()?;
    if calls.possible().next().is_none() {
        return Some("it has children, but each call to reshard it failed".to_owned());
    }
    if calls.scales.iter().any(|call| may_work(call)) {
        return None;
    }
    let children = &run.shards[shard].children;
    let merged = children.iter().filter(|child| run.shards[**child].parents.len() > 1).count();
    let is_merge = calls.merges.iter().any(|call| may_work(call));
    match (children.len(), merged) {
        (1, 1) if !is_merge => {
            Some("it was merged, but no call to merge it can have worked".to_owned())
        }
        (1, _) => None,
        (2, 0) => wrong_boundary(run, shard, calls),
        (count, _) => Some(format!("it has {count} children, so a resharding took effect twice")),
    }
}

/// Why the children of a split do not meet at the hash key of any call that may have worked.
fn wrong_boundary(run: &Run<'_>, shard: ShardKey, calls: &Reshards<'_, '_>) -> Option<String> {
    let ranges = run.shards[shard].children.iter().map(|child| run.shards[*child].range);
    let ranges: Vec<HashRange> = ranges.collect::<Option<_>>()?;
    let boundary = ranges.iter().map(|range| range.start).max()?;
    let asked = |call: &&&Operation<'_>| match call.call {
        Call::Split(split) => split.at == boundary && may_work(call),
        _ => false,
    };
    let found = calls.splits.iter().find(asked).is_some();
    (!found).then(|| {
        format!("it was split at {boundary}, but no call to split it there can have worked")
    })
}
