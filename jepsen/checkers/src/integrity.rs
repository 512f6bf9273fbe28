//! Integrity (I1 to I6): what is read was put, and each position has one record.
//!
//! All rules but I5 look at one position at a time: at the group of all its sightings.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Nanos, Seq, Uid};
use crate::run::{Put, Run, ShardKey, Sighting, Source};
use crate::verdict::Report;

/// All sightings of each position.
fn positions<'r, 'a>(run: &'r Run<'a>) -> impl Iterator<Item = &'r [Sighting<'a>]> {
    run.sightings.chunk_by(|a, b| (a.shard, a.seq) == (b.shard, b.seq))
}

fn reads<'r, 'a>(group: &'r [Sighting<'a>]) -> impl Iterator<Item = &'r Sighting<'a>> {
    group.iter().filter(|seen| matches!(seen.source, Source::Read { .. }))
}

fn acks<'r, 'a>(group: &'r [Sighting<'a>]) -> impl Iterator<Item = &'r Sighting<'a>> {
    group.iter().filter(|seen| matches!(seen.source, Source::Ack))
}

/// I1. Reports the first wrong read of each position.
pub(crate) fn phantom(run: &Run<'_>, report: &mut Report) {
    for group in positions(run) {
        let wrong = reads(group).find_map(|seen| wrong_read(run, seen).map(|why| (seen, why)));
        if let Some((seen, why)) = wrong {
            let place = run.place(seen.shard, seen.seq);
            report.invalid(format!("{place}: {why}"), &[seen.index]);
        }
    }
}

fn wrong_read(run: &Run<'_>, seen: &Sighting<'_>) -> Option<String> {
    let Some(uid) = seen.uid else {
        return Some("the payload that was read is damaged".to_owned());
    };
    let Some(put) = run.put_of(uid) else {
        return Some(format!("record {uid} was read, but nobody put it"));
    };
    let stream = run.shards[seen.shard].stream;
    if put.stream != stream {
        return Some(format!("record {uid} was read, but it was put to stream {}", put.stream));
    }
    if put.pk != seen.pk {
        let (read, put) = (seen.pk, put.pk);
        return Some(format!("record {uid} was read with key {read:?}, but put with {put:?}"));
    }
    (seen.at < put.since).then(|| format!("record {uid} was read before it was put"))
}

/// I2.
pub(crate) fn aborted_read(run: &Run<'_>, report: &mut Report) {
    for group in positions(run) {
        let aborted = reads(group).find_map(|seen| {
            let puts = run.puts_of.get(&seen.uid?)?;
            let all_refused = puts.iter().all(|put| run.puts[*put].is_refused());
            all_refused.then(|| (seen, &run.puts[puts[0]]))
        });
        if let Some((seen, put)) = aborted {
            let place = run.place(seen.shard, seen.seq);
            let message = format!(
                "{place}: record {} of process {} was read, but its put failed",
                put.uid, put.process
            );
            report.invalid(message, &[put.index, seen.index]);
        }
    }
}

/// The first sighting, and the first one that names another record.
fn disagreement<'r, 'a>(
    mut seen: impl Iterator<Item = &'r Sighting<'a>>,
) -> Option<(&'r Sighting<'a>, &'r Sighting<'a>)>
where
    'a: 'r,
{
    let first = seen.find(|seen| seen.uid.is_some())?;
    let other = seen.find(|seen| seen.uid.is_some() && seen.uid != first.uid)?;
    Some((first, other))
}

fn names(uid: Option<Uid>) -> String {
    uid.map_or_else(|| "a damaged record".to_owned(), |uid| format!("record {uid}"))
}

/// I3.
pub(crate) fn inconsistent_offsets(run: &Run<'_>, report: &mut Report) {
    for group in positions(run) {
        if let Some((one, other)) = disagreement(reads(group)) {
            let place = run.place(one.shard, one.seq);
            let (a, b) = (names(one.uid), names(other.uid));
            let message = format!("{place}: one read found {a}, another read found {b}");
            report.invalid(message, &[one.index, other.index]);
        }
    }
}

/// I4.
pub(crate) fn ack_agreement(run: &Run<'_>, report: &mut Report) {
    for group in positions(run) {
        let Some(ack) = acks(group).next() else { continue };
        let is_other = |seen: &&Sighting<'_>| seen.uid.is_some() && seen.uid != ack.uid;
        if let Some(read) = reads(group).find(is_other) {
            let place = run.place(ack.shard, ack.seq);
            let (acked, found) = (names(ack.uid), names(read.uid));
            let message = format!("{place}: acknowledged for {acked}, but a read found {found}");
            report.invalid(message, &[ack.index, read.index]);
        }
    }
}

/// I6.
pub(crate) fn sequence_unique(run: &Run<'_>, report: &mut Report) {
    for group in positions(run) {
        if let Some((one, other)) = disagreement(acks(group)) {
            let place = run.place(one.shard, one.seq);
            let (a, b) = (names(one.uid), names(other.uid));
            let message = format!("{place}: acknowledged for {a} and for {b}");
            report.invalid(message, &[one.index, other.index]);
        }
    }
}

/// A record with more copies than its puts allow.
pub(crate) struct TooMany<'r, 'a> {
    pub(crate) put: &'r Put<'a>,
    pub(crate) allowed: u64,
    /// Where the record is, with the first event that says so.
    pub(crate) places: Vec<(ShardKey, Seq, u64)>,
}

impl TooMany<'_, '_> {
    /// Whether two copies are in different shards of one family.
    pub(crate) fn is_in_family(&self, run: &Run<'_>) -> bool {
        let pairs = self.places.iter().zip(self.places.iter().skip(1));
        pairs.into_iter().any(|(a, b)| a.0 != b.0 && run.shards.are_related(a.0, b.0))
    }

    pub(crate) fn message(&self, run: &Run<'_>) -> String {
        let places: Vec<_> = self.places.iter().map(|(a, b, _)| run.place(*a, *b)).collect();
        let Put { uid, process, .. } = self.put;
        let (found, allowed) = (places.len(), self.allowed);
        let places = places.join("; ");
        format!(
            "record {uid} of process {process} has {found} copies, but at most {allowed} may be: {places}"
        )
    }

    pub(crate) fn events(&self) -> Vec<u64> {
        std::iter::once(self.put.index).chain(self.places.iter().map(|place| place.2)).collect()
    }
}

/// Where each record is. A position counts once, however often it was seen.
pub(crate) fn copies(run: &Run<'_>) -> BTreeMap<Uid, Vec<(ShardKey, Seq, u64)>> {
    let mut copies: BTreeMap<Uid, Vec<(ShardKey, Seq, u64)>> = BTreeMap::new();
    for group in positions(run) {
        let uids: BTreeSet<Uid> = group.iter().filter_map(|seen| seen.uid).collect();
        for uid in uids {
            let first = &group[0];
            copies.entry(uid).or_default().push((first.shard, first.seq, first.index));
        }
    }
    copies
}

/// All records with too many copies. A record whose puts all failed belongs to I2.
pub(crate) fn too_many<'r, 'a>(run: &'r Run<'a>) -> Vec<TooMany<'r, 'a>> {
    let mut found = Vec::new();
    for (uid, places) in copies(run) {
        if places.len() < 2 {
            continue;
        }
        let Some(puts) = run.puts_of.get(&uid) else { continue };
        let allowed = allowed_copies(run, puts);
        if places.len() as u64 > allowed.max(1) {
            found.push(TooMany { put: &run.puts[puts[0]], allowed, places });
        }
    }
    found
}

fn allowed_copies(run: &Run<'_>, puts: &[usize]) -> u64 {
    puts.iter().map(|put| run.puts[*put].copies).sum()
}

/// I5. Copies in different shards of one family belong to R5.
pub(crate) fn duplicate(run: &Run<'_>, report: &mut Report) {
    for many in too_many(run).iter().filter(|many| !many.is_in_family(run)) {
        report.invalid(many.message(run), &many.events());
    }
}

/// How many positions hold a record that another position holds too.
pub(crate) fn count_duplicates(run: &Run<'_>) -> u64 {
    copies(run).values().map(|places| places.len() as u64 - 1).sum()
}

/// How many acknowledged records no read found.
pub(crate) fn count_unseen(run: &Run<'_>) -> u64 {
    let seen: BTreeSet<Uid> = positions(run).flat_map(reads).filter_map(|seen| seen.uid).collect();
    let unseen = run.acks().filter(|(put, _)| !seen.contains(&put.uid));
    unseen.map(|(put, _)| put.uid).collect::<BTreeSet<_>>().len() as u64
}

/// The longest time from an acknowledgement until a read first showed the record.
pub(crate) fn longest_until_read(run: &Run<'_>) -> u64 {
    let gap = |group: &[Sighting<'_>]| {
        let ack = acks(group).next()?.at;
        let read: Nanos = reads(group).next()?.at;
        Some(read.since(ack))
    };
    positions(run).filter_map(gap).max().unwrap_or(0)
}
