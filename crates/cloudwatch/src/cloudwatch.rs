//! The CloudWatch API of a node: its parts, and the target of its operation.

use std::fmt;
use std::sync::Arc;

use anabranch_client::View;
use anabranch_gateway::Platform;
use anabranch_gateway::service::{Resource, Scope, Target};
use anabranch_metrics::Registry;
use anabranch_types::{AccountId, Clock};

use crate::applications::Applications;

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

impl Scope for NoScope {
    fn text(self) -> &'static str {
        match self {}
    }
}
