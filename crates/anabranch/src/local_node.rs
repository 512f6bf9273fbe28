//! The node of this process as the native client uses it: function calls instead of gRPC. The gateway of a node
//! reaches its own node this way, and all other nodes over gRPC.

use std::sync::Arc;

use anabranch_catalog::{Catalog, Command, Outcome};
use anabranch_client::{CallError, LocalNode, NewDataKey, Read};
use anabranch_encryption::KeyError;
use anabranch_node::Node;
use anabranch_replica::{Error, ShardReplica};
use anabranch_shard::{Batch, Page, Position, Run, Start};
use anabranch_table::{Request, Response};
use anabranch_types::{GroupId, NodeId};
use futures::future::BoxFuture;
use tokio::sync::watch;

/// A [`Node`] for an [`anabranch_client::Client`] in the same process.
pub(crate) struct InProcess(pub(crate) Node);

impl InProcess {
    fn shard(&self, group: GroupId) -> Result<ShardReplica, CallError> {
        self.0.shard(group).ok_or(CallError::NotFound)
    }
}

fn call_error(error: Error) -> CallError {
    match error {
        Error::NotLeader { leader } => CallError::NotLeader(leader),
        Error::NotFound => CallError::NotFound,
        Error::Frozen => CallError::Frozen,
        Error::Closed => CallError::Closed,
        Error::Throttled(reason) => CallError::Throttled(reason.into()),
        Error::Invalid(reason) => CallError::Invalid(reason),
        Error::Key(KeyError { fault, message }) => CallError::Key { fault, message },
        Error::Unknown(reason) => CallError::Unknown(reason),
        Error::OutOfService(_) => CallError::NotLeader(None),
    }
}

impl LocalNode for InProcess {
    fn id(&self) -> NodeId {
        self.0.id()
    }

    fn is_silent(&self, other: NodeId) -> bool {
        self.0.is_silent(other)
    }

    fn catalog(&self) -> watch::Receiver<Arc<Catalog>> {
        self.0.catalog()
    }

    fn newest_version(&self) -> BoxFuture<'_, Result<u64, CallError>> {
        Box::pin(async move { self.0.newest_catalog_version().await.map_err(call_error) })
    }

    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, CallError>> {
        Box::pin(async move { self.0.propose(&command).await.map_err(call_error) })
    }

    fn new_data_key(&self, wanted: NewDataKey) -> BoxFuture<'_, Result<Vec<u8>, CallError>> {
        Box::pin(async move {
            let NewDataKey { stream, id, master_key } = wanted;
            self.0.new_data_key(&stream, id, &master_key).await.map_err(call_error)
        })
    }

    fn append(&self, group: GroupId, batch: Batch) -> BoxFuture<'_, Result<Vec<Run>, CallError>> {
        Box::pin(async move { self.shard(group)?.append(batch).await.map_err(call_error) })
    }

    fn recall(&self, group: GroupId, batch: &Batch) -> Result<Vec<Option<Run>>, CallError> {
        self.shard(group)?.recall(batch).map_err(call_error)
    }

    fn seek(
        &self,
        group: GroupId,
        start: Start,
        leader_only: bool,
    ) -> BoxFuture<'_, Result<Position, CallError>> {
        Box::pin(
            async move { self.shard(group)?.seek(start, leader_only).await.map_err(call_error) },
        )
    }

    fn table(
        &self,
        group: GroupId,
        request: Request,
    ) -> BoxFuture<'_, Result<Response, CallError>> {
        Box::pin(async move {
            let table = self.0.table(group).ok_or(CallError::NotFound)?;
            table.call(request).await.map_err(call_error)
        })
    }

    fn read(&self, group: GroupId, read: Read) -> BoxFuture<'_, Result<Page, CallError>> {
        Box::pin(async move {
            let Read { from, max_records, max_bytes, leader_only, wait } = read;
            let shard = self.shard(group)?;
            let page = shard.poll(from, max_records, max_bytes, leader_only, wait).await;
            page.map_err(call_error)
        })
    }
}
