//! The task that appends to a shard on its leader. There is one for each open replica of a shard. It ends with the last
//! [`crate::ShardReplica`] of the replica, because only those hold the channel of events open.
//!
//! It takes all events that have arrived and handles them in order:
//! 1. A retry of a call in flight waits for that call. A retry of a call in the deduplication window gets the
//!    positions of the first attempt at once.
//! 2. A new batch gets its arrival time, and is sealed if the stream is encrypted.
//! 3. All new batches are proposed together (group commit). Another task waits for the outcomes and answers the
//!    callers.
//! 4. When a call is decided, its waiting retries begin again at step 1.
//!
//! This never happens: two attempts of one call are in flight at the same time, or an arrival time is earlier than
//! one before it in the log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anabranch_encryption::BatchSealer;
use anabranch_planted::{Bug, planted};
use anabranch_shard::{Batch, Command, DeduplicationWindow, Position, Producer, Run};
use anabranch_types::{Clock, LogId, Timestamp};
use bytes::{BufMut, BytesMut};
use futures::stream::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::error::Error;
use crate::group::Group;
use crate::machine::Outcome;
use crate::payload;
use crate::raft_types::Stored;

/// A batch to append, and the caller that waits for the result.
pub(crate) struct Proposal {
    pub(crate) batch: Batch,
    /// Seals the batch before it is stored. `None` stores it in plain text.
    pub(crate) sealer: Option<Arc<BatchSealer>>,
    pub(crate) answer: oneshot::Sender<Result<Vec<Run>, Error>>,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// An event for the proposer of a shard.
pub(crate) enum Event {
    /// A batch to append.
    Propose(Proposal),
    /// The outcome of this producer's call is known. The retries that wait for it go on.
    Decided(Producer),
}

/// State of the task. No other task appends to the shard on this node.
pub(crate) struct Proposer {
    pub(crate) group: Arc<Group>,
    pub(crate) window: Arc<Mutex<DeduplicationWindow>>,
    pub(crate) clock: Arc<dyn Clock>,
    /// For the outcomes of proposals. Weak: with a sender of its own channel the task would never end, and would keep
    /// the group and the deduplication window in memory.
    pub(crate) events: mpsc::WeakUnboundedSender<Event>,
    /// Newest arrival time that this task has stamped.
    pub(crate) stamped: Timestamp,
    /// Calls in flight, each with its retries that wait for it.
    pub(crate) in_flight: HashMap<Producer, Vec<Proposal>>,
}

/// Maximum number of events that are handled together.
const MAX_EVENTS: usize = 512;

/// A proposed batch, and what the response to its caller needs.
struct Pending {
    proposal: Proposal,
    /// Set if earlier attempts had written some records of the call. For each record of the original batch its
    /// position, or `None` if the record is in the new entry.
    known: Option<Vec<Option<Run>>>,
    /// Number of records in the new entry.
    records: u32,
}

impl Proposer {
    /// Runs until no sender of `events` is left. Then no caller waits any more.
    pub(crate) async fn run(mut self, mut events: mpsc::UnboundedReceiver<Event>) {
        let mut gathered = Vec::with_capacity(MAX_EVENTS);
        while events.recv_many(&mut gathered, MAX_EVENTS).await > 0 {
            let mut payloads = Vec::with_capacity(gathered.len());
            let mut pending = Vec::with_capacity(gathered.len());
            for event in gathered.drain(..) {
                match event {
                    Event::Propose(proposal) => self.take(proposal, &mut payloads, &mut pending),
                    Event::Decided(producer) => {
                        for retry in self.in_flight.remove(&producer).unwrap_or_default() {
                            self.take(retry, &mut payloads, &mut pending);
                        }
                    }
                }
            }
            if pending.is_empty() {
                continue;
            }
            match self.group.check_followed().await {
                Ok(()) => self.propose(payloads, pending).await,
                Err(error) => {
                    pending.into_iter().for_each(|p| finish(p, Err(error.clone()), &self.events));
                    self.refuse_waiting(&mut events, &error);
                }
            }
        }
    }

    /// Refuses the events that arrived while a majority was asked in vain. Asking again for each of them would only
    /// take longer.
    fn refuse_waiting(&mut self, events: &mut mpsc::UnboundedReceiver<Event>, error: &Error) {
        while let Ok(event) = events.try_recv() {
            let refused = match event {
                Event::Propose(proposal) => vec![proposal],
                Event::Decided(producer) => self.in_flight.remove(&producer).unwrap_or_default(),
            };
            refused.into_iter().for_each(|proposal| answer(proposal, Err(error.clone())));
        }
    }

    fn take(&mut self, proposal: Proposal, payloads: &mut Vec<Stored>, pending: &mut Vec<Pending>) {
        // The caller has stopped waiting, so nothing needs to be written.
        if proposal.answer.is_closed() {
            return;
        }
        if let Err(error) = self.group.leading_term() {
            return answer(proposal, Err(error));
        }
        if let Some(producer) = proposal.batch.producer() {
            // An attempt of the same call is in flight: wait for its outcome.
            if let Some(retries) = self.in_flight.get_mut(producer) {
                return retries.push(proposal);
            }
            // An earlier attempt may be in the log already.
            let known =
                self.window.lock().unwrap_or_else(PoisonError::into_inner).find(&proposal.batch);
            if let Some(known) = known {
                return self.take_retry(proposal, known, payloads, pending);
            }
        }
        // Checked after the deduplication window: a retry of a call that was written before the shard was shut still
        // gets its positions.
        if let Some(shut) = self.group.progress.shut() {
            return answer(proposal, Err(shut.into()));
        }
        if let Some(producer) = proposal.batch.producer() {
            self.in_flight.insert(producer.clone(), Vec::new());
        }
        payloads.push(self.stamp(&proposal.batch, proposal.sealer.as_deref()));
        let records = proposal.batch.record_count();
        pending.push(Pending { proposal, known: None, records });
    }

    /// Handles a retry of a call of which some or all records are in the log already. Proposes only the missing
    /// records.
    fn take_retry(
        &mut self,
        proposal: Proposal,
        known: Vec<Option<Run>>,
        payloads: &mut Vec<Stored>,
        pending: &mut Vec<Pending>,
    ) {
        self.group.metrics.deduplicated_batches.increment();
        let Some(rest) =
            proposal.batch.retain(|place| known.get(place).is_none_or(Option::is_none))
        else {
            return answer(proposal, Ok(known.into_iter().flatten().collect()));
        };
        if let Some(shut) = self.group.progress.shut() {
            return answer(proposal, Err(shut.into()));
        }
        self.in_flight.extend(rest.producer().map(|producer| (producer.clone(), Vec::new())));
        payloads.push(self.stamp(&rest, proposal.sealer.as_deref()));
        let records = rest.record_count();
        pending.push(Pending { proposal, known: Some(known), records });
    }

    /// The stored form of an append of `batch`. Its arrival time is now, but never earlier than a time that was
    /// stamped or applied before.
    fn stamp(&mut self, batch: &Batch, sealer: Option<&BatchSealer>) -> Stored {
        self.stamped = self.clock.now().max(self.stamped).max(self.group.progress.last_arrival());
        let command = Command::Append {
            arrival: self.stamped,
            records: batch.record_count(),
            batch: sealer.map_or_else(|| batch.bytes().clone(), |sealer| sealer.seal(batch)),
        };
        let mut stored = BytesMut::with_capacity(1 + command.encoded_bytes());
        stored.put_u8(payload::COMMAND);
        command.encode(&mut stored);
        Stored(stored.freeze())
    }

    async fn propose(&self, mut payloads: Vec<Stored>, pending: Vec<Pending>) {
        if planted(Bug::ReorderBatch) && payloads.len() > 1 {
            payloads.swap(0, 1);
        }
        let (began, metrics) = (Instant::now(), Arc::clone(&self.group.metrics));
        metrics.proposed_batches.observe(payloads.len() as u64);
        let results = self.group.propose_many(payloads).await;
        let events = self.events.clone();
        tokio::spawn(async move {
            let mut results = match results {
                Ok(results) => results,
                Err(error) => {
                    return pending
                        .into_iter()
                        .for_each(|p| finish(p, Err(error.clone()), &events));
                }
            };
            for pending in pending {
                let gone = || Err(Error::Unknown("the group stopped".into()));
                let result = results.next().await.unwrap_or_else(gone);
                if result.is_ok() {
                    metrics.append_duration.observe_duration(began.elapsed());
                }
                finish(pending, result, &events);
            }
        });
    }
}

/// Answers the caller, then lets the retries of its call go on. If the call was applied, it is in the deduplication
/// window by now, so the retries find it there.
fn finish(
    pending: Pending,
    result: Result<(LogId, Outcome), Error>,
    events: &mpsc::WeakUnboundedSender<Event>,
) {
    let Pending { proposal, known, records } = pending;
    let producer = proposal.batch.producer().cloned();
    answer(proposal, result.and_then(|(_, outcome)| runs(&outcome, known, records)));
    // A caller that waits holds a sender. So without a sender no retry waits for this call.
    if let Some(producer) = producer
        && let Some(events) = events.upgrade()
    {
        let _shard_is_closing = events.send(Event::Decided(producer));
    }
}

/// Positions of the records of a batch, in its order.
fn runs(
    outcome: &Outcome,
    known: Option<Vec<Option<Run>>>,
    records: u32,
) -> Result<Vec<Run>, Error> {
    use anabranch_shard::Outcome::{Appended, Frozen, Refused, Stale, Stepped};
    let (log_index, arrival) = match outcome {
        Outcome::Shard(Appended { log_index, arrival }) => (log_index, arrival),
        Outcome::Shard(Refused(shut)) => return Err((*shut).into()),
        Outcome::Shard(Frozen(_) | Stale | Stepped)
        | Outcome::None
        | Outcome::Catalog(_)
        | Outcome::Table(_) => {
            return Err(Error::Unknown("the entry was not an append".into()));
        }
    };
    let new = Run { first: Position::entry(*log_index), records, arrival: *arrival };
    let Some(known) = known else { return Ok(vec![new]) };
    let mut offset = 0;
    let place = |run: Option<Run>| {
        run.unwrap_or_else(|| {
            let first = Position { log_index: *log_index, offset };
            offset += 1;
            Run { first, records: 1, arrival: *arrival }
        })
    };
    Ok(known.into_iter().map(place).collect())
}

fn answer(proposal: Proposal, result: Result<Vec<Run>, Error>) {
    drop(proposal.permit);
    let _caller_gave_up = proposal.answer.send(result);
}
