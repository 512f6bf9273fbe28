//! Clients of the services for operators, on the first node that takes a connection.

use std::sync::Arc;
use std::time::Duration;

use anabranch_proto::admin::admin_service_client::AdminServiceClient;
use anabranch_proto::consumer::consumer_group_admin_service_client::ConsumerGroupAdminServiceClient;
use anabranch_proto::function::function_service_client::FunctionServiceClient;
use anabranch_proto::job::job_service_client::JobServiceClient;
use anabranch_transport::{Connector, Destination};
use anyhow::{Result, anyhow};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::{TlsArgs, reach};

pub(super) type Admin = AdminServiceClient<Channel>;
pub(super) type ConsumerGroups = ConsumerGroupAdminServiceClient<Channel>;
pub(super) type Functions = FunctionServiceClient<Channel>;

/// The services of one node, over one connection.
pub(super) struct Services {
    pub(super) admin: Admin,
    pub(super) jobs: JobServiceClient<Channel>,
    pub(super) functions: Functions,
    pub(super) consumer_groups: ConsumerGroups,
}

/// Deadline of a call; longer than a node searches the leader of the catalog.
const DEADLINE: Duration = Duration::from_secs(30);
/// Limit of a message. A page of ten thousand shards has two megabytes.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Connects to the first of the nodes that accepts a connection; returns its address too.
pub(super) async fn connect(seeds: &[String], tls: &TlsArgs) -> Result<(Services, String)> {
    let connector: Arc<dyn Connector> = tls.connector("operator")?;
    let node = reach::first(&connector, seeds).await?;
    let channel = anabranch_transport::channel(&connector, Destination::any(&node));
    let admin = AdminServiceClient::new(channel.clone());
    let jobs = JobServiceClient::new(channel.clone());
    let functions = FunctionServiceClient::new(channel.clone());
    let consumer_groups = ConsumerGroupAdminServiceClient::new(channel);
    let services = Services {
        admin: admin.max_decoding_message_size(MAX_MESSAGE_BYTES),
        jobs: jobs.max_decoding_message_size(MAX_MESSAGE_BYTES),
        functions: functions.max_decoding_message_size(MAX_MESSAGE_BYTES),
        consumer_groups: consumer_groups.max_decoding_message_size(MAX_MESSAGE_BYTES),
    };
    Ok((services, node))
}

pub(super) fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

pub(super) fn response<T>(answered: Result<Response<T>, Status>) -> Result<T> {
    answered.map(Response::into_inner).map_err(|status| match status.message() {
        "" => anyhow!("{}", status.code()),
        message => match innermost(&status) {
            Some(cause) => anyhow!("{message}: {cause}"),
            None => anyhow!("{message}"),
        },
    })
}

/// The innermost cause of a broken connection, with TLS or without; `None` for a refusal by the node.
fn innermost(status: &Status) -> Option<String> {
    let mut cause = std::error::Error::source(status)?;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Some(cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_the_message_of_the_node() {
        let refused: Result<Response<()>, _> = Err(Status::not_found("node 9 is not known"));
        assert_eq!(response(refused).unwrap_err().to_string(), "node 9 is not known");
        let wordless: Result<Response<()>, _> = Err(Status::new(tonic::Code::Unavailable, ""));
        assert!(!response(wordless).unwrap_err().to_string().is_empty());
    }
}
