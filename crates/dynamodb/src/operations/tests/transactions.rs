//! TransactWriteItems: the migration of KCL 3.4 to 3.5, reasons of refusals, tokens.

use super::Memory;

const TABLES: [&str; 2] = ["app", "app-CoordinatorState"];

fn memory() -> Memory {
    let mut memory = Memory::new();
    for (table, key) in TABLES.into_iter().zip(["leaseKey", "key"]) {
        memory.ok(
            "CreateTable",
            &format!(
                r#"{{"TableName":"{table}","AttributeDefinitions":[{{"AttributeName":"{key}","AttributeType":"S"}}],
                    "KeySchema":[{{"AttributeName":"{key}","KeyType":"HASH"}}],"BillingMode":"PAY_PER_REQUEST"}}"#
            ),
        );
    }
    memory.ok(
        "PutItem",
        r#"{"TableName":"app","Item":{"leaseKey":{"S":"Leader"},"ownerName":{"S":"w1"}}}"#,
    );
    memory.ok("PutItem", r#"{"TableName":"app","Item":{"leaseKey":{"S":"TableMigration3.5"},"tm":{"S":"DEPLOYED"}}}"#);
    memory.ok(
        "PutItem",
        r#"{"TableName":"app-CoordinatorState","Item":{"key":{"S":"s1"},"streamId":{"S":"x"}}}"#,
    );
    memory
}

fn migration(owner: &str, status: &str, token: &str) -> String {
    format!(
        r#"{{"ClientRequestToken":"{token}","TransactItems":[
            {{"ConditionCheck":{{"TableName":"app","Key":{{"leaseKey":{{"S":"Leader"}}}},"ConditionExpression":"ownerName = :owner",
                "ExpressionAttributeValues":{{":owner":{{"S":"{owner}"}}}},"ReturnValuesOnConditionCheckFailure":"ALL_OLD"}}}},
            {{"Put":{{"TableName":"app","Item":{{"leaseKey":{{"S":"s1"}},"streamId":{{"S":"x"}}}},
                "ConditionExpression":"attribute_not_exists(leaseKey)"}}}},
            {{"Delete":{{"TableName":"app-CoordinatorState","Key":{{"key":{{"S":"s1"}}}}}}}},
            {{"Put":{{"TableName":"app","Item":{{"leaseKey":{{"S":"TableMigration3.5"}},"tm":{{"S":"PENDING"}}}},
                "ConditionExpression":"tm = :expectedStatus","ExpressionAttributeValues":{{":expectedStatus":{{"S":"{status}"}}}}}}}}]}}"#
    )
}

#[test]
fn a_migration_moves_items_in_one_transaction() {
    let mut memory = memory();
    assert_eq!(memory.ok("TransactWriteItems", &migration("w1", "DEPLOYED", "t1")), "{}");
    assert_eq!(
        memory.ok("GetItem", r#"{"TableName":"app","Key":{"leaseKey":{"S":"s1"}}}"#),
        r#"{"Item":{"leaseKey":{"S":"s1"},"streamId":{"S":"x"}}}"#
    );
    assert_eq!(
        memory.ok("GetItem", r#"{"TableName":"app-CoordinatorState","Key":{"key":{"S":"s1"}}}"#),
        "{}"
    );
}

#[test]
fn a_refusal_names_a_reason_for_each_entry_and_changes_nothing() {
    let mut memory = memory();
    let before = memory.rows.clone();
    let error = memory.call("TransactWriteItems", &migration("w2", "INIT", "t1")).unwrap_err();
    assert_eq!(
        error,
        "{\"__type\":\"com.amazonaws.dynamodb.v20120810#TransactionCanceledException\",\"CancellationReasons\":[\
         {\"Code\":\"ConditionalCheckFailed\",\"Item\":{\"leaseKey\":{\"S\":\"Leader\"},\"ownerName\":{\"S\":\"w1\"}},\
         \"Message\":\"The conditional request failed\"},{\"Code\":\"None\"},{\"Code\":\"None\"},\
         {\"Code\":\"ConditionalCheckFailed\",\"Message\":\"The conditional request failed\"}],\
         \"Message\":\"Transaction cancelled, please refer cancellation reasons for specific reasons \
         [ConditionalCheckFailed, None, None, ConditionalCheckFailed]\"}"
    );
    assert_eq!(memory.rows, before);
}

#[test]
fn a_retry_with_the_same_token_changes_nothing() {
    let mut memory = memory();
    memory.ok("TransactWriteItems", &migration("w1", "DEPLOYED", "t1"));
    let after = memory.rows.clone();
    memory.ok("TransactWriteItems", &migration("w1", "DEPLOYED", "t1"));
    assert_eq!(memory.rows, after);
    assert!(
        memory
            .error("TransactWriteItems", &migration("w1", "OTHER", "t1"))
            .starts_with("IdempotentParameterMismatchException: ")
    );
    memory.now += 10 * 60 * 1000;
    let error = memory.error("TransactWriteItems", &migration("w1", "DEPLOYED", "t1"));
    assert!(error.starts_with("TransactionCanceledException: "), "{error}");
    memory.sweep();
    assert!(memory.rows.len() < after.len());
}

#[test]
fn updates_and_faulty_entries() {
    let mut memory = memory();
    let update = |expression: &str| {
        format!(
            r#"{{"TransactItems":[{{"Update":{{"TableName":"app","Key":{{"leaseKey":{{"S":"n"}}}},
                "UpdateExpression":"{expression}","ExpressionAttributeValues":{{":one":{{"N":"1"}}}}}}}}]}}"#
        )
    };
    memory.ok("TransactWriteItems", &update("ADD counter_1 :one"));
    memory.ok("TransactWriteItems", &update("SET counter_1 = counter_1 + :one"));
    assert_eq!(
        memory.ok("GetItem", r#"{"TableName":"app","Key":{"leaseKey":{"S":"n"}}}"#),
        r#"{"Item":{"counter_1":{"N":"2"},"leaseKey":{"S":"n"}}}"#
    );
    let error = memory.call("TransactWriteItems", &update("SET b = c + :one")).unwrap_err();
    assert!(
        error.contains(r#"{"Code":"ValidationError","Message":"The provided expression refers to"#),
        "{error}"
    );
    for (entries, expected) in [
        (
            "{}",
            "ValidationException: TransactItems can only contain one of Check, Put, Update or Delete",
        ),
        (
            r#"{"Delete":{"TableName":"app","Key":{"leaseKey":{"S":"n"}}}},{"Put":{"TableName":"app","Item":{"leaseKey":{"S":"n"}}}}"#,
            "ValidationException: Transaction request cannot include multiple operations on one item",
        ),
        (
            r#"{"Delete":{"TableName":"app"}}"#,
            "ValidationException: 1 validation error detected: Value null at \
             'transactItems.1.member.delete.key' failed to satisfy constraint: Member must not be null",
        ),
        (
            r#"{"Delete":{"TableName":"gone","Key":{"leaseKey":{"S":"n"}}}}"#,
            "ResourceNotFoundException: Requested resource not found",
        ),
    ] {
        let body = format!(r#"{{"TransactItems":[{entries}]}}"#);
        assert_eq!(memory.error("TransactWriteItems", &body), expected);
    }
}

#[test]
fn a_transaction_that_is_too_large_for_a_group_is_refused() {
    let mut memory = memory();
    let large = "x".repeat(300_000);
    let entries = (0..4).map(|n| {
        format!(r#"{{"Put":{{"TableName":"app","Item":{{"leaseKey":{{"S":"{n}"}},"v":{{"S":"{large}"}}}}}}}}"#)
    });
    let entries = entries.collect::<Vec<_>>().join(",");
    assert_eq!(
        memory.error("TransactWriteItems", &format!(r#"{{"TransactItems":[{entries}]}}"#)),
        "ValidationException: A transaction of more than 1048576 bytes is not supported by this endpoint"
    );
}
