//! Runs operations on a table group: reads rows, and makes one transaction of the decision.
//!
//! All tables are in the table group of the services ([`Tables`]). The group is made with the first table. A keyspace
//! of the seam ([`crate::store::Space`]) is a space of the group, and its name is the name of the keyspace.
//!
//! A transaction whose expectations fail is a conflict: another call has changed a row in between. The operation then
//! begins again with reading.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_client::{Absent, Cluster, Error as ClusterError, Tables};
use anabranch_table::{
    Expect as RowExpect, Key, KeyRange, Outcome, Refusal, SpaceId, Transaction, Version,
};
use anabranch_types::GroupId;
use bytes::Bytes;
use tokio::time::sleep;

use crate::error::Error;
use crate::store::{Change, Expect, Found, Page, Range, Reads, Row, RowKey, Space, Write};
use crate::table::Size;

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
    tables: Tables,
}

impl Rows {
    /// The rows of a cluster. `replicas` is the number of replicas of a table group that has to be made.
    pub fn new(cluster: Arc<dyn Cluster>, replicas: u32) -> Self {
        Self { tables: Tables::new(cluster, replicas) }
    }

    /// The table group, if the cluster has one that is ready.
    pub fn group(&self) -> Option<GroupId> {
        self.tables.group()
    }

    /// The table group. Makes it if the cluster has none.
    ///
    /// # Errors
    /// [`Error::Internal`] if no group is ready in time.
    pub async fn ready_group(&self) -> Result<GroupId, Error> {
        self.tables.ready_group().await.map_err(failed)
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
        match self.tables.get(group, key_in_group).await {
            Ok(row) => Ok(row.map(seam_row)),
            Err(Absent::Space) => absent(key.space).map(|()| None),
            Err(Absent::Failed(error)) => Err(failed(error).into()),
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
        match self.tables.range(group, space, keys, range.max_rows).await {
            Ok(page) => {
                let rows = page.rows.into_iter();
                let rows = rows.map(|(key, row)| (key.to_vec(), seam_row(row))).collect();
                Ok(Page { rows, has_more: page.more })
            }
            Err(Absent::Space) => absent(range.space).map(|()| Page::default()),
            Err(Absent::Failed(error)) => Err(failed(error).into()),
        }
    }

    /// Sizes of all keyspaces of `group`.
    ///
    /// # Errors
    /// [`Obstacle::Failed`].
    pub async fn sizes(&self, group: GroupId) -> Result<BTreeMap<Space, Size>, Obstacle> {
        let size = |space: &anabranch_table::SpaceSummary| {
            let overhead = anabranch_table::row_bytes(&[], &[]) * space.rows;
            let bytes = space.bytes.saturating_sub(overhead);
            Some((parse_name(&space.name)?, Size { items: space.rows, bytes }))
        };
        let spaces = self.tables.spaces(group).await.map_err(failed)?;
        Ok(spaces.iter().filter_map(size).collect())
    }

    /// Creates a keyspace, if it does not exist.
    ///
    /// # Errors
    /// [`Obstacle::Failed`].
    pub async fn create(&self, group: GroupId, space: Space) -> Result<(), Obstacle> {
        match self.tables.create_space(group, &name(space)).await {
            Ok(_) => Ok(()),
            Err(ClusterError::Invalid(refusal)) => Err(Error::Limit(refusal).into()),
            Err(error) => Err(failed(error).into()),
        }
    }

    /// Drops a keyspace with its rows. After a failure the clean-up drops it later.
    pub async fn drop(&self, group: GroupId, space: Space) {
        if let Err(error) = self.tables.drop_space(group, &name(space)).await {
            tracing::warn!(space = name(space), %error, "a space of a deleted table stays");
        }
    }

    /// Makes one transaction of `writes`.
    ///
    /// # Errors
    /// [`Obstacle::Conflict`] if a row is not as expected; otherwise [`Obstacle::Failed`].
    pub async fn transact(&self, group: GroupId, writes: &[Write]) -> Result<(), Obstacle> {
        if writes.is_empty() {
            return Ok(());
        }
        let mut transaction = Transaction::default();
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
                    transaction.puts.push((in_group, Bytes::copy_from_slice(value)));
                }
                Change::Delete => transaction.deletes.push(in_group),
                Change::Keep => {}
            }
        }
        match self.tables.transact(group, transaction).await.map_err(failed)? {
            Outcome::Done { .. } => Ok(()),
            Outcome::Failed { .. } | Outcome::Refused(Refusal::UnknownSpace { .. }) => {
                Err(Obstacle::Conflict)
            }
            Outcome::Refused(refusal @ Refusal::Full { .. }) => {
                Err(Error::Throughput(refusal.to_string()).into())
            }
            Outcome::Refused(refusal) => Err(Error::Validation(refusal.to_string()).into()),
            Outcome::Created { .. } => {
                Err(Error::Internal { cause: "an outcome of another request".to_owned() }.into())
            }
        }
    }

    /// The number of a keyspace. `None` if it does not exist.
    async fn space(&self, group: GroupId, space: Space) -> Result<Option<SpaceId>, Obstacle> {
        Ok(self.tables.space(group, &name(space)).await.map_err(failed)?)
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

#[expect(clippy::wildcard_enum_match_arm, reason = "every other error of the cluster is one error")]
fn failed(error: ClusterError) -> Error {
    match error {
        ClusterError::Throttled(reason) => Error::Throughput(reason),
        ClusterError::Refused(refusal) => Error::Limit(refusal.to_string()),
        other => Error::Internal { cause: other.to_string() },
    }
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
