//! Tests of dispatch: the head of a request decides its service, operation and protocol.

use anabranch_aws::fault::Fault;
use anabranch_metrics::Registry;
use futures::future::BoxFuture;

use super::*;
use crate::error::Error;
use crate::metrics::{GatewayMetrics, OperationMetrics};
use crate::response::Done;
use crate::run::{Port, Received};
use crate::service::{Kind, QueryNames, ServiceNames};

const JSON: &str = "application/x-amz-json-1.1";
const JSON_10: &str = "application/x-amz-json-1.0";
const CBOR: &str = "application/x-amz-cbor-1.1";

/// A service with the operations `Get` and `Put`.
struct Fake(ServiceNames, OperationMetrics);

impl Hosted for Fake {
    fn names(&self) -> ServiceNames {
        self.0
    }

    fn find(&self, operation: &str) -> Option<OperationIndex> {
        ["Get", "Put"].iter().position(|name| *name == operation).map(OperationIndex::new)
    }

    fn name(&self, _: OperationIndex) -> &'static str {
        "Get"
    }

    fn perform<'a>(
        &'a self,
        _: Port<'a>,
        _: OperationIndex,
        _: Received<'a>,
    ) -> BoxFuture<'a, Result<Done, Fault>> {
        unreachable!("dispatch performs nothing")
    }

    fn unsupported(&self, _: &str) -> Option<Fault> {
        None
    }

    fn kind(&self, _: OperationIndex) -> Kind {
        Kind::Control
    }

    fn metrics(&self, _: OperationIndex) -> &OperationMetrics {
        &self.1
    }

    fn fault(&self, _: Option<OperationIndex>, error: &Error) -> Fault {
        error.fault()
    }
}

fn service(target: &'static str, protocols: &'static [Protocol]) -> Arc<dyn Hosted> {
    let version = if target == "STS" { "2011-06-15" } else { "2010-08-01" };
    let query = protocols
        .contains(&Protocol::Query)
        .then_some(QueryNames { version, namespace: "https://example.org/" });
    let names = ServiceNames { target, protocols, signing: "fake", actions: "fake", query };
    let metrics = GatewayMetrics::new(&Registry::default());
    Arc::new(Fake(names, metrics.operation("Get")))
}

fn services() -> Vec<Arc<dyn Hosted>> {
    vec![
        service("Kinesis_20131202", &[Protocol::Json11, Protocol::Cbor11]),
        service("DynamoDB_20120810", &[Protocol::Json10]),
        service("GraniteServiceVersion20100801", &[Protocol::Json10, Protocol::RpcV2Cbor]),
    ]
}

/// The services, and two with the query protocol.
fn with_query() -> Vec<Arc<dyn Hosted>> {
    let mut services = services();
    services.pop();
    services.extend([
        service(
            "GraniteServiceVersion20100801",
            &[Protocol::Json10, Protocol::RpcV2Cbor, Protocol::Query],
        ),
        service("STS", &[Protocol::Query]),
    ]);
    services
}

/// Describes the route in words.
fn route(path: &str, headers: &[(&str, &str)]) -> String {
    route_among(&services(), path, headers)
}

fn route_among(services: &[Arc<dyn Hosted>], path: &str, headers: &[(&str, &str)]) -> String {
    let mut request = http::Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    match Route::of(services, &parts) {
        Route::WrongProtocol { .. } => "wrong protocol".into(),
        Route::Unknown => "unknown".into(),
        Route::Call(destination) => shown(destination),
    }
}

fn shown(destination: Destination<'_>) -> String {
    let Destination { protocol, service, operation, name } = destination;
    let service = service.map_or("no service", |service| service.names().target);
    let operation = if operation.is_some() { name } else { "no operation" };
    format!("{protocol:?}: {service}, {operation}")
}

fn by_target(content_type: &str, target: &str) -> String {
    route("/", &[("content-type", content_type), ("x-amz-target", target)])
}

#[test]
fn a_target_names_service_and_operation() {
    assert_eq!(by_target(JSON, "Kinesis_20131202.Get"), "Json11: Kinesis_20131202, Get");
    assert_eq!(by_target(CBOR, "Kinesis_20131202.Put"), "Cbor11: Kinesis_20131202, Put");
    assert_eq!(by_target(JSON_10, "DynamoDB_20120810.Get"), "Json10: DynamoDB_20120810, Get");
}

#[test]
fn an_unknown_operation_has_a_service_and_a_protocol() {
    let expected = "Json11: Kinesis_20131202, no operation";
    for name in ["Get.Put", "get", "Fetch", ""] {
        assert_eq!(by_target(JSON, &format!("Kinesis_20131202.{name}")), expected);
    }
}

#[test]
fn a_service_is_called_in_its_own_protocols_only() {
    assert_eq!(by_target(JSON_10, "Kinesis_20131202.Get"), "wrong protocol");
    assert_eq!(by_target(JSON, "DynamoDB_20120810.Get"), "wrong protocol");
    assert_eq!(by_target("text/plain", "Kinesis_20131202.Get"), "wrong protocol");
}

#[test]
fn a_path_of_rpc_v2_cbor_names_service_and_operation() {
    let rpc = |path: &str| {
        route(path, &[("smithy-protocol", "rpc-v2-cbor"), ("content-type", "application/cbor")])
    };
    let path = "/service/GraniteServiceVersion20100801/operation/Put";
    assert_eq!(rpc(path), "RpcV2Cbor: GraniteServiceVersion20100801, Put");
    assert_eq!(rpc("/service/DynamoDB_20120810/operation/Get"), "wrong protocol");
    assert_eq!(rpc("/service/Unknown/operation/Get"), "unknown");
    assert_eq!(rpc("/"), "unknown");
    assert_eq!(route(path, &[("content-type", "application/cbor")]), "unknown");
}

/// Tries each row of the table of AWS services that are not hosted.
#[test]
fn services_that_are_not_hosted_are_unknown() {
    for prefix in [
        "Firehose_20150804",
        "KinesisAnalytics_20150814",
        "KinesisAnalytics_20180523",
        "AWSGlue",
        "Logs_20140328",
        "AmazonSQS",
        "",
    ] {
        let target = format!("{prefix}.Get");
        assert_eq!(by_target(JSON, &target), "Json11: no service, no operation", "{prefix}");
        assert_eq!(by_target(CBOR, &target), "Cbor11: no service, no operation", "{prefix}");
        assert_eq!(by_target(JSON_10, &target), "unknown", "{prefix}");
    }
    assert_eq!(by_target(JSON, "Kinesis_20131202"), "Json11: no service, no operation");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(route("/?Action=GetCallerIdentity&Version=2011-06-15", &form), "unknown");
    assert_eq!(route("/console/streams", &[("content-type", "application/json")]), "unknown");
    assert_eq!(route("/", &[]), "unknown");
}

#[test]
fn a_form_is_in_the_query_protocol_if_a_hosted_service_has_it() {
    let form = |headers: &[(&str, &str)]| route_among(&with_query(), "/", headers);
    let unread = "Query: no service, no operation";
    assert_eq!(form(&[("content-type", FORM)]), unread);
    assert_eq!(
        form(&[("content-type", "Application/X-WWW-Form-Urlencoded; charset=utf-8")]),
        unread
    );
    assert_eq!(route("/", &[("content-type", FORM)]), "unknown");
    let target = |target| form(&[("content-type", FORM), ("x-amz-target", target)]);
    assert_eq!(target("Kinesis_20131202.Get"), "wrong protocol");
    assert_eq!(target("Nothing.Get"), "unknown");
    assert_eq!(form(&[("content-type", "application/x-www-form-urlencoded-not")]), "unknown");
}

#[test]
fn the_fields_of_a_form_name_service_and_operation() {
    let services = with_query();
    let of = |form: &str| shown(FormAction::of(form.as_bytes()).destination(&services));
    let granite = "Query: GraniteServiceVersion20100801, Get";
    assert_eq!(of("Action=Get&Version=2010-08-01"), granite);
    // The fake service calls each of its operations by one name.
    assert_eq!(of("X=1&Version=2010-08-01&Action=Put&Action=Fetch"), granite);
    assert_eq!(of("Action=Get&Version=2011-06-15"), "Query: STS, Get");
    assert_eq!(of("Action=Fetch&Version=2011-06-15"), "Query: STS, no operation");
    for unknown in
        ["", "Action=Get", "Action=Get&Version=2012-11-05", "Version=%ff&Action=Get", "\0"]
    {
        assert_eq!(of(unknown), "Query: no service, no operation", "{unknown}");
    }
}

#[test]
fn an_unknown_action_is_named_in_words_of_aws() {
    let text = |form: &str| FormAction::of(form.as_bytes()).unknown().to_string();
    let expected = "Could not find operation Get for version NO_VERSION_SPECIFIED";
    assert_eq!(text("Action=Get"), expected);
    assert_eq!(text("Action=A&Version=1"), "Could not find operation A for version 1");
    assert!(text(&format!("Action={}", "x".repeat(10_000))).len() < 256);
}
