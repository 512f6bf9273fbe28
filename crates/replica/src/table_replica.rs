//! This node's replica of a table group.
//!
//! A write is a transaction. The task `Proposer` gathers the transactions that arrive while an entry is in flight, and
//! proposes them together (group commit):
//!
//! ```text
//! transact -> channel -> Proposer: up to 256 transactions or 1 MiB -> one entry -> applied -> one outcome for each
//! ```
//!
//! A read on the leader shows every write that was acknowledged before it ([`TableReplica::newest`]). A watch works on
//! every replica, and may be behind (`table_watch.rs`).
//!
//! This never happens: a transaction has an outcome before a majority has it on disk.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_planted::{Bug, planted};
use anabranch_table::{
    Command, Key, Outcome, Request, Response, SpaceId, TableState, Transaction, TransactionId,
    Version, Watched, WatchedRange,
};
use anabranch_types::Clock;
use bytes::BytesMut;
use futures::stream::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::error::Error;
use crate::group::{DISK_STALLED, Group, GroupStatus};
use crate::machine;
use crate::maintenance::Kind;
use crate::metrics::{TableSize, TransactionOutcome};
use crate::payload::Payload;
use crate::table_watch;

/// Transactions that may wait for their entry. More are throttled.
const MAX_WAITING: usize = 4_096;
/// Bytes of transactions in one entry, unless a single transaction has more.
const ENTRY_BYTES: usize = 1 << 20;

/// A transaction, and the caller that waits for its outcome.
struct Proposal {
    transaction: Transaction,
    answer: oneshot::Sender<Result<Outcome, Error>>,
    /// Counts the bytes of the transaction against the memory of appends in flight.
    _permit: OwnedSemaphorePermit,
}

/// This node's replica of a table group. Cheap to clone.
#[derive(Clone)]
pub struct TableReplica {
    pub(crate) group: Arc<Group>,
    state: watch::Receiver<Arc<TableState>>,
    proposals: mpsc::Sender<Proposal>,
    permits: Arc<Semaphore>,
    /// Bytes of the commands since the last checkpoint.
    logged_bytes: Arc<AtomicU64>,
    deadline: Duration,
    /// Whether the node is about to stop.
    leaving: watch::Receiver<bool>,
    /// What this replica has answered, by space.
    answered: Arc<Mutex<BTreeMap<SpaceId, Answered>>>,
}

/// Counts of answers about one space.
#[derive(Clone, Copy, Default)]
struct Answered {
    reads: u64,
    writes: u64,
}

/// A space of a table group, and how much this replica was asked about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceUse {
    /// Name of the space.
    pub name: String,
    /// Number of rows.
    pub rows: u64,
    /// Bytes of the rows; see [`row_bytes`](anabranch_table::row_bytes).
    pub bytes: u64,
    /// Reads of one row or of a page that this replica has answered.
    pub reads: u64,
    /// Rows that were written or deleted by transactions that this replica has answered.
    pub writes: u64,
}

impl TableReplica {
    pub(crate) fn new(
        group: Arc<Group>,
        state: watch::Receiver<Arc<TableState>>,
        logged_bytes: Arc<AtomicU64>,
        permits: Arc<Semaphore>,
        clock: Arc<dyn Clock>,
        deadline: Duration,
        leaving: watch::Receiver<bool>,
    ) -> Self {
        let (proposals, receiver) = mpsc::channel(MAX_WAITING);
        // The task ends when `proposals` and all its clones are dropped.
        tokio::spawn(Proposer { group: Arc::clone(&group), clock }.run(receiver));
        let answered = Arc::default();
        Self { group, state, proposals, permits, logged_bytes, deadline, leaving, answered }
    }

    /// Makes a transaction. Works on the leader only. Returns once a majority has it on disk and this replica has
    /// applied it.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the transaction may or may not have been made. After any other error nothing happened.
    pub async fn transact(&self, transaction: Transaction) -> Result<Outcome, Error> {
        let result = self.transact_uncounted(transaction).await;
        let transactions = &self.group.metrics.tables.transactions;
        transactions.of(TransactionOutcome::of(&result)).increment();
        result
    }

    async fn transact_uncounted(&self, transaction: Transaction) -> Result<Outcome, Error> {
        self.group.leading_term()?;
        if let Err(refusal) = transaction.check(self.state.borrow().limits()) {
            return Ok(Outcome::Refused(refusal));
        }
        if !transaction.puts.is_empty() {
            self.group.check_free_space()?;
        }
        self.group.check_fits(transaction.encoded_bytes() + HEAD_BYTES)?;
        let bytes = u32::try_from(transaction.encoded_bytes()).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(bytes);
        let _permit =
            permit.map_err(|_| Error::Throttled("appends in flight use all of their memory"))?;
        let (answer, answered) = oneshot::channel();
        self.proposals.try_send(Proposal { transaction, answer, _permit }).map_err(|error| {
            match error {
                mpsc::error::TrySendError::Full(_) => {
                    Error::Throttled("too many transactions wait for the table group")
                }
                mpsc::error::TrySendError::Closed(_) => {
                    Error::OutOfService("the replica is stopping".into())
                }
            }
        })?;
        let answered = tokio::select! {
            biased;
            answered = timeout(self.deadline, answered) => answered,
            () = self.group.until_stalled() => return Err(Error::Unknown(DISK_STALLED.into())),
        };
        match answered {
            Ok(Ok(result)) => result,
            Ok(Err(_dropped)) => Err(Error::Unknown("the replica stopped".into())),
            Err(_elapsed) => Err(Error::Unknown("no majority in time".into())),
        }
    }

    /// Creates the space `name`. A second call with the same `id` has the same outcome.
    ///
    /// # Errors
    /// As [`Self::transact`].
    pub async fn create_space(&self, id: TransactionId, name: String) -> Result<Outcome, Error> {
        self.group.check_free_space()?;
        self.propose(Command::CreateSpace { id, name }).await
    }

    /// Drops a space with all its rows.
    ///
    /// # Errors
    /// As [`Self::transact`].
    pub async fn drop_space(&self, space: SpaceId) -> Result<Outcome, Error> {
        self.propose(Command::DropSpace { space }).await
    }

    async fn propose(&self, command: Command) -> Result<Outcome, Error> {
        self.group.leading_term()?;
        self.group.check_followed().await?;
        match propose(&self.group, &command).await?.pop() {
            Some(outcome) => Ok(outcome),
            None => Err(Error::Unknown("the entry has no outcome".into())),
        }
    }

    /// Answers a request. Works on the leader only. A read shows every write that was acknowledged before this call.
    ///
    /// # Errors
    /// As [`Self::transact`].
    pub async fn call(&self, request: Request) -> Result<Response, Error> {
        let outcome = match request {
            Request::Transact(transaction) => {
                let puts = transaction.puts.iter().map(|(key, _)| key);
                let written: Vec<_> =
                    puts.chain(&transaction.deletes).map(|key| key.space).collect();
                let outcome = self.transact(transaction).await?;
                if matches!(outcome, Outcome::Done { .. }) {
                    self.count(&written, |answered| answered.writes += 1);
                }
                outcome
            }
            Request::CreateSpace { id, name } => self.create_space(id, name).await?,
            Request::DropSpace(space) => self.drop_space(space).await?,
            read @ (Request::Get(_) | Request::Range { .. } | Request::ListSpaces) => {
                if let Request::Get(Key { space, .. }) | Request::Range { space, .. } = &read {
                    self.count(&[*space], |answered| answered.reads += 1);
                }
                let response = read.read(&*self.newest().await?);
                return response.ok_or_else(|| Error::Invalid("not a read".into()));
            }
        };
        Ok(Response::Outcome(outcome))
    }

    /// The newest state. It includes every write that was acknowledged before this call. Works on the leader only.
    ///
    /// # Errors
    /// [`Error::NotLeader`].
    pub async fn newest(&self) -> Result<Arc<TableState>, Error> {
        if planted(Bug::StaleTableRead) {
            self.group.leading_term()?;
        } else {
            self.group.read_index().await?;
        }
        Ok(Arc::clone(&self.state.borrow()))
    }

    /// A watch of the newest state that this replica has applied. Every replica has one. It may be behind the leader.
    pub fn watch(&self) -> watch::Receiver<Arc<TableState>> {
        self.state.clone()
    }

    /// The rows of `range` as they change, for a watcher that has an exact copy as of `since`. Works on every replica.
    /// A watcher that has nothing begins at [`Version::START`]. If the group has changed too much since `since`, the
    /// first page resets the copy.
    ///
    /// The stream ends after [`Watched::Dropped`]. An error is the last item too: the watcher goes on at another
    /// replica.
    pub fn watch_rows(
        &self,
        range: WatchedRange,
        since: Version,
    ) -> impl Stream<Item = Result<Watched, Error>> + Send + use<> {
        let (states, group) = (self.state.clone(), Arc::downgrade(&self.group));
        let metrics = Arc::clone(&self.group.metrics);
        table_watch::pages(range, since, states, group, self.leaving.clone(), metrics)
    }

    /// Whether this replica leads and has applied all entries of earlier terms.
    pub fn leads(&self) -> bool {
        self.group.leading_term().is_ok()
    }

    /// Whether this replica leads, has applied everything that earlier leaders committed, and no other replica can
    /// lead now.
    pub async fn leads_now(&self) -> bool {
        self.group.read_index().await.is_ok()
    }

    fn count(&self, spaces: &[SpaceId], count: impl Fn(&mut Answered)) {
        let state = self.state.borrow();
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        for space in spaces.iter().filter(|space| state.space(**space).is_some()) {
            count(answered.entry(*space).or_default());
        }
    }

    /// The spaces by number, and how much this replica was asked about each.
    pub fn spaces(&self) -> Vec<SpaceUse> {
        let state = Arc::clone(&self.state.borrow());
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of dropped spaces are forgotten.
        answered.retain(|space, _| state.space(*space).is_some());
        let spaces = state.spaces().map(|(id, space)| {
            let Answered { reads, writes } = answered.get(&id).copied().unwrap_or_default();
            let (rows, bytes) = (space.rows() as u64, space.bytes());
            SpaceUse { name: space.name().to_owned(), rows, bytes, reads, writes }
        });
        spaces.collect()
    }

    /// Size of the group, as this replica has applied it.
    pub(crate) fn size(&self) -> TableSize {
        let state = self.state.borrow();
        TableSize { rows: state.rows(), bytes: state.bytes() }
    }

    /// State of the replica.
    pub fn status(&self) -> GroupStatus {
        self.group.status()
    }

    /// What upkeep has to know.
    pub(crate) fn kind(&self) -> Kind {
        Kind::Table {
            logged_bytes: self.logged_bytes.load(Ordering::Relaxed),
            state_bytes: self.state.borrow().bytes(),
        }
    }
}

/// Bytes of a `Transact` command beside its transactions, and of the payload's tag.
const HEAD_BYTES: usize = 16;

/// Replicates a command, and returns its outcomes once it is applied here.
async fn propose(group: &Group, command: &Command) -> Result<Vec<Outcome>, Error> {
    let mut stored = BytesMut::with_capacity(command.encoded_bytes());
    command.encode(&mut stored);
    match group.propose(Payload::Command(stored.freeze())).await? {
        (_, machine::Outcome::Table(outcomes)) => Ok(outcomes),
        (_, other) => Err(Error::Unknown(format!("unexpected outcome: {other:?}"))),
    }
}

/// The task that proposes transactions, one entry at a time.
struct Proposer {
    group: Arc<Group>,
    clock: Arc<dyn Clock>,
}

impl Proposer {
    /// Runs until no sender of `proposals` is left.
    async fn run(self, mut proposals: mpsc::Receiver<Proposal>) {
        let mut carried = None;
        loop {
            let first = match carried.take() {
                Some(proposal) => proposal,
                None => match proposals.recv().await {
                    Some(proposal) => proposal,
                    None => return,
                },
            };
            if first.answer.is_closed() {
                continue; // the caller has stopped waiting
            }
            let most = {
                let limit = self.group.log.payload_limit();
                ENTRY_BYTES.min(limit.saturating_sub(HEAD_BYTES))
            };
            let mut bytes = first.transaction.encoded_bytes();
            let mut batch = vec![first];
            while batch.len() < MAX_TRANSACTIONS
                && let Ok(next) = proposals.try_recv()
            {
                // The caller has stopped waiting, so nothing needs to be written.
                if next.answer.is_closed() {
                    continue;
                }
                bytes += next.transaction.encoded_bytes();
                if bytes > most {
                    carried = Some(next);
                    break;
                }
                batch.push(next);
            }
            self.write(batch).await;
        }
    }

    async fn write(&self, batch: Vec<Proposal>) {
        let split = |proposal: Proposal| {
            let Proposal { transaction, answer, _permit } = proposal;
            (transaction, (answer, _permit))
        };
        let (transactions, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(split).unzip();
        self.group.metrics.tables.entry_transactions.observe(transactions.len() as u64);
        let command = Command::Transact { transactions, now: self.clock.now() };
        let result = match self.group.check_followed().await {
            Ok(()) => propose(&self.group, &command).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(outcomes) => {
                for ((answer, _permit), outcome) in answers.into_iter().zip(outcomes) {
                    let _caller_gave_up = answer.send(Ok(outcome));
                }
            }
            Err(error) => {
                for (answer, _permit) in answers {
                    let _caller_gave_up = answer.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Transactions of one entry, by [`anabranch_table::Limits::command_transactions`].
const MAX_TRANSACTIONS: usize = 256;
