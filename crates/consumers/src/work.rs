//! Groups as jobs: one job for each group, which is its coordinator.

use std::sync::Arc;

use anabranch_client::{Cluster, Tables, View};
use anabranch_jobs::{Copies, Job, JobId, Member, Wanted, WantedJobs, Work};
use anabranch_types::{Clock, NodeId};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::coordinator::{Coordinator, Coordinators};
use crate::definitions::Definitions;
use crate::name::GroupKey;
use crate::rows::{self, DEFINITIONS, Definition};

/// Name of the service in the ids of jobs. Stored: never change it.
const SERVICE: &str = "consumers";

/// The consumer groups of a cluster, as one node sees them. Cheap to clone.
#[derive(Clone)]
pub struct ConsumerGroups {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) clock: Arc<dyn Clock>,
    /// This node.
    pub(crate) node: NodeId,
    pub(crate) definitions: Definitions,
    pub(crate) coordinators: Coordinators,
}

impl ConsumerGroups {
    /// The groups in the tables of a cluster, on node `node`.
    pub fn new(tables: Tables, clock: Arc<dyn Clock>, node: NodeId) -> Self {
        Self {
            cluster: Arc::clone(tables.cluster()),
            clock,
            node,
            definitions: Definitions::new(tables),
            coordinators: Coordinators::default(),
        }
    }
}

/// The job of a group.
pub(crate) fn job_of(group: &GroupKey) -> JobId {
    JobId {
        service: SERVICE.to_owned(),
        resource: group.stream.to_string(),
        part: group.name.to_string(),
    }
}

impl Work for ConsumerGroups {
    fn service(&self) -> &'static str {
        SERVICE
    }

    /// The rows of members and shards change often, and only coordinators read them: no copies of them are kept.
    fn spaces(&self) -> &'static [&'static str] {
        &[DEFINITIONS]
    }

    /// A group whose stream is gone has no coordinator.
    fn wanted(&self, view: &View, copies: &Copies, _: &dyn Member, wanted: &mut WantedJobs) {
        for (key, row) in copies.rows(DEFINITIONS).all() {
            let group = std::str::from_utf8(key).ok().and_then(|key| key.parse::<GroupKey>().ok());
            let Some(group) = group else { continue };
            if rows::decode::<Definition>(key, &row.value).is_err() {
                tracing::warn!(%group, "the definition of a consumer group is of a later release");
                wanted.unreadable.insert((SERVICE.to_owned(), group.stream.to_string()));
            } else if view.stream(&group.stream).is_some() {
                wanted.jobs.insert(job_of(&group), Wanted { near: None, weight: 1 });
            }
        }
    }

    fn run(&self, job: Job) -> BoxFuture<'static, Result<(), String>> {
        let id = job.id();
        let key = format!("{}/{}", id.resource, id.part).parse();
        let (cluster, coordinators) = (Arc::clone(&self.cluster), self.coordinators.clone());
        async move {
            let key: GroupKey = key.map_err(|_| "the name of the group".to_owned())?;
            Coordinator { key, cluster, job, coordinators }.run().await
        }
        .boxed()
    }
}

impl std::fmt::Debug for ConsumerGroups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerGroups").finish_non_exhaustive()
    }
}
