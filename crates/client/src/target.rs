//! One node, as a call reaches it: directly if the node runs in this process, over gRPC if not. The only place that
//! tells the two apart for calls to shards.

use std::sync::Arc;

use anabranch_shard::{Batch, Page, Position, Run, Start};
use anabranch_table::{Request, Response};
use anabranch_types::{GroupId, NodeId};

use crate::call::{self, CallError, LocalNode, Read};
use crate::client::Inner;
use crate::connections::Peer;

/// Where the calls to one node go.
pub(crate) enum Target<'a> {
    Here(&'a Arc<dyn LocalNode>),
    There(Peer),
}

impl Inner {
    /// # Errors
    /// [`CallError::NotLeader`] if no address of the node is known.
    pub(crate) fn target(&self, node: NodeId) -> Result<Target<'_>, CallError> {
        match self.local().filter(|local| local.id() == node) {
            Some(local) => Ok(Target::Here(local)),
            None => self.peer(node).map(Target::There),
        }
    }
}

impl Target<'_> {
    pub(crate) async fn append(
        &self,
        group: GroupId,
        batch: &Batch,
    ) -> Result<Vec<Run>, CallError> {
        match self {
            Self::Here(local) => local.append(group, batch.clone()).await,
            Self::There(peer) => peer.appends.append(group, batch).await,
        }
    }

    pub(crate) async fn recall(
        &self,
        group: GroupId,
        batch: &Batch,
    ) -> Result<Vec<Option<Run>>, CallError> {
        match self {
            Self::Here(local) => local.recall(group, batch),
            Self::There(peer) => call::recall(peer.channel.clone(), group, batch).await,
        }
    }

    pub(crate) async fn seek(
        &self,
        group: GroupId,
        start: Start,
        leader_only: bool,
    ) -> Result<Position, CallError> {
        match self {
            Self::Here(local) => local.seek(group, start, leader_only).await,
            Self::There(peer) => call::seek(peer.channel.clone(), group, start, leader_only).await,
        }
    }

    pub(crate) async fn table(
        &self,
        group: GroupId,
        request: &Request,
    ) -> Result<Response, CallError> {
        match self {
            Self::Here(local) => local.table(group, request.clone()).await,
            Self::There(peer) => call::table(peer.channel.clone(), group, request).await,
        }
    }

    pub(crate) async fn read(&self, group: GroupId, read: Read) -> Result<Page, CallError> {
        match self {
            Self::Here(local) => local.read(group, read).await,
            Self::There(peer) => call::read(peer.channel.clone(), group, read).await,
        }
    }
}
