//! Requests on items that DynamoDB refuses, with its texts, and what writes return.

use super::orders;

const KEY: &str = r#""TableName":"orders","Key":{"id":{"S":"a"},"line":{"N":"1"}}"#;

#[test]
fn requests_that_dynamodb_refuses_get_its_texts() {
    let mut memory = orders();
    let invalid = "One or more parameter values were invalid: ";
    for (operation, body, expected) in [
        ("PutItem", r#""TableName":"orders","Item":{"id":{"S":"a"}}"#.to_owned(), format!("{invalid}Missing the key line in the item")),
        (
            "PutItem",
            r#""TableName":"orders","Item":{"id":{"N":"1"},"line":{"N":"1"}}"#.to_owned(),
            format!("{invalid}Type mismatch for key id expected: S actual: N"),
        ),
        (
            "PutItem",
            r#""TableName":"orders","Item":{"id":{"S":""},"line":{"N":"1"}}"#.to_owned(),
            "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty \
             string value. Key: id"
                .to_owned(),
        ),
        (
            "PutItem",
            r#""TableName":"orders","Item":{"id":{"S":"a"},"line":{"N":"1"},"owner":{"N":"1"}}"#.to_owned(),
            format!("{invalid}Type mismatch for Index Key owner Expected: S Actual: N IndexName: by-owner"),
        ),
        ("GetItem", r#""TableName":"orders","Key":{"id":{"S":"a"}}"#.to_owned(), "The provided key element does not match the schema".to_owned()),
        (
            "UpdateItem",
            format!(r#"{KEY},"AttributeUpdates":{{}},"ConditionExpression":"a = b""#),
            "Can not use both expression and non-expression parameters in the same request: Non-expression parameters: \
             {AttributeUpdates} Expression parameters: {ConditionExpression}"
                .to_owned(),
        ),
        (
            "UpdateItem",
            format!(r#"{KEY},"ExpressionAttributeValues":{{":a":{{"N":"1"}}}}"#),
            "ExpressionAttributeValues can only be specified when using expressions: UpdateExpression and \
             ConditionExpression are null"
                .to_owned(),
        ),
        (
            "UpdateItem",
            format!(r#"{KEY},"UpdateExpression":"SET b = :a","ExpressionAttributeValues":{{":a":{{"N":"1"}},":c":{{"N":"1"}},":b":{{"N":"1"}}}}"#),
            "Value provided in ExpressionAttributeValues unused in expressions: keys: {:b, :c}".to_owned(),
        ),
        (
            "UpdateItem",
            format!(r#"{KEY},"UpdateExpression":"SET id = :a","ExpressionAttributeValues":{{":a":{{"N":"1"}}}}"#),
            format!("{invalid}Cannot update attribute id. This attribute is part of the key"),
        ),
        (
            "UpdateItem",
            format!(r#"{KEY},"AttributeUpdates":{{"x":{{"Action":"PUT"}}}}"#),
            format!("{invalid}Only DELETE action is allowed when no attribute value is specified"),
        ),
        (
            "UpdateItem",
            format!(r#"{KEY},"AttributeUpdates":{{"x":{{"Action":"ADD","Value":{{"S":"a"}}}}}}"#),
            format!("{invalid}ADD action is not supported for the type S"),
        ),
        (
            "UpdateItem",
            format!(r#"{KEY},"AttributeUpdates":{{"x":{{"Action":"SET"}}}}"#),
            "1 validation error detected: Value 'SET' at 'attributeUpdates.x.member.action' failed to satisfy constraint: \
             Member must satisfy enum value set: [ADD, DELETE, PUT]"
                .to_owned(),
        ),
        (
            "DeleteItem",
            format!(r#"{KEY},"Expected":{{"x":{{"Exists":true}}}}"#),
            format!("{invalid}Value must be provided when Exists is true for Attribute: x"),
        ),
        (
            "DeleteItem",
            format!(r#"{KEY},"Expected":{{"x":{{"ComparisonOperator":"BETWEEN","AttributeValueList":[{{"N":"1"}}]}}}}"#),
            format!("{invalid}Invalid number of argument(s) for the BETWEEN ComparisonOperator"),
        ),
        ("DeleteItem", format!(r#"{KEY},"ConditionalOperator":"OR""#), "ConditionalOperator cannot be used without Filter or Expected".to_owned()),
        ("DeleteItem", format!(r#"{KEY},"ReturnValues":"ALL_NEW""#), "Return values set to invalid value".to_owned()),
        (
            "Query",
            r#""TableName":"orders","IndexName":"gone","KeyConditionExpression":"id = :a","ExpressionAttributeValues":{":a":{"S":"a"}}"#.to_owned(),
            "The table does not have the specified index: gone".to_owned(),
        ),
        (
            "Query",
            r#""TableName":"orders","KeyConditionExpression":"line = :a","ExpressionAttributeValues":{":a":{"N":"1"}}"#.to_owned(),
            "Query condition missed key schema element: id".to_owned(),
        ),
        (
            "Query",
            r#""TableName":"orders","KeyConditionExpression":"id = :a","FilterExpression":"line = :a","ExpressionAttributeValues":{":a":{"S":"1"}}"#.to_owned(),
            "Filter Expression can only contain non-primary key attributes: Primary key attribute: line".to_owned(),
        ),
        ("Query", r#""TableName":"orders""#.to_owned(), "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.".to_owned()),
        (
            "Scan",
            r#""TableName":"orders","Segment":2,"TotalSegments":2"#.to_owned(),
            "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: 2 is not less \
             than TotalSegments: 2"
                .to_owned(),
        ),
        ("Scan", r#""TableName":"orders","IndexName":"by-owner","ConsistentRead":true"#.to_owned(), "Consistent reads are not supported on global secondary indexes".to_owned()),
    ] {
        let error = memory.error(operation, &format!("{{{body}}}"));
        assert_eq!(error, format!("ValidationException: {expected}"), "{operation} {body}");
    }
}

#[test]
fn a_value_of_a_wrong_type_is_named_in_the_words_of_the_style() {
    let mut memory = orders();
    memory.ok(
        "PutItem",
        r#"{"TableName":"orders","Item":{"id":{"S":"a"},"line":{"N":"1"},"t":{"S":"x"}}}"#,
    );
    let legacy =
        format!(r#"{{{KEY},"AttributeUpdates":{{"t":{{"Action":"ADD","Value":{{"N":"1"}}}}}}}}"#);
    assert_eq!(
        memory.error("UpdateItem", &legacy),
        "ValidationException: Type mismatch for attribute to update"
    );
    let expression = format!(
        r#"{{{KEY},"UpdateExpression":"ADD t :n","ExpressionAttributeValues":{{":n":{{"N":"1"}}}}}}"#
    );
    assert_eq!(
        memory.error("UpdateItem", &expression),
        "ValidationException: An operand in the update expression has an incorrect data type"
    );
}

#[test]
fn an_item_of_more_than_400_kb_is_refused() {
    let mut memory = orders();
    let put = |bytes: usize| {
        let text = "x".repeat(bytes);
        format!(
            r#"{{"TableName":"orders","Item":{{"id":{{"S":"a"}},"line":{{"N":"1"}},"v":{{"S":"{text}"}}}}}}"#
        )
    };
    memory.ok("PutItem", &put(409_000));
    assert_eq!(
        memory.error("PutItem", &put(409_600)),
        "ValidationException: Item size has exceeded the maximum allowed size"
    );
    let double = format!(r#"{{{KEY},"UpdateExpression":"SET w = v"}}"#);
    assert_eq!(
        memory.error("UpdateItem", &double),
        "ValidationException: Item size to update has exceeded the maximum allowed size"
    );
}

#[test]
fn writes_return_the_attributes_that_were_asked_for() {
    let mut memory = orders();
    let mut update = |members: &str| memory.ok("UpdateItem", &format!("{{{KEY},{members}}}"));
    assert_eq!(
        update(
            r#""UpdateExpression":"SET p = :one","ExpressionAttributeValues":{":one":{"N":"1"}},"ReturnValues":"ALL_NEW""#
        ),
        r#"{"Attributes":{"id":{"S":"a"},"line":{"N":"1"},"p":{"N":"1"}}}"#
    );
    let add = r#""UpdateExpression":"ADD p :two","ExpressionAttributeValues":{":two":{"N":"2"}},"ReturnValues":"#;
    assert_eq!(update(&format!(r#"{add}"UPDATED_NEW""#)), r#"{"Attributes":{"p":{"N":"3"}}}"#);
    assert_eq!(update(&format!(r#"{add}"UPDATED_OLD""#)), r#"{"Attributes":{"p":{"N":"3"}}}"#);
    assert_eq!(
        update(&format!(r#"{add}"ALL_OLD","ReturnConsumedCapacity":"INDEXES""#)),
        "{\"Attributes\":{\"id\":{\"S\":\"a\"},\"line\":{\"N\":\"1\"},\"p\":{\"N\":\"5\"}},\"ConsumedCapacity\":\
         {\"TableName\":\"orders\",\"CapacityUnits\":1.0,\"Table\":{\"CapacityUnits\":1.0}}}"
    );
    assert_eq!(update(&format!(r#"{add}"NONE""#)), "{}");
    let delete = format!(r#"{{{KEY},"ReturnValues":"ALL_OLD"}}"#);
    assert_eq!(
        memory.ok("DeleteItem", &delete),
        r#"{"Attributes":{"id":{"S":"a"},"line":{"N":"1"},"p":{"N":"9"}}}"#
    );
    assert_eq!(memory.ok("DeleteItem", &delete), "{}");
}

#[test]
fn conditions_of_the_older_style_are_joined() {
    let mut memory = orders();
    memory.ok("PutItem", r#"{"TableName":"orders","Item":{"id":{"S":"a"},"line":{"N":"1"},"n":{"N":"5"},"s":{"SS":["x","y"]},"t":{"S":"text"}}}"#);
    let mut holds = |expected: &str, operator: &str| {
        let body = format!(r#"{{{KEY},"AttributeUpdates":{{}},"Expected":{expected}{operator}}}"#);
        memory.call("UpdateItem", &body).is_ok()
    };
    for (operator, values, expected) in [
        ("EQ", r#"[{"N":"5.0"}]"#, true),
        ("NE", r#"[{"N":"5.0"}]"#, false),
        ("NE", r#"[{"S":"5"}]"#, true),
        ("LT", r#"[{"N":"10"}]"#, true),
        ("GE", r#"[{"N":"5"}]"#, true),
        ("GT", r#"[{"S":"0"}]"#, false),
        ("BETWEEN", r#"[{"N":"4"},{"N":"5"}]"#, true),
        ("IN", r#"[{"N":"1"},{"N":"2"},{"N":"5"}]"#, true),
        ("NOT_NULL", "[]", true),
        ("NULL", "[]", false),
    ] {
        let condition = format!(
            r#"{{"n":{{"ComparisonOperator":"{operator}","AttributeValueList":{values}}}}}"#
        );
        assert_eq!(holds(&condition, ""), expected, "{condition}");
    }
    assert!(holds(
        r#"{"t":{"ComparisonOperator":"BEGINS_WITH","AttributeValueList":[{"S":"te"}]}}"#,
        ""
    ));
    assert!(holds(r#"{"s":{"ComparisonOperator":"CONTAINS","Value":{"S":"x"}}}"#, ""));
    assert!(holds(r#"{"s":{"ComparisonOperator":"NOT_CONTAINS","Value":{"S":"z"}}}"#, ""));
    assert!(holds(r#"{"s":{"Value":{"SS":["y","x"]}}}"#, ""));
    let two = r#"{"n":{"Value":{"N":"5"}},"t":{"Value":{"S":"other"}}}"#;
    assert!(!holds(two, ""));
    assert!(!holds(two, r#","ConditionalOperator":"AND""#));
    assert!(holds(two, r#","ConditionalOperator":"OR""#));
}
