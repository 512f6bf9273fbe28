//! A gateway with the service's limits. Its clock stands still unless a test moves it.
//!
//! Source: API reference, each operation.

use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Server, settings, start_with};

const LIMIT: &str = "LimitExceededException";
const THROUGHPUT: &str = "ProvisionedThroughputExceededException";
const SECOND: Duration = Duration::from_secs(1);

async fn limited() -> Server {
    let mut settings = settings();
    settings.service_limits = true;
    start_with(settings, |gateway| gateway).await
}

fn arn(stream: &str) -> String {
    format!("arn:aws:kinesis:us-east-1:000000000000:stream/{stream}")
}

/// An ACTIVE consumer; its ARN.
async fn register(server: &Server, stream: &str, consumer: &str) -> String {
    let body = json!({"StreamARN": arn(stream), "ConsumerName": consumer});
    let registered = server.ok("RegisterStreamConsumer", body).await;
    server.cluster.settle_consumers(stream);
    registered["Consumer"]["ConsumerARN"].as_str().unwrap().to_owned()
}

/// The call is done `times` times, and refused with `code` from then on, until a second has passed.
async fn takes(server: &Server, times: usize, operation: &str, body: Value, code: &str) {
    for _ in 0..times {
        server.ok(operation, body.clone()).await;
    }
    let (refused, message) = server.error(operation, body.clone()).await;
    assert_eq!(refused, code, "{operation}: {message}");
    assert!(message.starts_with("Rate exceeded: "), "{message}");
    server.clock.advance(SECOND);
    server.ok(operation, body).await;
    server.clock.advance(SECOND);
}

fn iterator(stream: &str, shard: u32) -> Value {
    let shard = format!("shardId-{shard:012}");
    json!({"StreamName": stream, "ShardId": shard, "ShardIteratorType": "LATEST"})
}

#[tokio::test]
async fn operations_on_a_stream_may_be_called_so_often_for_each() {
    let server = limited().await;
    server.create("s", 1).await;
    server.create("other", 1).await;
    register(&server, "s", "app").await;
    let (of_s, by_name) = (json!({"StreamARN": arn("s")}), json!({"StreamName": "s"}));
    takes(&server, 5, "ListStreamConsumers", of_s, LIMIT).await;
    let app = json!({"StreamARN": arn("s"), "ConsumerName": "app"});
    takes(&server, 20, "DescribeStreamConsumer", app, LIMIT).await;
    for _ in 0..1000 {
        server.ok("ListShards", by_name.clone()).await;
    }
    assert_eq!(server.error("ListShards", by_name).await.0, LIMIT);
    server.ok("ListShards", json!({"StreamName": "other"})).await;
}

#[tokio::test]
async fn five_consumers_of_a_stream_may_be_removed_a_second() {
    let server = limited().await;
    server.create("s", 1).await;
    for number in 0..7 {
        register(&server, "s", &format!("app-{number}")).await;
        server.clock.advance(SECOND);
    }
    let remove =
        |number: u32| json!({"StreamARN": arn("s"), "ConsumerName": format!("app-{number}")});
    for number in 0..5 {
        server.ok("DeregisterStreamConsumer", remove(number)).await;
    }
    assert_eq!(server.error("DeregisterStreamConsumer", remove(5)).await.0, LIMIT);
    server.clock.advance(SECOND);
    server.ok("DeregisterStreamConsumer", remove(5)).await;
}

#[tokio::test]
async fn iterators_are_given_five_times_a_second_for_each_open_shard() {
    let server = limited().await;
    server.create("s", 2).await;
    takes(&server, 5, "GetShardIterator", iterator("s", 0), THROUGHPUT).await;
    for _ in 0..5 {
        server.ok("GetShardIterator", iterator("s", 0)).await;
    }
    server.ok("GetShardIterator", iterator("s", 1)).await;
    server.cluster.split("s", 0);
    server.cluster.publish();
    for _ in 0..20 {
        server.ok("GetShardIterator", iterator("s", 0)).await;
    }
}

#[tokio::test]
async fn a_consumer_subscribes_to_each_shard_once_a_second() {
    let server = limited().await;
    server.create("s", 2).await;
    let consumers = [register(&server, "s", "app").await, register(&server, "s", "other").await];
    // It would have been done.
    let done = "DryRunOperationException";
    let subscribe = async |consumer: usize, shard: u32| {
        let body = json!({
            "ConsumerARN": consumers[consumer], "ShardId": format!("shardId-{shard:012}"),
            "StartingPosition": {"Type": "LATEST"}, "DryRun": true,
        });
        server.error("SubscribeToShard", body).await.0
    };
    assert_eq!(subscribe(0, 0).await, done);
    assert_eq!(subscribe(0, 0).await, LIMIT);
    assert_eq!(subscribe(0, 1).await, done);
    assert_eq!(subscribe(1, 0).await, done);
    server.clock.advance(SECOND);
    assert_eq!(subscribe(0, 0).await, done);
}

#[tokio::test]
async fn names_of_nothing_are_not_found_however_often() {
    let server = limited().await;
    let not_found = "ResourceNotFoundException";
    for number in 0..10 {
        let gone = format!("gone-{}", number % 2);
        let consumers = json!({"StreamARN": arn(&gone)});
        assert_eq!(server.error("ListStreamConsumers", consumers).await.0, not_found);
        assert_eq!(server.error("GetShardIterator", iterator(&gone, 0)).await.0, not_found);
    }
}

#[tokio::test]
async fn without_them_nothing_is_counted() {
    let server = start_with(settings(), |gateway| gateway).await;
    server.create("s", 1).await;
    for _ in 0..10 {
        server.ok("GetShardIterator", iterator("s", 0)).await;
    }
}
