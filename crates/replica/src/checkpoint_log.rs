//! The checkpoint log of a group: checkpoints that are too large for a state row (ADR-0032).
//!
//! Each part of a checkpoint is one entry of a local log. A state row in the group's own log names the parts. Order of
//! events: the parts are appended and synced, then the row is written, then older parts are purged.
//!
//! ```text
//! entries    0 1 2 | 3 4 5 6 | 7 8 9
//!            purged  named by   being written, or left over by a crash
//!                    the row
//! ```
//!
//! No index is used twice. Parts that a crash left over are purged with the parts before the next checkpoint.
//!
//! This never happens: a row names parts that are not durable, or that were purged.

use std::sync::{self, Arc, PoisonError};

use anabranch_proto::replica as pb;
use anabranch_storage::{Entry, GroupLog, Health};
use anabranch_types::LogId;
use bytes::Bytes;
use tokio::sync::{Mutex, oneshot};

use crate::error::Error;

/// Term of all entries of a checkpoint log. Nobody elects a leader there.
const TERM: u64 = 1;
/// Bytes of a part, unless the log takes smaller entries only or a single row is larger.
const PART_BYTES: usize = 1 << 20;

/// The checkpoint log of one replica. Cheap to clone.
#[derive(Clone)]
pub(crate) struct CheckpointLog {
    log: Arc<dyn GroupLog>,
    /// Held by the task that appends. So the parts of a checkpoint are consecutive.
    writer: Arc<Mutex<Incoming>>,
    writing: Arc<sync::Mutex<Turn>>,
}

/// Which checkpoint may be finished.
#[derive(Debug, Default)]
struct Turn {
    /// Rises when all checkpoints that are being written become void.
    generation: u64,
    /// Whether a checkpoint is being written.
    is_taken: bool,
}

/// The right to write a checkpoint. Ends when it is dropped.
pub(crate) struct Writing {
    turn: Arc<sync::Mutex<Turn>>,
    generation: u64,
}

impl Writing {
    fn is_void(&self) -> bool {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        turn.generation != self.generation
    }

    /// Runs `keep`, unless the checkpoint has become void meanwhile.
    pub(crate) fn finish(self, keep: impl FnOnce()) {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if turn.generation == self.generation {
            keep();
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if turn.generation == self.generation {
            turn.is_taken = false;
        }
    }
}

/// The parts of a snapshot that another replica is sending.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// The last entry that the snapshot includes. It tells one snapshot from another.
    last: Option<LogId>,
    parts: pb::CheckpointParts,
}

fn log_id(index: u64) -> LogId {
    LogId { term: TERM, index }
}

/// The index after the last part.
fn end(parts: pb::CheckpointParts) -> u64 {
    parts.first + parts.count
}

impl CheckpointLog {
    /// Opens the log. `named` are the parts that the replica's rows name. Removes the parts before them.
    ///
    /// # Errors
    /// [`Error::OutOfService`] if the log can't be trusted, or does not have a named part.
    pub(crate) async fn open(
        log: Arc<dyn GroupLog>,
        named: &[pb::CheckpointParts],
    ) -> Result<Self, Error> {
        let bounds = log.log_state();
        let (first, next) = (
            bounds.purged.map_or(0, |purged| purged.index + 1),
            bounds.last.map_or(0, |last| last.index + 1),
        );
        if let Some(lost) = named.iter().find(|parts| parts.first < first || end(**parts) > next) {
            let text =
                format!("parts {} to {} of a checkpoint are missing", lost.first, end(*lost));
            return Err(Error::OutOfService(text));
        }
        let opened = Self { log, writer: Arc::default(), writing: Arc::default() };
        if let Some(reason) = opened.quarantine() {
            return Err(Error::OutOfService(reason));
        }
        opened.purge_below(named.iter().map(|parts| parts.first).min().unwrap_or(next)).await?;
        Ok(opened)
    }

    /// Why the log can't be trusted. `None` if it can.
    pub(crate) fn quarantine(&self) -> Option<String> {
        match self.log.health() {
            Health::Healthy => None,
            Health::Quarantined { reason } => Some(format!("checkpoint log: {reason}")),
        }
    }

    /// Begins to write a checkpoint. `None` while another one is being written.
    pub(crate) fn begin(&self) -> Option<Writing> {
        let mut turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut turn.is_taken, true) {
            return None;
        }
        Some(Writing { turn: Arc::clone(&self.writing), generation: turn.generation })
    }

    /// Makes the checkpoint void that is being written, if there is one.
    pub(crate) fn give_up(&self) {
        let mut turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        *turn = Turn { generation: turn.generation + 1, is_taken: false };
    }

    /// Whether a checkpoint is being written.
    pub(crate) fn is_writing(&self) -> bool {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner).is_taken
    }

    /// Writes the parts of a checkpoint. They are durable when the future ends. Stops early if `writing` becomes void.
    /// Returns the parts, and the sum of their bytes.
    ///
    /// # Errors
    /// [`Error::OutOfService`] or [`Error::Throttled`] if the log can't be written.
    pub(crate) async fn write(
        &self,
        state: &anabranch_table::Checkpoint,
        writing: &Writing,
    ) -> Result<(pb::CheckpointParts, u64), Error> {
        let mut incoming = self.writer.lock().await;
        *incoming = Incoming::default();
        let (mut written, mut bytes) = (pb::CheckpointParts { first: self.next(), count: 0 }, 0);
        for part in state.parts_of(PART_BYTES.min(self.log.payload_limit())) {
            if writing.is_void() {
                return Err(Error::OutOfService("the checkpoint has become void".into()));
            }
            bytes += part.len() as u64;
            self.append(end(written), part).await?;
            written.count += 1;
        }
        Ok((written, bytes))
    }

    /// Writes part `number` of the snapshot that ends with `last`. Parts come in order, from 0.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the part before it is not the last part that was written. The sender then begins again.
    pub(crate) async fn receive(&self, last: LogId, number: u64, part: Bytes) -> Result<(), Error> {
        let mut incoming = self.writer.lock().await;
        if number == 0 {
            let parts = pb::CheckpointParts { first: self.next(), count: 0 };
            *incoming = Incoming { last: Some(last), parts };
        }
        let is_next = incoming.last == Some(last)
            && incoming.parts.count == number
            && end(incoming.parts) == self.next();
        if !is_next {
            return Err(Error::Invalid(format!("part {number} is not the next one")));
        }
        self.append(end(incoming.parts), part).await?;
        incoming.parts.count += 1;
        Ok(())
    }

    /// The parts of the snapshot that ends with `last`, once all `count` of them were received.
    pub(crate) async fn received(&self, last: LogId, count: u64) -> Option<pb::CheckpointParts> {
        let incoming = self.writer.lock().await;
        let is_whole = incoming.last == Some(last) && incoming.parts.count == count;
        is_whole.then_some(incoming.parts)
    }

    /// Reads the part at `index`.
    ///
    /// # Errors
    /// [`Error::OutOfService`] if the part was purged, or can't be read.
    pub(crate) async fn read(&self, index: u64) -> Result<Bytes, Error> {
        let entry = self.log.read(index..index + 1, usize::MAX).await?.pop();
        let missing = || Error::OutOfService(format!("part {index} of a checkpoint is missing"));
        Ok(entry.ok_or_else(missing)?.payload)
    }

    /// Reads parts that a row names, in order.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) async fn read_all(&self, parts: pb::CheckpointParts) -> Result<Vec<Bytes>, Error> {
        let mut read = Vec::new();
        for index in parts.first..end(parts) {
            read.push(self.read(index).await?);
        }
        Ok(read)
    }

    /// Removes the parts below `index`.
    ///
    /// # Errors
    /// [`Error::OutOfService`] if the log can't be written.
    pub(crate) async fn purge_below(&self, index: u64) -> Result<(), Error> {
        let Some(last) = index.checked_sub(1) else { return Ok(()) };
        let (done, purged) = oneshot::channel();
        self.log.purge(log_id(last), Box::new(move |result| drop(done.send(result))));
        written(purged).await
    }

    /// Whether a part is known to be damaged.
    pub(crate) fn is_damaged(&self) -> bool {
        !self.log.damaged().is_empty()
    }

    fn next(&self) -> u64 {
        let bounds = self.log.log_state();
        let last = bounds.last.max(bounds.purged);
        last.map_or(0, |last| last.index + 1)
    }

    async fn append(&self, index: u64, payload: Bytes) -> Result<(), Error> {
        if let Some(room) = self.log.room() {
            room.await;
        }
        let (done, appended) = oneshot::channel();
        let entry = Entry { log_id: log_id(index), payload };
        self.log.append(vec![entry], Box::new(move |result| drop(done.send(result))));
        written(appended).await
    }
}

async fn written(
    done: oneshot::Receiver<Result<(), anabranch_storage::Error>>,
) -> Result<(), Error> {
    done.await.map_err(|_| Error::OutOfService("the log store is gone".into()))??;
    Ok(())
}
