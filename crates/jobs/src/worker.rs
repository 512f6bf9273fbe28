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
//! A process takes over the jobs of an earlier process of the same node only with a new epoch: a transaction of that
//! process may still be on its way. Rows that are older than the first transaction of this process are of an earlier one.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_client::Tables;
use anabranch_table::{Expect, Key, Outcome, SpaceId, Transaction, Version};
use anabranch_types::{Clock, GroupId, NodeId, Timestamp};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::task::{AbortHandle, JoinSet};
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

/// What the loop owns.
#[derive(Default)]
struct State {
    /// Jobs whose rows name this node.
    held: BTreeMap<JobId, Held>,
    tasks: JoinSet<Ended>,
    writes: FuturesUnordered<BoxFuture<'static, Written>>,
    /// Whether a transaction about this node is under way.
    is_telling: bool,
    /// What the dispatcher was last told: whether this node is about to stop.
    told: Option<bool>,
    /// Rows up to this version are of an earlier process.
    inherited: Option<Version>,
    /// Number of the next run of a task.
    next_run: u64,
    stopping_since: Option<Instant>,
}

/// A job whose row names this node.
struct Held {
    epoch: u64,
    stage: Stage,
    status: JobStatus,
    /// What was last written, and when.
    written: (Report, Instant),
    /// Whether the status has to be written now.
    must_write: bool,
    /// Whether a transaction about the job is under way.
    is_writing: bool,
}

enum Stage {
    /// The row is of an earlier process. It gets a new epoch before anything else.
    Inherited(Version),
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

/// A transaction that has ended. The version is there if it was made.
enum Written {
    Told(bool, Option<Version>),
    Row { job: JobId, epoch: u64, done: bool, given_up: bool, report: Option<Report> },
}

impl Worker {
    /// Runs until this node stops, and then gives up all jobs.
    pub(crate) async fn run(mut self) {
        let mut state = State::default();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let stopping = self.stop.is_cancelled();
            if stopping {
                state.stopping_since.get_or_insert_with(Instant::now);
            }
            self.tell(&mut state, stopping);
            self.look(&mut state, stopping);
            let is_idle = state.held.values().all(|held| matches!(held.stage, Stage::GivenUp));
            if stopping && is_idle && state.told == Some(true) {
                return;
            }
            tokio::select! {
                () = self.copies.changed(&[SPACE]) => {}
                _ = tick.tick() => {}
                Some(ended) = state.tasks.join_next() => {
                    if let Ok(ended) = ended {
                        self.end(ended, &mut state.held);
                    }
                }
                Some(written) = state.writes.next() => take_written(written, &mut state),
                () = self.stop.cancelled(), if !stopping => {}
            }
        }
    }

    /// Tells the dispatcher whether this node is about to stop.
    fn tell(&self, state: &mut State, is_leaving: bool) {
        if state.is_telling || state.told == Some(is_leaving) {
            return;
        }
        let key = leaving::key(self.leaving, self.node);
        let mut transaction = Transaction::default();
        if is_leaving {
            transaction.puts.push((key, Bytes::new()));
        } else {
            transaction.deletes.push(key);
        }
        state.is_telling = true;
        let written = self.transact(transaction);
        state.writes.push(async move { Written::Told(is_leaving, written.await) }.boxed());
    }

    /// Brings what this node does to what the rows say.
    fn look(&self, state: &mut State, stopping: bool) {
        let Some(inherited) = state.inherited else { return };
        let rows = self.copies.rows(SPACE);
        if rows.version() < inherited {
            return; // the copy may lack rows of an earlier process
        }
        let mut mine = BTreeMap::new();
        for (key, row) in rows.all() {
            if let (Some(job), Ok(decoded)) = (JobId::of_key(key), JobRow::decode(&row.value))
                && let Owner::Owned { node, leaving, .. } = decoded.owner
                && node == self.node
            {
                mine.insert(job, (decoded.epoch, leaving, row.version));
            }
        }
        state.held.retain(|job, held| {
            let is_mine = mine.get(job).is_some_and(|(epoch, ..)| *epoch == held.epoch);
            if !is_mine && let Stage::Running { abort, .. } = &held.stage {
                abort.abort();
            }
            is_mine
        });
        for (job, (epoch, leaving, version)) in mine {
            if !state.held.contains_key(&job) {
                let held = self.hold(&job, epoch, (version <= inherited).then_some(version));
                state.held.insert(job.clone(), held);
            }
            let overdue = state.stopping_since.is_some_and(|since| since.elapsed() > STOP_WITHIN);
            let Some(held) = state.held.get_mut(&job) else { continue };
            if leaving || stopping {
                held.leave(overdue);
            } else if self.copies.unheard() > UNHEARD {
                held.pause(&job);
            } else if held.is_due() {
                self.begin(&job, held, &mut state.tasks, &mut state.next_run);
            }
            if let Some(write) = self.next_write(&job, held) {
                held.is_writing = true;
                state.writes.push(write);
            }
        }
    }

    fn hold(&self, job: &JobId, epoch: u64, inherited: Option<Version>) -> Held {
        let status = self.status(job);
        let written = (status.report, Instant::now());
        let stage = match inherited {
            Some(version) => Stage::Inherited(version),
            None => Stage::Waiting(Instant::now() + rest_of_delay(&status, self.clock.now())),
        };
        Held { epoch, stage, status, written, must_write: false, is_writing: false }
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
        held.stage = Stage::Running { run, abort, stop, report, since: Instant::now() };
    }

    fn end(&self, ended: Ended, all: &mut BTreeMap<JobId, Held>) {
        let Ended { job, run: ended_run, result } = ended;
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
        if held.is_writing {
            return None;
        }
        let epoch = held.epoch;
        let own = |expect| vec![(self.key(self.owners, job), expect)];
        let (checks, key, value, report) = if held.must_write {
            (own(at_most(epoch)), self.statuses, held.status.encode(), Some(held.status.report))
        } else {
            match &held.stage {
                Stage::GivingUp => {
                    let owner = Owner::Free { left_by: Some(self.node) };
                    (own(at_most(epoch)), self.owners, JobRow { epoch, owner }.encode(), None)
                }
                Stage::Inherited(version) => {
                    let shown = self.copies.version(SPACE).as_u64();
                    let epoch = shown.max(epoch).saturating_add(1);
                    let (node, since) = (self.node, self.clock.now());
                    let owner = Owner::Owned { node, since, leaving: false };
                    let value = JobRow { epoch, owner }.encode();
                    (own(Expect::Version(*version)), self.owners, value, None)
                }
                Stage::Running { report, .. } => {
                    let report = *report.lock().unwrap_or_else(PoisonError::into_inner);
                    let (written, at) = held.written;
                    if report == written || at.elapsed() < WRITE_EVERY {
                        return None;
                    }
                    held.status.report = report;
                    held.status.written_millis = self.clock.now().as_millis();
                    (own(at_most(epoch)), self.statuses, held.status.encode(), Some(report))
                }
                Stage::Waiting(_) | Stage::Dropped(_) | Stage::Finished(_) | Stage::GivenUp => {
                    return None;
                }
            }
        };
        let given_up = report.is_none() && matches!(held.stage, Stage::GivingUp);
        let puts = vec![(self.key(key, job), value)];
        let made = self.transact(Transaction { checks, puts, ..Transaction::default() });
        let job = job.clone();
        let written = async move {
            let done = made.await.is_some();
            Written::Row { job, epoch, done, given_up, report }
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

impl Held {
    /// Asks the work to end, and gives the job up when it has. `overdue` work is dropped.
    fn leave(&mut self, overdue: bool) {
        match &self.stage {
            Stage::Running { abort, .. } if overdue => {
                abort.abort();
                self.stage = Stage::GivingUp;
            }
            Stage::Running { stop, .. } => stop.cancel(),
            Stage::Inherited(_) | Stage::Waiting(_) | Stage::Dropped(_) | Stage::Finished(_) => {
                self.stage = Stage::GivingUp;
            }
            Stage::GivingUp | Stage::GivenUp => {}
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
            Stage::Inherited(_) | Stage::Running { .. } | Stage::GivingUp | Stage::GivenUp => false,
        }
    }
}

fn take_written(written: Written, state: &mut State) {
    match written {
        Written::Told(is_leaving, version) => {
            state.is_telling = false;
            if let Some(version) = version {
                state.told = Some(is_leaving);
                state.inherited.get_or_insert(version);
            }
        }
        Written::Row { job, epoch, done, given_up, report } => {
            let Some(held) = state.held.get_mut(&job).filter(|held| held.epoch == epoch) else {
                return;
            };
            held.is_writing = false;
            if let Some(report) = report.filter(|_| done) {
                held.written = (report, Instant::now());
                held.must_write = false;
            }
            if given_up && done {
                held.stage = Stage::GivenUp;
            }
        }
    }
}

fn at_most(epoch: u64) -> Expect {
    Expect::Epoch { at_most: epoch }
}

/// How long the work waits after this number of failures in a row.
fn delay(failures: u32) -> Duration {
    let doubled = FIRST_DELAY * (1 << failures.saturating_sub(1).min(6));
    doubled.min(LONGEST_DELAY)
}

/// What is left of the delay after the last failure, on whichever node that was.
fn rest_of_delay(status: &JobStatus, now: Timestamp) -> Duration {
    if status.failures == 0 {
        return Duration::ZERO;
    }
    let passed = now.since(Timestamp::from_millis(status.written_millis));
    delay(status.failures).saturating_sub(passed)
}
