//! Tests of PutMetricData: one request in each format, its response, and requests as a whole that are refused.

use std::sync::Arc;

use anabranch_aws::wire::{self, DecodeError, Format};
use anabranch_metrics::Registry;
use anabranch_types::{Clock, ManualClock, Timestamp};

use super::*;
use crate::applications::Applications;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

struct Node {
    registry: Registry,
    service: CloudWatch,
}

impl Node {
    fn new() -> Self {
        let registry = Registry::default();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
        let applications = Applications::new(&registry, &clock);
        Self { registry, service: CloudWatch { applications, clock } }
    }

    /// Runs a request, and returns the response in the same format.
    fn put(&self, format: Format, body: &[u8]) -> Result<Vec<u8>, Error> {
        let request: PutMetricData<'_> = wire::decode(format, body).unwrap();
        let (parts, ()) = http::Request::post("/").body(()).unwrap().into_parts();
        let cx =
            Context { service: &self.service, identity: None, parts: &parts, request_id: [0; 16] };
        let running = request.run(&cx, &AllMetrics);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let response = runtime.block_on(running)?;
        let mut writer = Writer::new(format, 0);
        response.write(&mut writer);
        Ok(writer.finish())
    }

    fn refused(&self, form: &str) -> (&'static str, String) {
        let error = self.put(Format::Query, form.as_bytes()).unwrap_err();
        (error.wire().2, error.to_string())
    }

    fn lines(&self) -> Vec<String> {
        let text = self.registry.render();
        let lines = text.lines().filter(|line| line.contains("{application="));
        lines.map(str::to_owned).collect()
    }
}

/// What the Kinesis Client Library sends, as JSON 1.0.
const JSON: &str = r#"{"Namespace":"app","MetricData":[{"MetricName":"RecordsProcessed",
    "Dimensions":[{"Name":"Operation","Value":"ProcessTask"},{"Name":"ShardId","Value":"shardId-0"}],
    "Timestamp":1800000000.5,"Unit":"Count",
    "StatisticValues":{"SampleCount":4.0,"Sum":10,"Minimum":1.0,"Maximum":5.5}}]}"#;

const FORM: &str = "Action=PutMetricData&Version=2010-08-01&Namespace=app\
    &MetricData.member.1.MetricName=RecordsProcessed\
    &MetricData.member.1.Dimensions.member.1.Name=Operation\
    &MetricData.member.1.Dimensions.member.1.Value=ProcessTask\
    &MetricData.member.1.Dimensions.member.2.Name=ShardId\
    &MetricData.member.1.Dimensions.member.2.Value=shardId-0\
    &MetricData.member.1.Timestamp=2027-01-15T08%3A00%3A00.500Z&MetricData.member.1.Unit=Count\
    &MetricData.member.1.StatisticValues.SampleCount=4.0\
    &MetricData.member.1.StatisticValues.Sum=10.0\
    &MetricData.member.1.StatisticValues.Minimum=1.0\
    &MetricData.member.1.StatisticValues.Maximum=5.5";

fn cbor() -> Vec<u8> {
    let mut writer = Writer::new(Format::RpcCbor, 0);
    let pair = |w: &mut Writer, name: &str, value: &str| {
        w.structure(|w| {
            w.member("Name").text(name);
            w.member("Value").text(value);
        });
    };
    writer.structure(|w| {
        w.member("Namespace").text("app");
        w.member("MetricData").list(|w| {
            w.structure(|w| {
                w.member("MetricName").text("RecordsProcessed");
                w.member("Dimensions").list(|w| {
                    pair(w, "Operation", "ProcessTask");
                    pair(w, "ShardId", "shardId-0");
                });
                w.member("Timestamp").timestamp(NOW);
                w.member("Unit").text("Count");
                w.member("StatisticValues").structure(|w| {
                    w.member("SampleCount").real(4.0);
                    w.member("Sum").number(10);
                    w.member("Minimum").real(1.0);
                    w.member("Maximum").real(5.5);
                });
            });
        });
    });
    writer.finish()
}

#[test]
fn one_request_in_each_format_adds_the_same_values() {
    let labels = r#"{application="app",dimensions="Operation,ShardId",metric="RecordsProcessed",operation="ProcessTask"}"#;
    let expected = [
        format!("anabranch_cloudwatch_largest_value{labels} 5.5"),
        format!("anabranch_cloudwatch_samples_total{labels} 4"),
        format!("anabranch_cloudwatch_smallest_value{labels} 1"),
        format!("anabranch_cloudwatch_values_total{labels} 10"),
    ];
    let requests = [
        (Format::Json, JSON.as_bytes().to_vec(), &b"{}"[..]),
        (Format::RpcCbor, cbor(), b"\xbf\xff"),
        (Format::Query, FORM.as_bytes().to_vec(), b""),
    ];
    for (format, body, response) in requests {
        let node = Node::new();
        assert_eq!(node.put(format, &body).unwrap(), response, "{format:?}");
        assert_eq!(node.lines(), expected, "{format:?}");
    }
}

#[test]
fn a_time_in_rpc_v2_cbor_counts_seconds() {
    // {"Namespace": "a", "MetricData": [{"MetricName": "m", "Value": 1, "Timestamp": 1(1800000000)}]}
    let body = b"\xa2\x69Namespace\x61a\x6aMetricData\x81\xa3\x6aMetricName\x61m\x65Value\x01\
                 \x69Timestamp\xc1\x1a\x6b\x49\xd2\x00";
    assert_eq!(Node::new().put(Format::RpcCbor, body).unwrap(), b"\xbf\xff");
}

#[test]
fn a_call_with_one_wrong_metric_changes_nothing() {
    let node = Node::new();
    let refused = node.refused(
        "Namespace=app&MetricData.member.1.MetricName=a&MetricData.member.1.Value=1\
         &MetricData.member.2.MetricName=b&MetricData.member.2.Value=NaN",
    );
    let text = "The value NaN for parameter MetricData.member.2.Value is invalid.";
    assert_eq!(refused, ("InvalidParameterValue", text.to_owned()));
    assert_eq!(node.lines(), [""; 0]);
}

#[test]
fn a_call_names_an_application_and_at_most_a_thousand_metrics() {
    let node = Node::new();
    let metrics = |count: usize| {
        let metric =
            |at| format!("MetricData.member.{at}.MetricName=m&MetricData.member.{at}.Value=1");
        (1..=count).map(metric).collect::<Vec<_>>().join("&")
    };
    let one = metrics(1);
    let missing = |name: &str| ("MissingParameter", format!("The parameter {name} is required."));
    assert_eq!(node.refused(&one), missing("Namespace"));
    assert_eq!(node.refused("Namespace=app"), missing("MetricData"));
    assert_eq!(node.refused("Namespace=app&MetricData="), missing("MetricData"));
    for namespace in ["", ":app", "AWS/Kinesis"] {
        let text = format!("The value {namespace} for parameter Namespace is invalid.");
        let refused = node.refused(&format!("Namespace={namespace}&{one}"));
        assert_eq!(refused, ("InvalidParameterValue", text));
    }
    let long = "x".repeat(256);
    assert_eq!(
        node.refused(&format!("Namespace={long}&{one}")).1,
        "The parameter Namespace must be shorter than 256 characters."
    );
    assert!(node.put(Format::Query, format!("Namespace=AWS&{}", metrics(1000)).as_bytes()).is_ok());
    assert_eq!(
        node.refused(&format!("Namespace=app&{}", metrics(1001))).1,
        "The collection MetricData must not have a size greater than 1000."
    );
    assert_eq!(
        node.refused(&format!("Namespace=app&{one}&EntityMetricData.member.1.Entity.X=1")),
        (
            "InvalidParameterValue",
            "The parameter EntityMetricData is not supported by this endpoint.".to_owned()
        )
    );
}

#[test]
fn members_of_a_wrong_type_are_refused_in_each_format() {
    let fault = |format, body: &[u8]| wire::decode::<PutMetricData<'_>>(format, body).unwrap_err();
    for body in
        [r#"{"Namespace":7}"#, r#"{"MetricData":{}}"#, r#"{"MetricData":[{"Value":"much"}]}"#]
    {
        assert!(matches!(fault(Format::Json, body.as_bytes()), DecodeError::Type(_)), "{body}");
    }
    for body in ["Namespace.x=7", "MetricData.x=7", "MetricData.member.1.Value=much"] {
        assert!(matches!(fault(Format::Query, body.as_bytes()), DecodeError::Type(_)), "{body}");
    }
    assert!(matches!(fault(Format::RpcCbor, b"\xa1\x69Namespace\x07"), DecodeError::Type(_)));
    // JSON writes these numbers as text.
    let nan = br#"{"Namespace":"a","MetricData":[{"MetricName":"m","Value":"NaN"}]}"#;
    assert!(Node::new().put(Format::Json, nan).is_err());
}
