//! The interface between the jobs and a service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_client::{Error, Tables, View};
use anabranch_table::{Expect, Key, Outcome, Refusal, Transaction, Version};
use anabranch_types::GroupId;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::assign::Wanted;
use crate::copies::Copies;
use crate::id::JobId;
use crate::member::Member;
use crate::status::Report;

/// A service that has background work.
pub trait Work: Send + Sync + 'static {
    /// The name of the service: the first part of the ids of its jobs.
    fn service(&self) -> &'static str;

    /// Names of the spaces whose rows decide which jobs are wanted. Every node keeps a copy of them.
    fn spaces(&self) -> &'static [&'static str];

    /// Adds the jobs that are wanted now. The node that leads the table group calls it after each change of the catalog
    /// or of the service's rows.
    fn wanted(&self, view: &View, copies: &Copies, member: &dyn Member, wanted: &mut WantedJobs);

    /// Does a job. Ends when there is nothing left to do, or soon after [`Job::stopping`]. The future may be dropped
    /// at any moment, if the job has another owner.
    ///
    /// # Errors
    /// A text for operators. The job begins again, here or on another node.
    fn run(&self, job: Job) -> BoxFuture<'static, Result<(), String>>;
}

/// The jobs that services want.
#[derive(Clone, Debug, Default)]
pub struct WantedJobs {
    /// The jobs.
    pub jobs: BTreeMap<JobId, Wanted>,
    /// Service and resource of definitions that this release can't read. Their jobs stay as they are.
    pub unreadable: BTreeSet<(String, String)>,
}

/// A job that this node owns.
#[derive(Clone, Debug)]
pub struct Job {
    pub(crate) id: JobId,
    pub(crate) epoch: u64,
    pub(crate) tables: Tables,
    pub(crate) group: GroupId,
    pub(crate) row: Key,
    pub(crate) copies: Copies,
    pub(crate) stop: CancellationToken,
    pub(crate) report: Arc<Mutex<Report>>,
}

/// Why a transaction of a job was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The job has another owner, or is not wanted any more. The work must end at once.
    #[error("the job has another owner")]
    Fenced,
    /// A row of the service is not as the transaction expected.
    #[error("a row has changed meanwhile")]
    Conflict,
    /// The table group refused the transaction.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The call failed. It may have been made if the error is [`Error::Unknown`].
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Job {
    /// The name of the job.
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// Number of this ownership. It rises with each owner.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The table group with the rows of services.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The rows of services.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Copies of the spaces of all services.
    pub fn copies(&self) -> Copies {
        self.copies.clone()
    }

    /// Ends when the job is to end its work: it is handed over, or this node stops.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Says how the work goes, for operators and for the balance of nodes.
    pub fn report(&self, report: Report) {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }

    /// Makes a transaction, if this node still owns the job. All rows that a job writes are written by this.
    ///
    /// # Errors
    /// [`CommitError`]. After all but `Failed` nothing was done.
    pub async fn commit(&self, transaction: Transaction) -> Result<Version, CommitError> {
        let own = (self.row.clone(), Expect::Epoch { at_most: self.epoch });
        let checks = std::iter::once(own).chain(transaction.checks).collect();
        let transaction = Transaction { checks, ..transaction };
        match self.tables.transact(self.group, transaction).await? {
            Outcome::Done { version } => Ok(version),
            Outcome::Failed { check: 0, .. } => Err(CommitError::Fenced),
            Outcome::Failed { .. } => Err(CommitError::Conflict),
            Outcome::Refused(refusal) => Err(CommitError::Refused(refusal)),
            Outcome::Created { .. } => {
                Err(Error::Unknown("an outcome of another request".to_owned()).into())
            }
        }
    }
}
