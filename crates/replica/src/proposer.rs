use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anabranch_encryption::BatchSealer;
use anabranch_shard::{Batch, Command, DuplicateWindow, Position, Producer, Run};
use anabranch_types::{Clock, LogId, Timestamp};
use bytes::{BufMut, BytesMut};
use futures::stream::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::error::Error;
use crate::group::Group;
use crate::machine::Outcome;
use crate::payload;
use crate::raft_types::Stored;

/// A batch that wants to be appended, and who waits for it.
pub(crate) struct Proposal {
    pub(crate) batch: Batch,
    /// Seals what is stored of it; `None` if that is the batch as it is.
    pub(crate) sealer: Option<Arc<BatchSealer>>,
    pub(crate) answer: oneshot::Sender<Result<Vec<Run>, Error>>,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// What the proposer of a shard hears.
pub(crate) enum Event {
    /// A batch to append.
    Propose(Proposal),
    /// A call that named its producer is decided; repeats of it may go on.
    Decided(Producer),
}

/// The one task that appends to a shard on its leader: tells repeats from new calls, stamps arrival
/// times in log order, and proposes whatever gathered meanwhile as one piece.
pub(crate) struct Proposer {
    pub(crate) group: Arc<Group>,
    pub(crate) window: Arc<Mutex<DuplicateWindow>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) events: mpsc::UnboundedSender<Event>, // bounded by the node's append permits
    /// Newest stamp that was given out.
    pub(crate) stamped: Timestamp,
    /// Calls that are under way, with their repeats, which wait for them.
    pub(crate) under_way: HashMap<Producer, Vec<Proposal>>,
}

/// Events that are taken together.
const GATHER: usize = 512;

/// A proposal on its way: what to add to the answer, and how.
struct Pending {
    proposal: Proposal,
    /// For a call of which some records were known: for each record of the original batch, where it
    /// stands, or `None` if it is in the new entry.
    known: Option<Vec<Option<Run>>>,
    /// Records in the new entry.
    records: u32,
}

impl Proposer {
    pub(crate) async fn run(mut self, mut events: mpsc::UnboundedReceiver<Event>) {
        let mut gathered = Vec::with_capacity(GATHER);
        while events.recv_many(&mut gathered, GATHER).await > 0 {
            let mut payloads = Vec::with_capacity(gathered.len());
            let mut pending = Vec::with_capacity(gathered.len());
            for event in gathered.drain(..) {
                match event {
                    Event::Propose(proposal) => self.take(proposal, &mut payloads, &mut pending),
                    Event::Decided(producer) => {
                        for repeat in self.under_way.remove(&producer).unwrap_or_default() {
                            self.take(repeat, &mut payloads, &mut pending);
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

    /// What came while a majority was asked in vain fares no better.
    fn refuse_waiting(&mut self, events: &mut mpsc::UnboundedReceiver<Event>, error: &Error) {
        while let Ok(event) = events.try_recv() {
            let refused = match event {
                Event::Propose(proposal) => vec![proposal],
                Event::Decided(producer) => self.under_way.remove(&producer).unwrap_or_default(),
            };
            refused.into_iter().for_each(|proposal| answer(proposal, Err(error.clone())));
        }
    }

    fn take(&mut self, proposal: Proposal, payloads: &mut Vec<Stored>, pending: &mut Vec<Pending>) {
        if proposal.answer.is_closed() {
            return;
        }
        if let Err(error) = self.group.leading_term() {
            return answer(proposal, Err(error));
        }
        if let Some(producer) = proposal.batch.producer() {
            if let Some(repeats) = self.under_way.get_mut(producer) {
                return repeats.push(proposal);
            }
            let known =
                self.window.lock().unwrap_or_else(PoisonError::into_inner).find(&proposal.batch);
            if let Some(known) = known {
                return self.take_repeat(proposal, known, payloads, pending);
            }
        }
        if let Some(shut) = self.group.progress.shut() {
            return answer(proposal, Err(shut.into()));
        }
        if let Some(producer) = proposal.batch.producer() {
            self.under_way.insert(producer.clone(), Vec::new());
        }
        payloads.push(self.stamp(&proposal.batch, proposal.sealer.as_deref()));
        let records = proposal.batch.record_count();
        pending.push(Pending { proposal, known: None, records });
    }

    /// A call of which some or all records are in the log already.
    fn take_repeat(
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
        self.under_way.extend(rest.producer().map(|producer| (producer.clone(), Vec::new())));
        payloads.push(self.stamp(&rest, proposal.sealer.as_deref()));
        let records = rest.record_count();
        pending.push(Pending { proposal, known: Some(known), records });
    }

    /// The stored form of an append of `batch`, stamped now but never before an earlier one.
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

    async fn propose(&self, payloads: Vec<Stored>, pending: Vec<Pending>) {
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

/// Answers a proposal and lets repeats of its call go on.
fn finish(
    pending: Pending,
    result: Result<(LogId, Outcome), Error>,
    events: &mpsc::UnboundedSender<Event>,
) {
    let Pending { proposal, known, records } = pending;
    let producer = proposal.batch.producer().cloned();
    answer(proposal, result.and_then(|(_, outcome)| runs(&outcome, known, records)));
    if let Some(producer) = producer {
        let _shard_is_closing = events.send(Event::Decided(producer));
    }
}

/// Where the records of a batch stand, in its order.
fn runs(
    outcome: &Outcome,
    known: Option<Vec<Option<Run>>>,
    records: u32,
) -> Result<Vec<Run>, Error> {
    use anabranch_shard::Outcome::{Appended, Frozen, Refused, Stale, Stepped};
    let (log_index, arrival) = match outcome {
        Outcome::Shard(Appended { log_index, arrival }) => (log_index, arrival),
        Outcome::Shard(Refused(shut)) => return Err((*shut).into()),
        Outcome::Shard(Frozen(_) | Stale | Stepped) | Outcome::None | Outcome::Catalog(_) => {
            return Err(Error::Unknown("the entry was no append".into()));
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
