//! Tests of dispatch: the head of a request decides its service, operation and protocol.

use anabranch_aws::fault::Fault;
use anabranch_metrics::Registry;
use futures::future::BoxFuture;

use super::*;
use crate::error::Error;
use crate::metrics::{GatewayMetrics, OperationMetrics};
use crate::response::Done;
use crate::run::{Port, Received};
use crate::service::{Kind, ServiceNames};

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
    let names = ServiceNames { target, protocols, signing: "fake", actions: "fake" };
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

/// Describes the route in words.
fn route(path: &str, headers: &[(&str, &str)]) -> String {
    let mut request = http::Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    match Route::of(&services(), &parts) {
        Route::WrongProtocol { .. } => "wrong protocol".into(),
        Route::Unknown => "unknown".into(),
        Route::Call(Destination { protocol, service, operation, name }) => {
            let service = service.map_or("no service", |service| service.names().target);
            let operation = if operation.is_some() { name } else { "no operation" };
            format!("{protocol:?}: {service}, {operation}")
        }
    }
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
