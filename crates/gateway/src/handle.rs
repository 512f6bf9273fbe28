//! Handles one HTTP request, from its head to its response. The checks run in the order of AWS: method, content type,
//! body, operation, signature. [`mod@crate::run`] has the checks that follow.
//!
//! One check comes earlier than in AWS: a large or gzip-compressed body costs memory and time, so it is not accepted
//! from a caller that would be refused. Before a large body is read, the head must name a known key. Before a large
//! or compressed body is decoded, the signature must be valid. A request without a verified signature may lose its
//! memory to other requests (`unverified.rs`). Then it gets an error response at once.
//!
//! The operation of a form is only known with its body. So its signature may first be for any hosted service, and is
//! compared with the service once the body has named it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use anabranch_aws::fault::Fault;
use anabranch_aws::protocol::query::{self, Envelope};
use anabranch_aws::protocol::{self, Protocol};
use anabranch_aws::wire;
use bytes::Bytes;
use futures::FutureExt;
use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{Method, StatusCode, Version};
use hyper::body::Incoming;

use crate::auth::{self, Caller, Peer, SigningNames};
use crate::body::{self, Encoding};
use crate::cooperative::cooperatively;
use crate::dispatch::{Destination, FormAction, Route};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::host::{Hosted, OperationIndex};
use crate::metrics::{self, Direction, OperationMetrics, Outcome, PutStage, PutStages};
use crate::origin;
use crate::response::{self, Done, HttpResponse};
use crate::run::{Port, Received};
use crate::service::Kind;
use crate::trust::{Reservation, Trust};
use crate::unverified::SMALL_BODY_BYTES;

/// Largest form. Source: CloudWatch API reference, PutMetricData. No other form is as large.
const MAX_FORM_BYTES: usize = 1024 * 1024;

/// A request whose head is counted against a budget, and the trust of its connection.
pub(crate) struct Admitted<'a> {
    pub trust: &'a Trust,
    pub peer: Peer,
    pub parts: Parts,
    pub body: Incoming,
    pub reservation: Reservation,
}

/// Handles one HTTP request. Never fails: every error becomes a response.
pub(crate) async fn handle(gateway: &Gateway, request: Admitted<'_>) -> HttpResponse {
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let Admitted { trust, peer, parts, body, reservation } = request;
    let mut route = Route::of(&gateway.services, &parts);
    let mut counting = Counting::begin(gateway, &parts, &route);
    let exchange = Exchange { gateway, trust, peer, parts: &parts, id };
    let handled = exchange.handle(&mut route, body, reservation);
    let handled = AssertUnwindSafe(handled).catch_unwind().await;
    let mut response = handled.unwrap_or_else(|_| {
        tracing::error!(request_id = %id, "call panicked");
        route.failure(&Error::Internal.fault(), id)
    });
    counting.follow(gateway, &route);
    finish(gateway, &mut response, &parts, &route, id);
    counting.outcome = outcome(&response);
    response
}

/// The response to a request for which no memory is left.
pub(crate) fn refuse(gateway: &Gateway, parts: &Parts, error: &Error) -> HttpResponse {
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let route = Route::of(&gateway.services, parts);
    let mut response = route.failure(&route.fault(error), id);
    finish(gateway, &mut response, parts, &route, id);
    if parts.method == Method::POST {
        let (metrics, protocol) = route.metrics(gateway);
        metrics.count(protocol, outcome(&response));
    }
    response
}

/// Counts a call when it is dropped. If the client gives up first, the connection drops the call, and with it this.
struct Counting<'a> {
    /// `None` for health checks and other pages of the gateway itself: they are no calls.
    metrics: Option<(&'a OperationMetrics, metrics::Protocol)>,
    began: Instant,
    outcome: Outcome,
}

impl<'a> Counting<'a> {
    fn begin(gateway: &'a Gateway, parts: &Parts, route: &Route<'a>) -> Self {
        let is_call = parts.method == Method::POST;
        let metrics = is_call.then(|| route.metrics(gateway));
        Self { metrics, began: Instant::now(), outcome: Outcome::Abandoned }
    }

    /// Takes the operation of a form, which its body has named.
    fn follow(&mut self, gateway: &'a Gateway, route: &Route<'a>) {
        self.metrics = self.metrics.map(|_| route.metrics(gateway));
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        if let Some((metrics, protocol)) = self.metrics {
            metrics.count(protocol, self.outcome);
            metrics.observe_duration(self.began.elapsed());
        }
    }
}

const fn label(protocol: Protocol) -> metrics::Protocol {
    match protocol {
        Protocol::Json10 | Protocol::Json11 => metrics::Protocol::Json,
        Protocol::Cbor11 => metrics::Protocol::Cbor,
        Protocol::RpcV2Cbor => metrics::Protocol::RpcCbor,
        Protocol::Query => metrics::Protocol::Query,
    }
}

fn outcome(response: &HttpResponse) -> Outcome {
    if response.status().is_success() {
        return Outcome::Success;
    }
    let code = response.headers().get(protocol::ERROR_TYPE).and_then(|code| code.to_str().ok());
    Outcome::of_failure(response.status(), code.unwrap_or_default())
}

fn finish(
    gateway: &Gateway,
    response: &mut HttpResponse,
    parts: &Parts,
    route: &Route<'_>,
    id: uuid::Uuid,
) {
    response::finish(
        response,
        &parts.headers,
        origin::is_foreign(&gateway.platform.settings, &parts.headers),
        id,
    );
    tracing::info!(
        request_id = %id,
        operation = route.name(),
        status = response.status().as_u16(),
        "request answered"
    );
}

impl<'a> Route<'a> {
    /// The protocol of error responses.
    fn protocol(&self) -> Protocol {
        match self {
            Self::Call(destination) => destination.protocol,
            Self::WrongProtocol { .. } | Self::Unknown => Protocol::Json11,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Call(destination) => destination.name,
            Self::WrongProtocol { name } => name,
            Self::Unknown => "",
        }
    }

    /// The metrics that count the call.
    fn metrics(&self, gateway: &'a Gateway) -> (&'a OperationMetrics, metrics::Protocol) {
        let (callee, protocol) = match self {
            Self::Call(destination) => (destination.callee(), label(destination.protocol)),
            Self::WrongProtocol { .. } | Self::Unknown => (None, metrics::Protocol::Unknown),
        };
        let metrics = callee.map(|(service, operation)| service.metrics(operation));
        (metrics.unwrap_or(&gateway.unknown_calls), protocol)
    }

    /// The fault for an error of the gateway. A service has its own code for a budget that is used up.
    fn fault(&self, error: &Error) -> Fault {
        match self {
            Self::Call(destination) => destination.fault(error),
            Self::WrongProtocol { .. } | Self::Unknown => error.fault(),
        }
    }

    /// The response to a call that failed.
    fn failure(&self, fault: &Fault, id: uuid::Uuid) -> HttpResponse {
        match self {
            Self::Call(destination) => destination.failure(fault, id),
            Self::WrongProtocol { .. } | Self::Unknown => {
                response::failure(self.protocol(), fault, &Envelope::default())
            }
        }
    }
}

impl<'a> Destination<'a> {
    /// Service and operation, if both are known.
    fn callee(&self) -> Option<(&'a Arc<dyn Hosted>, OperationIndex)> {
        self.service.zip(self.operation)
    }

    fn writes_records(&self) -> bool {
        self.callee().is_some_and(|(service, operation)| service.kind(operation) == Kind::Write)
    }

    fn fault(&self, error: &Error) -> Fault {
        match self.service {
            Some(service) => service.fault(self.operation, error),
            None => error.fault(),
        }
    }

    /// The XML namespace of the service. `None` if the service does not have the query protocol.
    fn namespace(&self) -> Option<&'static str> {
        self.service.and_then(|service| service.names().query).map(|query| query.namespace)
    }

    fn failure(&self, fault: &Fault, id: uuid::Uuid) -> HttpResponse {
        let (namespace, request_id) = (self.namespace(), id.to_string());
        let envelope = Envelope {
            namespace: namespace.unwrap_or_default(),
            operation: self.name,
            request_id: &request_id,
        };
        let mut response = response::failure(self.protocol, fault, &envelope);
        // Programs compare the codes of the query protocol, in whatever protocol the SDK calls.
        if self.protocol != Protocol::Query
            && namespace.is_some()
            && let Some(code) = query::error_header(fault)
        {
            response.headers_mut().insert(query::QUERY_ERROR, code);
        }
        response
    }

    /// The output as it is sent: in an envelope, if the protocol has one.
    fn wrap(&self, done: Done, id: uuid::Uuid) -> Done {
        if self.protocol != Protocol::Query {
            return done;
        }
        let (namespace, request_id) = (self.namespace().unwrap_or_default(), id.to_string());
        done.in_envelope(&Envelope { namespace, operation: self.name, request_id: &request_id })
    }
}

/// A request without its body, and the connection that carries it.
#[derive(Clone, Copy)]
struct Exchange<'a> {
    gateway: &'a Gateway,
    trust: &'a Trust,
    peer: Peer,
    parts: &'a Parts,
    /// Id of the request.
    id: uuid::Uuid,
}

/// Encoding and signature that the head of a request announces.
#[derive(Clone, Copy)]
struct Expected<'a> {
    encoding: Encoding,
    signing: SigningNames<'a>,
}

/// A request whose body has arrived.
struct Arrived {
    /// The body as the client sent it.
    sent: Bytes,
    caller: Result<Caller, Error>,
    reservation: Reservation,
}

fn readiness(gateway: &Gateway) -> HttpResponse {
    if (gateway.readiness)() {
        response::plain(StatusCode::OK, "ready\n")
    } else {
        response::plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// The metrics as text. With thousands of replicas it takes milliseconds to render them, so a blocking thread does
/// it. One request at a time renders, and the text counts against the budget of responses: many requests cost no
/// more than one thread and no memory beyond the budget.
async fn metrics_page(gateway: &Gateway) -> HttpResponse {
    let platform = &gateway.platform;
    let _turn = gateway.metrics_page.lock().await;
    let registry = platform.registry.clone();
    let Ok(text) = tokio::task::spawn_blocking(move || registry.render()).await else {
        return response::plain(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be rendered\n");
    };
    match platform.responses.take(text.len()) {
        None => response::plain(StatusCode::SERVICE_UNAVAILABLE, "too many bytes in flight\n"),
        permit => response::metrics(text, permit),
    }
}

impl<'a> Exchange<'a> {
    async fn handle(
        self,
        route: &mut Route<'a>,
        body: Incoming,
        reservation: Reservation,
    ) -> HttpResponse {
        let Self { gateway, parts, .. } = self;
        if parts.version == Version::HTTP_11 && parts.headers.get_all(HOST).iter().count() != 1 {
            return response::without_host();
        }
        if origin::is_foreign(&gateway.platform.settings, &parts.headers) {
            return response::plain(StatusCode::FORBIDDEN, "pages of this origin may not call\n");
        }
        match (&parts.method, parts.uri.path()) {
            (&Method::GET | &Method::HEAD, "/healthz") => response::plain(StatusCode::OK, "ok\n"),
            (&Method::GET | &Method::HEAD, "/readyz") => readiness(gateway),
            // The report names every stream. If callers must sign, operators use `anabranch ctl` instead.
            (&Method::GET, "/cluster") if gateway.authenticator.is_none() => {
                response::plain(StatusCode::OK, (gateway.report)())
            }
            // The figures tell what others do. Where callers must sign, a listener of its own has them.
            (&Method::GET | &Method::HEAD, "/metrics") if gateway.authenticator.is_none() => {
                metrics_page(gateway).await
            }
            (&Method::OPTIONS, _) if parts.headers.contains_key(ORIGIN) => {
                response::preflight(&parts.headers)
            }
            (&Method::POST, _) => self.post(route, body, reservation).await,
            _ => response::of(protocol::failure_without_protocol(&Error::NotPost.fault())),
        }
    }

    async fn post(
        self,
        route: &mut Route<'a>,
        body: Incoming,
        reservation: Reservation,
    ) -> HttpResponse {
        let unknown = || Error::UnknownOperation.fault();
        let destination = match route {
            Route::Call(destination) => destination,
            Route::WrongProtocol { .. } => {
                return response::failure(Protocol::Cbor11, &unknown(), &Envelope::default());
            }
            Route::Unknown => {
                return response::of(protocol::failure_without_protocol(&unknown()));
            }
        };
        match self.call(destination, body, reservation).await {
            Ok(done) => {
                let done = destination.wrap(done, self.id);
                let done = done.counted(&self.gateway.platform.metrics);
                response::success(destination.protocol, done)
            }
            // A form that is for no hosted service is in no protocol.
            Err(fault) if destination.service.is_none() && fault.code == Error::UNKNOWN_ACTION => {
                response::of(protocol::failure_without_protocol(&unknown()))
            }
            Err(fault) => destination.failure(&fault, self.id),
        }
    }

    async fn call(
        self,
        destination: &mut Destination<'a>,
        body: Incoming,
        reservation: Reservation,
    ) -> Result<Done, Fault> {
        let Self { gateway, peer, parts, id, .. } = self;
        let sent_to = *destination;
        let failed = |error: Error| sent_to.fault(&error);
        if !(gateway.is_current)() {
            return Err(Error::Starting.fault());
        }
        let encoding = Encoding::of(&parts.headers).map_err(failed)?;
        let metrics = &gateway.platform.metrics;
        let mut stages = destination.writes_records().then(|| metrics.put());
        let expected = Expected {
            encoding,
            signing: SigningNames {
                called: destination.service.map(|service| service.names().signing),
                hosted: &gateway.signing_names,
            },
        };
        let arrived = self.arrive_unless_refused(body, reservation, expected, &mut stages).await;
        let Arrived { sent, mut caller, mut reservation } = arrived.map_err(failed)?;
        let protocol = destination.protocol;
        if sent.is_empty() && protocol != Protocol::Query {
            let callee = destination.callee();
            return Err(callee.map_or(Error::UnknownOperation, |_| Error::Malformed).fault());
        }
        let bytes = match encoding {
            Encoding::Identity => sent.clone(),
            Encoding::Gzip => {
                body::inflate(&gateway.platform, &sent, &mut reservation).await.map_err(failed)?
            }
        };
        if protocol == Protocol::Query {
            let service = self.find_action(destination, &bytes)?;
            let Port { platform, authenticator } = gateway.port();
            // First, as for other protocols: a wrong service is reported before an unknown key.
            caller = auth::check_service(platform, authenticator, parts, service).and(caller);
        }
        let Some((service, operation)) = destination.callee() else {
            let read = || wire::check_well_formed(protocol.format(), &bytes);
            cooperatively(bytes.len(), read).map_err(|error| Error::from(error).fault())?;
            let service = destination.service;
            let unsupported = service.and_then(|service| service.unsupported(destination.name));
            return Err(unsupported.unwrap_or_else(|| Error::UnknownOperation.fault()));
        };
        let (id, body) = (id.into_bytes(), &bytes);
        let received = Received { id, protocol, body, parts, peer, caller, stages };
        // This function owns the reservation, so the bytes of the body stay counted until the response is made.
        service.perform(gateway.port(), operation, received).await
    }

    /// Finds the operation that a form names. Returns the name of its service in signatures.
    fn find_action(
        self,
        destination: &mut Destination<'a>,
        form: &[u8],
    ) -> Result<&'static str, Fault> {
        if form.len() > MAX_FORM_BYTES {
            return Err(Error::TooLarge { limit: MAX_FORM_BYTES }.fault());
        }
        let action = FormAction::of(form);
        *destination = action.destination(&self.gateway.services);
        if let Some((service, _)) = destination.callee() {
            return Ok(service.names().signing);
        }
        let service = destination.service;
        let unsupported = service.and_then(|service| service.unsupported(&action.action));
        Err(unsupported.unwrap_or_else(|| action.unknown().fault()))
    }

    async fn arrive_unless_refused(
        self,
        body: Incoming,
        reservation: Reservation,
        expected: Expected<'_>,
        stages: &mut Option<PutStages<'_>>,
    ) -> Result<Arrived, Error> {
        let Some(refusal) = reservation.refusal() else {
            return self.arrive(body, reservation, expected, stages).await;
        };
        tokio::select! {
            biased;
            () = refusal.notified() => Err(Error::Throttled),
            arrived = self.arrive(body, reservation, expected, stages) => arrived,
        }
    }

    /// Reads the body and verifies the signature. A small body is passed on even if its signature is wrong, because
    /// AWS reports faults of the body first.
    async fn arrive(
        self,
        body: Incoming,
        mut reservation: Reservation,
        expected: Expected<'_>,
        stages: &mut Option<PutStages<'_>>,
    ) -> Result<Arrived, Error> {
        let Self { gateway, trust, parts, .. } = self;
        let Port { platform, authenticator } = gateway.port();
        let Expected { encoding, signing } = expected;
        let mut ended = |stage| stages.iter_mut().for_each(|stages| stages.ended(stage));
        if !body::is_small(&body)
            && let Err(error) = auth::check_head(platform, authenticator, parts, signing).await
        {
            if parts.version < Version::HTTP_2 {
                body::discard(body).await;
            }
            return Err(error);
        }
        let sent = body::read(platform, body, &mut reservation).await?;
        platform.metrics.body_bytes(Direction::In, sent.len());
        ended(PutStage::ReadBody);
        let caller = auth::authenticate(platform, authenticator, parts, signing, &sent).await;
        ended(PutStage::Authenticate);
        trust.set(caller.is_ok());
        match &caller {
            Ok(_) => reservation = reservation.verified(platform, sent.len())?,
            Err(error) if sent.len() > SMALL_BODY_BYTES || encoding == Encoding::Gzip => {
                return Err(error.clone());
            }
            Err(_) => {}
        }
        Ok(Arrived { sent, caller, reservation })
    }
}
