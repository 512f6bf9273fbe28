//! Tests of identity: a stream or consumer that is deleted and created again under its name is another one, even within
//! one second.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::http::{Server, start};

const SHARD: &str = "shardId-000000000000";

async fn put(server: &Server, more: Value) -> String {
    let mut body = json!({"StreamName": "s", "PartitionKey": "k", "Data": "aGk="});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.ok("PutRecord", body).await["SequenceNumber"].as_str().unwrap().to_owned()
}

/// Deletes the stream and creates it again. The clock does not move.
async fn make_again(server: &Server) {
    server.ok("DeleteStream", json!({"StreamName": "s", "EnforceConsumerDeletion": true})).await;
    server.cluster.drop_deleted();
    server.create("s", 1).await;
}

fn iterator(kind: &str, number: &str) -> Value {
    json!({"StreamName": "s", "ShardId": SHARD, "ShardIteratorType": kind, "StartingSequenceNumber": number})
}

#[tokio::test]
async fn records_of_a_recreated_stream_never_have_sequence_numbers_of_the_deleted_one() {
    let server = start().await;
    server.create("s", 1).await;
    let mut numbers = BTreeSet::new();
    for _ in 0..4 {
        assert!(numbers.insert(put(&server, json!({})).await));
        let listed = server.ok("ListShards", json!({"StreamName": "s"})).await;
        let range = &listed["Shards"][0]["SequenceNumberRange"];
        let first = range["StartingSequenceNumber"].as_str().unwrap();
        assert!(numbers.insert(first.to_owned()));
        make_again(&server).await;
    }
}

#[tokio::test]
async fn a_sequence_number_of_a_deleted_stream_starts_no_read_but_may_order_puts() {
    let server = start().await;
    server.create("s", 1).await;
    let number = put(&server, json!({})).await;
    server.ok("GetShardIterator", iterator("AT_SEQUENCE_NUMBER", &number)).await;
    make_again(&server).await;
    for kind in ["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"] {
        let (code, message) = server.error("GetShardIterator", iterator(kind, &number)).await;
        assert_eq!(code, "InvalidArgumentException");
        assert!(message.contains("did not come from this stream"), "{message}");
    }
    let later = put(&server, json!({"SequenceNumberForOrdering": number})).await;
    put(&server, json!({"SequenceNumberForOrdering": later})).await;
}

#[tokio::test]
async fn a_consumer_that_is_registered_again_has_a_new_arn() {
    let server = start().await;
    server.create("s", 1).await;
    let stream = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
    let body = json!({"StreamARN": stream, "ConsumerName": "app"});
    let mut arns = BTreeSet::new();
    for _ in 0..3 {
        let registered = server.ok("RegisterStreamConsumer", body.clone()).await;
        let arn = registered["Consumer"]["ConsumerARN"].as_str().unwrap().to_owned();
        server.ok("DeregisterStreamConsumer", json!({"ConsumerARN": arn})).await;
        server.cluster.settle_consumers("s");
        let gone = server.error("DescribeStreamConsumer", json!({"ConsumerARN": arn})).await;
        assert_eq!(gone.0, "ResourceNotFoundException");
        assert!(arns.insert(arn));
    }
    make_again(&server).await;
    let registered = server.ok("RegisterStreamConsumer", body).await;
    let arn = registered["Consumer"]["ConsumerARN"].as_str().unwrap();
    assert!(arns.insert(arn.to_owned()), "the ARN belongs to the deleted stream");
}
