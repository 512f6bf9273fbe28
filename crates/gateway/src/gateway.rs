use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use anabranch_tls::ApiTls;
use tokio::net::TcpListener;

use crate::auth::Authenticator;
use crate::host::{Host, Hosted};
use crate::metrics::OperationMetrics;
use crate::platform::Platform;
use crate::server;
use crate::service::Service;
use crate::settings::Authentication;

/// One port for the APIs of a cluster. Cheap to clone; clones share the byte budgets.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) platform: Platform,
    pub(crate) services: Vec<Arc<dyn Hosted>>,
    /// Verifies signatures, where authentication is required.
    pub(crate) authenticator: Option<Arc<Authenticator>>,
    /// Plain HTTP without it.
    pub(crate) tls: Option<ApiTls>,
    pub(crate) readiness: Arc<dyn Fn() -> bool + Send + Sync>,
    pub(crate) currency: Arc<dyn Fn() -> bool + Send + Sync>,
    pub(crate) report: Arc<dyn Fn() -> String + Send + Sync>,
    /// Calls of no known operation.
    pub(crate) unknown_calls: Arc<OperationMetrics>,
}

impl Gateway {
    /// A gateway without services. It is ready at once, see [`Self::with_readiness`].
    pub fn new(platform: Platform) -> Self {
        let settings = &platform.settings;
        let authenticator = match settings.authentication {
            Authentication::Any => None,
            Authentication::Required => Some(Authenticator::new(&settings.token_key)),
        };
        Self {
            authenticator: authenticator.map(Arc::new),
            services: Vec::new(),
            unknown_calls: Arc::new(platform.metrics.unknown_operation()),
            platform,
            tls: None,
            readiness: Arc::new(|| true),
            currency: Arc::new(|| true),
            report: Arc::new(|| "{}".into()),
        }
    }

    /// Hosts a service beside those that are hosted already.
    pub fn with_service<S: Service>(mut self, service: S) -> Self {
        let has_limits = self.platform.settings.service_limits;
        let host = Host::new(service, has_limits, &self.platform.metrics);
        self.services.push(Arc::new(host));
        self
    }

    /// Has `GET /readyz` answer 200 only while `ready` says so. It is asked at each call.
    pub fn with_readiness(self, ready: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { readiness: Arc::new(ready), ..self }
    }

    /// Refuses calls with 503, which every SDK retries, for as long as `current` says no: a node that has just started
    /// may have a catalog of long ago, and what it says by that would be final for an SDK. Asked at each call.
    pub fn with_currency(self, current: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { currency: Arc::new(current), ..self }
    }

    /// Has `GET /cluster` answer what `report` says, a JSON document: where the leaders of the shards
    /// are, for people and tests that want to know.
    pub fn with_report(self, report: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { report: Arc::new(report), ..self }
    }

    /// Serves over TLS alone.
    pub fn with_tls(self, tls: ApiTls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Serves HTTP/1.1 and HTTP/2 (by prior knowledge, over TLS also by ALPN) on `listener` until `shutdown` is ready, then
    /// lets open requests finish for `shutdown_grace`.
    ///
    /// # Errors
    /// What `accept` says when the listener itself is broken; a connection's failure ends only that
    /// connection, and running out of file descriptors is waited out.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        server::serve(self, listener, shutdown).await
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("platform", &self.platform).finish_non_exhaustive()
    }
}
