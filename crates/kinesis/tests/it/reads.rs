//! Tests of GetShardIterator and GetRecords.

use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Server, start};

const SHARD: &str = "shardId-000000000000";

async fn put(server: &Server, data: &str) -> String {
    let data = base64_simd::STANDARD.encode_to_string(data);
    let body = json!({"StreamName": "s", "PartitionKey": "k", "Data": data});
    server.ok("PutRecord", body).await["SequenceNumber"].as_str().unwrap().to_owned()
}

async fn iterator(server: &Server, more: Value) -> Value {
    let mut body = json!({"StreamName": "s", "ShardId": SHARD});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.ok("GetShardIterator", body).await["ShardIterator"].clone()
}

async fn data(server: &Server, iterator: &Value) -> String {
    let read = server.ok("GetRecords", json!({"ShardIterator": iterator})).await;
    let text = |record: &Value| {
        let bytes = base64_simd::STANDARD.decode_to_vec(record["Data"].as_str().unwrap()).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let records = read["Records"].as_array().unwrap().iter();
    records.map(text).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn each_type_of_iterator_starts_at_its_position() {
    let server = start().await;
    server.create("s", 1).await;
    let first = put(&server, "a").await;
    server.clock.advance(Duration::from_millis(500));
    put(&server, "b").await;
    server.clock.advance(Duration::from_millis(500));
    let start = |kind: &str| json!({"ShardIteratorType": kind});
    let latest = iterator(&server, start("LATEST")).await;
    put(&server, "c").await;
    let at = |kind: &str| json!({"ShardIteratorType": kind, "StartingSequenceNumber": first});
    let when = |seconds: f64| json!({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": seconds});
    for (more, expected) in [
        (start("TRIM_HORIZON"), "a b c"),
        (at("AT_SEQUENCE_NUMBER"), "a b c"),
        (at("AFTER_SEQUENCE_NUMBER"), "b c"),
        (when(0.0), "a b c"),
        (when(1_800_000_000.123), "a b c"),
        (when(1_800_000_000.124), "b c"),
        (when(1_800_000_001.123), "c"),
    ] {
        let iterator = iterator(&server, more.clone()).await;
        assert!(iterator.as_str().unwrap().len() <= 512);
        assert_eq!(data(&server, &iterator).await, expected, "{more}");
    }
    assert_eq!(data(&server, &latest).await, "c");
}

#[tokio::test]
async fn a_record_is_read_as_it_was_put() {
    let server = start().await;
    server.create("s", 1).await;
    let number = put(&server, "hi").await;
    let iterator = iterator(&server, json!({"ShardIteratorType": "TRIM_HORIZON"})).await;
    let read = server.ok("GetRecords", json!({"ShardIterator": iterator})).await;
    assert_eq!(
        read["Records"],
        json!([{"SequenceNumber": number, "ApproximateArrivalTimestamp": 1_800_000_000.123,
                "Data": "aGk=", "PartitionKey": "k"}])
    );
    assert_eq!(read["MillisBehindLatest"], 0);
    assert_eq!(read["ChildShards"], Value::Null);
    let next = &read["NextShardIterator"];
    let read = server.ok("GetRecords", json!({"ShardIterator": next})).await;
    assert_eq!(read["Records"], json!([]));
    assert!(read["NextShardIterator"].is_string());
}

#[tokio::test]
async fn a_limit_ends_the_page_and_the_rest_follows() {
    let server = start().await;
    server.create("s", 1).await;
    let entries: Vec<_> = (0..10).map(|_| json!({"PartitionKey": "k", "Data": "aGk="})).collect();
    server.ok("PutRecords", json!({"StreamName": "s", "Records": entries})).await;
    server.clock.advance(Duration::from_millis(1500));
    let mut next = iterator(&server, json!({"ShardIteratorType": "TRIM_HORIZON"})).await;
    let mut sizes = Vec::new();
    for _ in 0..4 {
        let read = server.ok("GetRecords", json!({"ShardIterator": next, "Limit": 4})).await;
        sizes.push((read["Records"].as_array().unwrap().len(), read["MillisBehindLatest"].clone()));
        next = read["NextShardIterator"].clone();
    }
    assert_eq!(sizes, [(4, json!(1500)), (4, json!(1500)), (2, json!(0)), (0, json!(0))]);
    for limit in [0, 10_001] {
        let (code, _) =
            server.error("GetRecords", json!({"ShardIterator": next, "Limit": limit})).await;
        assert_eq!(code, "ValidationException");
    }
}

#[tokio::test]
async fn iterators_expire_and_cannot_be_forged() {
    let server = start().await;
    server.create("s", 1).await;
    let iterator = iterator(&server, json!({"ShardIteratorType": "LATEST"})).await;
    let text = iterator.as_str().unwrap();
    let read = |iterator: &str| json!({"ShardIterator": iterator});
    server.ok("GetRecords", read(&format!("\"{text}\""))).await;
    for forged in ["AAAA", "\"\"", &text[1..], &text[..text.len() - 4], &text.replacen('A', "B", 1)]
    {
        let (code, message) = server.error("GetRecords", read(forged)).await;
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("InvalidArgumentException", "Invalid ShardIterator.")
        );
    }
    let (code, _) = server.error("GetRecords", read("")).await;
    assert_eq!(code, "ValidationException");
    server.clock.advance(Duration::from_secs(300));
    server.ok("GetRecords", read(text)).await;
    server.clock.advance(Duration::from_millis(1));
    let (code, message) = server.error("GetRecords", read(text)).await;
    assert_eq!(code, "ExpiredIteratorException");
    assert_eq!(
        message,
        "Iterator expired. The iterator was created at time Fri Jan 15 08:00:00 UTC 2027 while \
         right now it is Fri Jan 15 08:05:00 UTC 2027 which is further in the future than the \
         tolerated delay of 300000 milliseconds."
    );
}

#[tokio::test]
async fn an_iterator_is_invalid_after_its_stream_is_deleted() {
    let server = start().await;
    server.create("s", 1).await;
    let iterator = iterator(&server, json!({"ShardIteratorType": "LATEST"})).await;
    server.ok("DeleteStream", json!({"StreamName": "s"})).await;
    server.ok("GetRecords", json!({"ShardIterator": iterator})).await;
    server.cluster.drop_deleted();
    let code = async || server.error("GetRecords", json!({"ShardIterator": iterator})).await.0;
    assert_eq!(code().await, "ResourceNotFoundException");
    server.create("s", 1).await;
    assert_eq!(code().await, "ResourceNotFoundException");
}

#[tokio::test]
async fn members_of_an_iterator_request_must_fit_together() {
    let server = start().await;
    server.create("s", 2).await;
    let number = put(&server, "a").await;
    let parts = number.parse::<anabranch_types::SequenceNumber>().unwrap().parts();
    let (own, other) = if parts.shard.0 == 0 { (0, 1) } else { (1, 0) };
    let error = async |shard: u32, more: Value| {
        let mut body = json!({"StreamName": "s", "ShardId": format!("shardId-{shard:012}")});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.error("GetShardIterator", body).await
    };
    let at = "AT_SEQUENCE_NUMBER";
    for (shard, more, part) in [
        (own, json!({"ShardIteratorType": at}), "and no StartingSequenceNumber."),
        (
            own,
            json!({"ShardIteratorType": "LATEST", "StartingSequenceNumber": number}),
            "and also a StartingSequenceNumber.",
        ),
        (own, json!({"ShardIteratorType": "AT_TIMESTAMP"}), "must specify timestampinmillis"),
        (
            own,
            json!({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1_900_000_000}),
            "cannot be greater than",
        ),
        (own, json!({"ShardIteratorType": at, "StartingSequenceNumber": "12"}), "is invalid."),
        (
            other,
            json!({"ShardIteratorType": at, "StartingSequenceNumber": number}),
            "while it was used in a call to a shard with",
        ),
    ] {
        let (code, message) = error(shard, more.clone()).await;
        assert_eq!(code, "InvalidArgumentException", "{more}");
        assert!(message.to_lowercase().contains(&part.to_lowercase()), "{message}");
    }
    let stranger = anabranch_types::SequenceNumber::new(anabranch_types::SequenceNumberParts {
        shard_born_seconds: 5,
        ..parts
    });
    let more = json!({"ShardIteratorType": at, "StartingSequenceNumber": stranger.to_string()});
    let (_, message) = error(own, more).await;
    assert!(message.ends_with("because it did not come from this stream."), "{message}");
    let (code, message) = error(7, json!({"ShardIteratorType": "LATEST"})).await;
    assert_eq!(code, "ResourceNotFoundException");
    assert_eq!(
        message,
        "Shard shardId-000000000007 in stream s under account 000000000000 does not exist"
    );
    assert_eq!(error(own, json!({"ShardIteratorType": "NEWEST"})).await.0, "ValidationException");
    let dry = json!({"ShardIteratorType": "LATEST", "DryRun": true});
    assert_eq!(error(own, dry).await.0, "DryRunOperationException");
}

#[tokio::test]
async fn a_reader_gets_the_children_after_the_last_record_of_a_closed_shard() {
    let server = start().await;
    server.create("s", 1).await;
    put(&server, "a").await;
    put(&server, "b").await;
    let start = json!({"ShardIteratorType": "TRIM_HORIZON"});
    let first = iterator(&server, start).await;
    server.cluster.split("s", 0);
    server.cluster.publish();
    let read = server.ok("GetRecords", json!({"ShardIterator": first, "Limit": 1})).await;
    assert!(read["NextShardIterator"].is_string());
    assert_eq!(read["ChildShards"], Value::Null);
    let next = &read["NextShardIterator"];
    let read = server.ok("GetRecords", json!({"ShardIterator": next})).await;
    assert_eq!(read["Records"].as_array().unwrap().len(), 1);
    assert_eq!(read["NextShardIterator"], Value::Null);
    assert_eq!(
        read["ChildShards"],
        json!([
            {"ShardId": "shardId-000000000001", "ParentShards": [SHARD], "HashKeyRange":
             {"StartingHashKey": "0", "EndingHashKey": "170141183460469231731687303715884105727"}},
            {"ShardId": "shardId-000000000002", "ParentShards": [SHARD], "HashKeyRange":
             {"StartingHashKey": "170141183460469231731687303715884105728",
              "EndingHashKey": "340282366920938463463374607431768211455"}},
        ])
    );
    let listed = server.ok("ListShards", json!({"StreamName": "s"})).await;
    assert_eq!(listed["Shards"][1]["ParentShardId"], SHARD);
    assert!(listed["Shards"][0]["SequenceNumberRange"]["EndingSequenceNumber"].is_string());
    let open = json!({"StreamName": "s", "ShardFilter": {"Type": "AT_LATEST"}});
    assert_eq!(server.ok("ListShards", open).await["Shards"].as_array().unwrap().len(), 2);
}
