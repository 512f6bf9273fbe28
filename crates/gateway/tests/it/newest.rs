//! Read your writes: what one gateway has acknowledged, every other one shows and goes by.

use anabranch_gateway::Cluster;
use serde_json::{Value, json};

use crate::http::{Server, start};

const HALF: &str = "170141183460469231731687303715884105728";

/// Changes that another gateway has acknowledged, while this one is shown an older version.
async fn change_elsewhere(server: &Server, operation: &str, body: Value) {
    let before = server.cluster.view();
    server.ok(operation, body).await;
    server.cluster.show(before);
}

async fn summary(server: &Server) -> Value {
    let mut answer = server.ok("DescribeStreamSummary", json!({"StreamName": "s"})).await;
    answer["StreamDescriptionSummary"].take()
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
async fn a_call_about_records_is_refused_by_the_newest_version_only() {
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
async fn operations_of_the_catalog_wait_for_its_leader_and_those_on_records_do_not() {
    let server = start().await;
    server.create("s", 1).await;
    server.cluster.silence(true);
    let put = json!({"StreamName": "s", "PartitionKey": "k", "Data": "aGk="});
    server.ok("PutRecord", put).await;
    let leader_is_back = async { server.cluster.silence(false) };
    let (found, ()) = tokio::join!(summary(&server), leader_is_back);
    assert_eq!(found["StreamStatus"], "ACTIVE");
}
