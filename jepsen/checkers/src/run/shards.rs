//! The shards of all streams, with what lists and reads say about them.

use std::collections::{BTreeSet, HashMap};
use std::ops::Index;

use super::log::Position;
use super::readings::{Chain, PageSeen};
use crate::history::{
    Answer, Call, HashRange, Nanos, Operation, Outcome, Seq, Shard, ShardId, StreamName,
};

/// Number of a shard within a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ShardKey(usize);

/// What the history says about a shard.
#[derive(Debug)]
pub(crate) struct ShardFacts<'a> {
    pub(crate) stream: &'a StreamName,
    pub(crate) id: &'a ShardId,
    /// Known positions, sorted.
    pub(crate) log: Vec<Position>,
    /// From lists, and from the ends of the parents.
    pub(crate) parents: BTreeSet<ShardKey>,
    pub(crate) children: BTreeSet<ShardKey>,
    pub(crate) range: Option<HashRange>,
    /// `StartingSequenceNumber`.
    pub(crate) start: Option<Seq>,
    /// `EndingSequenceNumber`.
    pub(crate) end: Option<Seq>,
    /// When a response first said that the shard is closed, and the index of that event.
    pub(crate) closed: Option<(Nanos, u64)>,
}

/// One list of the shards of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listing<'a> {
    pub(crate) stream: &'a StreamName,
    pub(crate) shards: &'a [Shard],
    /// The index of the event `ok`.
    pub(crate) index: u64,
}

/// All shards.
#[derive(Debug, Default)]
pub(crate) struct Shards<'a> {
    facts: Vec<ShardFacts<'a>>,
    keys: HashMap<(&'a StreamName, &'a ShardId), ShardKey>,
    pub(crate) listings: Vec<Listing<'a>>,
}

impl<'a> Index<ShardKey> for Shards<'a> {
    type Output = ShardFacts<'a>;

    fn index(&self, key: ShardKey) -> &ShardFacts<'a> {
        &self.facts[key.0]
    }
}

impl<'a> Shards<'a> {
    /// The number of a shard, which is new if no event named the shard before.
    pub(super) fn key(&mut self, stream: &'a StreamName, id: &'a ShardId) -> ShardKey {
        let next = ShardKey(self.facts.len());
        let key = *self.keys.entry((stream, id)).or_insert(next);
        if key == next {
            self.facts.push(ShardFacts {
                stream,
                id,
                log: Vec::new(),
                parents: BTreeSet::new(),
                children: BTreeSet::new(),
                range: None,
                start: None,
                end: None,
                closed: None,
            });
        }
        key
    }

    /// The number of a shard that some event named.
    pub(crate) fn find(&self, stream: &StreamName, id: &ShardId) -> Option<ShardKey> {
        self.keys.get(&(stream, id)).copied()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = ShardKey> + use<> {
        (0..self.facts.len()).map(ShardKey)
    }

    pub(crate) fn len(&self) -> usize {
        self.facts.len()
    }

    pub(super) fn log_mut(&mut self, key: ShardKey) -> &mut Vec<Position> {
        &mut self.facts[key.0].log
    }

    /// The shard as a message shows it.
    pub(crate) fn name(&self, key: ShardKey) -> String {
        let facts = &self[key];
        format!("stream {}, shard {}", facts.stream, facts.id)
    }

    /// Whether one of the shards descends from the other.
    pub(crate) fn are_related(&self, a: ShardKey, b: ShardKey) -> bool {
        self.ancestors(a).contains(&b) || self.ancestors(b).contains(&a)
    }

    /// All ancestors, without the shard itself unless the lineage has a circle.
    pub(crate) fn ancestors(&self, key: ShardKey) -> BTreeSet<ShardKey> {
        let mut found = BTreeSet::new();
        let mut open: Vec<ShardKey> = self[key].parents.iter().copied().collect();
        while let Some(next) = open.pop() {
            if found.insert(next) {
                open.extend(&self[next].parents);
            }
        }
        found
    }

    /// Reads all lists of shards, and the ends of chains.
    pub(super) fn learn(&mut self, operations: &[Operation<'a>], chains: &[Chain<'a>]) {
        for operation in operations {
            if let (Call::Shards(call), Outcome::Ok { index, at, answer: Answer::Shards(answer) }) =
                (operation.call, operation.outcome)
            {
                let shards = &*answer.shards;
                self.listings.push(Listing { stream: &call.stream, shards, index });
                shards.iter().for_each(|shard| self.learn_listed(&call.stream, shard, at, index));
            }
        }
        for chain in chains {
            self.learn_end(chain);
        }
    }

    fn learn_listed(&mut self, stream: &'a StreamName, shard: &'a Shard, at: Nanos, index: u64) {
        let key = self.key(stream, &shard.shard);
        for parent in &shard.parents {
            let parent = self.key(stream, parent);
            self.relate(parent, key);
        }
        let facts = &mut self.facts[key.0];
        facts.range.get_or_insert(shard.range);
        facts.start.get_or_insert(shard.start);
        if let Some(end) = shard.end {
            facts.end.get_or_insert(end);
            facts.close(at, index);
        }
    }

    fn learn_end(&mut self, chain: &Chain<'a>) {
        let stream = self[chain.shard].stream;
        let is_end = |page: &&PageSeen<'_>| !page.page.next && !page.page.children.is_empty();
        for page in chain.pages.iter().filter(is_end) {
            self.facts[chain.shard.0].close(page.at, page.index);
            for child in &page.page.children {
                let key = self.key(stream, &child.shard);
                self.facts[key.0].range.get_or_insert(child.range);
                for parent in &child.parents {
                    let parent = self.key(stream, parent);
                    self.relate(parent, key);
                }
            }
        }
    }

    fn relate(&mut self, parent: ShardKey, child: ShardKey) {
        self.facts[parent.0].children.insert(child);
        self.facts[child.0].parents.insert(parent);
    }
}

impl ShardFacts<'_> {
    fn close(&mut self, at: Nanos, index: u64) {
        let known = *self.closed.get_or_insert((at, index));
        self.closed = Some(known.min((at, index)));
    }

    /// Known positions above `above` and below `below`. `None` means no bound.
    pub(crate) fn between(&self, above: Option<Seq>, below: Option<Seq>) -> &[Position] {
        let from = above.map_or(0, |seq| self.log.partition_point(|known| known.seq <= seq));
        let to =
            below.map_or(self.log.len(), |seq| self.log.partition_point(|known| known.seq < seq));
        self.log.get(from..to).unwrap_or(&[])
    }

    pub(crate) fn position(&self, seq: Seq) -> Option<&Position> {
        self.log.binary_search_by_key(&seq, |known| known.seq).ok().map(|place| &self.log[place])
    }
}
