//! Asks whether the groups of shards and of tables have leaders. A replica is asked, not the catalog: leaders are
//! found, never recorded.

use std::time::Duration;

use anabranch_catalog::{Replica, Shard};
use anabranch_replica::{Error, ShardReplica};
use anabranch_types::{GroupId, NodeId};
use futures::FutureExt;
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use tokio::time::timeout;
use tonic::Status;

use crate::node::Node;
use crate::node_request::NodeRequest;
use crate::remote::Remotes;
use crate::status::status_of;

/// How long the leader of a group may take to say that it leads.
const LEADER_ANSWERS: Duration = Duration::from_secs(1);
/// Shards that are asked for their leaders at a time.
const ASK_AT_ONCE: usize = 32;

/// Asks a node whether it leads a group and a majority follows. A response without an error says that it does.
pub(crate) struct Leads(pub(crate) GroupId);

impl NodeRequest for Leads {
    type Response = ();
    type Error = Status;

    async fn here(&self, node: &Node) -> Result<(), Status> {
        node.replicas().confirm_leads(self.0).await.map_err(|error| status_of(&error))
    }

    async fn there(&self, remotes: &Remotes, to: NodeId) -> Result<(), Status> {
        remotes.leads(to, self.0).await
    }
}

/// Whether every shard has a leader that answers.
pub(crate) async fn all_have_leaders<'a>(
    node: &Node,
    shards: impl Iterator<Item = &'a Shard>,
) -> bool {
    let asking: Vec<_> =
        shards.map(|shard| has_leader(node, shard.group, &shard.replicas).boxed()).collect();
    let answers = stream::iter(asking).buffer_unordered(ASK_AT_ONCE);
    answers.all(|has_leader| async move { has_leader }).await
}

/// Whether a replica of the group soon answers that it leads. A leader that has lost its majority would not answer for
/// long.
pub(crate) async fn has_leader(node: &Node, group: GroupId, replicas: &[Replica]) -> bool {
    let asked = replicas
        .iter()
        .map(|replica| async move { node.ask(replica.node, &Leads(group)).await.is_ok() });
    let answers = timeout(LEADER_ANSWERS, join_all(asked)).await;
    answers.is_ok_and(|answers| answers.contains(&true))
}

impl Node {
    /// This node's replica of the shard that `group` holds, if it leads.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotLeader`], each as a status.
    pub(crate) fn led_shard(&self, group: GroupId) -> Result<ShardReplica, Status> {
        let shard = self.shard(group).ok_or_else(|| status_of(&Error::NotFound))?;
        if !shard.leads() {
            return Err(status_of(&Error::NotLeader { leader: None }));
        }
        Ok(shard)
    }
}
