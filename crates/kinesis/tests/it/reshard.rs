//! Tests of calls while shards are split and merged.

use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{JSON, Server, start};

const MAX: &str = "340282366920938463463374607431768211455";
const HALF: &str = "170141183460469231731687303715884105728";

fn shard(number: u32) -> String {
    format!("shardId-{number:012}")
}

/// Number and parents of each shard, and whether the shard is open.
async fn shards(server: &Server, stream: &str) -> Vec<(String, Vec<String>, bool)> {
    let listed = server.ok("ListShards", json!({"StreamName": stream})).await;
    let line = |shard: &Value| {
        let text = |member: &str| shard[member].as_str().map(str::to_owned);
        let parents = [text("ParentShardId"), text("AdjacentParentShardId")];
        let is_open = shard["SequenceNumberRange"]["EndingSequenceNumber"].is_null();
        (text("ShardId").unwrap(), parents.into_iter().flatten().collect(), is_open)
    };
    listed["Shards"].as_array().unwrap().iter().map(line).collect()
}

async fn status(server: &Server, stream: &str) -> String {
    let summary = server.ok("DescribeStreamSummary", json!({"StreamName": stream})).await;
    summary["StreamDescriptionSummary"]["StreamStatus"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_stream_is_updating_until_its_split_is_committed() {
    let server = start().await;
    server.create("s", 1).await;
    let split = json!({
        "StreamName": "s", "ShardToSplit": shard(0), "NewStartingHashKey": HALF
    });
    server.ok("SplitShard", split.clone()).await;
    assert_eq!(status(&server, "s").await, "UPDATING");
    assert_eq!(shards(&server, "s").await, [(shard(0), vec![], true)]);
    server.ok("PutRecord", json!({"StreamName": "s", "PartitionKey": "k", "Data": ""})).await;
    assert_eq!(server.error("SplitShard", split.clone()).await.0, "ResourceInUseException");
    server.cluster.commit_jobs();
    assert_eq!(status(&server, "s").await, "ACTIVE");
    let expected = [
        (shard(0), vec![], false),
        (shard(1), vec![shard(0)], true),
        (shard(2), vec![shard(0)], true),
    ];
    assert_eq!(shards(&server, "s").await, expected);
    let (code, message) = server.error("SplitShard", split).await;
    assert_eq!(code, "InvalidArgumentException");
    assert!(message.contains("has already been merged or split"), "{message}");
}

#[tokio::test]
async fn a_merge_names_both_parents() {
    let server = start().await;
    server.create("s", 2).await;
    let merge = |lower, upper| {
        json!({
            "StreamName": "s",
            "ShardToMerge": shard(lower),
            "AdjacentShardToMerge": shard(upper)
        })
    };
    assert_eq!(server.error("MergeShards", merge(1, 0)).await.0, "InvalidArgumentException");
    assert_eq!(server.error("MergeShards", merge(0, 7)).await.0, "ResourceNotFoundException");
    server.ok("MergeShards", merge(0, 1)).await;
    server.cluster.commit_jobs();
    let child = (shard(2), vec![shard(0), shard(1)], true);
    assert_eq!(shards(&server, "s").await[2], child);
}

#[tokio::test]
async fn a_shard_count_may_at_most_double_or_halve() {
    let server = start().await;
    server.create("s", 3).await;
    let update = |target| {
        json!({
            "StreamName": "s", "TargetShardCount": target, "ScalingType": "UNIFORM_SCALING"
        })
    };
    for target in [1, 7] {
        let (code, message) = server.error("UpdateShardCount", update(target)).await;
        assert_eq!(code, "InvalidArgumentException", "{message}");
        assert!(message.contains("TargetShardCount"), "{message}");
    }
    assert_eq!(server.error("UpdateShardCount", update(0)).await.0, "ValidationException");
    let over = server.error("UpdateShardCount", update(10_001)).await;
    assert_eq!(over.0, "LimitExceededException");
    let response = server.ok("UpdateShardCount", update(5)).await;
    assert_eq!(
        (response["CurrentShardCount"].as_u64(), response["TargetShardCount"].as_u64()),
        (Some(3), Some(5))
    );
    server.cluster.commit_jobs();
    assert_eq!(status(&server, "s").await, "ACTIVE");
    assert_eq!(shards(&server, "s").await.iter().filter(|(_, _, open)| *open).count(), 5);
}

#[tokio::test]
async fn errors_name_the_wrong_key_or_shard() {
    let server = start().await;
    server.create("s", 1).await;
    let split =
        |key: &str| json!({"StreamName": "s", "ShardToSplit": shard(0), "NewStartingHashKey": key});
    for key in ["0", "1", MAX] {
        let (code, message) = server.error("SplitShard", split(key)).await;
        assert_eq!(code, "InvalidArgumentException");
        assert!(message.contains(&format!("NewStartingHashKey {key} ")), "{message}");
    }
    let beyond = server.error("SplitShard", split("999999999999999999999999999999999999999")).await;
    assert_eq!(beyond.0, "InvalidArgumentException");
    assert_eq!(server.error("SplitShard", split("01")).await.0, "ValidationException");
    let absent = json!({"StreamName": "t", "ShardToSplit": shard(0), "NewStartingHashKey": HALF});
    assert_eq!(server.error("SplitShard", absent).await.0, "ResourceNotFoundException");
    assert_eq!(shards(&server, "s").await.len(), 1);
}

#[tokio::test]
async fn retention_can_be_changed_within_its_bounds() {
    let server = start().await;
    server.create("s", 1).await;
    let hours = |hours: i64| json!({"StreamName": "s", "RetentionPeriodHours": hours});
    server.ok("IncreaseStreamRetentionPeriod", hours(8760)).await;
    for (operation, wrong) in [
        ("IncreaseStreamRetentionPeriod", 8761),
        ("IncreaseStreamRetentionPeriod", 24),
        ("DecreaseStreamRetentionPeriod", 23),
        ("DecreaseStreamRetentionPeriod", -1),
    ] {
        let (code, message) = server.error(operation, hours(wrong)).await;
        assert_eq!(code, "InvalidArgumentException", "{operation} {wrong}: {message}");
    }
    server.ok("DecreaseStreamRetentionPeriod", hours(48)).await;
    let summary = server.ok("DescribeStreamSummary", json!({"StreamName": "s"})).await;
    assert_eq!(summary["StreamDescriptionSummary"]["RetentionPeriodHours"], 48);
    let nothing = server.error("DecreaseStreamRetentionPeriod", json!({"StreamName": "s"})).await;
    assert_eq!(nothing.0, "ValidationException");
}

#[tokio::test]
async fn a_retry_after_a_split_makes_no_second_record() {
    let server = start().await;
    server.create("s", 1).await;
    let entry = |hash: &str| json!({"PartitionKey": "k", "Data": "", "ExplicitHashKey": hash});
    let records = json!({"StreamName": "s", "Records": [entry("0"), entry(MAX)]});
    let body = serde_json::to_vec(&records).unwrap();
    let id = ("amz-sdk-invocation-id", "11111111-2222-3333-4444-555555555555");
    let first = [id, ("amz-sdk-request", "attempt=1; max=3")];
    let put = server.post("PutRecords", &first, JSON, body.clone()).await.json();
    server.cluster.split("s", 0);
    server.cluster.publish();
    let second = [id, ("amz-sdk-request", "ttl=20261126T000000Z; attempt=2; max=3")];
    let again = server.post("PutRecords", &second, JSON, body.clone()).await.json();
    assert_eq!(put, again);
    server.cluster.split("s", 1);
    server.cluster.publish();
    let without_attempt = server.post("PutRecords", &[id], JSON, body.clone()).await.json();
    assert_eq!(put, without_attempt);
    let late = server.post("PutRecords", &first, JSON, body).await.json();
    assert_eq!(put, late, "the first attempt may arrive last");
}

#[tokio::test]
async fn a_first_attempt_after_its_retry_and_a_merge_makes_no_second_record() {
    let server = start().await;
    server.create("s", 2).await;
    let entry = |hash: &str| json!({"PartitionKey": "k", "Data": "", "ExplicitHashKey": hash});
    let records = json!({"StreamName": "s", "Records": [entry("0"), entry(MAX)]});
    let body = serde_json::to_vec(&records).unwrap();
    let attempt = |text| [("amz-sdk-invocation-id", "call"), ("amz-sdk-request", text)];
    let retry = server.post("PutRecords", &attempt("attempt=2"), JSON, body.clone()).await.json();
    let merge =
        json!({"StreamName": "s", "ShardToMerge": shard(0), "AdjacentShardToMerge": shard(1)});
    server.ok("MergeShards", merge).await;
    server.cluster.commit_jobs();
    server.clock.advance(Duration::from_secs(120));
    let late = server.post("PutRecords", &attempt("attempt=1"), JSON, body).await.json();
    assert_eq!(late, retry);
}

#[tokio::test]
async fn a_stream_can_switch_to_on_demand_with_warm_throughput() {
    let server = start().await;
    server.create("s", 1).await;
    let summary = async || {
        let summary = server.ok("DescribeStreamSummary", json!({"StreamName": "s"})).await;
        summary["StreamDescriptionSummary"].clone()
    };
    let arn = summary().await["StreamARN"].clone();
    let mode = |mode: &str| json!({"StreamARN": arn, "StreamModeDetails": {"StreamMode": mode}});
    let warm = |mibps: u32| json!({"StreamName": "s", "WarmThroughputMiBps": mibps});
    let (code, message) = server.error("UpdateStreamWarmThroughput", warm(8)).await;
    assert_eq!(code, "ValidationException");
    assert!(message.contains("PROVISIONED"), "{message}");

    server.ok("UpdateStreamMode", mode("ON_DEMAND")).await;
    let on_demand = summary().await;
    assert_eq!(on_demand["StreamModeDetails"]["StreamMode"], "ON_DEMAND");
    assert!(on_demand["WarmThroughput"].is_null());
    let response = server.ok("UpdateStreamWarmThroughput", warm(8)).await;
    let throughput = json!({"TargetMiBps": 8, "CurrentMiBps": 1});
    assert_eq!((&response["StreamName"], &response["StreamARN"]), (&json!("s"), &arn));
    assert_eq!(response["WarmThroughput"], throughput);
    assert_eq!(summary().await["WarmThroughput"], throughput);
    let over = server.error("UpdateStreamWarmThroughput", warm(10_241)).await;
    assert_eq!(over.0, "LimitExceededException");

    server.ok("UpdateStreamMode", mode("PROVISIONED")).await;
    assert!(summary().await["WarmThroughput"].is_null());
    let mut with_warm = mode("PROVISIONED");
    with_warm["WarmThroughputMiBps"] = json!(3);
    assert_eq!(server.error("UpdateStreamMode", with_warm).await.0, "ValidationException");
    for (body, member) in [
        (json!({"StreamARN": arn}), "streamModeDetails"),
        (json!({"StreamARN": arn, "StreamModeDetails": {}}), "streamModeDetails.streamMode"),
        (json!({"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}), "streamARN"),
    ] {
        let (code, message) = server.error("UpdateStreamMode", body).await;
        assert_eq!(code, "ValidationException");
        assert!(message.contains(member), "{message}");
    }
}

#[tokio::test]
async fn appends_carry_hash_keys_if_the_load_is_measured() {
    let server = start().await;
    server.create("s", 1).await;
    let put = json!({
        "StreamName": "s", "PartitionKey": "k", "ExplicitHashKey": "258", "Data": ""
    });
    server.ok("PutRecord", put.clone()).await;
    assert!(server.cluster.hash_keys().is_empty());
    let summary = server.ok("DescribeStreamSummary", json!({"StreamName": "s"})).await;
    let arn = summary["StreamDescriptionSummary"]["StreamARN"].clone();
    let mode = json!({"StreamARN": arn, "StreamModeDetails": {"StreamMode": "ON_DEMAND"}});
    server.ok("UpdateStreamMode", mode).await;
    server.ok("PutRecord", put).await;
    assert_eq!(&server.cluster.hash_keys()[..], 258u128.to_be_bytes());
}

#[tokio::test]
async fn warm_throughput_sets_the_shards_of_a_new_stream() {
    let server = start().await;
    let mut new = json!({
        "StreamName": "s",
        "StreamModeDetails": {"StreamMode": "ON_DEMAND"},
        "WarmThroughputMiBps": 9
    });
    server.ok("CreateStream", new.clone()).await;
    server.cluster.activate();
    let open = shards(&server, "s").await.iter().filter(|(_, _, open)| *open).count();
    assert_eq!(open, 9);
    new["StreamName"] = json!("t");
    new["WarmThroughputMiBps"] = json!(10_241);
    assert_eq!(server.error("CreateStream", new).await.0, "LimitExceededException");
}
