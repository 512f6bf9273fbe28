//! `CatalogService` of the native API over gRPC: changes of the catalog, its versions as they come, and what this
//! node knows of itself. Over TLS a caller may do what its role allows (`access.rs`).

use std::sync::Arc;

use anabranch_catalog::{Catalog, StreamId, Users};
use anabranch_proto::v1::catalog_service_server::{CatalogService, CatalogServiceServer};
use anabranch_proto::{
    decode_command, encode_catalog, encode_catalog_without_users, encode_outcome, v1,
};
use anabranch_replica::Error;
use anabranch_types::{NodeId, StreamName};
use futures::stream;
use tonic::{Request, Response, Status};

use crate::access;
use crate::catalog_requests::{self, NewestVersion, Propose};
use crate::log_service::{Feed, MAX_MESSAGE_BYTES};
use crate::node::Node;
use crate::node_request::NodeRequest;
use crate::status::{invalid, status_of};
use crate::went_back;

pub(crate) fn catalog_service(node: &Node) -> CatalogServiceServer<Cluster> {
    CatalogServiceServer::new(Cluster(node.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(usize::MAX)
}

/// The service, on one node.
pub(crate) struct Cluster(Node);

/// As [`status_of`], for requests to the catalog's leader: a node without a replica of the catalog is simply not its
/// leader.
fn catalog_status(error: &Error) -> Status {
    let elsewhere = Error::NotLeader { leader: None };
    status_of(if *error == Error::NotFound { &elsewhere } else { error })
}

/// The catalog for callers that may not see its users.
fn without_users(catalog: &Catalog) -> Catalog {
    Catalog { users: Users::default(), ..catalog.clone() }
}

#[tonic::async_trait]
impl CatalogService for Cluster {
    type WatchStream = Feed<v1::WatchResponse>;

    async fn propose(
        &self,
        request: Request<v1::ProposeRequest>,
    ) -> Result<Response<v1::ProposeResponse>, Status> {
        if request.get_ref().forwarded {
            access::check_forwarded(&request)?;
        }
        let command = decode_command(request.get_ref().command.clone()).map_err(invalid)?;
        access::check_command(&request, &command)?;
        let propose = Propose::new(&command).map_err(|error| catalog_status(&error))?;
        let outcome = if request.into_inner().forwarded {
            propose.here(&self.0).await
        } else {
            catalog_requests::ask_leader(&self.0, propose).await
        };
        let outcome = outcome.map_err(|error| catalog_status(&error))?;
        Ok(Response::new(v1::ProposeResponse { outcome: encode_outcome(&outcome) }))
    }

    async fn newest(
        &self,
        request: Request<v1::NewestRequest>,
    ) -> Result<Response<v1::NewestResponse>, Status> {
        if request.get_ref().forwarded {
            access::check_forwarded(&request)?;
        }
        let version = if request.into_inner().forwarded {
            NewestVersion.here(&self.0).await
        } else {
            self.0.newest_catalog_version().await
        };
        let version = version.map_err(|error| catalog_status(&error))?;
        Ok(Response::new(v1::NewestResponse { version }))
    }

    async fn new_data_key(
        &self,
        request: Request<v1::NewDataKeyRequest>,
    ) -> Result<Response<v1::NewDataKeyResponse>, Status> {
        access::check_data_key(&request)?;
        let v1::NewDataKeyRequest { stream, stream_id, master_key } = request.into_inner();
        let stream = stream.parse::<StreamName>().map_err(invalid)?;
        let made = self.0.new_data_key(&stream, StreamId(stream_id), &master_key).await;
        let wrapped = made.map_err(|error| status_of(&error))?.into();
        Ok(Response::new(v1::NewDataKeyResponse { wrapped }))
    }

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Feed<v1::WatchResponse>>, Status> {
        let sees_users = access::sees_users(&request);
        let v1::WatchRequest { known_version: known, known_users_version } = request.into_inner();
        let mut versions = self.0.catalog();
        if known == 0 || versions.borrow().version > known {
            versions.mark_changed();
        }
        let feed = stream::unfold(
            (versions, known_users_version),
            move |(mut versions, users)| async move {
                versions.changed().await.ok()?;
                let catalog = Arc::clone(&versions.borrow_and_update());
                let now = catalog.users.version();
                let encoded = match users {
                    _ if !sees_users => encode_catalog(&without_users(&catalog)),
                    Some(known) if known == now => encode_catalog_without_users(&catalog),
                    _ => encode_catalog(&catalog),
                };
                Some((Ok(v1::WatchResponse { catalog: encoded }), (versions, users.map(|_| now))))
            },
        );
        Ok(Response::new(Box::pin(feed)))
    }

    async fn node_info(
        &self,
        request: Request<v1::NodeInfoRequest>,
    ) -> Result<Response<v1::NodeInfoResponse>, Status> {
        let node = &self.0;
        let of = NodeId(request.into_inner().registration_of);
        let catalog = node.catalog_view().newest();
        let registration = went_back::registration(&catalog, of);
        let recovered_as = catalog.recovered_as().map_or(0, |replica| replica.0);
        Ok(Response::new(v1::NodeInfoResponse {
            registration,
            catalog_recovered_as: recovered_as,
            node: node.id().0,
            cluster: node.settings().cluster.clone(),
            began_empty: node.began_empty(),
            catalog_version: catalog.version,
            reconciled_version: node.catalog_view().reconciled(),
        }))
    }
}
