//! Tests of a gateway with the limits of the AWS service. Its clock only moves if a test moves it.
//!
//! Source: API reference, each operation.

use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Server, settings, start_with};

const LIMIT: &str = "LimitExceededException";
const THROUGHPUT: &str = "ProvisionedThroughputExceededException";
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

async fn limited() -> Server {
    let mut settings = settings();
    settings.service_limits = true;
    start_with(settings, |gateway| gateway).await
}

fn arn(stream: &str) -> String {
    format!("arn:aws:kinesis:us-east-1:000000000000:stream/{stream}")
}

/// Registers a consumer, waits until it is ACTIVE, and returns its ARN.
async fn register(server: &Server, stream: &str, consumer: &str) -> String {
    let body = json!({"StreamARN": arn(stream), "ConsumerName": consumer});
    let registered = server.ok("RegisterStreamConsumer", body).await;
    server.cluster.settle_consumers(stream);
    registered["Consumer"]["ConsumerARN"].as_str().unwrap().to_owned()
}

/// Checks that the call succeeds `times` times and is then refused with `code` until a second has passed.
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
async fn each_stream_has_its_own_call_limits() {
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
async fn five_consumers_of_a_stream_may_be_deregistered_per_second() {
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
async fn each_open_shard_gives_five_iterators_per_second() {
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
async fn a_consumer_may_subscribe_to_each_shard_once_per_second() {
    let server = limited().await;
    server.create("s", 2).await;
    let consumers = [register(&server, "s", "app").await, register(&server, "s", "other").await];
    // The code of a call that would have succeeded.
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
async fn calls_for_names_that_do_not_exist_are_never_throttled() {
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
async fn at_most_five_streams_may_be_in_creation() {
    let server = limited().await;
    let create = |number: u32| json!({"StreamName": format!("s{number}"), "ShardCount": 1});
    for number in 0..5 {
        server.ok("CreateStream", create(number)).await;
    }
    server.clock.advance(SECOND);
    let (code, message) = server.error("CreateStream", create(5)).await;
    assert_eq!((&*code, &*message), (LIMIT, "streams in CREATING: 6 is over the limit of 5"));
    assert_eq!(server.error("CreateStream", create(4)).await.0, "ResourceInUseException");
    server.cluster.activate();
    server.ok("CreateStream", create(5)).await;
}

#[tokio::test]
async fn at_most_five_consumers_may_be_in_creation() {
    let server = limited().await;
    server.create("s", 1).await;
    server.create("other", 1).await;
    let register = |stream: &str, number: u32| json!({"StreamARN": arn(stream), "ConsumerName": number.to_string()});
    for number in 0..5 {
        server.ok("RegisterStreamConsumer", register("s", number)).await;
    }
    server.clock.advance(SECOND);
    assert_eq!(server.error("RegisterStreamConsumer", register("other", 0)).await.0, LIMIT);
    server.cluster.settle_consumers("s");
    server.ok("RegisterStreamConsumer", register("other", 0)).await;
}

#[tokio::test]
async fn a_stream_may_be_scaled_ten_times_in_24_hours() {
    let server = limited().await;
    server.create("s", 1).await;
    let scale = |shards: usize| json!({"StreamName": "s", "TargetShardCount": shards, "ScalingType": "UNIFORM_SCALING"});
    for time in 0..10 {
        server.ok("UpdateShardCount", scale(2 - time % 2)).await;
        server.cluster.commit_jobs();
        server.clock.advance(HOUR);
    }
    let (code, message) = server.error("UpdateShardCount", scale(2)).await;
    assert_eq!((&*code, &*message), (LIMIT, "scalings in 24 hours: 11 is over the limit of 10"));
    server.clock.advance(14 * HOUR);
    server.ok("UpdateShardCount", scale(2)).await;
}

#[tokio::test]
async fn a_stream_may_switch_its_mode_twice_in_24_hours() {
    let server = limited().await;
    server.create("s", 1).await;
    let set =
        |mode: &str| json!({"StreamARN": arn("s"), "StreamModeDetails": {"StreamMode": mode}});
    server.ok("UpdateStreamMode", set("ON_DEMAND")).await;
    server.ok("UpdateStreamMode", set("PROVISIONED")).await;
    server.ok("UpdateStreamMode", set("PROVISIONED")).await;
    let (code, message) = server.error("UpdateStreamMode", set("ON_DEMAND")).await;
    assert_eq!((&*code, &*message), (LIMIT, "mode switches in 24 hours: 3 is over the limit of 2"));
    server.clock.advance(24 * HOUR);
    server.ok("UpdateStreamMode", set("ON_DEMAND")).await;
}

#[tokio::test]
async fn the_key_of_a_stream_may_be_changed_25_times_in_24_hours() {
    let server = limited().await;
    server.create("s", 1).await;
    let key = |key: &str| json!({"StreamName": "s", "EncryptionType": "KMS", "KeyId": format!("alias/{key}")});
    for time in 0..25 {
        let operation =
            if time % 2 == 0 { "StartStreamEncryption" } else { "StopStreamEncryption" };
        server.ok(operation, key("k")).await;
        server.cluster.settle_encryption("s");
    }
    let (code, message) = server.error("StopStreamEncryption", key("k")).await;
    assert_eq!((&*code, &*message), (LIMIT, "key changes in 24 hours: 26 is over the limit of 25"));
    assert_eq!(server.error("StartStreamEncryption", key("other")).await.0, LIMIT);
    server.ok("StartStreamEncryption", key("k")).await;
    server.clock.advance(24 * HOUR);
    server.ok("StopStreamEncryption", key("k")).await;
}

#[tokio::test]
async fn without_service_limits_no_call_is_counted() {
    let server = start_with(settings(), |gateway| gateway).await;
    server.create("s", 1).await;
    for number in 0..10 {
        let create = json!({"StreamName": format!("t{number}"), "ShardCount": 1});
        server.ok("CreateStream", create).await;
        server.ok("GetShardIterator", iterator("s", 0)).await;
        let mode = if number % 2 == 0 { "ON_DEMAND" } else { "PROVISIONED" };
        let set = json!({"StreamARN": arn("s"), "StreamModeDetails": {"StreamMode": mode}});
        server.ok("UpdateStreamMode", set).await;
    }
}
