//! Cache of the newest entries of every group. One limit in bytes holds for all groups together.
//!
//! Guarantees: the cached entries of a group are the end of its log without a gap, and no entry is evicted before it
//! is on the disk. An append costs one push for each entry, under the lock of its group only. The writer thread
//! evicts entries in the order in which their appends reached the disk.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crate::{Entry, group::OpenGroup, model::Budget};

/// Approximate memory of a cached entry besides its payload.
const OVERHEAD_BYTES: usize = 64;
/// Number of append handles at which the evictor first drops the handles whose entries are gone.
const COMPACT_FROM: usize = 1 << 16;

/// Cached entries of one group, each with its ticket. A ticket is the number of the append that brought the entry.
#[derive(Debug, Default)]
pub(crate) struct GroupCache {
    entries: VecDeque<(Entry, u64)>,
}

impl GroupCache {
    pub(crate) fn first(&self) -> Option<u64> {
        self.entries.front().map(|(entry, _)| entry.log_id.index)
    }

    pub(crate) fn oldest_ticket(&self) -> Option<u64> {
        self.entries.front().map(|(_, ticket)| *ticket)
    }

    /// Adds the entries of one append. Returns their bytes.
    pub(crate) fn push(&mut self, entries: &[Entry], ticket: u64) -> usize {
        self.entries.extend(entries.iter().map(|entry| (entry.clone(), ticket)));
        entries.iter().map(cost).sum()
    }

    /// Drops entries from index `from` on. Returns their bytes.
    pub(crate) fn truncate(&mut self, from: u64) -> usize {
        let mut freed = 0;
        while self.entries.back().is_some_and(|(entry, _)| entry.log_id.index >= from) {
            freed += self.entries.pop_back().map_or(0, |(entry, _)| cost(&entry));
        }
        freed
    }

    /// Drops entries below index `first`. Returns their bytes.
    pub(crate) fn purge(&mut self, first: u64) -> usize {
        self.pop_while(|entry, _| entry.log_id.index < first)
    }

    /// Drops the entries of all appends up to `ticket`. Returns their bytes.
    pub(crate) fn evict(&mut self, ticket: u64) -> usize {
        self.pop_while(|_, brought_by| brought_by <= ticket)
    }

    /// Copies entries from `start` up to below `end` into `out` while the budget admits them.
    pub(crate) fn read(&self, start: u64, end: u64, budget: &mut Budget, out: &mut Vec<Entry>) {
        let skipped = self.first().map_or(0, |first| start.saturating_sub(first));
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        for (entry, _) in self.entries.range(skipped.min(self.entries.len())..) {
            if entry.log_id.index >= end || !budget.admits(entry.payload.len()) {
                break;
            }
            out.push(entry.clone());
        }
    }

    fn pop_while(&mut self, wanted: impl Fn(&Entry, u64) -> bool) -> usize {
        let mut freed = 0;
        while self.entries.front().is_some_and(|(entry, ticket)| wanted(entry, *ticket)) {
            freed += self.entries.pop_front().map_or(0, |(entry, _)| cost(&entry));
        }
        if self.entries.is_empty() {
            self.entries.shrink_to(64);
        }
        freed
    }
}

fn cost(entry: &Entry) -> usize {
    entry.payload.len() + OVERHEAD_BYTES
}

/// Evicts the oldest entries. It remembers the order in which appends reached the disk. Owned by the writer.
pub(crate) struct Evictor {
    appends: VecDeque<(Arc<OpenGroup>, u64)>,
    limit_bytes: usize,
    compact_at: usize,
}

impl Evictor {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { appends: VecDeque::new(), limit_bytes, compact_at: COMPACT_FROM }
    }

    /// Remembers an append that is on the disk now.
    pub(crate) fn add(&mut self, group: &Arc<OpenGroup>, ticket: u64) {
        self.appends.push_back((Arc::clone(group), ticket));
    }

    pub(crate) fn evict(&mut self, cached_bytes: &AtomicUsize) {
        while cached_bytes.load(Relaxed) > self.limit_bytes {
            let Some((group, ticket)) = self.appends.pop_front() else { break };
            group.evict(ticket);
        }
        if self.appends.len() >= self.compact_at {
            // Handles whose entries were truncated or purged are useless, and they keep their groups in memory.
            self.appends.retain(|(group, ticket)| {
                group.oldest_ticket().is_some_and(|oldest| oldest <= *ticket)
            });
            self.compact_at = COMPACT_FROM.max(2 * self.appends.len());
        }
    }
}
