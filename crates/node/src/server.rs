//! The gRPC port of a node: its services, and the bounds of what one connection may cost.

use std::sync::Arc;

use anabranch_transport::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES, Listener, ReplicaServer, STREAM_WINDOW_BYTES,
};
use tokio::sync::oneshot;
use tonic::service::{Routes, RoutesBuilder};

use crate::access::Access;
use crate::node::Node;
use crate::{admin_service, catalog_service, log_service, node_service, table_service};

/// Calls at a time on one connection. A gateway has one call for each subscription whose shard this node leads.
const GRPC_STREAMS: u32 = 4096;
/// Largest head of a call.
const GRPC_HEAD_BYTES: u32 = 16 * 1024;
/// Calls that a client cancelled before the server looked at them. One more ends the connection.
const PENDING_RESETS: usize = 64;
/// Calls that were refused for faults of HTTP/2. One more ends the connection.
const ERROR_RESETS: usize = 1024;

/// Adds services of other crates to the gRPC port.
pub type AddServices = Box<dyn FnOnce(&mut RoutesBuilder) + Send>;

/// Serves until the sender of `stopped` is dropped.
pub(crate) fn serve(
    node: &Node,
    listener: Listener,
    add_services: AddServices,
    stopped: oneshot::Receiver<()>,
) -> impl Future<Output = ()> + Send + use<> {
    let handler = Arc::new(node.replicas().clone());
    let mut routes = Routes::builder();
    routes
        .add_service(ReplicaServer::service(node.peers().transport().clone(), handler))
        .add_service(log_service::log_service(node))
        .add_service(catalog_service::catalog_service(node))
        .add_service(table_service::table_service(node))
        .add_service(admin_service::admin_service(node))
        .add_service(node_service::node_service(node));
    add_services(&mut routes);
    let cluster = listener.is_mutual().then_some(&*node.settings().cluster);
    let server = tonic::transport::Server::builder()
        .layer(Access::new(cluster))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_concurrent_streams(GRPC_STREAMS)
        .http2_max_header_list_size(GRPC_HEAD_BYTES)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(ERROR_RESETS))
        .add_routes(routes.routes());
    let incoming = listener.connections();
    async move {
        let over = async move { drop(stopped.await) };
        if let Err(error) = server.serve_with_incoming_shutdown(incoming, over).await {
            tracing::error!(%error, "gRPC server ended");
        }
    }
}
