//! Tests of operations on streams: create, describe, list, delete.

use anabranch_client::Cluster;
use anabranch_types::limits;
use serde_json::{Value, json};

use crate::http::{CBOR, start};

const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream";

#[tokio::test]
async fn a_stream_is_created_described_and_deleted() {
    let server = start().await;
    let body = json!({"StreamName": "s", "ShardCount": 2, "Tags": {"team": "räuber"},
                      "MaxRecordSizeInKiB": 2048, "StreamModeDetails": {"StreamMode": "PROVISIONED"}});
    assert_eq!(server.ok("CreateStream", body.clone()).await, Value::Null);
    let (code, message) = server.error("CreateStream", body).await;
    assert_eq!(code, "ResourceInUseException");
    assert_eq!(message, "Stream s under account 000000000000 already exists.");
    let creating = server.ok("DescribeStream", json!({"StreamName": "s"})).await;
    assert_eq!(creating["StreamDescription"]["StreamStatus"], "CREATING");
    assert_eq!(creating["StreamDescription"]["Shards"], json!([]));
    server.cluster.activate();
    let active = server.ok("DescribeStream", json!({"StreamName": "s"})).await;
    assert_eq!(
        active["StreamDescription"],
        json!({
            "StreamName": "s",
            "StreamARN": format!("{ARN}/s"),
            "StreamStatus": "ACTIVE",
            "StreamModeDetails": {"StreamMode": "PROVISIONED"},
            "Shards": [shard(0, "0", "170141183460469231731687303715884105727"),
                       shard(1, "170141183460469231731687303715884105728",
                             "340282366920938463463374607431768211455")],
            "HasMoreShards": false,
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 1_800_000_000.123,
            "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
            "EncryptionType": "NONE",
        })
    );
    assert_eq!(
        server.ok("DeleteStream", json!({"StreamARN": format!("{ARN}/s")})).await,
        Value::Null
    );
    let deleting = server.ok("DescribeStreamSummary", json!({"StreamName": "s"})).await;
    assert_eq!(deleting["StreamDescriptionSummary"]["StreamStatus"], "DELETING");
    server.cluster.drop_deleted();
    let (code, _) = server.error("DeleteStream", json!({"StreamName": "s"})).await;
    assert_eq!(code, "ResourceNotFoundException");
}

#[tokio::test]
async fn a_stream_that_another_gateway_created_is_visible_at_once() {
    let server = start().await;
    let before = server.cluster.view();
    server.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 1})).await;
    server.cluster.show(before);
    let summary = server.ok("DescribeStreamSummary", json!({"StreamName": "s"})).await;
    assert_eq!(summary["StreamDescriptionSummary"]["StreamStatus"], "CREATING");
    let before = server.cluster.view();
    server.cluster.activate();
    server.cluster.show(before);
    let record = json!({"StreamName": "s", "PartitionKey": "k", "Data": "aGk="});
    server.ok("PutRecord", record).await;
    let gone = json!({"StreamName": "t", "PartitionKey": "k", "Data": "aGk="});
    assert_eq!(server.error("PutRecord", gone).await.0, "ResourceNotFoundException");
}

fn shard(number: u32, start: &str, end: &str) -> Value {
    let created = anabranch_types::Timestamp::from_millis(1_800_000_000_123);
    let id = anabranch_types::ShardId(number);
    let starting = anabranch_types::SequenceNumber::shard_start(id, created, created);
    json!({
        "ShardId": format!("shardId-{number:012}"),
        "HashKeyRange": {"StartingHashKey": start, "EndingHashKey": end},
        "SequenceNumberRange": {"StartingSequenceNumber": starting.to_string()},
    })
}

#[tokio::test]
async fn the_summary_never_names_a_stream_id() {
    let server = start().await;
    server.ok("CreateStream", json!({"StreamName": "s"})).await;
    server.cluster.activate();
    let id = "abcdefghij0123456789-abc";
    let body = json!({"StreamName": "s", "StreamARN": format!("{ARN}/s"), "StreamId": id});
    assert_eq!(
        server.ok("DescribeStreamSummary", body).await,
        json!({"StreamDescriptionSummary": {
            "StreamName": "s",
            "StreamARN": format!("{ARN}/s"),
            "StreamStatus": "ACTIVE",
            "StreamModeDetails": {"StreamMode": "ON_DEMAND"},
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 1_800_000_000.123,
            "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
            "EncryptionType": "NONE",
            "OpenShardCount": 4,
            "ConsumerCount": 0,
            "MaxRecordSizeInKiB": 1024,
            "RecordDistributionStrategy": "USER_PARTITION_KEY",
        }})
    );
}

#[tokio::test]
async fn mode_and_shard_count_go_together() {
    let server = start().await;
    let on_demand = json!({"StreamMode": "ON_DEMAND"});
    let provisioned = json!({"StreamMode": "PROVISIONED"});
    server.ok("CreateStream", json!({"StreamName": "a", "StreamModeDetails": on_demand})).await;
    let with = |extra: Value| {
        let mut body = json!({"StreamName": "b"});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    let cases = [
        (json!({"ShardCount": 1, "StreamModeDetails": on_demand}), "ValidationException"),
        (json!({"StreamModeDetails": provisioned}), "ValidationException"),
        (json!({"StreamModeDetails": {}}), "ValidationException"),
        (json!({"ShardCount": 0}), "ValidationException"),
        (json!({"ShardCount": 10_001}), "LimitExceededException"),
        (json!({"ShardCount": 1, "WarmThroughputMiBps": 10}), "ValidationException"),
        (json!({"MaxRecordSizeInKiB": 1023}), "ValidationException"),
        (json!({"MaxRecordSizeInKiB": 10_241}), "ValidationException"),
        (
            json!({"ShardCount": 1, "RecordDistributionStrategy": "AUTO"}),
            "InvalidArgumentException",
        ),
        (json!({"Tags": {}}), "ValidationException"),
        (json!({"Tags": {"aws:x": "y"}}), "InvalidArgumentException"),
        (json!({"Tags": {"a": "<>"}}), "InvalidArgumentException"),
        (json!({"Tags": {"a": "x".repeat(257)}}), "ValidationException"),
        (json!({"Tags": {"": "x"}}), "ValidationException"),
    ];
    for (extra, code) in cases {
        assert_eq!(server.error("CreateStream", with(extra.clone())).await.0, code, "{extra}");
    }
    let tags: serde_json::Map<_, _> = (0..51).map(|i| (format!("k{i}"), json!("v"))).collect();
    let (code, _) = server.error("CreateStream", with(json!({"Tags": tags}))).await;
    assert_eq!(code, "InvalidArgumentException");
}

#[tokio::test]
async fn name_and_arn_must_agree_and_one_is_required() {
    let server = start().await;
    server.create("s", 1).await;
    for operation in ["DescribeStream", "DescribeStreamSummary", "DeleteStream", "ListShards"] {
        let code = async |body| server.error(operation, body).await.0;
        assert_eq!(code(json!({})).await, "InvalidArgumentException", "{operation}");
        let other = json!({"StreamName": "s", "StreamARN": format!("{ARN}/t")});
        assert_eq!(code(other).await, "InvalidArgumentException", "{operation}");
        let foreign = json!({"StreamARN": "arn:aws:kinesis:us-east-1:111111111111:stream/s"});
        assert_eq!(code(foreign).await, "ResourceNotFoundException", "{operation}");
        let malformed = json!({"StreamARN": "arn:aws:kinesis:us-east-1:1:stream/s"});
        assert_eq!(code(malformed).await, "ValidationException", "{operation}");
        let slash = json!({"StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/s/t"});
        assert_eq!(code(slash).await, "InvalidArgumentException", "{operation}");
    }
    let elsewhere = "arn:aws:kinesis:eu-west-1:000000000000:stream/s";
    server.ok("DescribeStream", json!({"StreamName": "s", "StreamARN": elsewhere})).await;
}

#[tokio::test]
async fn shards_are_described_in_pages() {
    let server = start().await;
    server.create("s", 105).await;
    let mut seen = 0;
    let mut body = json!({"StreamName": "s"});
    loop {
        let page = server.ok("DescribeStream", body.clone()).await["StreamDescription"].clone();
        let shards = page["Shards"].as_array().unwrap();
        assert!(shards.len() <= limits::DESCRIBE_STREAM_MAX_SHARDS as usize);
        seen += shards.len();
        body["ExclusiveStartShardId"] = shards.last().unwrap()["ShardId"].clone();
        if page["HasMoreShards"] == json!(false) {
            break;
        }
    }
    assert_eq!(seen, 105);
    let body = json!({"StreamName": "s", "ExclusiveStartShardId": "nonsense"});
    assert_eq!(server.error("DescribeStream", body).await.0, "ResourceNotFoundException");
}

#[tokio::test]
async fn streams_can_be_listed_with_both_kinds_of_paging() {
    let server = start().await;
    for i in 0..7 {
        server.create(&format!("s{i}"), 1).await;
    }
    let first = server.ok("ListStreams", json!({"Limit": 3})).await;
    assert_eq!(first["StreamNames"], json!(["s0", "s1", "s2"]));
    assert_eq!(first["HasMoreStreams"], json!(true));
    assert_eq!(
        first["StreamSummaries"][0],
        json!({"StreamName": "s0", "StreamARN": format!("{ARN}/s0"), "StreamStatus": "ACTIVE",
               "StreamModeDetails": {"StreamMode": "PROVISIONED"},
               "StreamCreationTimestamp": 1_800_000_000.123})
    );
    let body = json!({"Limit": 3, "ExclusiveStartStreamName": "s2"});
    let old = server.ok("ListStreams", body).await;
    assert_eq!(old["StreamNames"], json!(["s3", "s4", "s5"]));
    let body = json!({"Limit": 9, "NextToken": first["NextToken"]});
    let new = server.ok("ListStreams", body).await;
    assert_eq!(new["StreamNames"], json!(["s3", "s4", "s5", "s6"]));
    assert_eq!((&new["HasMoreStreams"], &new["NextToken"]), (&json!(false), &Value::Null));
    let (code, _) = server.error("ListStreams", json!({"NextToken": "forged"})).await;
    assert_eq!(code, "InvalidArgumentException");
    server.clock.advance(std::time::Duration::from_secs(301));
    let (code, _) = server.error("ListStreams", json!({"NextToken": first["NextToken"]})).await;
    assert_eq!(code, "ExpiredNextTokenException");
}

#[tokio::test]
async fn shards_are_listed_in_pages_whose_token_holds_the_listing() {
    let server = start().await;
    server.create("s", 5).await;
    let body = json!({"StreamName": "s", "MaxResults": 2});
    let first = server.ok("ListShards", body).await;
    assert_eq!(first["Shards"].as_array().unwrap().len(), 2);
    let token = &first["NextToken"];
    let body = json!({"NextToken": token, "MaxResults": 2});
    let second = server.ok("ListShards", body).await;
    assert_eq!(second["Shards"][0]["ShardId"], "shardId-000000000002");
    let last = server.ok("ListShards", json!({"NextToken": second["NextToken"]})).await;
    assert_eq!(last["Shards"].as_array().unwrap().len(), 1);
    assert_eq!(last["NextToken"], Value::Null);
    for beside in [
        json!({"StreamName": "s"}),
        json!({"StreamCreationTimestamp": 1_800_000_000.123}),
        json!({"ExclusiveStartShardId": "shardId-000000000001"}),
        json!({"ShardFilter": {"Type": "AT_LATEST"}}),
        json!({"StreamARN": format!("{ARN}/t")}),
    ] {
        let mut body = json!({"NextToken": token});
        body.as_object_mut().unwrap().extend(beside.as_object().unwrap().clone());
        let (code, _) = server.error("ListShards", body).await;
        assert_eq!(code, "InvalidArgumentException", "{beside}");
    }
    server.ok("DeleteStream", json!({"StreamName": "s"})).await;
    server.cluster.drop_deleted();
    server.create("s", 1).await;
    let (code, _) = server.error("ListShards", json!({"NextToken": token})).await;
    assert_eq!(code, "ResourceNotFoundException");
    server.clock.advance(std::time::Duration::from_secs(301));
    let (code, _) = server.error("ListShards", json!({"NextToken": token})).await;
    assert_eq!(code, "ExpiredNextTokenException");
}

#[tokio::test]
async fn shard_filters_require_their_members_and_refuse_others() {
    let server = start().await;
    server.create("s", 2).await;
    let list = |filter: Value| json!({"StreamName": "s", "ShardFilter": filter});
    let after = json!({"Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000000"});
    let shards = server.ok("ListShards", list(after)).await;
    assert_eq!(shards["Shards"].as_array().unwrap().len(), 1);
    for kind in ["AT_TRIM_HORIZON", "FROM_TRIM_HORIZON", "AT_LATEST"] {
        let shards = server.ok("ListShards", list(json!({"Type": kind}))).await;
        assert_eq!(shards["Shards"].as_array().unwrap().len(), 2, "{kind}");
    }
    for kind in ["AT_TIMESTAMP", "FROM_TIMESTAMP"] {
        let filter = json!({"Type": kind, "Timestamp": 1_800_000_000.5});
        let shards = server.ok("ListShards", list(filter)).await;
        assert_eq!(shards["Shards"].as_array().unwrap().len(), 2, "{kind}");
    }
    for (filter, code) in [
        (json!({}), "ValidationException"),
        (json!({"Type": "NEWEST"}), "ValidationException"),
        (json!({"Type": "AFTER_SHARD_ID"}), "InvalidArgumentException"),
        (json!({"Type": "AT_TIMESTAMP"}), "InvalidArgumentException"),
        (json!({"Type": "AT_LATEST", "ShardId": "shardId-0"}), "InvalidArgumentException"),
        (json!({"Type": "AT_LATEST", "Timestamp": 1}), "InvalidArgumentException"),
    ] {
        assert_eq!(server.error("ListShards", list(filter.clone())).await.0, code, "{filter}");
    }
    let other = json!({"StreamName": "s", "StreamCreationTimestamp": 1});
    assert_eq!(server.error("ListShards", other).await.0, "ResourceNotFoundException");
    let same = json!({"StreamName": "s", "StreamCreationTimestamp": 1_800_000_000});
    server.ok("ListShards", same).await;
}

#[tokio::test]
async fn a_stream_in_creation_is_not_ready() {
    let server = start().await;
    server.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 1})).await;
    let code = async |operation: &str, body| server.error(operation, body).await.0;
    assert_eq!(code("ListShards", json!({"StreamName": "s"})).await, "ResourceInUseException");
    assert_eq!(code("DeleteStream", json!({"StreamName": "s"})).await, "ResourceInUseException");
    let put = json!({"StreamName": "s", "PartitionKey": "k", "Data": ""});
    assert_eq!(code("PutRecord", put).await, "ResourceNotFoundException");
    let iterator = json!({"StreamName": "s", "ShardId": "shardId-000000000000",
                          "ShardIteratorType": "LATEST"});
    assert_eq!(code("GetShardIterator", iterator).await, "ResourceNotFoundException");
}

#[tokio::test]
async fn a_response_has_the_format_of_its_request() {
    let server = start().await;
    let response = server.post("ListStreams", &[], CBOR, b"\xbf\xff".to_vec()).await;
    assert_eq!(response.headers["content-type"], CBOR);
    let mut expected = b"\xbf\x6bStreamNames\x9f\xff\x6eHasMoreStreams\xf4".to_vec();
    expected.extend_from_slice(b"\x6fStreamSummaries\x9f\xff\xff");
    assert_eq!(response.body[..], expected[..]);
    let body = b"\xbf\x6aStreamName\x61s\x6aShardCount\x01\xff".to_vec();
    let response = server.post("CreateStream", &[], CBOR, body).await;
    assert!(response.status.is_success() && response.body.is_empty(), "{response:?}");
}

#[tokio::test]
async fn a_data_key_is_made_for_the_current_stream_of_that_name() {
    let server = start().await;
    server.create("s", 1).await;
    let before = server.cluster.view();
    server.ok("DeleteStream", json!({"StreamName": "s"})).await;
    server.cluster.drop_deleted();
    server.create("s", 1).await;
    // Another gateway deleted and created the stream. This gateway still has the version from before.
    server.cluster.show(before);
    let start = json!({"StreamName": "s", "EncryptionType": "KMS", "KeyId": "alias/k"});
    server.ok("StartStreamEncryption", start).await;
    let view = server.cluster.view();
    let stream = &view.catalog().streams[&"s".parse().unwrap()];
    let (_, key) = stream.encryption.current().unwrap();
    assert_eq!(key.wrapped, stream.id.0.to_be_bytes());
}
