//! A member of a consumer group: reads the shards that the group gives to it, and stores how far it is.
//!
//! ```text
//! coordinator --Watch--> membership.rs: heartbeats, the newest list of shards --+
//! shard 0 ── reader ──┐                                                         v
//! shard 1 ── reader ──┼── queue ──────────────────────────────────────────> next()  ── batch ──> the program
//!                     │                                  coordinator <── checkpoint() <──────────────┘
//! ```
//!
//! Order of events: the program takes a batch with [`GroupConsumer::next`], processes it, and stores its place with
//! [`GroupConsumer::checkpoint`]. With the next call of `next` it says that it is finished with the batch. Then a shard
//! that another member waits for is given back.
//!
//! Records come at least once. After a crash, or if a batch was not stored, the next owner of the shard gets them
//! again. A checkpoint of a former owner is refused.

mod calls;
mod membership;
mod shards;

use std::sync::Arc;
use std::time::Duration;

use anabranch_proto::{consumer as pb, v1};
use anabranch_shard::Position;
use anabranch_types::{ShardId, StreamName, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::Client;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::group::calls::Coordinator;
use crate::group::membership::{Assignment, keep_membership};
use crate::group::shards::{Event, Shards};
use crate::shard_page::ShardPage;

/// Longest time in which the coordinator is told about shards that leave or have ended.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(1);
/// Pages that wait for the caller of [`GroupConsumer::next`], of all shards together.
const QUEUED_PAGES: usize = 8;

/// How a program joins a group.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// Id of the member: 1 to 64 letters, digits, dots, underscores and hyphens. Two programs must not have the same.
    pub member: String,
    /// For operators: at most 128 bytes.
    pub description: String,
    /// How long the member may be silent before its shards go to others: 3 s to 300 s.
    pub session: Duration,
    /// Where a new group begins.
    pub start: GroupStart,
}

/// Where a new group begins to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupStart {
    /// At the oldest retained record.
    TrimHorizon,
    /// After the newest record of each shard. Shards that are made later are read from their beginning.
    Latest,
    /// At the first record that arrived at this time or later.
    AtTimestamp(Timestamp),
}

impl Default for GroupSettings {
    /// A random member id, ten seconds, and the oldest record.
    fn default() -> Self {
        Self {
            member: format!("{:032x}", rand::random::<u128>()),
            description: String::new(),
            session: Duration::from_secs(10),
            start: GroupStart::TrimHorizon,
        }
    }
}

/// Why a group can't be read with, or a checkpoint was not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The shard of the batch has another owner, or the member was removed meanwhile. Others process its records.
    #[error("the member does not own shard {0} any more")]
    OwnershipLost(ShardId),
    /// The stream is gone.
    #[error("there is no stream {0}")]
    NoStream(StreamName),
    /// The coordinator could not be asked, or refused.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Neighbouring records of one shard for the program, at least one.
#[derive(Clone, Debug)]
pub struct GroupBatch {
    page: ShardPage,
    epoch: u64,
}

impl GroupBatch {
    /// The records, and the shard that they are from.
    pub fn page(&self) -> &ShardPage {
        &self.page
    }

    /// Number of the member's ownership of the shard. It rises with each owner, also across groups of the same name.
    /// For fencing outside of the cluster.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The shard.
    pub fn shard(&self) -> ShardId {
        self.page.route().shard
    }
}

/// A member of a group. It leaves with [`GroupConsumer::leave`]; if it is dropped, its shards go to others after its
/// session time.
pub struct GroupConsumer {
    coordinator: Coordinator,
    assigned: watch::Receiver<Assignment>,
    shards: Shards,
    /// Whether shards that are finished or leave could not be given back. With the next list it is tried again.
    waits_for_list: bool,
    events: mpsc::Receiver<Event>,
    /// Heartbeats, and the watch.
    membership: JoinSet<()>,
}

impl GroupConsumer {
    /// Joins a group, and makes it if it does not exist.
    ///
    /// # Errors
    /// [`GroupError::NoStream`]; [`GroupError::Failed`] with [`Error::Invalid`] if a setting breaks a rule, and with
    /// other errors if the group can't be reached within half a minute.
    pub async fn join(
        client: &Client,
        stream: &StreamName,
        group: &str,
        settings: GroupSettings,
    ) -> Result<Self, GroupError> {
        let reference = pb::GroupRef { stream: stream.to_string(), group: group.to_owned() };
        let mut coordinator = Coordinator::new(client, reference, settings.member.clone());
        let join = join_request(&coordinator, &settings)?;
        let session = coordinator.join(join.clone()).await.map_err(|error| {
            match error == Error::NotFound {
                true => GroupError::NoStream(stream.clone()),
                false => error.into(),
            }
        })?;
        let (sender, assigned) = watch::channel(Assignment::default());
        let mut membership = JoinSet::new();
        membership.spawn(keep_membership(coordinator.clone(), join, session, sender));
        let (pages, events) = mpsc::channel(QUEUED_PAGES);
        let cluster: Arc<dyn Cluster> = Arc::new(client.clone());
        let shards = Shards::new(cluster, stream.clone(), pages);
        Ok(Self { coordinator, assigned, shards, waits_for_list: false, events, membership })
    }

    /// The next records, of whichever shard has some. The program is finished with the batch before, whether it stored
    /// a checkpoint of it or not.
    ///
    /// Cancel-safe: a caller that drops the future and calls again misses nothing.
    ///
    /// # Errors
    /// [`GroupError::NoStream`] once the stream is gone. All other trouble is waited for.
    pub async fn next(&mut self) -> Result<GroupBatch, GroupError> {
        loop {
            if self.assigned.has_changed().unwrap_or_default() {
                let assignment = self.assigned.borrow_and_update().clone();
                if assignment.stream_is_gone {
                    return Err(GroupError::NoStream(self.shards.stream().clone()));
                }
                self.shards.follow(&assignment.shards);
                self.waits_for_list = false;
            }
            if !self.waits_for_list {
                self.give_back().await;
            }
            let mut assigned = self.assigned.clone();
            tokio::select! {
                biased;
                changed = assigned.changed() => {
                    if changed.is_err() {
                        return Err(GroupError::NoStream(self.shards.stream().clone()));
                    }
                }
                event = self.events.recv() => {
                    let Some(event) = event else { return Err(Error::NoLeader.into()) }; // never: we hold a sender
                    if let Some((page, epoch)) = self.shards.take(event) {
                        return Ok(GroupBatch { page, epoch });
                    }
                }
            }
        }
    }

    /// Gives back the shards that leave, and finishes shards that have ended.
    async fn give_back(&mut self) {
        loop {
            let done = self.shards.done();
            if done.is_empty() {
                return;
            }
            // The member goes on reading other shards while the coordinator is away. A shard may be told twice.
            match timeout(GIVE_BACK_WITHIN, self.coordinator.checkpoint(done.clone())).await {
                Ok(Ok(_)) => self.shards.told(&done),
                Ok(Err(_)) | Err(_) => {
                    self.waits_for_list = true;
                    return;
                }
            }
        }
    }

    /// Stores that all records of the batch, and all before it in its shard, are processed.
    ///
    /// # Errors
    /// [`GroupError::OwnershipLost`]; [`GroupError::Failed`] if the coordinator can't be reached: the call may be made
    /// again.
    pub async fn checkpoint(&mut self, batch: &GroupBatch) -> Result<(), GroupError> {
        self.checkpoint_at(batch, batch.page.page().next).await
    }

    /// As [`Self::checkpoint`], for the records of the batch before `next` only. It does not change what
    /// [`Self::next`] returns next.
    ///
    /// # Errors
    /// As [`Self::checkpoint`].
    pub async fn checkpoint_at(
        &mut self,
        batch: &GroupBatch,
        next: Position,
    ) -> Result<(), GroupError> {
        let shard = batch.shard();
        let Some(held) = self.shards.held(shard).filter(|held| held.epoch == batch.epoch) else {
            return Err(GroupError::OwnershipLost(shard));
        };
        let checkpoint = pb::ShardCheckpoint {
            shard: shard.0,
            epoch: held.epoch,
            next: Some(position(next)),
            release: false,
        };
        let refused = self.coordinator.checkpoint(vec![checkpoint]).await;
        let refused = refused.map_err(|error| match error == Error::NotFound {
            // The member was removed.
            true => GroupError::OwnershipLost(shard),
            false => error.into(),
        })?;
        if refused.contains(&shard.0) {
            self.shards.lost(shard, batch.epoch);
            return Err(GroupError::OwnershipLost(shard));
        }
        self.shards.stored(shard, batch.epoch, next);
        Ok(())
    }

    /// Numbers of the shards that the member reads now.
    pub fn shards(&self) -> Vec<ShardId> {
        self.shards.numbers()
    }

    /// Leaves the group: its shards go to others at once.
    ///
    /// # Errors
    /// If the coordinator can't be reached: the shards go to others after the session time.
    pub async fn leave(mut self) -> Result<(), GroupError> {
        self.membership.shutdown().await;
        Ok(self.coordinator.leave().await?)
    }
}

impl std::fmt::Debug for GroupConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupConsumer").field("shards", &self.shards()).finish_non_exhaustive()
    }
}

fn join_request(
    coordinator: &Coordinator,
    settings: &GroupSettings,
) -> Result<pb::JoinRequest, GroupError> {
    let start = match settings.start {
        GroupStart::TrimHorizon => pb::join_request::Start::TrimHorizon(v1::Empty {}),
        GroupStart::Latest => pb::join_request::Start::Latest(v1::Empty {}),
        GroupStart::AtTimestamp(time) => pb::join_request::Start::AtMillis(time.as_millis()),
    };
    let session_millis = u32::try_from(settings.session.as_millis())
        .map_err(|_| Error::Invalid("session: must be 3 s to 300 s".to_owned()))?;
    Ok(pb::JoinRequest {
        group: Some(coordinator.group().clone()),
        member: settings.member.clone(),
        description: settings.description.clone(),
        session_millis,
        start: Some(start),
    })
}

fn position(position: Position) -> v1::Position {
    v1::Position { log_index: position.log_index, offset: position.offset.into() }
}
