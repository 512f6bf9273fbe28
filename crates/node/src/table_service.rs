//! `TableService` over gRPC: requests to the table groups that this node holds, and watches of their rows.
//!
//! A watch asks the replica for the next page only when the connection has room for it. So a slow watcher costs one
//! page at most.

use anabranch_proto::table as pb;
use anabranch_proto::table::table_service_server::{TableService, TableServiceServer};
use anabranch_proto::{
    table_request, table_response_message, watch_request, watch_response_message,
};
use anabranch_replica::Error;
use anabranch_types::GroupId;
use futures::stream::StreamExt;
use tonic::{Request, Response, Status};

use crate::log_service::Feed;
use crate::node::Node;
use crate::status::{invalid, status_of};

/// Largest message that a node may send: a transaction of 1 MiB and its framing.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

pub(crate) fn table_service(node: &Node) -> TableServiceServer<Tables> {
    TableServiceServer::new(Tables(node.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(usize::MAX)
}

/// The service, on one node.
#[derive(Clone)]
pub(crate) struct Tables(Node);

#[tonic::async_trait]
impl TableService for Tables {
    type WatchStream = Feed<pb::WatchResponse>;

    async fn call(
        &self,
        request: Request<pb::CallRequest>,
    ) -> Result<Response<pb::CallResponse>, Status> {
        let message = request.into_inner();
        let group = GroupId(message.group);
        let request = table_request(message).map_err(invalid)?;
        let table = self.0.replicas().table(group).ok_or_else(|| status_of(&Error::NotFound))?;
        let response = table.call(request).await.map_err(|error| status_of(&error))?;
        Ok(Response::new(table_response_message(response)))
    }

    async fn watch(
        &self,
        request: Request<pb::WatchRequest>,
    ) -> Result<Response<Feed<pb::WatchResponse>>, Status> {
        let message = request.into_inner();
        let group = GroupId(message.group);
        let (range, since) = watch_request(message).map_err(invalid)?;
        let table = self.0.replicas().table(group).ok_or_else(|| status_of(&Error::NotFound))?;
        let pages = table.watch_rows(range, since);
        let messages = pages.map(|page| match page {
            Ok(watched) => Ok(watch_response_message(watched)),
            Err(error) => Err(status_of(&error)),
        });
        Ok(Response::new(messages.boxed()))
    }
}
