//! The loop of a worker. One task owns all state; reads, calls and commits are futures that it polls.

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use anabranch_types::Timestamp;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::checkpoint::Checkpoint;
use crate::engine::parts::{CommitError, Page, ProcessingResult, Progress, SourceError};
use crate::engine::worker::{End, RETRY, Worker};
use crate::lanes::{Action, Answer, Delivery, Lanes, Ticket};

/// The shortest sleep, so that a clock that does not move costs little.
const SHORTEST_SLEEP: Duration = Duration::from_millis(5);

/// A worker that has its checkpoint.
pub(super) struct Run {
    worker: Worker,
    lanes: Lanes,
    /// Calls and deliveries.
    flights: FuturesUnordered<BoxFuture<'static, Landed>>,
    reading: Option<BoxFuture<'static, Result<Page, SourceError>>>,
    /// No read begins before.
    read_after: Instant,
    committing: Option<BoxFuture<'static, Result<Checkpoint, CommitError>>>,
    /// The stored checkpoint.
    committed: Checkpoint,
    /// No commit begins before.
    commit_after: Instant,
    /// When the last commit began.
    commit_began: Instant,
    /// Since when commits fail.
    failing_since: Option<Instant>,
    result: ProcessingResult,
}

/// A flight that has ended.
enum Landed {
    Call(Ticket, Answer),
    Delivery(Ticket, Delivery),
}

/// The events of the loop.
enum Event {
    Stop,
    Read(Result<Page, SourceError>),
    Landed(Landed),
    Committed(Result<Checkpoint, CommitError>),
    /// Something is due.
    Due,
}

impl Run {
    pub(super) fn new(worker: Worker, checkpoint: Checkpoint) -> Self {
        let lanes = Lanes::new(
            worker.mapping.clone(),
            worker.names.clone(),
            checkpoint.clone(),
            worker.source.retention(),
            worker.seed,
        );
        let now = Instant::now();
        Self {
            worker,
            lanes,
            flights: FuturesUnordered::new(),
            reading: None,
            read_after: now,
            committing: None,
            committed: checkpoint,
            commit_after: now,
            commit_began: now,
            failing_since: None,
            result: ProcessingResult::default(),
        }
    }

    pub(super) async fn until(mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> End {
        loop {
            if self.committed.is_finished {
                return End::Finished;
            }
            self.begin();
            let event = tokio::select! {
                biased;
                () = &mut stop => Event::Stop,
                event = self.event(self.due()) => event,
            };
            if matches!(event, Event::Stop) {
                return self.stop().await;
            }
            if let Some(end) = self.handle(event) {
                return end;
            }
        }
    }

    /// Begins what is due: calls, deliveries, a read, a commit.
    fn begin(&mut self) {
        let now = Instant::now();
        if self.may_begin(now) {
            self.lanes.set_retention(self.worker.source.retention());
            while let Some(action) = self.lanes.next(self.time()) {
                self.start(action);
            }
            if self.reading.is_none() && now >= self.read_after && self.lanes.wants_records() {
                self.reading = Some(self.worker.source.read(self.lanes.read_to()));
            }
        }
        if now >= self.commit_after || self.lanes.is_finished() && self.failing_since.is_none() {
            self.commit();
        }
    }

    /// Whether calls and reads may begin: commits have not failed for long.
    fn may_begin(&self, now: Instant) -> bool {
        let patience = self.worker.settings.patience;
        self.failing_since.is_none_or(|since| now < since + patience)
    }

    fn start(&mut self, action: Action) {
        let worker = &self.worker;
        let flight = match action {
            Action::Call { ticket, request_id, event } => {
                let call = worker.invoker.call(worker.function.clone(), request_id, event);
                call.map(move |answer| Landed::Call(ticket, answer)).boxed()
            }
            Action::Deliver { ticket, document } => {
                let put = worker.destination.put(document);
                put.map(move |delivery| Landed::Delivery(ticket, delivery)).boxed()
            }
        };
        self.flights.push(flight);
    }

    /// Stores the checkpoint if it has changed.
    fn commit(&mut self) {
        let checkpoint = self.lanes.checkpoint();
        if self.committing.is_some() || checkpoint == self.committed {
            return;
        }
        let stored = self.worker.checkpoints.commit(checkpoint.clone());
        self.committing = Some(stored.map(|stored| stored.map(|()| checkpoint)).boxed());
        self.commit_began = Instant::now();
        self.commit_after = self.commit_began + self.worker.settings.checkpoint_every;
    }

    async fn event(&mut self, due: Option<Instant>) -> Event {
        tokio::select! {
            Some(landed) = self.flights.next(), if !self.flights.is_empty() => Event::Landed(landed),
            read = ready(&mut self.reading) => Event::Read(read),
            committed = ready(&mut self.committing) => Event::Committed(committed),
            () = wait(due) => Event::Due,
        }
    }

    /// When something is due without an event; `None` if never.
    fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        let wall = self.time();
        let lanes = self.lanes.wake_at().filter(|_| self.may_begin(now));
        let lanes = lanes.map(|at| now + at.since(wall).max(SHORTEST_SLEEP));
        let reads = (now < self.read_after).then_some(self.read_after);
        let commits = (now < self.commit_after).then_some(self.commit_after);
        lanes.into_iter().chain(reads).chain(commits).min()
    }

    fn handle(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Stop | Event::Due => {}
            Event::Landed(landed) => self.landed(landed),
            Event::Read(read) => return self.read(read),
            Event::Committed(committed) => return self.committed(committed),
        }
        None
    }

    fn landed(&mut self, landed: Landed) {
        let now = self.time();
        match landed {
            Landed::Delivery(ticket, delivery) => {
                if delivery == Delivery::Refused {
                    let shard = self.worker.names.shard();
                    tracing::warn!(%shard, "the destination refused a document about discarded records");
                }
                self.lanes.delivered(ticket, delivery, now);
            }
            Landed::Call(ticket, answer) => {
                let failed = self.lanes.counts().failed_calls;
                let was_called = answer != Answer::NotCalled;
                self.lanes.answered(ticket, answer, now);
                let is_ok = was_called && self.lanes.counts().failed_calls == failed;
                self.result = if is_ok { ProcessingResult::Ok } else { ProcessingResult::Failed };
            }
        }
        self.report();
    }

    fn read(&mut self, read: Result<Page, SourceError>) -> Option<End> {
        self.reading = None;
        match read {
            Ok(page) => {
                self.lanes.offer(&page.records, page.next);
                if page.is_end {
                    self.lanes.end();
                }
                self.report();
            }
            Err(SourceError::Gone) => return Some(End::Gone),
            Err(error @ SourceError::Unavailable(_)) => {
                tracing::warn!(shard = %self.worker.names.shard(), %error, "function mapping");
                self.read_after = Instant::now() + RETRY;
            }
        }
        None
    }

    fn committed(&mut self, committed: Result<Checkpoint, CommitError>) -> Option<End> {
        self.committing = None;
        match committed {
            Ok(checkpoint) => {
                self.committed = checkpoint;
                self.failing_since = None;
            }
            Err(CommitError::Fenced) => return Some(End::Fenced),
            Err(error @ CommitError::Failed(_)) => {
                tracing::warn!(shard = %self.worker.names.shard(), %error, "function mapping");
                self.failing_since.get_or_insert(self.commit_began);
                self.commit_after = Instant::now() + RETRY;
            }
        }
        None
    }

    /// Waits for what is in flight, and stores the last checkpoint; each for a limited time.
    async fn stop(mut self) -> End {
        self.reading = None;
        let limit = self.worker.settings.stop_within;
        let deadline = Instant::now() + limit;
        while !self.flights.is_empty() || self.committing.is_some() {
            let Ok(event) = timeout_at(deadline, self.event(None)).await else { break };
            if let Some(end) = self.handle(event) {
                return end;
            }
        }
        // A commit that did not end in time is sent again, with what has ended since.
        self.committing = None;
        self.commit();
        let deadline = Instant::now() + limit;
        while self.committing.is_some() {
            let stored = timeout_at(deadline, ready(&mut self.committing)).await;
            let Ok(stored) = stored else { break };
            if let Some(end) = self.committed(stored) {
                return end;
            }
        }
        if self.committed.is_finished { End::Finished } else { End::Stopped }
    }

    fn report(&self) {
        let (counts, oldest) = (self.lanes.counts(), self.lanes.oldest());
        self.worker.progress.send_replace(Progress { counts, oldest, result: self.result });
    }

    fn time(&self) -> Timestamp {
        self.worker.clock.now()
    }
}

/// Waits for a future that may not be there. The caller removes it when it has ended.
async fn ready<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn wait(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}
