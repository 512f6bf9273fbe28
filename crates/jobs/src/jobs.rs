//! The jobs of one node: starts the dispatcher and the worker once the cluster has a table group, and ends them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_client::{Error, Tables};
use anabranch_table::SpaceId;
use anabranch_types::{Clock, GroupId, NodeId};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::copies::Copies;
use crate::dispatcher::Dispatcher;
use crate::id::JobId;
use crate::list::{self, ListedJob};
use crate::member::Member;
use crate::row::JobRow;
use crate::work::Work;
use crate::worker::Worker;
use crate::{leaving, row, status};

/// Longest time in which a node that stops gives up its jobs. Work that takes longer is dropped.
const HAND_OVER: Duration = Duration::from_secs(6);
/// Longest wait for a newer version of the catalog, while there is no table group.
const WAIT_FOR_GROUP: Duration = Duration::from_secs(3600);
/// Time before the start is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// The jobs of this node. Cheap to clone. They end with [`Jobs::stop`].
#[derive(Clone)]
pub struct Jobs {
    stop: CancellationToken,
    tasks: Arc<Mutex<Option<Tasks>>>,
    copies: watch::Receiver<Option<Copies>>,
}

/// The parts that the tasks need.
struct Parts {
    works: Arc<[Arc<dyn Work>]>,
    member: Arc<dyn Member>,
    tables: Tables,
    clock: Arc<dyn Clock>,
}

impl Jobs {
    /// Starts the jobs of this node. Until the cluster has a table group, a task waits for it, and there is nothing
    /// else.
    pub fn start(
        works: Vec<Arc<dyn Work>>,
        member: Arc<dyn Member>,
        tables: Tables,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let stop = CancellationToken::new();
        let (shown, copies) = watch::channel(None);
        let (begin, begun) = oneshot::channel::<Dispatcher>();
        let (given_up, done) = oneshot::channel();
        let parts = Parts { works: works.into(), member, tables, clock };
        let worker = tokio::spawn(parts.run(stop.clone(), shown, begin, given_up));
        let dispatcher = tokio::spawn(async move {
            if let Ok(dispatcher) = begun.await {
                dispatcher.run().await;
            }
        });
        let tasks = Tasks { done, ending: Ending(vec![worker, dispatcher]) };
        Self { stop, tasks: Arc::new(Mutex::new(Some(tasks))), copies }
    }

    /// All jobs of the cluster, as this node knows them. Empty while there is no table group.
    pub fn list(&self) -> Vec<ListedJob> {
        self.copies.borrow().as_ref().map(list::list).unwrap_or_default()
    }

    /// The node that does a job, as this node knows it. `None` if it is about to get one.
    pub fn owner(&self, job: &JobId) -> Option<NodeId> {
        let copies = self.copies.borrow();
        let rows = copies.as_ref()?.rows(row::SPACE);
        JobRow::decode(&rows.get(&job.key())?.value).ok()?.node()
    }

    /// The copies of the spaces of services. `None` while there is no table group.
    pub fn copies(&self) -> Option<Copies> {
        self.copies.borrow().clone()
    }

    /// Gives up the jobs of this node, so that others take them. Returns when that is done, after some seconds at most.
    /// The returned value gives up jobs that still come to this node, and dispatches as long as this node leads the
    /// table group. It ends when it is dropped.
    pub async fn stop(&self) -> Ending {
        self.stop.cancel();
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Tasks { done, ending }) = tasks else { return Ending(Vec::new()) };
        if timeout(HAND_OVER, done).await.is_err() {
            tracing::warn!("some jobs of this node did not end in time");
        }
        ending
    }
}

#[cfg(test)]
impl Jobs {
    /// Ends all tasks at once, as the death of the process does.
    pub(crate) fn abandon(&self) {
        drop(self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

struct Tasks {
    /// Answers, or is dropped, when the worker has given up all jobs.
    done: oneshot::Receiver<()>,
    ending: Ending,
}

/// The worker and the dispatcher of a node that has given up its jobs. They end when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Ending(Vec<JoinHandle<()>>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("stopped", &self.stop.is_cancelled()).finish_non_exhaustive()
    }
}

impl Parts {
    async fn run(
        self,
        stop: CancellationToken,
        shown: watch::Sender<Option<Copies>>,
        begin: oneshot::Sender<Dispatcher>,
        given_up: oneshot::Sender<()>,
    ) {
        let followed = tokio::select! {
            followed = self.follow() => followed,
            () = stop.cancelled() => return,
        };
        let Followed { group, owners, statuses, leaving, copies } = followed;
        shown.send_replace(Some(copies.clone()));
        let Self { works, member, tables, clock } = self;
        let worker = Worker {
            works: Arc::clone(&works),
            node: member.node(),
            tables: tables.clone(),
            clock: Arc::clone(&clock),
            group,
            owners,
            statuses,
            leaving,
            copies: copies.clone(),
            stop,
        };
        let dispatcher =
            Dispatcher { works, member, tables, clock, group, owners, statuses, copies };
        let _dispatches = begin.send(dispatcher);
        worker.run(given_up).await;
    }

    /// Waits for the table group, makes the spaces and follows them.
    async fn follow(&self) -> Followed {
        let cluster = self.tables.cluster();
        let group = loop {
            // The version is read first: a group that comes after that is in a newer version.
            let version = cluster.view().catalog().version;
            if let Some(group) = self.tables.group() {
                break group;
            }
            cluster.newer_view(version, WAIT_FOR_GROUP).await;
        };
        loop {
            match self.try_follow(group).await {
                Ok(followed) => return followed,
                Err(error) => tracing::debug!(%error, "the jobs of this node begin later"),
            }
            sleep(AGAIN).await;
        }
    }

    async fn try_follow(&self, group: GroupId) -> Result<Followed, Error> {
        let owners = self.tables.create_space(group, row::SPACE).await?;
        let statuses = self.tables.create_space(group, status::SPACE).await?;
        let leaving = self.tables.create_space(group, leaving::SPACE).await?;
        let mut spaces = BTreeMap::from([
            (row::SPACE, owners),
            (status::SPACE, statuses),
            (leaving::SPACE, leaving),
        ]);
        for name in self.works.iter().flat_map(|work| work.spaces()) {
            spaces.insert(name, self.tables.create_space(group, name).await?);
        }
        let copies = Copies::of(&**self.tables.cluster(), group, &spaces)?;
        Ok(Followed { group, owners, statuses, leaving, copies })
    }
}

/// The spaces of jobs and of services.
struct Followed {
    group: GroupId,
    owners: SpaceId,
    statuses: SpaceId,
    leaving: SpaceId,
    copies: Copies,
}
