//! The handle through which callers use a group: [`GroupLog`] on a disk.
//!
//! A write checks its arguments, changes the state that callers see, and joins the queue. It never waits for the
//! disk. A read answers from memory if it can. Otherwise it runs on a blocking thread of tokio, with a permit.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use anabranch_types::LogId;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};

use super::OpenGroup;
use crate::{
    Completion, DiskState, Entry, Error, GroupLog, Health, LogState, StateKey, Vote,
    metrics::Source, rows, segment::queue::Work, sim::checkpoint_rows,
};

/// Handle of a caller to a [`OpenGroup`].
pub(crate) struct GroupHandle(pub(crate) Arc<OpenGroup>);

impl GroupHandle {
    /// Runs disk work on a blocking thread. A permit limits the number of such threads.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let core = Arc::clone(self.0.core());
        let _permit = core.reads.acquire().await.map_err(|_| Error::Closed)?;
        let done = tokio::task::spawn_blocking(work);
        let failed = |error: tokio::task::JoinError| Error::Read { detail: error.to_string() };
        done.await.map_err(failed)?
    }

    fn check_append(&self, entries: &[Entry]) -> Result<(), Error> {
        let core = self.0.core();
        let limit = core.settings.payload_limit();
        if let Some(entry) = entries.iter().find(|entry| entry.payload.len() > limit) {
            return Err(Error::TooLarge { bytes: entry.payload.len(), limit });
        }
        if core.space.refuses_appends() { Err(Error::DiskFull) } else { Ok(()) }
    }
}

impl GroupLog for GroupHandle {
    fn append(&self, entries: Vec<Entry>, done: Completion) {
        let group = &self.0;
        let bytes = entries.iter().map(|entry| entry.payload.len()).sum();
        let checked = self.check_append(&entries);
        group.submit(bytes, Some(done), |inner| {
            checked?;
            let ids = entries.iter().map(|entry| entry.log_id);
            inner.bounds.check_append(ids).map_err(|(expected, actual)| Error::NotContiguous {
                group: group.id,
                expected,
                actual,
            })?;
            entries.iter().for_each(|entry| inner.bounds.append(entry.log_id));
            inner.ticket += 1;
            let added = inner.cache.push(&entries, inner.ticket);
            group.core().cached_bytes.fetch_add(added, Relaxed);
            Ok(Work::Append { group: Arc::clone(group), entries, ticket: inner.ticket })
        });
    }

    fn payload_limit(&self) -> usize {
        self.0.core().settings.payload_limit()
    }

    fn room(&self) -> Option<BoxFuture<'_, ()>> {
        let queue = &self.0.core().queue;
        queue.is_full().then(|| queue.until_capacity().boxed())
    }

    fn save_vote(&self, vote: Vote, done: Completion) {
        self.0.submit(0, Some(done), |inner| {
            inner.vote = Some(vote);
            Ok(Work::Vote { group: Arc::clone(&self.0), vote })
        });
    }

    fn truncate_after(&self, last_kept: Option<u64>, done: Completion) {
        let from = last_kept.map_or(0, |index| index.saturating_add(1));
        self.0.submit(0, Some(done), |inner| {
            inner.bounds.truncate(from);
            let freed = inner.cache.truncate(from);
            self.0.core().cached_bytes.fetch_sub(freed, Relaxed);
            Ok(Work::Truncate { group: Arc::clone(&self.0), from })
        });
    }

    fn purge(&self, up_to: LogId, done: Completion) {
        self.0.submit(0, Some(done), |inner| {
            if inner.bounds.purge(up_to) {
                let freed = inner.cache.purge(inner.bounds.first());
                self.0.core().cached_bytes.fetch_sub(freed, Relaxed);
            }
            Ok(Work::Purge { group: Arc::clone(&self.0), up_to })
        });
    }

    fn put_state(&self, rows: Vec<(StateKey, Option<Bytes>)>, done: Option<Completion>) {
        let limit = self.0.core().settings.payload_limit();
        let encoded = rows::encode(&rows).filter(|encoded| encoded.len() <= limit);
        let bytes = encoded.as_ref().map_or(0, Vec::len);
        self.0.submit(bytes, done, |inner| {
            let too_large = || Error::TooLarge {
                bytes: rows.iter().filter_map(|(_, value)| value.as_ref()).map(Bytes::len).sum(),
                limit,
            };
            let encoded = encoded.ok_or_else(too_large)?;
            for (key, value) in &rows {
                match value {
                    Some(value) => inner.rows.insert(*key, value.clone()),
                    None => inner.rows.remove(key),
                };
            }
            Ok(Work::State { group: Arc::clone(&self.0), rows, encoded })
        });
    }

    fn log_state(&self) -> LogState {
        self.0.lock().bounds.state()
    }

    fn vote(&self) -> Option<Vote> {
        self.0.lock().vote
    }

    fn state(&self, key: StateKey) -> Result<Option<Bytes>, Error> {
        let inner = self.0.lock();
        self.0.check(&inner)?;
        Ok(inner.rows.get(&key).cloned())
    }

    fn checkpoints(&self) -> Vec<(u64, Bytes)> {
        checkpoint_rows(&self.0.lock().rows)
    }

    fn read(
        &self,
        range: Range<u64>,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Entry>, Error>> {
        let reads = &self.0.core().metrics.reads;
        if let Some(answer) = self.0.read_in_memory(&range, max_bytes) {
            reads.of(Source::Cache).increment();
            return futures::future::ready(answer).boxed();
        }
        reads.of(Source::Disk).increment();
        let group = Arc::clone(&self.0);
        self.on_disk(move || group.read_blocking(&range, max_bytes)).boxed()
    }

    fn read_cached(&self, range: Range<u64>, max_bytes: usize) -> Option<Vec<Entry>> {
        let entries = self.0.read_in_memory(&range, max_bytes)?.ok()?;
        self.0.core().metrics.reads.of(Source::Cache).increment();
        Some(entries)
    }

    fn health(&self) -> Health {
        match &self.0.lock().quarantine {
            Some(reason) => Health::Quarantined { reason: reason.clone() },
            None => Health::Healthy,
        }
    }

    fn damaged(&self) -> Vec<LogId> {
        self.0.damaged()
    }

    fn until_repaired(&self) -> BoxFuture<'_, ()> {
        self.0.until_repaired().boxed()
    }

    fn repair(&self, entry: Entry) -> BoxFuture<'_, Result<(), Error>> {
        let group = Arc::clone(&self.0);
        self.on_disk(move || group.repair(&entry)).boxed()
    }

    fn repair_by_checksum(&self, id: LogId) -> BoxFuture<'_, Result<bool, Error>> {
        let group = Arc::clone(&self.0);
        self.on_disk(move || group.repair_by_checksum(id)).boxed()
    }

    fn copy_of(&self, id: LogId) -> BoxFuture<'_, Result<Option<Entry>, Error>> {
        let group = Arc::clone(&self.0);
        self.on_disk(move || group.copy_of(id)).boxed()
    }

    fn condemn(&self, reason: &str) {
        self.0.core().quarantine(self.0.id, reason);
    }

    fn disk(&self) -> DiskState {
        self.0.core().space.state()
    }
}
