//! Tests of the catalog version that a call uses: a gateway shows each change that another gateway has acknowledged,
//! and all pages of one listing show the same version.

use anabranch_client::Cluster;
use serde_json::{Value, json};

use crate::http::{Server, start};

const HALF: &str = "170141183460469231731687303715884105728";

/// Makes a change as if through another gateway: afterwards this gateway has the version from before the change.
async fn change_elsewhere(server: &Server, operation: &str, body: Value) {
    let before = server.cluster.view();
    server.ok(operation, body).await;
    server.cluster.show(before);
}

async fn summary(server: &Server) -> Value {
    let mut response = server.ok("DescribeStreamSummary", json!({"StreamName": "s"})).await;
    response["StreamDescriptionSummary"].take()
}

#[tokio::test]
async fn control_operations_show_every_change_that_was_acknowledged_before() {
    let server = start().await;
    server.create("s", 1).await;
    let split = json!({"StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": HALF});
    change_elsewhere(&server, "SplitShard", split).await;
    assert_eq!(summary(&server).await["StreamStatus"], "UPDATING");
    server.cluster.commit_jobs();
    let retention = json!({"StreamName": "s", "RetentionPeriodHours": 30});
    change_elsewhere(&server, "IncreaseStreamRetentionPeriod", retention).await;
    assert_eq!(summary(&server).await["RetentionPeriodHours"], 30);
    let tags = json!({"StreamName": "s", "Tags": {"a": "b"}});
    change_elsewhere(&server, "AddTagsToStream", tags).await;
    let tags = server.ok("ListTagsForStream", json!({"StreamName": "s"})).await;
    assert_eq!(tags["Tags"], json!([{"Key": "a", "Value": "b"}]));
    change_elsewhere(&server, "CreateStream", json!({"StreamName": "t", "ShardCount": 1})).await;
    let listed = server.ok("ListStreams", json!({})).await;
    assert_eq!(listed["StreamNames"], json!(["s", "t"]));
    change_elsewhere(&server, "DeleteStream", json!({"StreamName": "s"})).await;
    assert_eq!(summary(&server).await["StreamStatus"], "DELETING");
}

#[tokio::test]
async fn a_data_operation_is_refused_only_by_the_newest_version() {
    let server = start().await;
    server.create("s", 1).await;
    let before = server.cluster.view();
    server.ok("DeleteStream", json!({"StreamName": "s"})).await;
    server.cluster.drop_deleted();
    server.create("s", 1).await;
    let put = json!({"StreamName": "s", "PartitionKey": "k", "Data": "aGk="});
    let put = server.ok("PutRecord", put).await;
    server.cluster.show(before);
    let body = json!({"StreamName": "s", "ShardId": "shardId-000000000000",
                      "ShardIteratorType": "AT_SEQUENCE_NUMBER",
                      "StartingSequenceNumber": put["SequenceNumber"]});
    let iterator = server.ok("GetShardIterator", body).await;
    let read = server.ok("GetRecords", json!({"ShardIterator": iterator["ShardIterator"]})).await;
    assert_eq!(read["Records"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn control_operations_wait_for_the_catalog_leader_and_data_operations_do_not() {
    let server = start().await;
    server.create("s", 1).await;
    server.cluster.silence(true);
    let put = json!({"StreamName": "s", "PartitionKey": "k", "Data": "aGk="});
    server.ok("PutRecord", put).await;
    let leader_is_back = async { server.cluster.silence(false) };
    let (found, ()) = tokio::join!(summary(&server), leader_is_back);
    assert_eq!(found["StreamStatus"], "ACTIVE");
}

async fn split(server: &Server, shard: &str, at: &str) {
    let body = json!({"StreamName": "s", "ShardToSplit": shard, "NewStartingHashKey": at});
    server.ok("SplitShard", body).await;
    server.cluster.commit_jobs();
}

/// The number of each shard, with `+` if the shard is open.
fn shards(page: &Value) -> String {
    let shard = |shard: &Value| {
        let is_open = shard["SequenceNumberRange"]["EndingSequenceNumber"].is_null();
        let number = shard["ShardId"].as_str().unwrap().trim_start_matches("shardId-0").to_owned();
        format!("{}{}", &number[number.len() - 1..], if is_open { "+" } else { "" })
    };
    page["Shards"].as_array().unwrap().iter().map(shard).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn all_pages_of_shards_show_the_version_of_the_first_page() {
    let server = start().await;
    server.create("s", 2).await;
    split(&server, "shardId-000000000000", "5").await;
    let first = server.ok("ListShards", json!({"StreamName": "s", "MaxResults": 1})).await;
    assert_eq!(shards(&first), "0");
    split(&server, "shardId-000000000001", &format!("{}", (1u128 << 127) + 5)).await;
    split(&server, "shardId-000000000003", "1000").await;
    let token = json!({"NextToken": first["NextToken"]});
    let rest = server.ok("ListShards", token.clone()).await;
    assert_eq!(shards(&rest), "1+ 2+ 3+");
    assert_eq!(rest["NextToken"], Value::Null);
    assert_eq!(server.ok("ListShards", token).await, rest, "a retry gets the same page");
    let newest = server.ok("ListShards", json!({"StreamName": "s"})).await;
    assert_eq!(shards(&newest), "0 1 2+ 3 4+ 5+ 6+ 7+");
}

#[tokio::test]
async fn pages_of_streams_omit_streams_that_were_created_after_the_first_page() {
    let server = start().await;
    for name in ["a", "b", "d"] {
        server.create(name, 1).await;
    }
    let first = server.ok("ListStreams", json!({"Limit": 1})).await;
    server.create("c", 1).await;
    let rest = server.ok("ListStreams", json!({"NextToken": first["NextToken"]})).await;
    assert_eq!(rest["StreamNames"], json!(["b", "d"]));
    let newest = server.ok("ListStreams", json!({})).await;
    assert_eq!(newest["StreamNames"], json!(["a", "b", "c", "d"]));
}
