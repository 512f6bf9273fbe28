//! Bounds of what the gRPC port accepts from one caller, whatever its role.

use anabranch_tls::Role;
use anabranch_types::NodeId;
use futures::future::join_all;
use http::Request;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::{Service, ServiceExt};

use crate::roles::start;

/// The beginning of a message of 2 GiB: the flag "not compressed", the length, and one byte.
const HUGE: &str = "\0\u{7f}\u{7f}\u{7f}\u{7f}x";

/// The status with which a call with this body ends.
async fn call(mut channel: Channel, method: &str, body: &str) -> Status {
    let request = Request::post(format!("http://node.anabranch/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(body.to_owned()));
    let answer = channel.ready().await.unwrap().call(request.unwrap()).await.unwrap();
    Status::from_header_map(answer.headers()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_declares_gigabytes_is_refused_by_its_length() {
    let running = start().await;
    let channel = running.as_member(Role::Node(NodeId(2)));
    for method in [
        "anabranch.replica.v1.ReplicaService/Exchange",
        "anabranch.v1.LogService/Read",
        "anabranch.v1.CatalogService/Propose",
        "anabranch.admin.v1.AdminService/Status",
    ] {
        let calls = join_all((0..20).map(|_| call(channel.clone(), method, HUGE)));
        for status in calls.await {
            assert_eq!(status.code(), Code::OutOfRange, "{method}: {status}");
            assert!(status.message().contains("2139062143"), "{status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_a_hello_ends() {
    let running = start().await;
    let channel = running.as_member(Role::Node(NodeId(2)));
    let status = call(channel, "anabranch.replica.v1.ReplicaService/Exchange", "").await;
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "hello: missing"));
}
