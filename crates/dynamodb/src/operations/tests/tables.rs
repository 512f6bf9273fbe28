//! Definitions of tables: what is accepted, refused, described.

use super::{Memory, orders};

/// Runs CreateTable with these members. Returns the error, or the description.
fn create(members: &str) -> String {
    let mut memory = Memory::new();
    let body = format!(r#"{{"TableName":"t-1",{members}}}"#);
    match memory.call("CreateTable", &body) {
        Ok(response) => response,
        Err(_) => memory.error("CreateTable", &body),
    }
}

const HASH: &str =
    r#""KeySchema":[{"AttributeName":"a","KeyType":"HASH"}],"BillingMode":"PAY_PER_REQUEST""#;
const A: &str = r#"{"AttributeName":"a","AttributeType":"S"}"#;

#[test]
fn definitions_that_dynamodb_refuses_get_its_texts() {
    let invalid = "ValidationException: One or more parameter values were invalid: ";
    for (members, expected) in [
        (
            format!(r#"{HASH},"AttributeDefinitions":[]"#),
            format!("{invalid}Some index key attributes are not defined in AttributeDefinitions. Keys: [a], AttributeDefinitions: []"),
        ),
        (
            format!(r#"{HASH},"AttributeDefinitions":[{A},{{"AttributeName":"b","AttributeType":"N"}}]"#),
            format!("{invalid}Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions"),
        ),
        (
            format!(r#""KeySchema":[{{"AttributeName":"a","KeyType":"RANGE"}}],"BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[{A}]"#),
            "ValidationException: Invalid KeySchema: The first KeySchemaElement is not a HASH key type".to_owned(),
        ),
        (
            format!(r#""KeySchema":[{{"AttributeName":"a","KeyType":"HASH"}}],"AttributeDefinitions":[{A}]"#),
            format!("{invalid}ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED"),
        ),
        (
            format!(r#"{HASH},"AttributeDefinitions":[{A}],"ProvisionedThroughput":{{"ReadCapacityUnits":1,"WriteCapacityUnits":1}}"#),
            format!("{invalid}Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST"),
        ),
        (
            format!(r#"{HASH},"AttributeDefinitions":[{A}],"LocalSecondaryIndexes":[{{}}]"#),
            "ValidationException: LocalSecondaryIndexes is not supported by this endpoint".to_owned(),
        ),
        (
            format!(r#"{HASH},"AttributeDefinitions":[{A}],"StreamSpecification":{{"StreamEnabled":true}}"#),
            "ValidationException: StreamSpecification is not supported by this endpoint".to_owned(),
        ),
        (
            format!(r#"{HASH},"AttributeDefinitions":[{A}],"GlobalSecondaryIndexes":[{{"IndexName":"i-1","KeySchema":[{{"AttributeName":"a","KeyType":"HASH"}}],"Projection":{{"ProjectionType":"INCLUDE"}}}}]"#),
            format!("{invalid}ProjectionType is INCLUDE, but NonKeyAttributes is not specified"),
        ),
        (
            r#""KeySchema":[{"AttributeName":"","KeyType":"X"}]"#.to_owned(),
            "ValidationException: 2 validation errors detected: Value '' at 'keySchema.1.member.attributeName' failed to \
             satisfy constraint: Member must have length greater than or equal to 1; Value 'X' at \
             'keySchema.1.member.keyType' failed to satisfy constraint: Member must satisfy enum value set: [HASH, RANGE]"
                .to_owned(),
        ),
    ] {
        assert_eq!(create(&members), expected);
    }
}

#[test]
fn names_of_tables_are_checked() {
    let mut memory = Memory::new();
    for (name, expected) in [
        (
            "a",
            "ValidationException: TableName must be at least 3 characters long and at most 255 characters long",
        ),
        (
            "a b c",
            "ValidationException: 1 validation error detected: Value 'a b c' at 'tableName' failed to satisfy \
             constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
        ),
        ("arn:aws:dynamodb:us-east-1:1:tab", "ValidationException: Invalid TableArn"),
        (
            "arn:aws:dynamodb:us-east-1:1:table/gone",
            "ResourceNotFoundException: Requested resource not found: Table: gone not found",
        ),
    ] {
        assert_eq!(
            memory.error("DescribeTable", &format!(r#"{{"TableName":"{name}"}}"#)),
            expected
        );
    }
}

#[test]
fn a_table_is_updated_protected_and_deleted() {
    let mut memory = orders();
    memory.ok("UpdateTable", r#"{"TableName":"orders","DeletionProtectionEnabled":true}"#);
    assert_eq!(
        memory.error("DeleteTable", r#"{"TableName":"orders"}"#),
        "ValidationException: Resource cannot be deleted as it is currently protected against deletion. Disable deletion \
         protection first. Table: arn:aws:dynamodb:us-east-1:000000000000:table/orders"
    );
    memory.ok(
        "UpdateTable",
        r#"{"TableName":"orders","DeletionProtectionEnabled":false,"BillingMode":"PROVISIONED",
            "ProvisionedThroughput":{"ReadCapacityUnits":5,"WriteCapacityUnits":6}}"#,
    );
    let described = memory.ok("DescribeTable", r#"{"TableName":"orders"}"#);
    assert!(described.contains(r#""ReadCapacityUnits":5,"WriteCapacityUnits":6"#), "{described}");
    assert!(!described.contains("BillingModeSummary"), "{described}");
    let updated = memory.ok(
        "UpdateTable",
        r#"{"TableName":"orders","GlobalSecondaryIndexUpdates":[{"Delete":{"IndexName":"by-owner"}}]}"#,
    );
    assert!(!updated.contains("by-owner") && !updated.contains("owner"), "{updated}");
    memory.ok("PutItem", r#"{"TableName":"orders","Item":{"id":{"S":"a"},"line":{"N":"1"}}}"#);
    memory.ok("DeleteTable", r#"{"TableName":"orders"}"#);
    assert!(memory.rows.is_empty());
    assert_eq!(
        memory
            .error("PutItem", r#"{"TableName":"orders","Item":{"id":{"S":"a"},"line":{"N":"1"}}}"#),
        "ResourceNotFoundException: Requested resource not found"
    );
}

#[test]
fn a_new_index_is_filled_in_many_transactions() {
    let mut memory = Memory::new();
    memory.ok(
        "CreateTable",
        &format!(r#"{{"TableName":"t-1",{HASH},"AttributeDefinitions":[{A}]}}"#),
    );
    let large = "x".repeat(50_000);
    for n in 0..300 {
        let large = if n % 10 == 0 { large.as_str() } else { "" };
        memory.ok(
            "PutItem",
            &format!(r#"{{"TableName":"t-1","Item":{{"a":{{"S":"{n}"}},"b":{{"N":"{}"}},"v":{{"S":"{large}"}}}}}}"#, n % 3),
        );
    }
    memory.ok(
        "UpdateTable",
        r#"{"TableName":"t-1","AttributeDefinitions":[{"AttributeName":"b","AttributeType":"N"}],
            "GlobalSecondaryIndexUpdates":[{"Create":{"IndexName":"by-b","KeySchema":[{"AttributeName":"b","KeyType":"HASH"}],
            "Projection":{"ProjectionType":"ALL"}}}]}"#,
    );
    let count = r#"{"TableName":"t-1","IndexName":"by-b","Select":"COUNT","KeyConditionExpression":"b = :b",
        "ExpressionAttributeValues":{":b":{"N":"1"}}}"#;
    assert_eq!(memory.ok("Query", count), r#"{"Count":100,"ScannedCount":100}"#);
}

#[test]
fn tables_are_listed() {
    let mut memory = Memory::new();
    for name in ["c-3", "a-1", "b-2"] {
        memory.ok(
            "CreateTable",
            &format!(r#"{{"TableName":"{name}",{HASH},"AttributeDefinitions":[{A}]}}"#),
        );
    }
    assert_eq!(memory.ok("ListTables", "{}"), r#"{"TableNames":["a-1","b-2","c-3"]}"#);
    assert_eq!(
        memory.ok("ListTables", r#"{"Limit":1,"ExclusiveStartTableName":"a-1"}"#),
        r#"{"TableNames":["b-2"],"LastEvaluatedTableName":"b-2"}"#
    );
}
