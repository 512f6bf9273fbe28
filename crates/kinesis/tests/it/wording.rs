//! Tests of codes and texts on which clients depend, as they were recorded from AWS.

use http::Method;
use serde_json::{Value, json};

use crate::http::{Server, start};

const FIRST: &str = "shardId-000000000000";
const HALF: &str = "170141183460469231731687303715884105728";
const ACCOUNT: &str = "under account 000000000000";

async fn refused(server: &Server, operation: &str, body: Value, code: &str, text: &str) {
    let refusal = server.error(operation, body.clone()).await;
    assert_eq!(refusal, (code.to_owned(), text.to_owned()), "{operation} {body}");
}

async fn split(server: &Server) {
    let body = json!({"StreamName": "s", "ShardToSplit": FIRST, "NewStartingHashKey": HALF});
    server.ok("SplitShard", body).await;
    server.cluster.commit_jobs();
}

#[tokio::test]
async fn a_closed_shard_cannot_be_split_or_merged_again() {
    let server = start().await;
    server.create("s", 1).await;
    split(&server).await;
    let text = format!(
        "Shard {FIRST} in stream s {ACCOUNT} has already been merged or split, and thus is not \
         eligible for merging or splitting."
    );
    let body = json!({"StreamName": "s", "ShardToSplit": FIRST, "NewStartingHashKey": "7"});
    refused(&server, "SplitShard", body, "InvalidArgumentException", &text).await;
    let body = json!({"StreamName": "s", "ShardToMerge": FIRST, "AdjacentShardToMerge": "2"});
    refused(&server, "MergeShards", body, "InvalidArgumentException", &text).await;
}

#[tokio::test]
async fn a_read_cannot_start_at_the_ending_number_of_a_shard_but_at_its_last_record() {
    let server = start().await;
    server.create("s", 1).await;
    let put = json!({"StreamName": "s", "PartitionKey": "k", "Data": "aGk="});
    let last = server.ok("PutRecord", put).await["SequenceNumber"].clone();
    split(&server).await;
    let listed = server.ok("ListShards", json!({"StreamName": "s"})).await;
    let ending = listed["Shards"][0]["SequenceNumberRange"]["EndingSequenceNumber"].clone();
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
    let app = json!({"StreamARN": arn, "ConsumerName": "app"});
    let app = server.ok("RegisterStreamConsumer", app).await;
    server.cluster.settle_consumers("s");
    for kind in ["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"] {
        let at = |number: &Value| {
            json!({"StreamName": "s", "ShardId": FIRST, "ShardIteratorType": kind,
                   "StartingSequenceNumber": number})
        };
        let text = format!(
            "Invalid SequenceNumber for ShardIteratorType {kind}, SequenceNumber has reached max \
             possible value for the shard."
        );
        let code = "InvalidArgumentException";
        refused(&server, "GetShardIterator", at(&ending), code, &text).await;
        let position = json!({"Type": kind, "SequenceNumber": ending});
        let body = json!({"ConsumerARN": app["Consumer"]["ConsumerARN"], "ShardId": FIRST,
                          "StartingPosition": position});
        refused(&server, "SubscribeToShard", body, code, &text).await;
        server.ok("GetShardIterator", at(&last)).await;
    }
}

#[tokio::test]
async fn a_short_shard_id_names_the_shard_of_that_number() {
    let server = start().await;
    server.create("s", 2).await;
    for shard in ["0", "shard-0", "x-0", "shardId-0", "00"] {
        let body = json!({"StreamName": "s", "ShardId": shard, "ShardIteratorType": "LATEST"});
        server.ok("GetShardIterator", body).await;
    }
    let body = json!({"StreamName": "s", "ShardId": "7", "ShardIteratorType": "LATEST"});
    let text = format!("Shard shardId-000000000007 in stream s {ACCOUNT} does not exist");
    refused(&server, "GetShardIterator", body, "ResourceNotFoundException", &text).await;
    let body = json!({"StreamName": "none", "ShardToMerge": "ABC", "AdjacentShardToMerge": "1"});
    let text = format!("Could not find shard ABC in stream none {ACCOUNT}.");
    refused(&server, "MergeShards", body, "ResourceNotFoundException", &text).await;
    let body = json!({"StreamName": "s", "ShardToMerge": "0", "AdjacentShardToMerge": "shard-1"});
    server.ok("MergeShards", body).await;
}

#[tokio::test]
async fn milliseconds_are_not_accepted_as_a_time_in_json() {
    let server = start().await;
    server.create("s", 1).await;
    let at = |time: Value| {
        json!({"StreamName": "s", "ShardId": "0", "ShardIteratorType": "AT_TIMESTAMP",
               "Timestamp": time})
    };
    let text = "The timestampInMillis parameter cannot be greater than the \
                currentTimestampInMillis. timestampInMillis: 1800000000000000, \
                currentTimestampInMillis: 1800000000123";
    let code = "InvalidArgumentException";
    refused(&server, "GetShardIterator", at(json!(1_800_000_000_000u64)), code, text).await;
    server.ok("GetShardIterator", at(json!(1_800_000_000))).await;
    let text = "class java.lang.String can not be converted to milliseconds since epoch";
    refused(&server, "GetShardIterator", at(json!("today")), "SerializationException", text).await;
    let text = "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. \
                Current request has no timestamp parameter.";
    refused(&server, "GetShardIterator", at(Value::Null), code, text).await;
}

#[tokio::test]
async fn a_paging_token_cannot_be_combined_with_other_members() {
    let server = start().await;
    server.create("s", 3).await;
    let first = server.ok("ListShards", json!({"StreamName": "s", "MaxResults": 1})).await;
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
    for (member, value) in [
        ("StreamName", json!("s")),
        ("StreamARN", json!(arn)),
        ("ShardFilter", json!({"Type": "FROM_TRIM_HORIZON"})),
        ("ExclusiveStartShardId", json!("0")),
        ("StreamCreationTimestamp", json!(1)),
    ] {
        let body = json!({"NextToken": first["NextToken"], member: value});
        let text = format!("NextToken and {member} cannot be provided together.");
        refused(&server, "ListShards", body, "InvalidArgumentException", &text).await;
    }
}

#[tokio::test]
async fn the_error_names_what_is_wrong_with_a_retention_period() {
    let server = start().await;
    server.create("s", 1).await;
    let hours = |hours: u32| json!({"StreamName": "s", "RetentionPeriodHours": hours});
    server.ok("IncreaseStreamRetentionPeriod", hours(30)).await;
    let (more, less) = ("IncreaseStreamRetentionPeriod", "DecreaseStreamRetentionPeriod");
    let between = |asked, is, other| {
        format!(
            "Requested retention period ({asked} hours) for stream s {ACCOUNT} can not be {is} than \
             existing retention period (30 hours). Use {other} API."
        )
    };
    let bound = |bound, asked, is| {
        let (which, hours) = bound;
        format!(
            "{which} allowed retention period is {hours} hours. Requested retention period ({asked} \
             hours) is too {is}."
        )
    };
    for (operation, asked, text) in [
        (less, 20, bound(("Minimum", 24), 20, "short")),
        (more, 9999, bound(("Maximum", 8760), 9999, "long")),
        (more, 25, between(25, "shorter", "DecreaseRetentionPeriod")),
        (less, 35, between(35, "longer", "IncreaseRetentionPeriod")),
    ] {
        refused(&server, operation, hours(asked), "InvalidArgumentException", &text).await;
    }
}

#[tokio::test]
async fn the_error_for_a_stream_that_is_not_active_names_its_state() {
    let server = start().await;
    server.ok("CreateStream", json!({"StreamName": "s", "ShardCount": 1})).await;
    let text = |state| format!("Stream s {ACCOUNT} not ACTIVE, instead in state {state}");
    let split = json!({"StreamName": "s", "ShardToSplit": FIRST, "NewStartingHashKey": HALF});
    refused(&server, "SplitShard", split.clone(), "ResourceInUseException", &text("CREATING"))
        .await;
    let body = json!({"StreamName": "s", "ShardId": "0", "ShardIteratorType": "LATEST"});
    let missing = format!("Shard {FIRST} in stream s {ACCOUNT} does not exist");
    refused(&server, "GetShardIterator", body.clone(), "ResourceNotFoundException", &missing).await;
    server.cluster.activate();
    let iterator = server.ok("GetShardIterator", body).await["ShardIterator"].clone();
    server.ok("SplitShard", split.clone()).await;
    refused(&server, "SplitShard", split, "ResourceInUseException", &text("UPDATING")).await;
    server.cluster.commit_jobs();
    server.ok("DeleteStream", json!({"StreamName": "s"})).await;
    server.cluster.drop_deleted();
    let body = json!({"ShardIterator": iterator});
    refused(&server, "GetRecords", body, "ResourceNotFoundException", &missing).await;
}

#[tokio::test]
async fn one_invalid_tag_refuses_all_tags_of_the_call() {
    let server = start().await;
    server.create("s", 1).await;
    let letters = "Some tags contain invalid characters. Valid characters: Unicode letters, digits, \
                   white space, _ . / = + - % @.";
    let code = "InvalidArgumentException";
    for tags in [json!({"two\nlines": "x"}), json!({"x": "a\tb"}), json!({"a;b": "x"})] {
        let body = json!({"StreamName": "s", "Tags": tags});
        refused(&server, "AddTagsToStream", body, code, letters).await;
    }
    let body = json!({"StreamName": "s", "TagKeys": ["no;such"]});
    refused(&server, "RemoveTagsFromStream", body, code, letters).await;
    server.ok("AddTagsToStream", json!({"StreamName": "s", "Tags": {"ä b": "c d"}})).await;
    let many: serde_json::Map<_, _> = (0..50).map(|n| (format!("k{n}"), json!(""))).collect();
    let text = format!(
        "Failed to add tags to stream s {ACCOUNT} because a given stream cannot have more than 50 \
         tags associated with it."
    );
    refused(&server, "AddTagsToStream", json!({"StreamName": "s", "Tags": many}), code, &text)
        .await;
    let broken = |value: &str, what: &str, max, min| {
        format!(
            "1 validation error detected: Value '{value}' failed to satisfy constraint: {what} must \
             satisfy constraint: [Member must have length less than or equal to {max}, Member must \
             have length greater than or equal to {min}]"
        )
    };
    let code = "ValidationException";
    let body = json!({"StreamName": "s", "TagKeys": ["a", ""]});
    let text = broken("[a, ]' at 'tagKeys", "Member", 128, 1);
    refused(&server, "RemoveTagsFromStream", body, code, &text).await;
    let body = json!({"StreamName": "s", "Tags": {"": "b"}});
    let text = broken("{=b}' at 'tags", "Map keys", 128, 1);
    refused(&server, "AddTagsToStream", body, code, &text).await;
    let body = json!({"StreamName": "s", "Tags": {}});
    let text = "1 validation error detected: Value '{}' at 'tags' failed to satisfy constraint: \
                Member must have length greater than or equal to 1";
    refused(&server, "AddTagsToStream", body, code, text).await;
}

#[tokio::test]
async fn a_hash_key_beyond_the_largest_is_outside_of_the_shard() {
    let server = start().await;
    server.create("s", 1).await;
    let beyond = "340282366920938463463374607431768211456";
    let body = json!({"StreamName": "s", "ShardToSplit": "0", "NewStartingHashKey": beyond});
    let text = format!(
        "NewStartingHashKey {beyond} used in SplitShard() on shard {FIRST} in stream s {ACCOUNT} is \
         not both greater than one plus the shard's StartingHashKey 0 and less than the shard's \
         EndingHashKey 340282366920938463463374607431768211455."
    );
    refused(&server, "SplitShard", body, "InvalidArgumentException", &text).await;
}

#[tokio::test]
async fn the_error_for_an_unknown_operation_has_no_message() {
    let server = start().await;
    let response = async |headers: &[(&str, &str)], body: &str| {
        let response = server.request(Method::POST, "/", headers, body.as_bytes().to_vec()).await;
        let kind =
            response.headers.get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        (response.status.as_u16(), kind.unwrap_or_default(), response.body.to_vec())
    };
    let json = ("content-type", "application/x-amz-json-1.1");
    let target = ("x-amz-target", "Kinesis_20131202.ListStreams");
    let unknown = ("x-amz-target", "Kinesis_20131202.Fly");
    let cbor = b"\xbf\x66__type\x78\x19UnknownOperationException\xff".to_vec();
    let kind = "application/x-amz-cbor-1.1".to_owned();
    assert_eq!(response(&[target], "{}").await, (400, kind, cbor));
    let xml = b"<UnknownOperationException/>\n".to_vec();
    assert_eq!(response(&[], "{}").await, (404, String::new(), xml));
    let alone = |code: &str| {
        let body = format!("{{\"__type\":\"{code}\"}}").into_bytes();
        (400, json.1.to_owned(), body)
    };
    assert_eq!(response(&[json], "{}").await, alone("UnknownOperationException"));
    assert_eq!(response(&[json, unknown], "{}").await, alone("UnknownOperationException"));
    assert_eq!(response(&[json, target], "").await, alone("SerializationException"));
    assert_eq!(response(&[json, target], "{").await, alone("SerializationException"));
}
