//! CloudWatch as a service of the gateway: names, and the table of operations.

use std::fmt;
use std::sync::Arc;

use anabranch_aws::fault::Fault;
use anabranch_aws::protocol::Protocol;
use anabranch_client::View;
use anabranch_gateway::service::{
    self, Kind, Operation, QueryNames, Resource, Service, ServiceError as _, ServiceNames, Target,
};
use anabranch_gateway::{Platform, run};
use anabranch_metrics::Registry;
use anabranch_types::{AccountId, Clock};

use crate::applications::Applications;
use crate::error::Error;
use crate::put_metric_data::PutMetricData;
use crate::unsupported::unsupported;

/// The CloudWatch API of one node. Cheap to clone.
#[derive(Clone)]
pub struct CloudWatch {
    pub(crate) applications: Arc<Applications>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl CloudWatch {
    /// The service of a platform. The metrics that it receives are shown by `registry`.
    pub fn new(platform: &Platform, registry: &Registry) -> Self {
        let clock = Arc::clone(&platform.clock);
        Self { applications: Applications::new(registry, &clock), clock }
    }
}

impl fmt::Debug for CloudWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudWatch").finish_non_exhaustive()
    }
}

/// The target of each operation: all metrics of the caller's account. CloudWatch has no smaller resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AllMetrics;

impl Target<CloudWatch> for AllMetrics {
    fn resource<'v>(&self, _: &CloudWatch, caller: &AccountId, _: &'v View) -> Resource<'v> {
        let owner = caller.clone();
        Resource { arn: "*".to_owned(), owner, tags: None, policy: None, missing: None }
    }

    fn subject(&self, scope: NoScope, _: &View) -> Option<()> {
        match scope {}
    }
}

/// No operation has a limit of calls of its own.
#[derive(Clone, Copy, Debug)]
pub enum NoScope {}

impl service::Scope for NoScope {
    fn text(self) -> &'static str {
        match self {}
    }
}

/// All operations. The kind `Read` means: on the catalog of this node. No operation of CloudWatch needs the newest one.
#[expect(
    clippy::redundant_closure,
    reason = "a function of one lifetime is not one for every lifetime"
)]
const OPERATIONS: &[Operation<CloudWatch>] = &[Operation {
    name: "PutMetricData",
    kind: Kind::Read,
    limit: None,
    perform: |call| run::<_, PutMetricData<'_>>(call),
}];

impl Service for CloudWatch {
    const NAMES: ServiceNames = ServiceNames {
        target: "GraniteServiceVersion20100801",
        protocols: &[Protocol::Json10, Protocol::RpcV2Cbor, Protocol::Query],
        signing: "monitoring",
        actions: "cloudwatch",
        query: Some(QueryNames {
            version: "2010-08-01",
            namespace: "http://monitoring.amazonaws.com/doc/2010-08-01/",
        }),
    };
    const OPERATIONS: &'static [Operation<Self>] = OPERATIONS;

    type Error = Error;
    type Scope = NoScope;
    type Subject = ();

    fn unsupported(operation: &str) -> Option<Fault> {
        unsupported(operation).map(|error| error.fault())
    }

    fn throttled(_: Kind, message: String) -> Fault {
        Error::Throttled(message).fault()
    }
}
