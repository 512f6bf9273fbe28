//! `JobService` over gRPC: the jobs of services, for operators.

use std::sync::{Arc, OnceLock};

use anabranch_proto::job as pb;
use anabranch_proto::job::job_service_server::{JobService, JobServiceServer};
use tonic::{Request, Response, Status};

use crate::jobs::Jobs;
use crate::list::ListedJob;

/// The service of a node whose jobs may not have begun yet: gRPC is served before anything else.
pub fn job_service(jobs: Arc<OnceLock<Jobs>>) -> JobServiceServer<ServedJobs> {
    JobServiceServer::new(ServedJobs(jobs)).max_encoding_message_size(usize::MAX)
}

/// The service, on one node.
#[derive(Clone, Debug)]
pub struct ServedJobs(Arc<OnceLock<Jobs>>);

#[tonic::async_trait]
impl JobService for ServedJobs {
    async fn list_service_jobs(
        &self,
        _request: Request<pb::ListServiceJobsRequest>,
    ) -> Result<Response<pb::ListServiceJobsResponse>, Status> {
        let jobs = self.0.get().map(Jobs::list).unwrap_or_default();
        let jobs = jobs.into_iter().map(message).collect();
        Ok(Response::new(pb::ListServiceJobsResponse { jobs }))
    }
}

fn message(job: ListedJob) -> pb::ServiceJob {
    let ListedJob { id, node, leaving, since_millis, epoch, status } = job;
    pb::ServiceJob {
        service: id.service,
        resource: id.resource,
        part: id.part,
        node: node.map_or(0, |node| node.0),
        leaving,
        since_millis,
        epoch,
        lag_millis: status.report.lag_millis,
        failures: status.failures,
        last_error: status.last_error.unwrap_or_default(),
    }
}
