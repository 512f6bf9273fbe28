//! Makes, lists and deletes groups: rows that any node reads and writes.
//!
//! The checkpoints of a group that begins at the newest records are stored before its definition, under the group's
//! own id. So a record that is put after the group is made is read, and a Join that fails halfway leaves rows that
//! belong to no group. The next coordinator of a group of this name deletes them. A coordinator stores rows only while
//! the definition has not changed since it was read.

use anabranch_client::{Absent, Error, LatestPosition, Tables, latest_positions};
use anabranch_shard::Start;
use anabranch_table::{Expect, Key, KeyRange, Outcome, Row, SpaceId, Transaction};
use anabranch_types::GroupId as TableGroup;
use bytes::Bytes;
use tonic::Status;

use crate::message::Join;
use crate::name::GroupKey;
use crate::rows::{self, DEFINITIONS, Definition, GroupId, GroupStart, STATE, StoredShard};
use crate::status;

/// Rows of one transaction.
const TRANSACTION_ROWS: usize = 100;
/// Most groups of a cluster: each has a task on one node.
pub(crate) const MAX_GROUPS: usize = 1000;

/// Where the rows of all groups are.
#[derive(Clone, Copy)]
struct Spaces {
    group: TableGroup,
    definitions: SpaceId,
    state: SpaceId,
}

/// The rows of groups.
#[derive(Clone, Debug)]
pub(crate) struct Definitions {
    tables: Tables,
}

impl Definitions {
    pub(crate) fn new(tables: Tables) -> Self {
        Self { tables }
    }

    async fn make_spaces(&self) -> Result<Spaces, Error> {
        let group = self.tables.ready_group().await?;
        let definitions = self.tables.create_space(group, DEFINITIONS).await?;
        let state = self.tables.create_space(group, STATE).await?;
        Ok(Spaces { group, definitions, state })
    }

    /// `None` if nobody has made a group yet.
    async fn spaces(&self) -> Result<Option<Spaces>, Error> {
        let Some(group) = self.tables.group() else { return Ok(None) };
        let definitions = self.tables.space(group, DEFINITIONS).await?;
        let state = self.tables.space(group, STATE).await?;
        Ok(definitions.zip(state).map(|(definitions, state)| Spaces { group, definitions, state }))
    }

    /// Makes the group of a Join, if it does not exist.
    pub(crate) async fn make(&self, join: &Join) -> Result<(), Status> {
        let Join { group, member, start, .. } = join;
        let view = self.tables.cluster().newest_view().await.map_err(status::of_cluster)?;
        if view.stream(&group.stream).is_none() {
            return Err(status::no_stream(&group.stream));
        }
        let spaces = self.make_spaces().await.map_err(status::of_cluster)?;
        let definitions = self.all(spaces, spaces.definitions, everything()).await?;
        let key = rows::definition_key(group);
        if definitions.iter().any(|(known, _)| *known == key) {
            return Ok(());
        }
        if definitions.len() >= MAX_GROUPS {
            return Err(status::throttled(format!("the cluster has {MAX_GROUPS} consumer groups")));
        }
        let id = GroupId::random();
        let stored = match start {
            Start::Latest => self.store_latest(spaces, group, &id).await?,
            Start::TrimHorizon | Start::At(_) | Start::AtTimestamp(_) => None,
        };
        let definition = Definition {
            id,
            created_millis: join.stored.joined_millis,
            start: GroupStart::of(*start),
            creator: member.to_string(),
        };
        let key = Key { space: spaces.definitions, key };
        let transaction = Transaction {
            // The coordinator of a group that came and went meanwhile may have deleted the checkpoints.
            checks: std::iter::once((key.clone(), Expect::Absent))
                .chain(stored.map(|stored| (stored, Expect::Present)))
                .collect(),
            puts: vec![(key, rows::encode(&definition))],
            ..Transaction::default()
        };
        // If another Join came first, there is a group.
        self.change(spaces, transaction).await.map(drop)
    }

    /// Stores where each shard ends now. Shards that are closed are finished: all their records are older. Returns the
    /// key of one of the rows.
    async fn store_latest(
        &self,
        spaces: Spaces,
        group: &GroupKey,
        id: &GroupId,
    ) -> Result<Option<Key>, Status> {
        let latest = latest_positions(&**self.tables.cluster(), &group.stream).await;
        let latest = latest.map_err(|error| match error == Error::NotFound {
            true => status::no_stream(&group.stream),
            false => status::of_cluster(error),
        })?;
        let put = |LatestPosition { stream, shard, next, is_closed }: &LatestPosition| {
            let key = rows::shard_key(group, id, *stream, *shard);
            let stored = StoredShard { finished: *is_closed, ..StoredShard::at(*next) };
            (Key { space: spaces.state, key }, rows::encode(&stored))
        };
        for chunk in latest.chunks(TRANSACTION_ROWS) {
            let puts = chunk.iter().map(put).collect();
            self.change(spaces, Transaction { puts, ..Transaction::default() }).await?;
        }
        Ok(latest.first().map(|first| put(first).0))
    }

    /// Deletes a group with its rows. `false` if there was none.
    pub(crate) async fn delete(&self, group: &GroupKey) -> Result<bool, Status> {
        let Some(spaces) = self.spaces().await.map_err(status::of_cluster)? else {
            return Ok(false);
        };
        let key = Key { space: spaces.definitions, key: rows::definition_key(group) };
        let row = match self.tables.get(spaces.group, key.clone()).await {
            Err(Absent::Space) => None,
            row => row.map_err(status::of_absent)?,
        };
        let Some(row) = row else { return Ok(false) };
        let definition: Definition = rows::decode(&key.key, &row.value).map_err(status::damaged)?;
        let transaction = Transaction {
            checks: vec![(key.clone(), Expect::Version(row.version))],
            deletes: vec![key],
            ..Transaction::default()
        };
        if !self.change(spaces, transaction).await? {
            return Ok(false); // another call has deleted it
        }
        let prefix = rows::state_of(group).len();
        let mut stored = self.all(spaces, spaces.state, of_group(group)).await?;
        // Rows of a group that is made meanwhile have another id.
        stored.retain(|(key, _)| {
            let parsed = key.get(prefix..).and_then(rows::parse_state_key);
            parsed.is_some_and(|(id, _)| id == definition.id)
        });
        for chunk in stored.chunks(TRANSACTION_ROWS) {
            let key = |(key, _): &(Bytes, Row)| Key { space: spaces.state, key: key.clone() };
            let deletes = chunk.iter().map(key).collect();
            self.change(spaces, Transaction { deletes, ..Transaction::default() }).await?;
        }
        Ok(true)
    }

    /// Whether there is such a group.
    pub(crate) async fn exists(&self, group: &GroupKey) -> Result<bool, Status> {
        let Some(spaces) = self.spaces().await.map_err(status::of_cluster)? else {
            return Ok(false);
        };
        let key = Key { space: spaces.definitions, key: rows::definition_key(group) };
        match self.tables.get(spaces.group, key).await {
            Err(Absent::Space) => Ok(false),
            row => row.map(|row| row.is_some()).map_err(status::of_absent),
        }
    }

    /// All groups, in the order of stream and name.
    pub(crate) async fn list(&self) -> Result<Vec<(GroupKey, Definition)>, Status> {
        let Some(spaces) = self.spaces().await.map_err(status::of_cluster)? else {
            return Ok(Vec::new());
        };
        let stored = self.all(spaces, spaces.definitions, everything()).await?;
        let read = |(key, row): (Bytes, Row)| {
            let definition = rows::decode(&key, &row.value).map_err(status::damaged)?;
            let key = String::from_utf8_lossy(&key);
            let key = key.parse().map_err(|error| status::damaged(format!("{key}: {error}")))?;
            Ok((key, definition))
        };
        stored.into_iter().map(read).collect()
    }

    /// The rows of members and shards: of one group, or of all.
    pub(crate) async fn state(
        &self,
        group: Option<&GroupKey>,
    ) -> Result<Vec<(Bytes, Row)>, Status> {
        let Some(spaces) = self.spaces().await.map_err(status::of_cluster)? else {
            return Ok(Vec::new());
        };
        self.all(spaces, spaces.state, group.map_or_else(everything, of_group)).await
    }

    async fn all(
        &self,
        spaces: Spaces,
        space: SpaceId,
        keys: KeyRange,
    ) -> Result<Vec<(Bytes, Row)>, Status> {
        match self.tables.all(spaces.group, space, keys).await {
            Err(Absent::Space) => Ok(Vec::new()),
            rows => rows.map_err(status::of_absent),
        }
    }

    /// Makes a transaction. `false` if a check failed.
    async fn change(&self, spaces: Spaces, transaction: Transaction) -> Result<bool, Status> {
        let outcome = self.tables.transact(spaces.group, transaction).await;
        match outcome.map_err(status::of_cluster)? {
            Outcome::Done { .. } => Ok(true),
            Outcome::Failed { .. } => Ok(false),
            Outcome::Refused(refusal) => Err(status::throttled(refusal.to_string())),
            Outcome::Created { .. } => {
                Err(status::unknown("an outcome of another request".to_owned()))
            }
        }
    }
}

fn everything() -> KeyRange {
    KeyRange { start: Bytes::new(), end: None, descending: false }
}

fn of_group(group: &GroupKey) -> KeyRange {
    KeyRange { start: rows::state_of(group), end: Some(rows::state_end(group)), descending: false }
}
