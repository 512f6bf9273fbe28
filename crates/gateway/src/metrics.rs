//! Metrics of the gateway: names, help texts, and handles.
//!
//! Order of events: [`GatewayMetrics::new`] registers the metrics of a node's gateway. [`GatewayMetrics::operation`]
//! makes one handle for each row of the table of operations. A connection holds an [`OpenConnection`] while it is
//! open. A put calls [`PutStages::ended`] at the end of each of its stages. When a call is over,
//! [`OperationMetrics::count`] counts it.
//!
//! A call costs a few atomic operations: no lock, no allocation, no lookup by name. The series of an operation, a
//! protocol and an outcome is made with the first such call, because most combinations never occur.
//!
//! Never: names of streams, users or keys in labels.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anabranch_metrics::{
    Buckets, Counter, CounterSet, Family, Gauge, Histogram, HistogramSet, Label, Metric, Registry,
    label,
};
use http::StatusCode;

const CALLS: Metric = Metric::new(
    "anabranch_gateway_calls_total",
    "Calls that are over, by operation, protocol and outcome. The operation is \"unknown\" if no table lists it.",
);
const CALL_DURATION: Metric = Metric::new(
    "anabranch_gateway_call_duration_seconds",
    "Time from the head of a request until its response is ready or its client has given up, by operation.",
);
const PUT_STAGE_DURATION: Metric = Metric::new(
    "anabranch_gateway_put_stage_duration_seconds",
    "Time of the stages of PutRecord and PutRecords. A stage that fails is not counted.",
);
const BODY_BYTES: Metric = Metric::new(
    "anabranch_gateway_body_bytes_total",
    "Bytes of request bodies as they were sent, and of bodies and events of successful responses.",
);
const CONNECTIONS: Metric =
    Metric::new("anabranch_gateway_connections", "Connections of clients that are open.");
const ACCEPTED_CONNECTIONS: Metric = Metric::new(
    "anabranch_gateway_accepted_connections_total",
    "Connections of clients that were accepted.",
);
const BUDGET_USED: Metric = Metric::new(
    "anabranch_gateway_budget_used_bytes",
    "Bytes in memory that count against a budget of the gateway.",
);
const BUDGET_LIMIT: Metric = Metric::new(
    "anabranch_gateway_budget_limit_bytes",
    "Size of a budget of the gateway. Calls beyond it are throttled.",
);

label! {
    /// How a call is encoded.
    pub(crate) enum Protocol: "protocol" {
        /// AWS JSON 1.0 or 1.1.
        Json = "json",
        /// AWS CBOR 1.1.
        Cbor = "cbor",
        /// Smithy RPC v2 CBOR.
        RpcCbor = "rpc_cbor",
        /// AWS query: forms.
        Query = "query",
        /// No known encoding.
        Unknown = "unknown",
    }
}

label! {
    /// Outcome of a call: the family of its error code.
    pub(crate) enum Outcome: "outcome" {
        /// The call was carried out.
        Success = "success",
        /// A limit of a shard, of the account or of memory was reached. The client should retry later.
        Throttled = "throttled",
        /// The signature is wrong, or a policy does not allow the call.
        Denied = "denied",
        /// The request is wrong, or the resource does not exist or has the wrong state.
        Invalid = "invalid",
        /// The service failed, or the outcome is unknown: status 5xx.
        Failed = "failed",
        /// The client closed the connection or the stream before the response was ready.
        Abandoned = "abandoned",
    }
}

label! {
    /// A stage of a put, in the order of events.
    pub(crate) enum PutStage: "stage" {
        /// Ends when the whole body has arrived.
        ReadBody = "read_body",
        /// Ends when the signature is verified.
        Authenticate = "authenticate",
        /// Ends when the request is decoded and checked, and policies have allowed it.
        Decode = "decode",
        /// Ends when a majority of replicas has synced all records.
        Append = "append",
        /// Ends when the response is encoded.
        Encode = "encode",
    }
}

label! {
    /// Direction of a body.
    pub(crate) enum Direction: "direction" {
        /// From a client to the gateway.
        In = "in",
        /// From the gateway to a client.
        Out = "out",
    }
}

label! {
    /// A budget of bytes in memory.
    pub(crate) enum BudgetName: "budget" {
        /// Heads and bodies of requests before their signature is verified.
        Unverified = "unverified",
        /// Heads and bodies of requests with a verified signature.
        Bodies = "bodies",
        /// Bodies of responses.
        Responses = "responses",
        /// Events on their way to subscribers.
        Pushes = "pushes",
    }
}

impl Outcome {
    /// The family of an error code.
    pub(crate) fn of_failure(status: StatusCode, code: &str) -> Self {
        const THROTTLED: [&str; 3] = ["LimitExceeded", "ThroughputExceeded", "Throttling"];
        const DENIED: [&str; 13] = [
            "AccessDenied",
            "AccessDeniedException",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "KMSAccessDeniedException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ];
        if status.is_server_error() {
            Self::Failed
        } else if THROTTLED.iter().any(|part| code.contains(part)) {
            Self::Throttled
        } else if DENIED.contains(&code) {
            Self::Denied
        } else {
            Self::Invalid
        }
    }
}

/// The metrics of a gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct GatewayMetrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    calls: CounterSet,
    call_duration: HistogramSet,
    put_stage_duration: Family<PutStage, Histogram>,
    body_bytes: Family<Direction, Counter>,
    connections: Gauge,
    accepted_connections: Counter,
    budget_used: Arc<Family<BudgetName, Gauge>>,
    budget_limit: Family<BudgetName, Gauge>,
}

impl GatewayMetrics {
    /// Registers the metrics of a node's gateway.
    pub(crate) fn new(registry: &Registry) -> Self {
        let inner = Inner {
            registry: registry.clone(),
            calls: registry.counter_set(CALLS, &["operation", Protocol::NAME, Outcome::NAME]),
            call_duration: registry.histogram_set(CALL_DURATION, &["operation"], Buckets::Latency),
            put_stage_duration: registry.histograms(PUT_STAGE_DURATION, Buckets::Latency),
            body_bytes: registry.counters(BODY_BYTES),
            connections: registry.gauge(CONNECTIONS),
            accepted_connections: registry.counter(ACCEPTED_CONNECTIONS),
            budget_used: Arc::new(registry.gauges(BUDGET_USED)),
            budget_limit: registry.gauges(BUDGET_LIMIT),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Handle of the operation `name`, from the table of operations. The caller makes it once and keeps it.
    pub(crate) fn operation(&self, name: &'static str) -> OperationMetrics {
        let calls = (0..Protocol::ALL.len() * Outcome::ALL.len()).map(|_| OnceLock::new());
        let calls = calls.collect();
        OperationMetrics { metrics: self.clone(), name, calls, duration: OnceLock::new() }
    }

    /// Handle of calls without an operation, or with an operation that is in no table.
    pub(crate) fn unknown_operation(&self) -> OperationMetrics {
        self.operation("unknown")
    }

    /// Begins the stages of a put. To be called when the head of the request is parsed.
    pub(crate) fn put(&self) -> PutStages<'_> {
        PutStages { durations: &self.inner.put_stage_duration, since: Instant::now() }
    }

    /// Counts an accepted connection. It counts as open until the returned value is dropped.
    pub(crate) fn connection(&self) -> OpenConnection {
        self.inner.accepted_connections.increment();
        self.inner.connections.increment();
        OpenConnection { open: self.inner.connections.clone() }
    }

    /// Counts bytes of a body, or of a part of one.
    pub(crate) fn body_bytes(&self, direction: Direction, bytes: usize) {
        self.inner.body_bytes.of(direction).add(bytes as u64);
    }

    /// Shows a budget of `limit` bytes. `used` returns how many of them are in use. The registry keeps `used` as long
    /// as it lives, so `used` should hold no more than the budget itself.
    pub(crate) fn show_budget(
        &self,
        budget: BudgetName,
        limit: usize,
        used: impl Fn() -> usize + Send + Sync + 'static,
    ) {
        self.inner.budget_limit.of(budget).set_count(limit as u64);
        let gauges = Arc::clone(&self.inner.budget_used);
        self.inner.registry.before_render(move || gauges.of(budget).set_count(used() as u64));
    }
}

/// The metrics of one operation.
#[derive(Debug)]
pub(crate) struct OperationMetrics {
    metrics: GatewayMetrics,
    name: &'static str,
    /// By protocol, then by outcome.
    calls: Box<[OnceLock<Counter>]>,
    duration: OnceLock<Histogram>,
}

impl OperationMetrics {
    /// Counts a call that is over.
    pub(crate) fn count(&self, protocol: Protocol, outcome: Outcome) {
        let place = protocol.index() * Outcome::ALL.len() + outcome.index();
        let series =
            || self.metrics.inner.calls.with(&[self.name, protocol.value(), outcome.value()]);
        self.calls[place].get_or_init(series).increment();
    }

    /// Adds the time of a call since its head was parsed. Calls that are refused because memory is used up are left
    /// out: many short refusals would hide that the calls that are carried out take long.
    pub(crate) fn observe_duration(&self, took: Duration) {
        let series = || self.metrics.inner.call_duration.with(&[self.name]);
        self.duration.get_or_init(series).observe_duration(took);
    }
}

/// Measures the stages of one put.
#[derive(Debug)]
pub(crate) struct PutStages<'a> {
    durations: &'a Family<PutStage, Histogram>,
    /// When the last stage ended.
    since: Instant,
}

impl PutStages<'_> {
    /// Ends `stage`. Its time is the time since the end of the stage before, or since the head of the request.
    pub(crate) fn ended(&mut self, stage: PutStage) {
        let now = Instant::now();
        self.durations.of(stage).observe_duration(now - self.since);
        self.since = now;
    }
}

/// A connection that is open until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    open: Gauge,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.open.decrement();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(registry: &Registry, part: &str) -> Vec<String> {
        let text = registry.render();
        let lines = text.lines().filter(|line| !line.starts_with('#') && line.contains(part));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn calls_are_counted_by_operation_protocol_and_outcome_from_the_first_one_on() {
        let registry = Registry::default();
        let metrics = GatewayMetrics::new(&registry);
        let put = metrics.operation("PutRecord");
        let unknown = metrics.unknown_operation();
        assert!(lines(&registry, "calls_total").is_empty());
        put.count(Protocol::Cbor, Outcome::Success);
        put.count(Protocol::Cbor, Outcome::Success);
        put.count(Protocol::Json, Outcome::Throttled);
        put.observe_duration(Duration::from_millis(3));
        unknown.count(Protocol::Unknown, Outcome::Invalid);
        unknown.observe_duration(Duration::ZERO);
        assert_eq!(
            lines(&registry, "calls_total"),
            [
                "anabranch_gateway_calls_total{operation=\"PutRecord\",outcome=\"success\",protocol=\"cbor\"} 2",
                "anabranch_gateway_calls_total{operation=\"PutRecord\",outcome=\"throttled\",protocol=\"json\"} 1",
                "anabranch_gateway_calls_total{operation=\"unknown\",outcome=\"invalid\",protocol=\"unknown\"} 1",
            ]
        );
        assert_eq!(
            lines(&registry, "call_duration_seconds_count"),
            [
                "anabranch_gateway_call_duration_seconds_count{operation=\"PutRecord\"} 1",
                "anabranch_gateway_call_duration_seconds_count{operation=\"unknown\"} 1",
            ]
        );
    }

    #[test]
    fn error_codes_have_families() {
        let of = |code| Outcome::of_failure(StatusCode::BAD_REQUEST, code);
        assert_eq!(of("ProvisionedThroughputExceededException"), Outcome::Throttled);
        assert_eq!(of("LimitExceededException"), Outcome::Throttled);
        assert_eq!(of("KMSThrottlingException"), Outcome::Throttled);
        assert_eq!(of("UnrecognizedClientException"), Outcome::Denied);
        assert_eq!(of("SignatureDoesNotMatch"), Outcome::Denied);
        assert_eq!(of("ResourceNotFoundException"), Outcome::Invalid);
        let failed =
            Outcome::of_failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailureException");
        assert_eq!(failed, Outcome::Failed);
    }

    #[test]
    fn each_stage_of_a_put_is_counted_once() {
        let registry = Registry::default();
        let metrics = GatewayMetrics::new(&registry);
        let mut put = metrics.put();
        PutStage::ALL.iter().for_each(|stage| put.ended(*stage));
        let counts = lines(&registry, "put_stage_duration_seconds_count");
        assert_eq!(counts.len(), PutStage::ALL.len());
        assert!(counts.iter().all(|line| line.ends_with(" 1")), "{counts:?}");
    }

    #[test]
    fn a_connection_is_open_until_it_is_dropped() {
        let registry = Registry::default();
        let metrics = GatewayMetrics::new(&registry);
        let (first, second) = (metrics.connection(), metrics.connection());
        drop(first);
        assert_eq!(lines(&registry, "_connections "), ["anabranch_gateway_connections 1"]);
        drop(second);
        assert_eq!(lines(&registry, "_connections "), ["anabranch_gateway_connections 0"]);
        let accepted = lines(&registry, "accepted_connections_total");
        assert_eq!(accepted, ["anabranch_gateway_accepted_connections_total 2"]);
    }

    #[test]
    fn a_budget_is_looked_at_when_metrics_are_rendered() {
        let registry = Registry::default();
        let metrics = GatewayMetrics::new(&registry);
        let used = Arc::new(std::sync::atomic::AtomicUsize::new(5));
        let seen = Arc::clone(&used);
        metrics.show_budget(BudgetName::Bodies, 100, move || {
            seen.load(std::sync::atomic::Ordering::Relaxed)
        });
        let bodies = "{budget=\"bodies\"}";
        assert_eq!(
            lines(&registry, bodies),
            [
                "anabranch_gateway_budget_limit_bytes{budget=\"bodies\"} 100",
                "anabranch_gateway_budget_used_bytes{budget=\"bodies\"} 5",
            ]
        );
        used.store(7, std::sync::atomic::Ordering::Relaxed);
        assert!(lines(&registry, bodies)[1].ends_with(" 7"));
    }

    #[test]
    fn bytes_of_bodies_are_counted_by_direction() {
        let registry = Registry::default();
        let metrics = GatewayMetrics::new(&registry);
        metrics.body_bytes(Direction::In, 10);
        metrics.body_bytes(Direction::Out, 3);
        metrics.body_bytes(Direction::In, 5);
        assert_eq!(
            lines(&registry, "body_bytes_total"),
            [
                "anabranch_gateway_body_bytes_total{direction=\"in\"} 15",
                "anabranch_gateway_body_bytes_total{direction=\"out\"} 3",
            ]
        );
    }
}
