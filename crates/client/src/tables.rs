//! The rows of services: spaces by name, in the table group that all services share.
//!
//! The group is made when a service first needs it ([`Tables::ready_group`]). A service names its spaces, and the group
//! gives each a number, which this process remembers. A number never gets another name, so what is remembered is right
//! until the space is dropped.
//!
//! This never happens: a transaction is sent again after an unknown outcome. Instead a row that it was to write is
//! read, because the writer of the row says whether the transaction was made.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every response that belongs to another request is one error"
)]

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anabranch_catalog::{Command, TableCommand, TableGroupStatus};
use anabranch_table::{
    Key, KeyRange, Outcome, RangePage, Refusal, Request, Response, Row, SpaceId, SpaceSummary,
    Transaction, TransactionId,
};
use anabranch_types::GroupId;
use bytes::Bytes;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::error::Error;

/// Longest time until a new table group has a leader.
const GROUP_PATIENCE: Duration = Duration::from_secs(15);
/// Rows of one page of [`Tables::all`].
const PAGE_ROWS: usize = 1000;
/// Longest wait for a newer version of the catalog.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The rows of services. Cheap to clone.
#[derive(Clone)]
pub struct Tables {
    cluster: Arc<dyn Cluster>,
    /// Replicas of the table group, if it has to be made.
    replicas: u32,
    /// Numbers of known spaces.
    spaces: Arc<Mutex<HashMap<(GroupId, String), SpaceId>>>,
}

impl Tables {
    /// The rows of a cluster. `replicas` is the number of replicas of a table group that has to be made.
    pub fn new(cluster: Arc<dyn Cluster>, replicas: u32) -> Self {
        Self { cluster, replicas, spaces: Arc::default() }
    }

    /// The cluster.
    pub fn cluster(&self) -> &Arc<dyn Cluster> {
        &self.cluster
    }

    /// The table group of the services, if the cluster has one that is ready.
    pub fn group(&self) -> Option<GroupId> {
        let view = self.cluster.view();
        let mut groups = view.catalog().table_groups.iter();
        groups.find(|(_, group)| group.status == TableGroupStatus::Ready).map(|(id, _)| *id)
    }

    /// The table group of the services. Makes it if the cluster has none.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if no group is ready in time; otherwise those of [`Cluster::propose`].
    pub async fn ready_group(&self) -> Result<GroupId, Error> {
        let deadline = Instant::now() + GROUP_PATIENCE;
        if self.cluster.view().catalog().table_groups.is_empty() {
            let create = TableCommand::CreateGroups { replicas: self.replicas, at_least: 1 };
            self.cluster.propose(Command::Table(create)).await?;
        }
        loop {
            if let Some(group) = self.group() {
                return Ok(group);
            }
            if Instant::now() > deadline {
                return Err(Error::NoLeader);
            }
            let version = self.cluster.view().catalog().version;
            self.cluster.newer_view(version, LOOK_AGAIN).await;
        }
    }

    /// The number of a space. `None` if it does not exist.
    ///
    /// # Errors
    /// Those of [`Cluster::table`].
    pub async fn space(&self, group: GroupId, name: &str) -> Result<Option<SpaceId>, Error> {
        let key = (group, name.to_owned());
        if let Some(number) = self.known().get(&key) {
            return Ok(Some(*number));
        }
        let spaces = self.spaces(group).await?;
        let mut known = self.known();
        known.extend(spaces.into_iter().map(|found| ((group, found.name), found.space)));
        Ok(known.get(&key).copied())
    }

    /// All spaces of the group.
    ///
    /// # Errors
    /// Those of [`Cluster::table`].
    pub async fn spaces(&self, group: GroupId) -> Result<Vec<SpaceSummary>, Error> {
        match self.call(group, Request::ListSpaces).await? {
            Response::Spaces(spaces, _) => Ok(spaces),
            other => Err(unexpected(&other)),
        }
    }

    /// Creates a space, if it does not exist.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the group refuses the space; otherwise those of [`Cluster::table`].
    pub async fn create_space(&self, group: GroupId, name: &str) -> Result<SpaceId, Error> {
        if let Some(space) = self.space(group, name).await? {
            return Ok(space);
        }
        let id = TransactionId(rand::random());
        let request = Request::CreateSpace { id, name: name.to_owned() };
        let number = match self.call(group, request).await? {
            Response::Outcome(
                Outcome::Created { space, .. } | Outcome::Refused(Refusal::SpaceExists { space }),
            ) => space,
            Response::Outcome(Outcome::Refused(refusal)) => {
                return Err(Error::Invalid(refusal.to_string()));
            }
            other => return Err(unexpected(&other)),
        };
        self.known().insert((group, name.to_owned()), number);
        Ok(number)
    }

    /// Drops a space with its rows, if it exists.
    ///
    /// # Errors
    /// Those of [`Cluster::table`].
    pub async fn drop_space(&self, group: GroupId, name: &str) -> Result<(), Error> {
        if let Some(number) = self.space(group, name).await? {
            self.call(group, Request::DropSpace(number)).await?;
            self.forget(group, number);
        }
        Ok(())
    }

    /// Reads one row. `None` if it does not exist.
    ///
    /// # Errors
    /// [`Absent`].
    pub async fn get(&self, group: GroupId, key: Key) -> Result<Option<Row>, Absent> {
        let space = key.space;
        match self.call(group, Request::Get(key)).await? {
            Response::Row(row, _) => Ok(row),
            other => Err(self.absent(group, space, &other)),
        }
    }

    /// Reads a page of rows of a space.
    ///
    /// # Errors
    /// [`Absent`].
    pub async fn range(
        &self,
        group: GroupId,
        space: SpaceId,
        keys: KeyRange,
        max_rows: usize,
    ) -> Result<RangePage, Absent> {
        match self.call(group, Request::Range { space, keys, max_rows }).await? {
            Response::Page(page) => Ok(page),
            other => Err(self.absent(group, space, &other)),
        }
    }

    /// Reads all rows of a range, one page after another. Rows that are written meanwhile may be among them or not.
    ///
    /// # Errors
    /// [`Absent`].
    pub async fn all(
        &self,
        group: GroupId,
        space: SpaceId,
        mut keys: KeyRange,
    ) -> Result<Vec<(Bytes, Row)>, Absent> {
        keys.descending = false;
        let mut rows = Vec::new();
        loop {
            let page = self.range(group, space, keys.clone(), PAGE_ROWS).await?;
            rows.extend(page.rows);
            match rows.last().filter(|_| page.more) {
                Some((last, _)) => keys.start = [last, &[0][..]].concat().into(),
                None => return Ok(rows),
            }
        }
    }

    /// Makes a transaction. Its id is set here. What the group refuses is an outcome. A transaction that names an
    /// unknown space makes this process forget the space's number.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the outcome is unknown and no row tells it; otherwise those of [`Cluster::table`].
    pub async fn transact(
        &self,
        group: GroupId,
        transaction: Transaction,
    ) -> Result<Outcome, Error> {
        let id = TransactionId(rand::random());
        let transaction = Transaction { id, ..transaction };
        let written = transaction.puts.first().map(|(key, _)| key.clone());
        let outcome = match self.cluster.table(group, Request::Transact(transaction)).await {
            Ok(Response::Outcome(outcome)) => outcome,
            Ok(other) => return Err(unexpected(&other)),
            Err(Error::Unknown(reason)) => return self.resolve(group, id, written, reason).await,
            Err(error) => return Err(error),
        };
        if let Outcome::Refused(Refusal::UnknownSpace { space }) = outcome {
            self.forget(group, space);
        }
        Ok(outcome)
    }

    /// Learns the outcome of transaction `id` from the row that it was to write.
    async fn resolve(
        &self,
        group: GroupId,
        id: TransactionId,
        written: Option<Key>,
        reason: String,
    ) -> Result<Outcome, Error> {
        if let Some(key) = written
            && let Ok(Response::Row(Some(row), _)) = self.call(group, Request::Get(key)).await
            && row.writer == id
        {
            return Ok(Outcome::Done { version: row.version });
        }
        Err(Error::Unknown(reason))
    }

    async fn call(&self, group: GroupId, request: Request) -> Result<Response, Error> {
        self.cluster.table(group, request).await
    }

    fn absent(&self, group: GroupId, space: SpaceId, response: &Response) -> Absent {
        match response {
            Response::Outcome(Outcome::Refused(Refusal::UnknownSpace { .. })) => {
                self.forget(group, space);
                Absent::Space
            }
            other => Absent::Failed(unexpected(other)),
        }
    }

    fn forget(&self, group: GroupId, space: SpaceId) {
        self.known().retain(|(found, _), number| (*found, *number) != (group, space));
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(GroupId, String), SpaceId>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why rows could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// The space was dropped.
    #[error("the space was dropped")]
    Space,
    /// The call failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("replicas", &self.replicas).finish_non_exhaustive()
    }
}

fn unexpected(response: &Response) -> Error {
    Error::Unknown(format!("unexpected response of a table group: {response:?}"))
}
