//! One group's log in memory: what callers see at once, and what the writer has put on the disk.

mod handle;
mod mend;
mod read;
mod synced;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
};

use anabranch_types::{GroupId, LogId};
use bytes::Bytes;
pub(crate) use handle::GroupHandle;
pub(crate) use read::{ReadFailure, Wanted, read_wanted};
pub(crate) use synced::Synced;
use tokio::sync::watch;

use crate::{
    Completion, Error, StateKey, Vote,
    bounds::Bounds,
    cache::GroupCache,
    core::Core,
    segment::queue::{Op, Work},
};

/// What one op costs in the queue besides its payload.
const OP_BYTES: usize = 128;

/// A group that is open. Shared by its handles, the writer, and the store's map.
pub(crate) struct Group {
    pub(crate) id: GroupId,
    core: Arc<Core>,
    inner: Mutex<Inner>,
    /// Count of [`Inner::damaged`].
    damage: watch::Sender<usize>,
}

pub(crate) struct Inner {
    /// What callers see: every write that was accepted.
    pub(crate) bounds: Bounds,
    pub(crate) vote: Option<Vote>,
    pub(crate) rows: BTreeMap<StateKey, Bytes>,
    pub(crate) cache: GroupCache,
    /// The number of the last append.
    pub(crate) ticket: u64,
    pub(crate) quarantine: Option<String>,
    pub(crate) removed: bool,
    /// Entries that can't be read, by index, each with what was found. Some may have been purged or truncated since.
    pub(crate) damaged: BTreeMap<u64, (LogId, String)>,
    /// What is on the disk. Only the writer changes it.
    pub(crate) synced: Synced,
}

impl Group {
    /// A group with what recovery or the index gave.
    pub(crate) fn new(
        id: GroupId,
        core: Arc<Core>,
        synced: Synced,
        rows: BTreeMap<StateKey, Bytes>,
        quarantine: Option<String>,
    ) -> Arc<Self> {
        let inner = Inner {
            bounds: synced.bounds.clone(),
            vote: synced.vote,
            rows,
            cache: GroupCache::default(),
            ticket: 0,
            quarantine,
            removed: false,
            damaged: BTreeMap::new(),
            synced,
        };
        Arc::new(Self { id, core, inner: Mutex::new(inner), damage: watch::Sender::new(0) })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `change` alter what callers see, and queues the work that it returns, in one step.
    pub(crate) fn submit(
        &self,
        bytes: usize,
        done: Option<Completion>,
        change: impl FnOnce(&mut Inner) -> Result<Work, Error>,
    ) {
        let mut inner = self.lock();
        let work = self.check(&inner).and_then(|()| change(&mut inner));
        let work = work.unwrap_or_else(Work::Refused);
        let urgent = done.is_some();
        let pushed = self.core.queue.push(Op { work, done }, bytes + OP_BYTES, urgent);
        drop(inner);
        if let Err((op, error)) = pushed
            && let Some(done) = op.done
        {
            done(Err(error));
        }
    }

    /// Why this group takes and gives nothing, if so.
    pub(crate) fn check(&self, inner: &Inner) -> Result<(), Error> {
        if inner.removed {
            return Err(Error::Removed { group: self.id });
        }
        match &inner.quarantine {
            Some(reason) => Err(Error::Quarantined { group: self.id, reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Marks the group as removed; its handles answer [`Error::Removed`] from here on.
    pub(crate) fn retire(&self) {
        let mut inner = self.lock();
        inner.removed = true;
        inner.damaged.clear();
        self.damage.send_replace(0);
        let freed = inner.cache.truncate(0);
        self.core.cached_bytes.fetch_sub(freed, Relaxed);
    }

    pub(crate) fn quarantine(&self, reason: &str) {
        let mut inner = self.lock();
        inner.quarantine.get_or_insert_with(|| reason.to_owned());
        inner.damaged.clear();
        self.damage.send_replace(0);
    }

    pub(crate) fn is_quarantined(&self) -> bool {
        self.lock().quarantine.is_some()
    }

    pub(crate) fn evict(&self, ticket: u64) {
        let freed = self.lock().cache.evict(ticket);
        self.core.cached_bytes.fetch_sub(freed, Relaxed);
    }

    pub(crate) fn oldest_ticket(&self) -> Option<u64> {
        self.lock().cache.oldest_ticket()
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}
