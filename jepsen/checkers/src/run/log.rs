//! Which record is at which position, from acknowledgements and reads.

use std::collections::HashMap;

use super::puts::Put;
use super::readings::{Chain, Full};
use super::shards::{ShardKey, Shards};
use crate::history::{Millis, Nanos, Record, Seq, Uid};

/// One place in the history that names the record of a position.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting<'a> {
    pub(crate) shard: ShardKey,
    pub(crate) seq: Seq,
    /// `None` if the payload was damaged.
    pub(crate) uid: Option<Uid>,
    pub(crate) pk: &'a str,
    /// The end of the call.
    pub(crate) at: Nanos,
    /// The index of the event.
    pub(crate) index: u64,
    pub(crate) source: Source,
}

/// Where a sighting is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A put was acknowledged with the position.
    Ack,
    /// The position was read.
    Read {
        /// The arrival time in the response.
        arrival: Millis,
    },
}

/// A known position of a shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) seq: Seq,
    /// The record, as the first sighting with a whole payload names it.
    pub(crate) uid: Option<Uid>,
    /// When the first put of the record began. Zero if the history has none.
    pub(crate) since: Nanos,
    /// When the position was first acknowledged.
    pub(crate) acked: Option<Nanos>,
    /// When the position was first read.
    pub(crate) read: Option<Nanos>,
    /// The arrival time, if the position was read.
    pub(crate) arrival: Option<Millis>,
    /// The index of the first event that names the position.
    pub(crate) index: u64,
}

/// All sightings, by shard, position and time.
pub(super) fn sightings<'a>(
    puts: &[Put<'a>],
    chains: &[Chain<'a>],
    drains: &[Full<'a>],
) -> Vec<Sighting<'a>> {
    let mut sightings = Vec::new();
    for put in puts {
        let Some(ack) = put.ack() else { continue };
        sightings.push(Sighting {
            shard: ack.shard,
            seq: ack.seq,
            uid: Some(put.uid),
            pk: put.pk,
            at: ack.at,
            index: ack.index,
            source: Source::Ack,
        });
    }
    let pages = chains.iter().flat_map(|chain| {
        chain.pages.iter().map(|page| (chain.shard, page.at, page.index, &*page.page.records))
    });
    let drains = drains.iter().map(|full| (full.shard, full.at, full.index, full.records));
    for (shard, at, index, records) in pages.chain(drains) {
        sightings.extend(records.iter().map(|record| read(shard, at, index, record)));
    }
    sightings.sort_unstable_by_key(|seen| (seen.shard, seen.seq, seen.at, seen.index));
    sightings
}

fn read(shard: ShardKey, at: Nanos, index: u64, record: &Record) -> Sighting<'_> {
    let Record { seq, uid, pk, ts } = record;
    let source = Source::Read { arrival: *ts };
    Sighting { shard, seq: *seq, uid: *uid, pk, at, index, source }
}

/// Fills the log of each shard.
pub(super) fn build(
    shards: &mut Shards<'_>,
    sightings: &[Sighting<'_>],
    puts: &[Put<'_>],
    puts_of: &HashMap<Uid, Vec<usize>>,
) {
    for group in sightings.chunk_by(|a, b| (a.shard, a.seq) == (b.shard, b.seq)) {
        let uid = group.iter().find_map(|seen| seen.uid);
        let first_put = uid.and_then(|uid| puts_of.get(&uid)).and_then(|places| places.first());
        let time = |wanted: fn(&Source) -> bool| {
            group.iter().find(|seen| wanted(&seen.source)).map(|seen| seen.at)
        };
        let position = Position {
            seq: group[0].seq,
            uid,
            since: first_put.map_or(Nanos(0), |place| puts[*place].since),
            acked: time(|source| matches!(source, Source::Ack)),
            read: time(|source| matches!(source, Source::Read { .. })),
            arrival: group.iter().find_map(|seen| match seen.source {
                Source::Read { arrival } => Some(arrival),
                Source::Ack => None,
            }),
            index: group[0].index,
        };
        shards.log_mut(group[0].shard).push(position);
    }
}
