//! The gateway as other crates build it: a platform, services, and optional parts.
//!
//! Order of events: [`Gateway::new`], then the `with_` functions, then [`Gateway::serve`] until shutdown. The gateway
//! accepts no connection before `serve`.

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
use crate::run::Port;
use crate::server;
use crate::service::Service;
use crate::settings::Authentication;

/// One TCP port for all APIs of a cluster. Cheap to clone. Clones share the byte budgets.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) platform: Platform,
    pub(crate) services: Arc<[Arc<dyn Hosted>]>,
    /// Their names in signatures.
    pub(crate) signing_names: Arc<[&'static str]>,
    /// Verifies signatures. `None` if any credentials are accepted.
    pub(crate) authenticator: Option<Arc<Authenticator>>,
    /// `None`: plain HTTP.
    pub(crate) tls: Option<ApiTls>,
    pub(crate) readiness: Arc<dyn Fn() -> bool + Send + Sync>,
    pub(crate) is_current: Arc<dyn Fn() -> bool + Send + Sync>,
    pub(crate) report: Arc<dyn Fn() -> String + Send + Sync>,
    /// Held by the request that renders the metrics.
    pub(crate) metrics_page: Arc<tokio::sync::Mutex<()>>,
    /// Calls of no known operation.
    pub(crate) unknown_calls: Arc<OperationMetrics>,
}

impl Gateway {
    /// A gateway without services. Without [`Self::with_readiness`] it is always ready.
    pub fn new(platform: Platform) -> Self {
        let settings = &platform.settings;
        let authenticator = match settings.authentication {
            Authentication::Any => None,
            Authentication::Required => Some(Authenticator::new(&settings.token_key)),
        };
        Self {
            authenticator: authenticator.map(Arc::new),
            services: Arc::default(),
            signing_names: Arc::default(),
            unknown_calls: Arc::new(platform.metrics.unknown_operation()),
            platform,
            tls: None,
            readiness: Arc::new(|| true),
            is_current: Arc::new(|| true),
            report: Arc::new(|| "{}".into()),
            metrics_page: Arc::default(),
        }
    }

    /// Adds a service to the services of this gateway.
    pub fn with_service<S: Service>(mut self, service: S) -> Self {
        let has_limits = self.platform.settings.service_limits;
        let host = Host::new(service, has_limits, &self.platform.metrics);
        let host: Arc<dyn Hosted> = Arc::new(host);
        self.services = self.services.iter().cloned().chain([host]).collect();
        self.signing_names = self.services.iter().map(|host| host.names().signing).collect();
        self
    }

    /// `GET /readyz` responds with 200 only while `ready` returns true. The gateway calls `ready` for each request.
    pub fn with_readiness(self, ready: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { readiness: Arc::new(ready), ..self }
    }

    /// Refuses calls with 503 while `is_current` returns false. SDKs retry a 503. The catalog of a node that has just
    /// started may be old, and an SDK would take a "not found" from it as final. The gateway calls `is_current` for
    /// each call.
    pub fn with_currency_check(
        self,
        is_current: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { is_current: Arc::new(is_current), ..self }
    }

    /// `GET /cluster` responds with the JSON document that `report` returns. It says which node leads each shard, for
    /// people and tests.
    pub fn with_report(self, report: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { report: Arc::new(report), ..self }
    }

    /// Accepts only TLS connections.
    pub fn with_tls(self, tls: ApiTls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Serves HTTP/1.1 and HTTP/2 on `listener` until `shutdown` is ready. Clients choose HTTP/2 by prior knowledge,
    /// or by ALPN over TLS. After `shutdown`, open requests have `shutdown_grace` to finish.
    ///
    /// # Errors
    /// The error of `accept` if the listener itself is broken. A failure of one connection ends only that connection.
    /// If file descriptors run out, the gateway waits and tries again.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        server::serve(self, listener, shutdown).await
    }
}

impl Gateway {
    /// The parts that a call needs.
    pub(crate) fn port(&self) -> Port<'_> {
        Port { platform: &self.platform, authenticator: self.authenticator.as_deref() }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("platform", &self.platform).finish_non_exhaustive()
    }
}
