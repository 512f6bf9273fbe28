//! Runs operations on a table group: reads rows, and makes one transaction of the decision.
//!
//! All tables are in the first table group of the cluster. The group is made with the first table. A keyspace of the
//! seam ([`crate::store::Space`]) is a space of the group. Its name is the name of the keyspace, and the group gives it
//! a number, which this process remembers.
//!
//! A transaction whose expectations fail is a conflict: another call has changed a row in between. The operation then
//! begins again with reading. This never happens: a transaction is sent again after an unknown outcome. Instead the
//! written row is read, because its writer says whether the transaction was made.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every response that belongs to another request, and every rare error of the cluster, is one error"
)]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anabranch_catalog::{Command, TableCommand, TableGroupStatus};
use anabranch_client::{Cluster, Error as ClusterError};
use anabranch_table::{
    Expect as RowExpect, Key, KeyRange, Outcome, Refusal, Request, Response, SpaceId, Transaction,
    TransactionId, Version,
};
use anabranch_types::GroupId;
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::error::Error;
use crate::store::{Change, Expect, Found, Page, Range, Reads, Row, RowKey, Space, Write};
use crate::table::Size;

/// Longest time until a new table group has a leader.
const GROUP_PATIENCE: Duration = Duration::from_secs(15);
/// Longest wait for a newer version of the catalog.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Why a step of an operation did not succeed.
#[derive(Debug)]
pub enum Obstacle {
    /// Another call has changed a row or a space since it was read. The operation begins again.
    Conflict,
    /// The operation ends with this error.
    Failed(Error),
}

impl From<Error> for Obstacle {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The rows of the service. Cheap to clone.
#[derive(Clone)]
pub struct Rows {
    cluster: Arc<dyn Cluster>,
    /// Replicas of the table group, if it has to be made.
    replicas: u32,
    /// Numbers of known spaces. A number never gets another name, so an entry is right until the space is dropped.
    spaces: Arc<Mutex<HashMap<(GroupId, Space), SpaceId>>>,
}

impl Rows {
    /// The rows of a cluster.
    pub fn new(cluster: Arc<dyn Cluster>, replicas: u32) -> Self {
        Self { cluster, replicas, spaces: Arc::default() }
    }

    /// The table group, if the cluster has one that is ready.
    pub fn group(&self) -> Option<GroupId> {
        let view = self.cluster.view();
        let mut groups = view.catalog().table_groups.iter();
        groups.find(|(_, group)| group.status == TableGroupStatus::Ready).map(|(id, _)| *id)
    }

    /// The table group. Makes it if the cluster has none.
    ///
    /// # Errors
    /// [`Error::Internal`] if no group is ready in time.
    pub async fn ready_group(&self) -> Result<GroupId, Error> {
        let deadline = Instant::now() + GROUP_PATIENCE;
        if self.cluster.view().catalog().table_groups.is_empty() {
            let create = TableCommand::CreateGroups { replicas: self.replicas, at_least: 1 };
            self.cluster.propose(Command::Table(create)).await.map_err(failed)?;
        }
        loop {
            if let Some(group) = self.group() {
                return Ok(group);
            }
            if Instant::now() > deadline {
                return Err(internal("the table group has no leader"));
            }
            let version = self.cluster.view().catalog().version;
            self.cluster.newer_view(version, LOOK_AGAIN).await;
        }
    }

    /// Reads rows of `group`.
    ///
    /// # Errors
    /// [`Obstacle::Failed`].
    pub async fn read(&self, group: GroupId, reads: &Reads) -> Result<Found, Obstacle> {
        let mut found = Found::default();
        for key in &reads.rows {
            if let Some(row) = self.get(group, key).await? {
                found.rows.insert(key.clone(), row);
            }
        }
        if let Some(range) = &reads.range {
            found.page = self.range(group, range).await?;
        }
        Ok(found)
    }

    /// Reads one row.
    ///
    /// # Errors
    /// [`Obstacle::Failed`].
    pub async fn get(&self, group: GroupId, key: &RowKey) -> Result<Option<Row>, Obstacle> {
        let Some(space) = self.space(group, key.space).await? else {
            return absent(key.space).map(|()| None);
        };
        let key_in_group = Key { space, key: Bytes::copy_from_slice(&key.key) };
        match self.call(group, Request::Get(key_in_group)).await? {
            Response::Row(row, _) => Ok(row.map(seam_row)),
            Response::Outcome(Outcome::Refused(Refusal::UnknownSpace { .. })) => {
                self.forget(group, key.space);
                absent(key.space).map(|()| None)
            }
            other => Err(unexpected(&other).into()),
        }
    }

    async fn range(&self, group: GroupId, range: &Range) -> Result<Page, Obstacle> {
        let Some(space) = self.space(group, range.space).await? else {
            return absent(range.space).map(|()| Page::default());
        };
        let keys = KeyRange {
            start: Bytes::copy_from_slice(&range.start),
            end: range.end.as_deref().map(Bytes::copy_from_slice),
            descending: range.descending,
        };
        let request = Request::Range { space, keys, max_rows: range.max_rows };
        match self.call(group, request).await? {
            Response::Page(page) => {
                let rows = page.rows.into_iter();
                let rows = rows.map(|(key, row)| (key.to_vec(), seam_row(row))).collect();
                Ok(Page { rows, has_more: page.more })
            }
            Response::Outcome(Outcome::Refused(Refusal::UnknownSpace { .. })) => {
                self.forget(group, range.space);
                absent(range.space).map(|()| Page::default())
            }
            other => Err(unexpected(&other).into()),
        }
    }

    /// Sizes of all keyspaces of `group`.
    ///
    /// # Errors
    /// [`Obstacle::Failed`].
    pub async fn sizes(&self, group: GroupId) -> Result<BTreeMap<Space, Size>, Obstacle> {
        match self.call(group, Request::ListSpaces).await? {
            Response::Spaces(spaces, _) => {
                let size = |space: &anabranch_table::SpaceSummary| {
                    let bytes = space
                        .bytes
                        .saturating_sub(anabranch_table::row_bytes(&[], &[]) * space.rows);
                    Some((parse_name(&space.name)?, Size { items: space.rows, bytes }))
                };
                Ok(spaces.iter().filter_map(size).collect())
            }
            other => Err(unexpected(&other).into()),
        }
    }

    /// Creates a keyspace, if it does not exist.
    ///
    /// # Errors
    /// [`Obstacle::Failed`].
    pub async fn create(&self, group: GroupId, space: Space) -> Result<(), Obstacle> {
        if self.space(group, space).await?.is_some() {
            return Ok(());
        }
        let request = Request::CreateSpace { id: TransactionId(rand::random()), name: name(space) };
        let number = match self.call(group, request).await? {
            Response::Outcome(
                Outcome::Created { space, .. } | Outcome::Refused(Refusal::SpaceExists { space }),
            ) => space,
            Response::Outcome(Outcome::Refused(refusal)) => {
                return Err(Error::Limit(refusal.to_string()).into());
            }
            other => return Err(unexpected(&other).into()),
        };
        self.remember(group, space, number);
        Ok(())
    }

    /// Drops a keyspace with its rows. After a failure the clean-up drops it later.
    pub async fn drop(&self, group: GroupId, space: Space) {
        let dropped = async {
            if let Some(number) = self.space(group, space).await? {
                self.call(group, Request::DropSpace(number)).await?;
            }
            Ok::<_, Obstacle>(())
        };
        if let Err(error) = dropped.await {
            tracing::warn!(space = name(space), ?error, "a space of a deleted table stays");
        }
        self.forget(group, space);
    }

    /// Makes one transaction of `writes`.
    ///
    /// # Errors
    /// [`Obstacle::Conflict`] if a row is not as expected; otherwise [`Obstacle::Failed`].
    pub async fn transact(&self, group: GroupId, writes: &[Write]) -> Result<(), Obstacle> {
        if writes.is_empty() {
            return Ok(());
        }
        let id = TransactionId(rand::random());
        let mut transaction = Transaction { id, ..Transaction::default() };
        let mut written = None;
        for Write { key, expect, change } in writes {
            let space = self.space(group, key.space).await?.ok_or(Obstacle::Conflict)?;
            let in_group = Key { space, key: Bytes::copy_from_slice(&key.key) };
            let expect = match expect {
                Expect::Absent => Some(RowExpect::Absent),
                Expect::Version(version) => Some(RowExpect::Version(Version::from_u64(*version))),
                Expect::Anything => None,
            };
            transaction.checks.extend(expect.map(|expect| (in_group.clone(), expect)));
            match change {
                Change::Put(value) => {
                    written.get_or_insert_with(|| in_group.clone());
                    transaction.puts.push((in_group, Bytes::copy_from_slice(value)));
                }
                Change::Delete => transaction.deletes.push(in_group),
                Change::Keep => {}
            }
        }
        let outcome = match self.cluster.table(group, Request::Transact(transaction)).await {
            Ok(Response::Outcome(outcome)) => outcome,
            Ok(other) => return Err(unexpected(&other).into()),
            Err(ClusterError::Unknown(reason)) => {
                return self.resolve(group, id, written, reason).await;
            }
            Err(error) => return Err(failed(error).into()),
        };
        match outcome {
            Outcome::Done { .. } => Ok(()),
            Outcome::Failed { .. } => Err(Obstacle::Conflict),
            Outcome::Refused(Refusal::UnknownSpace { space }) => {
                self.known().retain(|_, number| *number != space);
                Err(Obstacle::Conflict)
            }
            Outcome::Refused(refusal @ Refusal::Full { .. }) => {
                Err(Error::Throughput(refusal.to_string()).into())
            }
            Outcome::Refused(refusal) => Err(Error::Validation(refusal.to_string()).into()),
            Outcome::Created { .. } => Err(internal("an outcome of another request").into()),
        }
    }

    /// Learns the outcome of transaction `id` from the row that it was to write.
    async fn resolve(
        &self,
        group: GroupId,
        id: TransactionId,
        written: Option<Key>,
        reason: String,
    ) -> Result<(), Obstacle> {
        if let Some(key) = written
            && let Ok(Response::Row(Some(row), _)) = self.call(group, Request::Get(key)).await
            && row.writer == id
        {
            return Ok(());
        }
        Err(Error::Internal { cause: reason }.into())
    }

    async fn call(&self, group: GroupId, request: Request) -> Result<Response, Error> {
        self.cluster.table(group, request).await.map_err(failed)
    }

    /// The number of a keyspace. `None` if it does not exist.
    async fn space(&self, group: GroupId, space: Space) -> Result<Option<SpaceId>, Obstacle> {
        if let Some(number) = self.known().get(&(group, space)) {
            return Ok(Some(*number));
        }
        match self.call(group, Request::ListSpaces).await? {
            Response::Spaces(spaces, _) => {
                for found in spaces {
                    if let Some(space) = parse_name(&found.name) {
                        self.remember(group, space, found.space);
                    }
                }
            }
            other => return Err(unexpected(&other).into()),
        }
        Ok(self.known().get(&(group, space)).copied())
    }

    fn remember(&self, group: GroupId, space: Space, number: SpaceId) {
        self.known().insert((group, space), number);
    }

    fn forget(&self, group: GroupId, space: Space) {
        self.known().remove(&(group, space));
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<(GroupId, Space), SpaceId>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A keyspace is not there. Those of a table were named by a definition that is gone by now: the definition is read
/// again.
fn absent(space: Space) -> Result<(), Obstacle> {
    match space {
        Space::Definitions | Space::Tokens => Ok(()),
        Space::Items(_) | Space::Index(..) => Err(Obstacle::Conflict),
    }
}

/// How long to wait before attempt number `attempt` of an operation that had conflicts.
pub(crate) async fn pause(attempt: u32) {
    let longest = 1_u64 << attempt.min(6);
    sleep(Duration::from_millis(rand::random_range(0..=longest))).await;
}

/// The name of a keyspace in its group. It is stored: never change it.
fn name(space: Space) -> String {
    match space {
        Space::Definitions => "dynamodb/definitions".to_owned(),
        Space::Tokens => "dynamodb/tokens".to_owned(),
        Space::Items(id) => format!("dynamodb/items/{id}"),
        Space::Index(id, number) => format!("dynamodb/index/{id}/{number}"),
    }
}

fn parse_name(name: &str) -> Option<Space> {
    let mut parts = name.strip_prefix("dynamodb/")?.split('/');
    let space = match (parts.next()?, parts.next(), parts.next()) {
        ("definitions", None, None) => Space::Definitions,
        ("tokens", None, None) => Space::Tokens,
        ("items", Some(id), None) => Space::Items(id.to_owned().try_into().ok()?),
        ("index", Some(id), Some(number)) => {
            Space::Index(id.to_owned().try_into().ok()?, number.parse().ok()?)
        }
        _ => return None,
    };
    parts.next().is_none().then_some(space)
}

fn seam_row(row: anabranch_table::Row) -> Row {
    Row { version: row.version.as_u64(), value: row.value.to_vec() }
}

fn failed(error: ClusterError) -> Error {
    match error {
        ClusterError::Throttled(reason) => Error::Throughput(reason),
        ClusterError::Refused(refusal) => Error::Limit(refusal.to_string()),
        other => Error::Internal { cause: other.to_string() },
    }
}

fn unexpected(response: &Response) -> Error {
    Error::Internal { cause: format!("unexpected response of a table group: {response:?}") }
}

fn internal(cause: &str) -> Error {
    Error::Internal { cause: cause.to_owned() }
}

#[cfg(test)]
mod tests {
    use crate::store::TableId;

    use super::*;

    #[test]
    fn names_of_keyspaces_read_back() {
        let id = TableId([0xab; 16]);
        for space in [Space::Definitions, Space::Tokens, Space::Items(id), Space::Index(id, 7)] {
            assert_eq!(parse_name(&name(space)), Some(space));
        }
        for other in
            ["rows", "dynamodb/", "dynamodb/items", "dynamodb/tokens/1", "dynamodb/index/x/1"]
        {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
