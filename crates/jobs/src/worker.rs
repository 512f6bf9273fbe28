//! Does the jobs of this node.
//!
//! ```text
//! row names this node -> waiting -> running -- the work ended --------------> finished (until its row is gone)
//!                          ^           +------ the work failed --> waiting, or given up after three failures
//!                          |           +------ leaving, or this node stops --> given up
//!                          +---- after a delay
//! row names another node, or is gone: the task is dropped at once, wherever it is
//! ```
//!
//! The loop never waits for the table group: it looks at the copy of the rows, and its transactions run beside it, at
//! most one for each job. So a group without a leader delays no task that has to end.
//!
//! Each run of the work has an epoch of its own, because a transaction of the run before may still be on its way: a run
//! of this process that failed or was dropped, or of an earlier process of the same node. Rows that are older than the
//! first transaction of this process are of an earlier one.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_client::{ShownRows, Tables};
use anabranch_table::{Expect, Key, Outcome, SpaceId, Transaction, Version};
use anabranch_types::{Clock, GroupId, NodeId, Timestamp};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::copies::Copies;
use crate::id::JobId;
use crate::leaving;
use crate::row::{JobRow, Owner, SPACE};
use crate::status::{self, JobStatus, Report};
use crate::work::{Job, Work};

/// Time between two looks at delays and reports.
const TICK: Duration = Duration::from_millis(200);
/// Longest time of a transaction. Each of them may be made again.
const TRANSACTION: Duration = Duration::from_secs(3);
/// Time before a transaction that was not made is made again.
const AGAIN: Duration = Duration::from_secs(1);
/// A node that stops gives its jobs up after this time also if it could not tell the dispatcher.
const TELL_WITHIN: Duration = Duration::from_millis(1500);
/// A report that has changed is written at most this often.
const WRITE_EVERY: Duration = Duration::from_secs(10);
/// After a failure the work waits this long, twice as long after the next one, and so on.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// Work that went well for this time has no failures any more.
const WENT_WELL: Duration = Duration::from_secs(60);
/// After this many failures in a row the job goes to another node.
const FAILURES_HERE: u32 = 3;
/// An owner that hears nothing of the table group for this time stops its work until it does.
const UNHEARD: Duration = Duration::from_secs(10);
/// Work that has not ended after this time, on a node that stops, is dropped.
const STOP_WITHIN: Duration = Duration::from_secs(4);

/// The worker of a node.
pub(crate) struct Worker {
    pub(crate) works: Arc<[Arc<dyn Work>]>,
    pub(crate) node: NodeId,
    pub(crate) tables: Tables,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) group: GroupId,
    pub(crate) owners: SpaceId,
    pub(crate) statuses: SpaceId,
    pub(crate) leaving: SpaceId,
    pub(crate) copies: Copies,
    /// Cancelled when this node stops.
    pub(crate) stop: CancellationToken,
}

/// State of the loop.
struct State {
    /// Jobs whose rows name this node.
    held: BTreeMap<JobId, Held>,
    /// The rows that name this node, and the version of the copy that showed them.
    mine: BTreeMap<JobId, Mine>,
    shown: Version,
    tasks: JoinSet<Ended>,
    writes: FuturesUnordered<BoxFuture<'static, Written>>,
    telling: Telling,
    /// Rows up to this version are of an earlier process.
    inherited: Option<Version>,
    /// Number of the next run of a task.
    next_run: u64,
    stopping_since: Option<Instant>,
}

/// A row that names this node.
#[derive(Clone, Copy)]
struct Mine {
    epoch: u64,
    leaving: bool,
    version: Version,
}

/// Knowledge of the dispatcher about this node.
struct Telling {
    /// Whether a transaction about this node is under way.
    is_under_way: bool,
    /// The last news: whether this node is about to stop; and the version that shows it.
    told: Option<(bool, Version)>,
    /// No transaction begins before.
    not_before: Instant,
}

/// A job whose row names this node.
struct Held {
    epoch: u64,
    stage: Stage,
    /// Whether the work was begun with this epoch.
    has_run: bool,
    status: JobStatus,
    /// The report that was last written, and when.
    written: (Report, Instant),
    /// Whether the status has to be written now.
    must_write: bool,
    /// Whether a transaction about the job is under way.
    is_writing: bool,
    /// No transaction about the job begins before.
    not_before: Instant,
}

enum Stage {
    /// The epoch was used by an earlier run. The row gets a new one before anything else.
    Used(Version),
    /// The row has a new epoch, which the copy does not show yet.
    Renewed,
    /// The work begins at this time.
    Waiting(Instant),
    Running {
        run: u64,
        abort: AbortHandle,
        stop: CancellationToken,
        report: Arc<Mutex<Report>>,
        since: Instant,
    },
    /// The task was dropped. The work begins again when it has ended.
    Dropped(AbortHandle),
    /// Nothing is left to do. If the job is still wanted at this time, the work begins again.
    Finished(Instant),
    /// The job is to be given up.
    GivingUp,
    /// The row was given up.
    GivenUp,
}

/// A task that has ended.
struct Ended {
    job: JobId,
    run: u64,
    result: Result<(), String>,
}

/// A transaction that has ended.
enum Written {
    /// The version is there if it was made.
    Told(bool, Option<Version>),
    Row {
        job: JobId,
        epoch: u64,
        what: Row,
        done: bool,
    },
}

/// The content of a transaction about a job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Row {
    NewEpoch,
    Status(Said),
    /// The job is given up. The status is in the same transaction.
    GivenUp(Option<Said>),
}

/// Content of a status.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Said {
    report: Report,
    failures: u32,
    failed_millis: u64,
}

impl Worker {
    /// Runs until the task is dropped. When this node stops, gives up all jobs, and says so.
    pub(crate) async fn run(mut self, given_up: oneshot::Sender<()>) {
        let mut state = State::new();
        let mut given_up = Some(given_up);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let stopping = self.stop.is_cancelled();
            if stopping {
                state.stopping_since.get_or_insert_with(Instant::now);
            }
            self.tell(&mut state, stopping);
            self.look(&mut state);
            if self.has_given_up(&state)
                && let Some(given_up) = given_up.take()
            {
                let _nobody_waits = given_up.send(());
            }
            tokio::select! {
                () = self.copies.changed(&[SPACE, leaving::SPACE]) => {}
                _ = tick.tick() => {}
                Some(ended) = state.tasks.join_next() => self.end(ended, &mut state.held),
                Some(written) = state.writes.next() => state.take_written(written),
                () = self.stop.cancelled(), if !stopping => {}
            }
            // One look for all that has ended.
            while let Some(ended) = state.tasks.try_join_next() {
                self.end(ended, &mut state.held);
            }
            while let Some(Some(written)) = state.writes.next().now_or_never() {
                state.take_written(written);
            }
        }
    }

    /// Whether this node stops, and has no job any more.
    fn has_given_up(&self, state: &State) -> bool {
        let Some(since) = state.stopping_since else { return false };
        let is_told = state
            .telling
            .told
            .is_some_and(|(leaving, at)| leaving && self.copies.version(SPACE) >= at);
        // Without a leader nobody can be told, and nobody gives a job to this node.
        let is_unheard = since.elapsed() > TELL_WITHIN && state.held.is_empty();
        let given_up = |held: &Held| matches!(held.stage, Stage::GivenUp);
        (is_told || is_unheard) && state.held.values().all(given_up)
    }

    /// Tells the dispatcher whether this node is about to stop.
    fn tell(&self, state: &mut State, is_leaving: bool) {
        let telling = &mut state.telling;
        let rows = self.copies.rows(leaving::SPACE);
        let says = leaving::nodes(&rows).contains(&self.node);
        if telling.told.is_some_and(|(_, at)| rows.version() >= at && says != is_leaving) {
            telling.told = None; // a late transaction of an earlier process came after all
        }
        let is_told = telling.told.is_some_and(|(told, _)| told == is_leaving);
        if telling.is_under_way || is_told || Instant::now() < telling.not_before {
            return;
        }
        let key = leaving::key(self.leaving, self.node);
        let mut transaction = Transaction::default();
        if is_leaving {
            transaction.puts.push((key, Bytes::new()));
        } else {
            transaction.deletes.push(key);
        }
        telling.is_under_way = true;
        let written = self.transact(transaction);
        state.writes.push(async move { Written::Told(is_leaving, written.await) }.boxed());
    }

    /// Brings what this node does to what the rows say.
    fn look(&self, state: &mut State) {
        let Some(inherited) = state.inherited else { return };
        let rows = self.copies.rows(SPACE);
        if rows.version() < inherited {
            return; // the copy may lack rows of an earlier process
        }
        if rows.version() != state.shown {
            (state.mine, state.shown) = (self.mine(&rows), rows.version());
            let mine = &state.mine;
            state.held.retain(|job, held| {
                let is_mine = mine.get(job).is_some_and(|mine| mine.epoch == held.epoch);
                if !is_mine && let Stage::Running { abort, .. } = &held.stage {
                    abort.abort();
                }
                is_mine
            });
        }
        let stopping = state.stopping_since.map(|since| since.elapsed());
        let overdue = stopping.is_some_and(|passed| passed > STOP_WITHIN);
        // The dispatcher is told first, so that it gives no job back to this node.
        let is_told = matches!(state.telling.told, Some((true, _)));
        let gives_up = stopping.is_some_and(|passed| is_told || passed > TELL_WITHIN);
        for (job, mine) in &state.mine {
            if !state.held.contains_key(job) {
                state.held.insert(job.clone(), self.hold(job, *mine, inherited));
            }
            let Some(held) = state.held.get_mut(job) else { continue };
            if mine.leaving || gives_up {
                held.leave(overdue);
            } else if self.copies.unheard() > UNHEARD {
                held.pause(job);
            } else if stopping.is_none() && held.is_due() && held.has_run {
                held.stage = Stage::Used(mine.version);
            } else if stopping.is_none() && held.is_due() {
                self.begin(job, held, &mut state.tasks, &mut state.next_run);
            }
            if let Some(write) = self.next_write(job, held) {
                held.is_writing = true;
                state.writes.push(write);
            }
        }
    }

    /// The rows that name this node.
    fn mine(&self, rows: &ShownRows) -> BTreeMap<JobId, Mine> {
        let mine = rows.all().filter_map(|(key, row)| {
            let JobRow { epoch, owner } = JobRow::decode(&row.value).ok()?;
            match owner {
                Owner::Owned { node, leaving, .. } if node == self.node => {
                    Some((JobId::of_key(key)?, Mine { epoch, leaving, version: row.version }))
                }
                Owner::Owned { .. } | Owner::Free { .. } => None,
            }
        });
        mine.collect()
    }

    fn hold(&self, job: &JobId, mine: Mine, inherited: Version) -> Held {
        let (status, now) = (self.status(job), Instant::now());
        let stage = if mine.version <= inherited {
            Stage::Used(mine.version)
        } else {
            Stage::Waiting(now + rest_of_delay(&status, self.clock.now()))
        };
        Held {
            epoch: mine.epoch,
            stage,
            has_run: false,
            written: (status.report, now),
            status,
            must_write: false,
            is_writing: false,
            not_before: now,
        }
    }

    /// Begins the work.
    fn begin(&self, job: &JobId, held: &mut Held, tasks: &mut JoinSet<Ended>, next_run: &mut u64) {
        // A service that this release does not know waits for a node that does.
        let Some(work) = self.works.iter().find(|work| work.service() == job.service) else {
            return;
        };
        let (stop, report) = (CancellationToken::new(), Arc::default());
        let handle = Job {
            id: job.clone(),
            epoch: held.epoch,
            tables: self.tables.clone(),
            group: self.group,
            row: self.key(self.owners, job),
            copies: self.copies.clone(),
            stop: stop.clone(),
            report: Arc::clone(&report),
        };
        let run = *next_run;
        *next_run += 1;
        let job = job.clone();
        let running = AssertUnwindSafe(work.run(handle)).catch_unwind();
        let abort = tasks.spawn(async move {
            let result = running.await.unwrap_or_else(|_| Err("the work panicked".to_owned()));
            Ended { job, run, result }
        });
        held.has_run = true;
        held.stage = Stage::Running { run, abort, stop, report, since: Instant::now() };
    }

    fn end(&self, ended: Result<Ended, JoinError>, all: &mut BTreeMap<JobId, Held>) {
        // A task that was dropped says nothing.
        let Ok(Ended { job, run: ended_run, result }) = ended else { return };
        let Some(held) = all.get_mut(&job) else { return };
        let Stage::Running { run, stop, report, since, .. } = &held.stage else { return };
        if *run != ended_run {
            return;
        }
        let (stopped, lasted) = (stop.is_cancelled(), since.elapsed());
        held.status.report = *report.lock().unwrap_or_else(PoisonError::into_inner);
        held.stage = match result {
            Ok(()) if stopped => Stage::GivingUp,
            Ok(()) => Stage::Finished(Instant::now() + FIRST_DELAY),
            Err(error) => {
                tracing::warn!(%job, error, "the work of a job failed");
                if lasted >= WENT_WELL {
                    held.status.failures = 0;
                }
                held.status.fail(error, self.clock.now());
                held.must_write = true;
                if stopped || held.status.failures.is_multiple_of(FAILURES_HERE) {
                    Stage::GivingUp
                } else {
                    Stage::Waiting(Instant::now() + delay(held.status.failures))
                }
            }
        };
    }

    /// The transaction that the job needs next, if none is under way.
    fn next_write(&self, job: &JobId, held: &mut Held) -> Option<BoxFuture<'static, Written>> {
        if held.is_writing || Instant::now() < held.not_before {
            return None;
        }
        held.take_report(self.clock.now());
        let (epoch, owners, statuses) = (held.epoch, self.owners, self.statuses);
        let status = || (self.key(statuses, job), held.status.encode());
        let (expect, puts, what) = match &held.stage {
            Stage::GivingUp => {
                let owner = Owner::Free { left_by: Some(self.node) };
                let free = (self.key(owners, job), JobRow { epoch, owner }.encode());
                let said = held.must_write.then(|| held.said());
                let puts = said.map(|_| status()).into_iter().chain([free]).collect();
                (Expect::Epoch { at_most: epoch }, puts, Row::GivenUp(said))
            }
            Stage::Used(version) => {
                let shown = self.copies.version(SPACE).as_u64();
                let epoch = shown.max(epoch).saturating_add(1);
                let (node, since) = (self.node, self.clock.now());
                let owner = Owner::Owned { node, since, leaving: false };
                let row = (self.key(owners, job), JobRow { epoch, owner }.encode());
                (Expect::Version(*version), vec![row], Row::NewEpoch)
            }
            Stage::Running { .. } | Stage::Waiting(_) | Stage::Finished(_) if held.must_write => {
                (Expect::Epoch { at_most: epoch }, vec![status()], Row::Status(held.said()))
            }
            Stage::Running { .. }
            | Stage::Waiting(_)
            | Stage::Finished(_)
            | Stage::Dropped(_)
            | Stage::Renewed
            | Stage::GivenUp => return None,
        };
        let checks = vec![(self.key(owners, job), expect)];
        let made = self.transact(Transaction { checks, puts, ..Transaction::default() });
        let job = job.clone();
        let written = async move {
            let done = made.await.is_some();
            Written::Row { job, epoch, what, done }
        };
        Some(written.boxed())
    }

    /// Makes a transaction. `None` if it was not made, or if nobody knows.
    fn transact(
        &self,
        transaction: Transaction,
    ) -> impl Future<Output = Option<Version>> + Send + use<> {
        let (tables, group) = (self.tables.clone(), self.group);
        async move {
            match timeout(TRANSACTION, tables.transact(group, transaction)).await {
                Ok(Ok(Outcome::Done { version })) => Some(version),
                Ok(Ok(outcome)) => {
                    tracing::debug!(?outcome, "a row of jobs is not written");
                    None
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a row of jobs is not written yet");
                    None
                }
                Err(_) => {
                    tracing::warn!("a row of jobs is not written yet: the table group is slow");
                    None
                }
            }
        }
    }

    fn status(&self, job: &JobId) -> JobStatus {
        let rows = self.copies.rows(status::SPACE);
        rows.get(&job.key()).map(|row| JobStatus::decode(&row.value)).unwrap_or_default()
    }

    fn key(&self, space: SpaceId, job: &JobId) -> Key {
        Key { space, key: Bytes::from(job.key()) }
    }
}

impl State {
    fn new() -> Self {
        let telling = Telling { is_under_way: false, told: None, not_before: Instant::now() };
        Self {
            held: BTreeMap::new(),
            mine: BTreeMap::new(),
            shown: Version::START,
            tasks: JoinSet::new(),
            writes: FuturesUnordered::new(),
            telling,
            inherited: None,
            next_run: 0,
            stopping_since: None,
        }
    }

    fn take_written(&mut self, written: Written) {
        match written {
            Written::Told(is_leaving, version) => {
                self.telling.is_under_way = false;
                match version {
                    Some(version) => {
                        self.telling.told = Some((is_leaving, version));
                        self.inherited.get_or_insert(version);
                    }
                    None => self.telling.not_before = Instant::now() + AGAIN,
                }
            }
            Written::Row { job, epoch, what, done } => {
                let held = self.held.get_mut(&job).filter(|held| held.epoch == epoch);
                if let Some(held) = held {
                    held.take_written(what, done);
                }
            }
        }
    }
}

impl Held {
    fn take_written(&mut self, what: Row, done: bool) {
        self.is_writing = false;
        if !done {
            self.not_before = Instant::now() + AGAIN;
        }
        match what {
            Row::NewEpoch if done => self.stage = Stage::Renewed,
            Row::NewEpoch => {}
            Row::Status(said) if done => self.has_said(said),
            Row::Status(_) => {}
            Row::GivenUp(said) => {
                if let Some(said) = said {
                    // A group that is full takes the row alone, which is smaller than before.
                    self.has_said(said);
                }
                if done && matches!(self.stage, Stage::GivingUp) {
                    self.stage = Stage::GivenUp;
                }
            }
        }
    }

    /// Content of the status now.
    fn said(&self) -> Said {
        let JobStatus { report, failures, failed_millis, .. } = self.status;
        Said { report, failures, failed_millis }
    }

    fn has_said(&mut self, said: Said) {
        self.written = (said.report, Instant::now());
        self.must_write = self.said() != said;
    }

    /// Takes the report of the work into the status, now and then.
    fn take_report(&mut self, now: Timestamp) {
        let Stage::Running { report, since, .. } = &self.stage else { return };
        let report = *report.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_well = self.status.failures > 0 && since.elapsed() >= WENT_WELL;
        let (written, at) = self.written;
        if goes_well || (report != written && at.elapsed() >= WRITE_EVERY) {
            if goes_well {
                self.status.failures = 0;
            }
            self.status.report = report;
            self.status.written_millis = now.as_millis();
            self.must_write = true;
        }
    }

    /// Asks the work to end, and gives the job up when it has. `overdue` work is dropped.
    fn leave(&mut self, overdue: bool) {
        match &self.stage {
            Stage::Running { abort, .. } if overdue => {
                abort.abort();
                self.stage = Stage::GivingUp;
            }
            Stage::Running { stop, .. } => stop.cancel(),
            Stage::Used(_) | Stage::Waiting(_) | Stage::Dropped(_) | Stage::Finished(_) => {
                self.stage = Stage::GivingUp;
            }
            // The row with the new epoch comes soon.
            Stage::Renewed | Stage::GivingUp | Stage::GivenUp => {}
        }
    }

    /// Drops the work until the table group is heard again: another node may have the job.
    fn pause(&mut self, job: &JobId) {
        if let Stage::Running { abort, .. } = &self.stage {
            tracing::warn!(%job, "the table group is not heard, the work waits");
            abort.abort();
            self.stage = Stage::Dropped(abort.clone());
        }
    }

    /// Whether the work is to begin now.
    fn is_due(&self) -> bool {
        match &self.stage {
            Stage::Waiting(due) | Stage::Finished(due) => *due <= Instant::now(),
            Stage::Dropped(abort) => abort.is_finished(),
            Stage::Used(_)
            | Stage::Renewed
            | Stage::Running { .. }
            | Stage::GivingUp
            | Stage::GivenUp => false,
        }
    }
}

/// How long the work waits after this number of failures in a row.
fn delay(failures: u32) -> Duration {
    let doubled = FIRST_DELAY * (1 << failures.saturating_sub(1).min(6));
    doubled.min(LONGEST_DELAY)
}

/// Rest of the delay after the last failure, on whichever node that was.
fn rest_of_delay(status: &JobStatus, now: Timestamp) -> Duration {
    if status.failures == 0 {
        return Duration::ZERO;
    }
    let passed = now.since(Timestamp::from_millis(status.failed_millis));
    delay(status.failures).saturating_sub(passed)
}
