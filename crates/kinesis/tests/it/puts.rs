//! Tests of PutRecord and PutRecords.

use anabranch_client::Error;
use anabranch_kinesis::KinesisSettings;
use anabranch_types::{HashKey, partition_key_hash};
use http::Method;
use serde_json::{Value, json};

use crate::http::{CBOR, JSON, SIGNATURE, Server, settings, start, start_kinesis};

const MAX: &str = "340282366920938463463374607431768211455";

async fn records(server: &Server, shard: &str) -> Vec<(String, String)> {
    let body = json!({"StreamName": "s", "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = server.ok("GetShardIterator", body).await["ShardIterator"].clone();
    let read = server.ok("GetRecords", json!({"ShardIterator": iterator})).await;
    let text = |record: &Value, name: &str| record[name].as_str().unwrap().to_owned();
    let records = read["Records"].as_array().unwrap();
    records.iter().map(|r| (text(r, "PartitionKey"), text(r, "Data"))).collect()
}

#[tokio::test]
async fn a_record_goes_to_the_shard_of_its_key_or_of_its_explicit_hash_key() {
    let server = start().await;
    server.create("s", 2).await;
    let expected = u128::from(partition_key_hash("k") >= HashKey(1 << 127));
    let put = server
        .ok("PutRecord", json!({"StreamName": "s", "PartitionKey": "k", "Data": "aGk="}))
        .await;
    assert_eq!(put["ShardId"], format!("shardId-{expected:012}"));
    assert_eq!(put["SequenceNumber"].as_str().unwrap().len(), 56);
    for (hash, shard) in [("0", 0), (MAX, 1)] {
        let body =
            json!({"StreamName": "s", "PartitionKey": "k", "Data": "", "ExplicitHashKey": hash});
        let put = server.ok("PutRecord", body).await;
        assert_eq!(put["ShardId"], format!("shardId-{shard:012}"));
    }
}

#[tokio::test]
async fn the_results_of_put_records_have_the_order_of_the_request() {
    let server = start().await;
    server.create("s", 4).await;
    let entries: Vec<_> =
        (0..500).map(|i| json!({"PartitionKey": format!("ключ{i}"), "Data": base64(i)})).collect();
    let put = server.ok("PutRecords", json!({"StreamName": "s", "Records": entries})).await;
    assert_eq!(put["FailedRecordCount"], 0);
    let results = put["Records"].as_array().unwrap();
    assert_eq!(results.len(), 500);
    assert_eq!(server.cluster.appends(), 4, "one append per shard");
    let mut last = [const { String::new() }; 4];
    for (i, result) in results.iter().enumerate() {
        let hash = partition_key_hash(&format!("ключ{i}"));
        let shard = (hash.0 >> 126) as usize;
        assert_eq!(result["ShardId"], format!("shardId-{shard:012}"));
        let number = result["SequenceNumber"].as_str().unwrap().to_owned();
        assert!(number > last[shard], "numbers rise within a shard");
        last[shard] = number;
    }
    let mut read = 0;
    for shard in 0..4 {
        for (key, data) in records(&server, &format!("shardId-{shard:012}")).await {
            let i = key.strip_prefix("ключ").unwrap().parse().unwrap();
            assert_eq!(data, base64(i));
            read += 1;
        }
    }
    assert_eq!(read, 500);
}

fn base64(i: usize) -> String {
    base64_simd::STANDARD.encode_to_string(i.to_string().repeat(i % 7))
}

#[tokio::test]
async fn the_failure_of_one_shard_is_reported_for_its_records_only() {
    let server = start().await;
    server.create("s", 3).await;
    server.cluster.fail("s", 0, Some(Error::Throttled("disk almost full".into())));
    server.cluster.fail("s", 1, Some(Error::Unknown("leader lost".into())));
    let entry = |hash: &str| json!({"PartitionKey": "k", "Data": "", "ExplicitHashKey": hash});
    let middle = "170141183460469231731687303715884105728";
    let body = json!({"StreamName": "s", "Records": [entry(MAX), entry(middle), entry("0")]});
    let put = server.ok("PutRecords", body).await;
    assert_eq!(put["FailedRecordCount"], 2);
    assert_eq!(put["Records"][0]["ShardId"], "shardId-000000000002");
    assert_eq!(
        put["Records"][1],
        json!({"ErrorCode": "InternalFailure", "ErrorMessage": "Internal Service Failure."})
    );
    assert_eq!(
        put["Records"][2],
        json!({"ErrorCode": "ProvisionedThroughputExceededException",
               "ErrorMessage": "Rate exceeded for shard shardId-000000000000 in stream s under \
                                account 000000000000: disk almost full"})
    );
}

#[tokio::test]
async fn a_failed_put_record_fails_the_call() {
    let server = start().await;
    server.create("s", 1).await;
    let body = json!({"StreamName": "s", "PartitionKey": "k", "Data": ""});
    for (error, status, code) in [
        (Error::Throttled("full".into()), 400, "ProvisionedThroughputExceededException"),
        (Error::NoLeader, 500, "InternalFailureException"),
        (Error::Unknown("timeout".into()), 500, "InternalFailureException"),
        (Error::NotFound, 400, "ResourceNotFoundException"),
    ] {
        server.cluster.fail("s", 0, Some(error));
        let response = server.call("PutRecord", body.clone()).await;
        assert_eq!((response.status.as_u16(), response.error().0.as_str()), (status, code));
    }
}

#[tokio::test]
async fn a_retry_of_an_sdk_makes_no_second_record() {
    let server = start().await;
    server.create("s", 2).await;
    let entries: Vec<_> =
        (0..10).map(|i| json!({"PartitionKey": format!("k{i}"), "Data": ""})).collect();
    let body = serde_json::to_vec(&json!({"StreamName": "s", "Records": entries})).unwrap();
    let call = [("amz-sdk-invocation-id", "11111111-2222-3333-4444-555555555555")];
    let first = server.post("PutRecords", &call, JSON, body.clone()).await.json();
    let again = server.post("PutRecords", &call, JSON, body.clone()).await.json();
    assert_eq!(first, again);
    let other = [("amz-sdk-invocation-id", "another")];
    let fresh = server.post("PutRecords", &other, JSON, body.clone()).await.json();
    assert_ne!(first, fresh);
    let too_long = "x".repeat(65);
    let none = [("amz-sdk-invocation-id", too_long.as_str())];
    let unknown = server.post("PutRecords", &none, JSON, body).await.json();
    assert_ne!(fresh, unknown);
}

#[tokio::test]
async fn a_different_call_with_the_same_id_is_not_a_retry() {
    let server = start().await;
    server.create("s", 1).await;
    let other_key = SIGNATURE.replace("=AK/", "=BK/");
    let put_as = async |authorization: &str, key: &str, data: &str, hash: Option<&str>| {
        let mut body = json!({"StreamName": "s", "PartitionKey": key, "Data": data});
        body.as_object_mut().unwrap().extend(hash.map(|h| ("ExplicitHashKey".into(), json!(h))));
        let body = serde_json::to_vec(&body).unwrap();
        let headers = [
            ("content-type", JSON),
            ("x-amz-target", "Kinesis_20131202.PutRecord"),
            ("authorization", authorization),
            ("x-amz-date", "20260101T000000Z"),
            ("amz-sdk-invocation-id", "fixed"),
        ];
        let response = server.request(Method::POST, "/", &headers, body).await;
        response.json()["SequenceNumber"].as_str().unwrap().to_owned()
    };
    let put = async |key: &str, data: &str| put_as(SIGNATURE, key, data, None).await;
    let mut numbers = vec![
        put("k", "aaaa").await,
        put("k", "bbbb").await,
        put("l", "aaaa").await,
        put_as(SIGNATURE, "k", "aaaa", Some("7")).await,
        put_as(&other_key, "k", "aaaa", None).await,
    ];
    assert_eq!(put("k", "aaaa").await, numbers[0], "this call is a retry");
    let stored = records(&server, "shardId-000000000000").await;
    assert_eq!(stored.len(), numbers.len());
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(stored.len(), numbers.len(), "each record has its own number");
}

#[tokio::test]
async fn a_longer_call_with_the_same_id_is_stored_completely() {
    let server = start().await;
    server.create("s", 1).await;
    let id = [("amz-sdk-invocation-id", "fixed")];
    for texts in [&["aaaa", "bbbb"][..], &["cccc", "dddd", "eeee"], &["cccc", "dddd", "eeee"]] {
        let entries: Vec<_> =
            texts.iter().map(|text| json!({"PartitionKey": "k", "Data": text})).collect();
        let body = serde_json::to_vec(&json!({"StreamName": "s", "Records": entries})).unwrap();
        let response = server.post("PutRecords", &id, JSON, body).await.json();
        assert_eq!(response["FailedRecordCount"], 0);
    }
    let stored = records(&server, "shardId-000000000000").await;
    let stored: Vec<_> = stored.iter().map(|(_, data)| data.as_str()).collect();
    assert_eq!(stored, ["aaaa", "bbbb", "cccc", "dddd", "eeee"]);
}

#[tokio::test]
async fn a_put_to_a_closed_shard_goes_to_its_children() {
    let server = start().await;
    server.create("s", 1).await;
    server.ok("PutRecord", json!({"StreamName": "s", "PartitionKey": "a", "Data": ""})).await;
    server.cluster.split("s", 0);
    let entry = |hash: &str| json!({"PartitionKey": "k", "Data": "", "ExplicitHashKey": hash});
    let body = json!({"StreamName": "s", "Records": [entry(MAX), entry("0")]});
    let put = server.ok("PutRecords", body).await;
    assert_eq!(put["FailedRecordCount"], 0);
    assert_eq!(put["Records"][0]["ShardId"], "shardId-000000000002");
    assert_eq!(put["Records"][1]["ShardId"], "shardId-000000000001");
}

#[tokio::test]
async fn a_put_without_an_open_shard_fails_at_its_deadline() {
    let reroute_timeout = std::time::Duration::from_millis(30);
    let kinesis = KinesisSettings { reroute_timeout, ..KinesisSettings::default() };
    let server = start_kinesis(settings(), kinesis, |gateway| gateway).await;
    server.create("s", 1).await;
    server.cluster.fail("s", 0, Some(Error::Closed));
    let body = json!({"StreamName": "s", "PartitionKey": "k", "Data": ""});
    assert_eq!(server.error("PutRecord", body).await.0, "InternalFailureException");
}

#[tokio::test]
async fn members_of_puts_are_checked() {
    let server = start().await;
    server.create("s", 1).await;
    let entry = json!({"PartitionKey": "k", "Data": ""});
    for (records, message) in [
        (
            Value::Null,
            "Value null at 'records' failed to satisfy constraint: Member must not be null",
        ),
        (
            json!([]),
            "Value '[]' at 'records' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ),
        (
            json!(vec![entry; 501]),
            "Value '[501 members]' at 'records' failed to satisfy constraint: Member must have length less than or equal to 500",
        ),
        (
            json!([{"Data": ""}]),
            "Value null at 'records.1.member.partitionKey' failed to satisfy constraint: Member must not be null",
        ),
        (
            json!([{"PartitionKey": "k"}]),
            "Value null at 'records.1.member.data' failed to satisfy constraint: Member must not be null",
        ),
        (
            json!([{"PartitionKey": "k", "Data": "", "ExplicitHashKey": "01"}]),
            r"Value '01' at 'records.1.member.explicitHashKey' failed to satisfy constraint: Member must satisfy regular expression pattern: ^(0|([1-9]\d{0,38}))$",
        ),
    ] {
        let (code, text) =
            server.error("PutRecords", json!({"StreamName": "s", "Records": records})).await;
        assert_eq!(code, "ValidationException");
        assert_eq!(text, format!("1 validation error detected: {message}"));
    }
    let body = json!({"StreamName": "s", "PartitionKey": "k", "Data": "",
                      "ExplicitHashKey": "340282366920938463463374607431768211456"});
    let (code, message) = server.error("PutRecord", body).await;
    assert_eq!(code, "InvalidArgumentException");
    assert!(message.starts_with("Invalid ExplicitHashKey."), "{message}");
}

#[tokio::test]
async fn the_size_limit_counts_data_and_key_together() {
    let server = start().await;
    server.create("s", 1).await;
    let data = base64_simd::STANDARD.encode_to_string(vec![0; 1024 * 1024 - 3]);
    let put = |key: &str| json!({"StreamName": "s", "PartitionKey": key, "Data": data});
    server.ok("PutRecord", put("kkk")).await;
    let (code, message) = server.error("PutRecord", put("kkkk")).await;
    assert_eq!(code, "InvalidArgumentException");
    assert!(message.contains("1024 KiB"), "{message}");
    let entry = json!({"PartitionKey": "kkk", "Data": data});
    let call = |count| json!({"StreamName": "s", "Records": vec![entry.clone(); count]});
    server.ok("PutRecords", call(10)).await;
    let (code, message) = server.error("PutRecords", call(11)).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("InvalidArgumentException", "Records size exceeds 10 MB limit")
    );
}

#[tokio::test]
async fn a_sequence_number_for_ordering_may_be_of_any_shard_but_not_from_the_future() {
    let server = start().await;
    server.create("s", 1).await;
    let put = |number: &str| {
        json!({"StreamName": "s", "PartitionKey": "k", "Data": "",
               "SequenceNumberForOrdering": number})
    };
    let first =
        server.ok("PutRecord", json!({"StreamName": "s", "PartitionKey": "k", "Data": ""})).await;
    let first = first["SequenceNumber"].as_str().unwrap();
    let second = server.ok("PutRecord", put(first)).await;
    assert!(second["SequenceNumber"].as_str().unwrap() > first);
    let parts = first.parse::<anabranch_types::SequenceNumber>().unwrap().parts();
    let future = anabranch_types::SequenceNumber::new(anabranch_types::SequenceNumberParts {
        arrival_seconds: parts.arrival_seconds + 1000,
        ..parts
    });
    let elsewhere = anabranch_types::SequenceNumber::new(anabranch_types::SequenceNumberParts {
        shard_born_seconds: 0,
        ..parts
    });
    server.ok("PutRecord", put(&elsewhere.to_string())).await;
    for bad in ["0", "7", &future.to_string()] {
        let (code, message) = server.error("PutRecord", put(bad)).await;
        assert_eq!(code, "InvalidArgumentException", "{bad}");
        assert!(message.starts_with("ExclusiveMinimumSequenceNumber "), "{message}");
    }
    assert_eq!(server.error("PutRecord", put("01")).await.0, "ValidationException");
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_writes_nothing() {
    let server = start().await;
    server.create("s", 1).await;
    let put = json!({"StreamName": "s", "PartitionKey": "k", "Data": "", "DryRun": true});
    assert_eq!(server.error("PutRecord", put).await.0, "DryRunOperationException");
    let entry = json!({"PartitionKey": "k", "Data": ""});
    let put = json!({"StreamName": "s", "Records": [entry], "DryRun": true});
    assert_eq!(server.error("PutRecords", put).await.0, "DryRunOperationException");
    let gone = json!({"StreamName": "t", "Records": [entry], "DryRun": true});
    assert_eq!(server.error("PutRecords", gone).await.0, "ResourceNotFoundException");
    assert_eq!(server.cluster.appends(), 0);
}

#[tokio::test]
async fn puts_in_cbor_carry_bytes() {
    let server = start().await;
    server.create("s", 1).await;
    let mut body = Vec::new();
    let mut e = minicbor::Encoder::new(&mut body);
    e.begin_map().unwrap().str("StreamName").unwrap().str("s").unwrap();
    e.str("PartitionKey").unwrap().str("k").unwrap();
    e.str("Data").unwrap().bytes(b"\x00\xff").unwrap().end().unwrap();
    let response = server.post("PutRecord", &[], CBOR, body).await;
    assert!(response.status.is_success(), "{response:?}");
    let mut decoder = minicbor::Decoder::new(&response.body);
    decoder.map().unwrap();
    assert_eq!(decoder.str().unwrap(), "ShardId");
    assert_eq!(decoder.str().unwrap(), "shardId-000000000000");
    assert_eq!(records(&server, "shardId-000000000000").await, [("k".into(), "AP8=".into())]);
}
