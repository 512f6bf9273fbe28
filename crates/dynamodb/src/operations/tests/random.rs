//! Random calls: no body causes a panic, and an index always agrees with its table.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Memory, orders};

const BODIES: [(&str, &str); 9] = [
    (
        "PutItem",
        r#"{"TableName":"orders","Item":{"id":{"S":"a"},"line":{"N":"1"},"x":{"L":[{"SS":["a"]},{"M":{"p":{"BOOL":true}}}]}},"Expected":{"x":{"Exists":false}}}"#,
    ),
    (
        "PutItem",
        r##"{"TableName":"orders","Item":{"id":{"S":"a"},"line":{"N":"1e3"}},"ConditionExpression":"#a = :b AND size(c.d[1]) > :c","ExpressionAttributeNames":{"#a":"a"},"ExpressionAttributeValues":{":b":{"B":"AA=="},":c":{"N":"-0.5"}}}"##,
    ),
    (
        "UpdateItem",
        r#"{"TableName":"orders","Key":{"id":{"S":"a"},"line":{"N":"1"}},"UpdateExpression":"SET a = if_not_exists(a, :n) + :n REMOVE b[1], c ADD d :n","ExpressionAttributeValues":{":n":{"N":"1"}},"ReturnValues":"UPDATED_NEW"}"#,
    ),
    (
        "UpdateItem",
        r#"{"TableName":"orders","Key":{"id":{"S":"a"},"line":{"N":"1"}},"AttributeUpdates":{"a":{"Action":"ADD","Value":{"N":"1"}},"b":{"Action":"DELETE"}},"Expected":{"a":{"ComparisonOperator":"BETWEEN","AttributeValueList":[{"N":"1"},{"N":"2"}]}}}"#,
    ),
    (
        "DeleteItem",
        r#"{"TableName":"orders","Key":{"id":{"S":"a"},"line":{"N":"1"}},"ReturnValues":"ALL_OLD"}"#,
    ),
    (
        "Query",
        r#"{"TableName":"orders","KeyConditionExpression":"id = :a AND line BETWEEN :b AND :c","ExpressionAttributeValues":{":a":{"S":"a"},":b":{"N":"1"},":c":{"N":"2"}},"Limit":3,"ExclusiveStartKey":{"id":{"S":"a"},"line":{"N":"1"}}}"#,
    ),
    (
        "Scan",
        r#"{"TableName":"orders","Segment":1,"TotalSegments":3,"ScanFilter":{"x":{"ComparisonOperator":"NULL"}}}"#,
    ),
    (
        "TransactWriteItems",
        r#"{"TransactItems":[{"Delete":{"TableName":"orders","Key":{"id":{"S":"a"},"line":{"N":"1"}}}}],"ClientRequestToken":"t"}"#,
    ),
    (
        "UpdateTable",
        r#"{"TableName":"orders","GlobalSecondaryIndexUpdates":[{"Delete":{"IndexName":"by-owner"}}],"BillingMode":"PROVISIONED","ProvisionedThroughput":{"ReadCapacityUnits":1,"WriteCapacityUnits":1}}"#,
    ),
];

/// One change of an item: its key, its owner, and the kind of call.
fn change() -> impl Strategy<Value = (u8, u8, Option<u8>, u8)> {
    (0..3_u8, 0..3_u8, proptest::option::of(0..3_u8), 0..4_u8)
}

fn run(memory: &mut Memory, (id, line, owner, kind): (u8, u8, Option<u8>, u8)) {
    let key = format!(r#""id":{{"S":"{id}"}},"line":{{"N":"{line}"}}"#);
    let value = owner.map(|owner| format!(r#""owner":{{"S":"{owner}"}}"#));
    let (operation, members) = match (kind, value) {
        (0, value) => {
            let value = value.map(|value| format!(",{value}")).unwrap_or_default();
            ("PutItem", format!(r#""Item":{{{key}{value},"note":{{"S":"n"}}}}"#))
        }
        (1, _) => ("DeleteItem", format!(r#""Key":{{{key}}}"#)),
        (_, Some(_)) => {
            let owner = owner.unwrap_or_default();
            let updates = format!(r#""owner":{{"Action":"PUT","Value":{{"S":"{owner}"}}}}"#);
            ("UpdateItem", format!(r#""Key":{{{key}}},"AttributeUpdates":{{{updates}}}"#))
        }
        (_, None) => {
            let updates = r#""owner":{"Action":"DELETE"}"#;
            ("UpdateItem", format!(r#""Key":{{{key}}},"AttributeUpdates":{{{updates}}}"#))
        }
    };
    memory.ok(operation, &format!(r#"{{"TableName":"orders",{members}}}"#));
}

proptest! {
    #[test]
    fn no_body_makes_an_operation_panic(sample in 0..BODIES.len(), edits in vec((any::<usize>(), any::<u8>(), 0..3_u8), 0..4)) {
        let (operation, body) = BODIES[sample];
        let mut body = body.as_bytes().to_vec();
        for (at, byte, kind) in edits {
            let at = at % body.len().max(1);
            match kind {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => drop(body.remove(at)),
            }
        }
        // A storage in memory asserts what it is told to write.
        let _ = orders().call(operation, &String::from_utf8_lossy(&body));
    }

    #[test]
    fn an_index_agrees_with_its_table(changes in vec(change(), 0..40)) {
        let mut memory = orders();
        for change in changes {
            // The storage in memory compares every index with its table after each call.
            run(&mut memory, change);
        }
        let all: serde_json::Value = serde_json::from_str(&memory.ok("Scan", r#"{"TableName":"orders"}"#)).unwrap();
        let items = all["Items"].as_array().unwrap();
        for owner in ["0", "1", "2"] {
            let body = format!(
                r##"{{"TableName":"orders","IndexName":"by-owner","KeyConditionExpression":"#own = :o","ExpressionAttributeNames":{{"#own":"owner"}},"ExpressionAttributeValues":{{":o":{{"S":"{owner}"}}}}}}"##
            );
            let page: serde_json::Value = serde_json::from_str(&memory.ok("Query", &body)).unwrap();
            let owned = items.iter().filter(|item| item["owner"]["S"] == owner);
            prop_assert_eq!(page["Count"].as_u64(), Some(owned.count() as u64));
        }
    }
}
