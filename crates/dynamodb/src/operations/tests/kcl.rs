//! The calls of the Kinesis Client Library 1.x to 3.5, with the parameters that it sends.

use super::Memory;

const CREATE_1: &str = r#"{"TableName":"app","AttributeDefinitions":[{"AttributeName":"leaseKey","AttributeType":"S"}],
    "KeySchema":[{"AttributeName":"leaseKey","KeyType":"HASH"}],
    "ProvisionedThroughput":{"ReadCapacityUnits":10,"WriteCapacityUnits":10}}"#;
const CREATE_3: &str = r#"{"TableName":"app","AttributeDefinitions":[{"AttributeName":"leaseKey","AttributeType":"S"}],
    "KeySchema":[{"AttributeName":"leaseKey","KeyType":"HASH"}],"BillingMode":"PAY_PER_REQUEST",
    "DeletionProtectionEnabled":false,"Tags":[{"Key":"team","Value":"a"}]}"#;
const CREATE_GSI: &str = r#"{"TableName":"app","AttributeDefinitions":[{"AttributeName":"leaseKey","AttributeType":"S"},
    {"AttributeName":"leaseOwner","AttributeType":"S"}],"GlobalSecondaryIndexUpdates":[{"Create":{
    "IndexName":"LeaseOwnerToLeaseKeyIndex","KeySchema":[{"AttributeName":"leaseOwner","KeyType":"HASH"},
    {"AttributeName":"leaseKey","KeyType":"RANGE"}],"Projection":{"ProjectionType":"KEYS_ONLY"}}}]}"#;
const LEASE: &str = r#"{"leaseKey":{"S":"shardId-000000000000"},"leaseCounter":{"N":"0"},"checkpoint":{"S":"TRIM_HORIZON"},
    "checkpointSubSequenceNumber":{"N":"0"},"ownerSwitchesSinceCheckpoint":{"N":"0"},"parentShardId":{"SS":["shardId-9"]},
    "startingHashKey":{"S":"0"},"endingHashKey":{"S":"340282366920938463463374607431768211455"}}"#;
const KEY: &str = r#"{"leaseKey":{"S":"shardId-000000000000"}}"#;

/// A lease table as KCL 3 has it, with one lease without an owner.
fn leases() -> Memory {
    let mut memory = Memory::new();
    memory.ok("CreateTable", CREATE_3);
    memory.ok("UpdateTable", CREATE_GSI);
    memory.ok("PutItem", &create_lease());
    memory
}

fn create_lease() -> String {
    format!(r#"{{"TableName":"app","Item":{LEASE},"Expected":{{"leaseKey":{{"Exists":false}}}}}}"#)
}

fn update(expected: &str, updates: &str, extra: &str) -> String {
    format!(
        r#"{{"TableName":"app","Key":{KEY},"Expected":{expected},"AttributeUpdates":{updates}{extra}}}"#
    )
}

fn get(memory: &mut Memory) -> serde_json::Value {
    let body = memory
        .ok("GetItem", &format!(r#"{{"TableName":"app","Key":{KEY},"ConsistentRead":false}}"#));
    serde_json::from_str(&body).unwrap()
}

#[test]
fn a_fresh_application_creates_its_table() {
    let mut memory = Memory::new();
    assert_eq!(
        memory.error("DescribeTable", r#"{"TableName":"app"}"#),
        "ResourceNotFoundException: Requested resource not found: Table: app not found"
    );
    memory.ok("CreateTable", CREATE_1);
    assert_eq!(
        memory.error("CreateTable", CREATE_1),
        "ResourceInUseException: Table already exists: app"
    );
    assert_eq!(
        memory.ok("DescribeTable", r#"{"TableName":"app"}"#),
        "{\"Table\":{\"AttributeDefinitions\":[{\"AttributeName\":\"leaseKey\",\"AttributeType\":\"S\"}],\
         \"TableName\":\"app\",\"KeySchema\":[{\"AttributeName\":\"leaseKey\",\"KeyType\":\"HASH\"}],\
         \"TableStatus\":\"ACTIVE\",\"CreationDateTime\":1700000000.000,\"ProvisionedThroughput\":\
         {\"NumberOfDecreasesToday\":0,\"ReadCapacityUnits\":10,\"WriteCapacityUnits\":10},\"TableSizeBytes\":0,\
         \"ItemCount\":0,\"TableArn\":\"arn:aws:dynamodb:us-east-1:000000000000:table/app\",\
         \"TableId\":\"02020202-0202-0202-0202-020202020202\",\"DeletionProtectionEnabled\":false}}"
    );
}

#[test]
fn an_index_is_listed_at_once_and_has_the_older_leases() {
    let mut memory = Memory::new();
    memory.ok("CreateTable", CREATE_3);
    memory.ok("PutItem", &create_lease());
    memory.ok(
        "UpdateItem",
        &update("{}", r#"{"leaseOwner":{"Action":"PUT","Value":{"S":"w1"}}}"#, ""),
    );
    let created = memory.ok("UpdateTable", CREATE_GSI);
    assert!(created.contains(r#""IndexName":"LeaseOwnerToLeaseKeyIndex""#), "{created}");
    assert!(created.contains(r#""IndexStatus":"CREATING""#), "{created}");
    let described = memory.ok("DescribeTable", r#"{"TableName":"app"}"#);
    assert!(described.contains(r#""IndexStatus":"ACTIVE""#), "{described}");
    assert!(
        described.contains(r#""BillingModeSummary":{"BillingMode":"PAY_PER_REQUEST""#),
        "{described}"
    );
    let arn = r#""IndexArn":"arn:aws:dynamodb:us-east-1:000000000000:table/app/index/LeaseOwnerToLeaseKeyIndex""#;
    assert!(described.contains(arn), "{described}");
    assert_eq!(leases_of(&mut memory, "w1"), 1);
}

fn leases_of(memory: &mut Memory, worker: &str) -> u64 {
    let body = format!(
        r#"{{"TableName":"app","IndexName":"LeaseOwnerToLeaseKeyIndex",
            "KeyConditionExpression":"leaseOwner = :leaseOwner",
            "ExpressionAttributeValues":{{":leaseOwner":{{"S":"{worker}"}}}}}}"#
    );
    let page: serde_json::Value = serde_json::from_str(&memory.ok("Query", &body)).unwrap();
    assert_eq!(page.get("LastEvaluatedKey"), None);
    page["Count"].as_u64().unwrap()
}

#[test]
fn a_lease_is_created_once() {
    let mut memory = leases();
    assert_eq!(
        memory.error("PutItem", &create_lease()),
        "ConditionalCheckFailedException: The conditional request failed"
    );
    assert_eq!(get(&mut memory)["Item"]["parentShardId"]["SS"][0], "shardId-9");
}

#[test]
fn a_lease_is_taken_renewed_and_evicted() {
    let mut memory = leases();
    // takeLease
    memory.ok(
        "UpdateItem",
        &update(
            r#"{"leaseCounter":{"Value":{"N":"0"}}}"#,
            r#"{"leaseCounter":{"Value":{"N":"1"},"Action":"PUT"},"leaseOwner":{"Value":{"S":"w1"},"Action":"PUT"},
                "ownerSwitchesSinceCheckpoint":{"Value":{"N":"1"},"Action":"ADD"},"checkpointOwner":{"Action":"DELETE"}}"#,
            "",
        ),
    );
    assert_eq!(leases_of(&mut memory, "w1"), 1);
    // renewLease
    let renew = update(
        r#"{"leaseCounter":{"Value":{"N":"1"}},"checkpointOwner":{"Exists":false}}"#,
        r#"{"leaseCounter":{"Value":{"N":"2"},"Action":"PUT"},"throughputKBps":{"Value":{"N":"12.5"},"Action":"PUT"}}"#,
        r#","ReturnValuesOnConditionCheckFailure":"ALL_OLD""#,
    );
    assert_eq!(memory.ok("UpdateItem", &renew), "{}");
    let failed = memory.call("UpdateItem", &renew).unwrap_err();
    let failed: serde_json::Value = serde_json::from_str(&failed).unwrap();
    assert_eq!(
        failed["__type"],
        "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
    );
    assert_eq!(failed["message"], "The conditional request failed");
    assert_eq!(failed["Item"]["leaseCounter"]["N"], "2");
    assert_eq!(failed["Item"]["throughputKBps"]["N"], "12.5");
    // evictLease of KCL 3
    let evicted = memory.ok(
        "UpdateItem",
        &update(
            r#"{"leaseOwner":{"Value":{"S":"w1"}},"checkpointOwner":{"Exists":false},
                "leaseKey":{"Exists":true,"Value":{"S":"shardId-000000000000"}}}"#,
            r#"{"leaseOwner":{"Action":"DELETE"},"leaseCounter":{"Action":"ADD","Value":{"N":"1"}}}"#,
            r#","ReturnValues":"ALL_NEW""#,
        ),
    );
    assert!(evicted.contains(r#""leaseCounter":{"N":"3"}"#), "{evicted}");
    assert!(!evicted.contains("leaseOwner"), "{evicted}");
    assert_eq!(leases_of(&mut memory, "w1"), 0);
}

#[test]
fn a_lease_is_assigned_and_handed_over() {
    let mut memory = leases();
    let assign = |owner: &str, updates: &str| {
        update(
            &format!(
                r#"{{"leaseOwner":{owner},"checkpointOwner":{{"Exists":false}},
                    "leaseKey":{{"Exists":true,"Value":{{"S":"shardId-000000000000"}}}}}}"#
            ),
            updates,
            r#","ReturnValues":"ALL_NEW","ReturnValuesOnConditionCheckFailure":"ALL_OLD""#,
        )
    };
    let assigned = memory.ok(
        "UpdateItem",
        &assign(
            r#"{"Exists":false}"#,
            r#"{"leaseOwner":{"Action":"PUT","Value":{"S":"w1"}},"leaseCounter":{"Action":"ADD","Value":{"N":"1"}}}"#,
        ),
    );
    assert!(assigned.contains(r#""leaseOwner":{"S":"w1"}"#), "{assigned}");
    let handed = memory.ok(
        "UpdateItem",
        &assign(
            r#"{"Value":{"S":"w1"}}"#,
            r#"{"leaseOwner":{"Action":"PUT","Value":{"S":"w2"}},"checkpointOwner":{"Action":"PUT","Value":{"S":"w1"}}}"#,
        ),
    );
    assert!(handed.contains(r#""checkpointOwner":{"S":"w1"}"#), "{handed}");
    assert_eq!([leases_of(&mut memory, "w1"), leases_of(&mut memory, "w2")], [0, 1]);
}

#[test]
fn a_checkpoint_is_written_on_condition_of_the_counter() {
    let mut memory = leases();
    let updates = r#"{"checkpoint":{"Action":"PUT","Value":{"S":"49590"}},
        "checkpointSubSequenceNumber":{"Action":"PUT","Value":{"N":"3"}},
        "ownerSwitchesSinceCheckpoint":{"Action":"PUT","Value":{"N":"0"}},
        "pendingCheckpoint":{"Action":"PUT","Value":{"S":"49591"}},
        "pendingCheckpointState":{"Action":"PUT","Value":{"B":"AAEC"}},
        "pendingCheckpointSubSequenceNumber":{"Action":"DELETE"},
        "childShardIds":{"Action":"PUT","Value":{"SS":["shardId-2","shardId-1"]}},
        "leaseCounter":{"Action":"PUT","Value":{"N":"1"}}}"#;
    let body = update(r#"{"leaseCounter":{"Value":{"N":"0"}}}"#, updates, "");
    memory.ok("UpdateItem", &body);
    let item = get(&mut memory)["Item"].clone();
    assert_eq!(item["checkpoint"]["S"], "49590");
    assert_eq!(item["pendingCheckpointState"]["B"], "AAEC");
    assert_eq!(item["childShardIds"]["SS"], serde_json::json!(["shardId-1", "shardId-2"]));
    assert_eq!(
        memory.error("UpdateItem", &body),
        "ConditionalCheckFailedException: The conditional request failed"
    );
    // updateLeaseWithMetaInfo: a lease that does not exist is not created.
    let meta = r#"{"TableName":"app","Key":{"leaseKey":{"S":"gone"}},
        "Expected":{"leaseKey":{"Exists":true,"Value":{"S":"gone"}}},
        "AttributeUpdates":{"startingHashKey":{"Action":"PUT","Value":{"S":"0"}}}}"#;
    assert_eq!(
        memory.error("UpdateItem", meta),
        "ConditionalCheckFailedException: The conditional request failed"
    );
}

#[test]
fn leases_are_listed_and_deleted() {
    let mut memory = leases();
    memory.ok(
        "PutItem",
        r#"{"TableName":"app","Item":{"leaseKey":{"S":"Leader"},"entityType":{"S":"LEADER"}}}"#,
    );
    memory.ok("PutItem", r#"{"TableName":"app","Item":{"leaseKey":{"S":"a:s:1:x"},"entityType":{"S":"LEASE"},"streamName":{"S":"s"}}}"#);
    let scan = |memory: &mut Memory, body: &str| -> serde_json::Value {
        serde_json::from_str(&memory.ok("Scan", body)).unwrap()
    };
    let all = scan(&mut memory, r#"{"TableName":"app","ConsistentRead":true}"#);
    assert_eq!((all["Count"].as_u64(), all.get("LastEvaluatedKey")), (Some(3), None));
    for filter in [
        r#""FilterExpression":"streamName = :streamName","ExpressionAttributeValues":{":streamName":{"S":"s"}}"#,
        r#""FilterExpression":"entityType = :entityType","ExpressionAttributeValues":{":entityType":{"S":"LEASE"}}"#,
        r##""FilterExpression":"#et = :etVal","ExpressionAttributeNames":{"#et":"entityType"},"ExpressionAttributeValues":{":etVal":{"S":"LEASE"}}"##,
    ] {
        let page = scan(&mut memory, &format!(r#"{{"TableName":"app",{filter}}}"#));
        assert_eq!(
            (page["Count"].as_u64(), page["ScannedCount"].as_u64()),
            (Some(1), Some(3)),
            "{filter}"
        );
    }
    let one = scan(&mut memory, r#"{"TableName":"app","Limit":1}"#);
    assert_eq!(one["Count"], 1);
    let segments = (0..10).map(|segment| {
        let body = format!(r#"{{"TableName":"app","Segment":{segment},"TotalSegments":10}}"#);
        scan(&mut memory, &body)["Count"].as_u64().unwrap()
    });
    assert_eq!(segments.sum::<u64>(), 3);
    for _ in 0..2 {
        assert_eq!(memory.ok("DeleteItem", &format!(r#"{{"TableName":"app","Key":{KEY}}}"#)), "{}");
    }
    assert_eq!(memory.ok("GetItem", &format!(r#"{{"TableName":"app","Key":{KEY}}}"#)), "{}");
}

/// The lock client of KCL 3, release 1.4.0.
#[test]
fn the_leader_lock_is_acquired_kept_and_released() {
    let mut memory = Memory::new();
    memory.ok(
        "CreateTable",
        r#"{"TableName":"app-CoordinatorState","AttributeDefinitions":[{"AttributeName":"key","AttributeType":"S"}],
            "KeySchema":[{"AttributeName":"key","KeyType":"HASH"}],"BillingMode":"PAY_PER_REQUEST"}"#,
    );
    let table = r#""TableName":"app-CoordinatorState""#;
    let key = r#""Key":{"key":{"S":"Leader"}}"#;
    let item = |owner: &str, rvn: &str| {
        format!(
            r#""Item":{{"key":{{"S":"Leader"}},"ownerName":{{"S":"{owner}"}},"leaseDuration":{{"S":"120000"}},
                "recordVersionNumber":{{"S":"{rvn}"}},"entityType":{{"S":"LEADER"}},"data":{{"B":"AA=="}}}}"#
        )
    };
    let failed = "ConditionalCheckFailedException: The conditional request failed";
    let acquire = format!(
        r##"{{{table},{},"ConditionExpression":"attribute_not_exists(#pk)","ExpressionAttributeNames":{{"#pk":"key"}}}}"##,
        item("w1", "r1")
    );
    memory.ok("PutItem", &acquire);
    assert_eq!(memory.error("PutItem", &acquire), failed);
    let heartbeat = |old: &str, new: &str| {
        format!(
            r##"{{{table},{key},"ConditionExpression":"attribute_exists(#pk) AND #rvn = :rvn AND #on = :on",
                "UpdateExpression":"SET #ld = :ld, #rvn = :newRvn",
                "ExpressionAttributeNames":{{"#pk":"key","#rvn":"recordVersionNumber","#on":"ownerName","#ld":"leaseDuration"}},
                "ExpressionAttributeValues":{{":rvn":{{"S":"{old}"}},":on":{{"S":"w1"}},":ld":{{"S":"120000"}},":newRvn":{{"S":"{new}"}}}}}}"##
        )
    };
    memory.ok("UpdateItem", &heartbeat("r1", "r2"));
    assert_eq!(memory.error("UpdateItem", &heartbeat("r1", "r3")), failed);
    let take_expired = format!(
        r##"{{{table},{},"ConditionExpression":"attribute_exists(#pk) AND #rvn = :rvn",
            "ExpressionAttributeNames":{{"#pk":"key","#rvn":"recordVersionNumber"}},"ExpressionAttributeValues":{{":rvn":{{"S":"r2"}}}}}}"##,
        item("w2", "s1")
    );
    memory.ok("PutItem", &take_expired);
    let release = r##""ConditionExpression":"attribute_exists(#pk) AND #rvn = :rvn AND #on = :on",
        "ExpressionAttributeNames":{"#pk":"key","#rvn":"recordVersionNumber","#on":"ownerName","#ir":"isReleased"},"##;
    memory.ok(
        "UpdateItem",
        &format!(
            r#"{{{table},{key},"UpdateExpression":"SET #ir = :ir",{release}
                "ExpressionAttributeValues":{{":rvn":{{"S":"s1"}},":on":{{"S":"w2"}},":ir":{{"S":"1"}}}}}}"#
        ),
    );
    let take_released = format!(
        r##"{{{table},{},"ConditionExpression":"attribute_exists(#pk) AND #ir = :ir",
            "ExpressionAttributeNames":{{"#pk":"key","#ir":"isReleased"}},"ExpressionAttributeValues":{{":ir":{{"S":"1"}}}}}}"##,
        item("w3", "t1")
    );
    memory.ok("PutItem", &take_released);
    let delete = format!(
        r##"{{{table},{key},"ConditionExpression":"attribute_exists(#pk) AND #rvn = :rvn AND #on = :on",
            "ExpressionAttributeNames":{{"#pk":"key","#rvn":"recordVersionNumber","#on":"ownerName"}},
            "ExpressionAttributeValues":{{":rvn":{{"S":"t1"}},":on":{{"S":"w3"}}}}}}"##
    );
    memory.ok("DeleteItem", &delete);
    assert_eq!(memory.error("DeleteItem", &delete), failed);
}

#[test]
fn coordinator_state_is_created_and_updated() {
    let mut memory = leases();
    let put = r#"{"TableName":"app","Item":{"leaseKey":{"S":"Migration3.0"},"cv":{"S":"CLIENT_VERSION_3X"},"mb":{"S":"w1"},
        "mts":{"N":"1700000000000"},"h":{"L":[{"M":{"cv":{"S":"x"},"mts":{"N":"1"}}}]}},
        "Expected":{"leaseKey":{"Exists":false}}}"#;
    memory.ok("PutItem", put);
    let update = r#"{"TableName":"app","Key":{"leaseKey":{"S":"Migration3.0"}},
        "Expected":{"cv":{"Value":{"S":"CLIENT_VERSION_3X"},"Exists":true},"mb":{"Value":{"S":"w1"}},
            "mts":{"Value":{"N":"1700000000000.0"}},"h":{"Value":{"L":[{"M":{"cv":{"S":"x"},"mts":{"N":"1"}}}]}}},
        "AttributeUpdates":{"cv":{"Value":{"S":"CLIENT_VERSION_3X_WITH_ROLLBACK"},"Action":"PUT"}}}"#;
    memory.ok("UpdateItem", update);
    assert_eq!(
        memory.error("UpdateItem", update),
        "ConditionalCheckFailedException: The conditional request failed"
    );
}

#[test]
fn worker_metrics_are_kept_by_the_enhanced_client() {
    let mut memory = leases();
    let update = r##"{"TableName":"app","Key":{"leaseKey":{"S":"w1"}},"ReturnValues":"ALL_NEW",
        "UpdateExpression":"SET #AMZN_MAPPED_lut = :AMZN_MAPPED_lut, #AMZN_MAPPED_sts = :AMZN_MAPPED_sts",
        "ExpressionAttributeNames":{"#AMZN_MAPPED_lut":"lut","#AMZN_MAPPED_sts":"sts"},
        "ExpressionAttributeValues":{":AMZN_MAPPED_lut":{"N":"1700000000"},":AMZN_MAPPED_sts":{"M":{"C":{"L":[{"N":"0.5"}]}}}}}"##;
    assert_eq!(
        memory.ok("UpdateItem", update),
        r#"{"Attributes":{"leaseKey":{"S":"w1"},"lut":{"N":"1700000000"},"sts":{"M":{"C":{"L":[{"N":"0.5"}]}}}}}"#
    );
    let delete = r##"{"TableName":"app","Key":{"leaseKey":{"S":"w1"}},
        "ConditionExpression":"#key = :value AND attribute_exists (leaseKey)","ExpressionAttributeNames":{"#key":"lut"},
        "ExpressionAttributeValues":{":value":{"N":"1700000000"}}}"##;
    memory.ok("DeleteItem", delete);
    assert_eq!(
        memory.error("DeleteItem", delete),
        "ConditionalCheckFailedException: The conditional request failed"
    );
}

#[test]
fn the_flag_of_backups_is_kept() {
    let mut memory = leases();
    let enabled = memory.ok(
        "UpdateContinuousBackups",
        r#"{"TableName":"app","PointInTimeRecoverySpecification":{"PointInTimeRecoveryEnabled":true}}"#,
    );
    assert_eq!(memory.ok("DescribeContinuousBackups", r#"{"TableName":"app"}"#), enabled);
    assert!(enabled.contains(r#""PointInTimeRecoveryStatus":"ENABLED""#), "{enabled}");
    assert_eq!(
        memory.ok("DescribeTimeToLive", r#"{"TableName":"app"}"#),
        r#"{"TimeToLiveDescription":{"TimeToLiveStatus":"DISABLED"}}"#
    );
}
