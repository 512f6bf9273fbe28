//! Everything that was read: pages of chains, and full reads of shards.

use std::collections::HashMap;

use super::log::Position;
use super::shards::{ShardKey, Shards};
use crate::history::{Answer, Call, IterStart, Nanos, Operation, Outcome, Page, Record, Seq};

/// A chain of reads: an iterator and the pages that followed.
#[derive(Clone, Debug)]
pub(crate) struct Chain<'a> {
    pub(crate) number: u64,
    pub(crate) shard: ShardKey,
    pub(crate) start: IterStart,
    /// When the call for the iterator began and ended.
    pub(crate) invoked: Nanos,
    pub(crate) at: Nanos,
    /// The index of the invocation.
    pub(crate) index: u64,
    pub(crate) pages: Vec<PageSeen<'a>>,
}

/// One page of a chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageSeen<'a> {
    pub(crate) invoked: Nanos,
    pub(crate) at: Nanos,
    /// The index of the event `ok`.
    pub(crate) index: u64,
    pub(crate) page: &'a Page,
}

/// A read of a whole shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full<'a> {
    pub(crate) shard: ShardKey,
    pub(crate) gateway: Option<u64>,
    pub(crate) invoked: Nanos,
    pub(crate) at: Nanos,
    /// The index of the event `ok`.
    pub(crate) index: u64,
    pub(crate) records: &'a [Record],
}

impl Chain<'_> {
    /// Each page with the last number that the chain returned before it.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (Option<Seq>, &PageSeen<'_>)> {
        let mut last = None;
        self.pages.iter().map(move |page| {
            let before = last;
            last = page.page.records.last().map(|record| record.seq).or(last);
            (before, page)
        })
    }

    /// Whether a chain that returned `last` as its newest record must return this record later.
    pub(crate) fn is_ahead(&self, last: Option<Seq>, position: &Position) -> bool {
        match (last, self.start) {
            (Some(last), _) => position.seq > last,
            (None, IterStart::TrimHorizon) => true,
            (None, IterStart::AtSequenceNumber(seq)) => position.seq >= seq,
            (None, IterStart::AfterSequenceNumber(seq)) => position.seq > seq,
            (None, IterStart::Latest) => position.since > self.at,
            (None, IterStart::AtTimestamp(time)) => position.arrival.is_some_and(|ts| ts >= time),
        }
    }
}

impl Full<'_> {
    /// How messages call the gateway.
    pub(crate) fn through(&self) -> String {
        self.gateway
            .map_or_else(|| "an unknown gateway".to_owned(), |node| format!("gateway {node}"))
    }
}

/// Chains in the order of their iterators. Reads of a chain without an iterator are left out.
pub(super) fn chains<'a>(operations: &[Operation<'a>], shards: &mut Shards<'a>) -> Vec<Chain<'a>> {
    let mut chains: Vec<Chain<'a>> = Vec::new();
    let mut places: HashMap<u64, usize> = HashMap::new();
    for operation in operations {
        let Outcome::Ok { index, at, answer } = operation.outcome else { continue };
        match (operation.call, answer) {
            (Call::Iter(iter), _) => {
                places.insert(iter.chain, chains.len());
                chains.push(Chain {
                    number: iter.chain,
                    shard: shards.key(&iter.stream, &iter.shard),
                    start: iter.start,
                    invoked: operation.invoked,
                    at,
                    index: operation.index,
                    pages: Vec::new(),
                });
            }
            (Call::Get(get), Answer::Get(page)) => {
                let Some(place) = places.get(&get.chain) else { continue };
                let invoked = operation.invoked;
                chains[*place].pages.push(PageSeen { invoked, at, index, page });
            }
            _ => {}
        }
    }
    chains
}

pub(super) fn drains<'a>(operations: &[Operation<'a>], shards: &mut Shards<'a>) -> Vec<Full<'a>> {
    let mut drains = Vec::new();
    for operation in operations {
        if let (Call::Drain(call), Outcome::Ok { index, at, answer: Answer::Drain(drained) }) =
            (operation.call, operation.outcome)
        {
            let shard = shards.key(&call.stream, &call.shard);
            let (gateway, invoked) = (operation.gateway, operation.invoked);
            drains.push(Full { shard, gateway, invoked, at, index, records: &drained.records });
        }
    }
    drains
}
