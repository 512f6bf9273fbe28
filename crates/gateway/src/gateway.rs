use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use anabranch_client::Client;
use anabranch_metrics::Registry;
use anabranch_tls::ApiTls;
use anabranch_types::Clock;
use tokio::net::TcpListener;

use crate::auth::Authenticator;
use crate::budget::Budget;
use crate::call_limits::CallLimits;
use crate::call_name::CallNames;
use crate::cluster::Cluster;
use crate::newest::Newest;
use crate::server;
use crate::settings::{Authentication, GatewaySettings};
use crate::token::Sealer;
use crate::unverified::Unverified;

/// The Kinesis API of a cluster. Cheap to clone; clones share the byte budgets.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) settings: Arc<GatewaySettings>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) call_names: CallNames,
    /// Knows callers, where authentication is required.
    pub(crate) authenticator: Option<Arc<Authenticator>>,
    /// Asks for the newest version of the catalog.
    pub(crate) newest: Newest,
    /// Counts calls, where the service's limits are wanted.
    pub(crate) call_limits: Option<Arc<CallLimits>>,
    /// Bytes of heads and bodies in memory, of callers that are known.
    pub(crate) bodies: Budget,
    /// Bytes of heads and bodies in memory, of callers that are not known yet.
    pub(crate) unverified: Unverified,
    /// Bytes of answers in memory, so that slow readers take nothing from writers, nor writers from them.
    pub(crate) answers: Budget,
    /// Bytes of events in memory, so that slow subscribers take nothing from those who ask.
    pub(crate) pushes: Budget,
    /// Plain HTTP without it.
    pub(crate) tls: Option<ApiTls>,
    pub(crate) readiness: Arc<dyn Fn() -> bool + Send + Sync>,
    pub(crate) currency: Arc<dyn Fn() -> bool + Send + Sync>,
    pub(crate) report: Arc<dyn Fn() -> String + Send + Sync>,
    /// What `GET /metrics` shows.
    pub(crate) registry: Registry,
}

impl Gateway {
    /// A gateway of the cluster that `client` is connected to. Ready at once, see
    /// [`Self::with_readiness`].
    pub fn new(client: Client, settings: GatewaySettings, clock: Arc<dyn Clock>) -> Self {
        Self::over(Arc::new(client), settings, clock)
    }

    /// A gateway of whatever `cluster` is; [`Self::new`] for any but the native client.
    pub fn over(
        cluster: Arc<dyn Cluster>,
        settings: GatewaySettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let authenticator = match settings.authentication {
            Authentication::Any => None,
            Authentication::Required => Some(Authenticator::new(&settings.token_key)),
        };
        Self {
            cluster,
            authenticator: authenticator.map(Arc::new),
            newest: Newest::default(),
            sealer: Arc::new(Sealer::new(settings.token_key)),
            call_names: CallNames::new(&settings.token_key),
            call_limits: settings.service_limits.then(Arc::default),
            bodies: Budget::new(settings.max_in_flight_bytes / 2),
            unverified: Unverified::new(settings.max_unverified_bytes),
            answers: Budget::new(settings.max_in_flight_bytes / 2),
            pushes: Budget::new(settings.push_bytes()),
            settings: Arc::new(settings),
            clock,
            tls: None,
            readiness: Arc::new(|| true),
            currency: Arc::new(|| true),
            report: Arc::new(|| "{}".into()),
            registry: Registry::default(),
        }
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

    /// Has `GET /metrics` show `registry`, where any credentials are accepted.
    pub fn with_metrics(self, registry: Registry) -> Self {
        Self { registry, ..self }
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
        f.debug_struct("Gateway").field("settings", &self.settings).finish_non_exhaustive()
    }
}
