//! The log of an open group in memory. It has two states: the state that callers see, and the state that is on the
//! disk.
//!
//! A write first changes the state that callers see and joins the queue, in one step under the group's lock. Once its
//! round is synced, the writer thread changes [`Synced`]. So `Synced` never contains a write that is not on the disk.

mod handle;
mod read;
mod repair;
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

/// Approximate bytes of one op in the queue besides its payload.
const OP_BYTES: usize = 128;

/// An open group. The handles, the writer and the store's map share it.
pub(crate) struct OpenGroup {
    pub(crate) id: GroupId,
    core: Arc<Core>,
    inner: Mutex<Inner>,
    /// Number of entries in [`Inner::damaged`].
    damage: watch::Sender<usize>,
}

pub(crate) struct Inner {
    /// Every write that was accepted: the state that callers see.
    pub(crate) bounds: Bounds,
    pub(crate) vote: Option<Vote>,
    pub(crate) rows: BTreeMap<StateKey, Bytes>,
    pub(crate) cache: GroupCache,
    /// Number of the last append. See [`GroupCache`].
    pub(crate) ticket: u64,
    pub(crate) quarantine: Option<String>,
    pub(crate) removed: bool,
    /// Entries that cannot be read, by index, each with a description of the damage. Some may have been purged or
    /// truncated meanwhile.
    pub(crate) damaged: BTreeMap<u64, (LogId, String)>,
    /// State on the disk. Only the writer changes it.
    pub(crate) synced: Synced,
}

impl OpenGroup {
    /// A group with the state that recovery or the index provides.
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

    /// Runs `change` on the state that callers see, and queues the work that `change` returns. Both happen under the
    /// group's lock, so the queue has the writes of a group in the order in which callers see them.
    pub(crate) fn submit(
        &self,
        bytes: usize,
        done: Option<Completion>,
        change: impl FnOnce(&mut Inner) -> Result<Work, Error>,
    ) {
        let mut inner = self.lock();
        let work = self.check(&inner).and_then(|()| change(&mut inner));
        // A refusal joins the queue too, so that completions are called in the order of the calls.
        let work = work.unwrap_or_else(Work::Refused);
        let urgent = done.is_some();
        let pushed = self.core.queue.push(Op { work, done }, bytes + OP_BYTES, urgent);
        // If the queue has ended, the completion is called here. That must happen without the lock.
        drop(inner);
        if let Err((op, error)) = pushed
            && let Some(done) = op.done
        {
            done(Err(error));
        }
    }

    /// The error of every call if the group is removed or quarantined.
    pub(crate) fn check(&self, inner: &Inner) -> Result<(), Error> {
        if inner.removed {
            return Err(Error::Removed { group: self.id });
        }
        match &inner.quarantine {
            Some(reason) => Err(Error::Quarantined { group: self.id, reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Marks the group as removed. From now on its handles return [`Error::Removed`].
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
