//! Query and Scan: order, limits, pages, indexes, projections.

use serde_json::Value;

use super::{Memory, orders};

/// Twenty items: two hash keys with ten range keys each, every second one with an owner.
fn filled() -> Memory {
    let mut memory = orders();
    for id in ["a", "b"] {
        for line in [-20, -3, -1, 0, 1, 2, 10, 11, 100, 200] {
            let owner = if line % 2 == 0 { r#","owner":{"S":"me"}"# } else { "" };
            memory.ok(
                "PutItem",
                &format!(
                    r#"{{"TableName":"orders","Item":{{"id":{{"S":"{id}"}},"line":{{"N":"{line}"}},"note":{{"S":"n{line}"}},"x":{{"N":"1"}}{owner}}}}}"#
                ),
            );
        }
    }
    memory
}

/// Reads all pages. Returns the range keys in order.
fn lines(memory: &mut Memory, operation: &str, members: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut start = String::new();
    loop {
        let body = format!(r#"{{"TableName":"orders"{members}{start}}}"#);
        let page: Value = serde_json::from_str(&memory.ok(operation, &body)).unwrap();
        let items = page["Items"].as_array().unwrap();
        lines.extend(items.iter().map(|item| item["line"]["N"].as_str().unwrap().to_owned()));
        match page.get("LastEvaluatedKey") {
            Some(key) => start = format!(r#","ExclusiveStartKey":{key}"#),
            None => return lines,
        }
    }
}

fn query(memory: &mut Memory, condition: &str, values: &str, extra: &str) -> String {
    let members = format!(
        r#","KeyConditionExpression":"id = :id{condition}","ExpressionAttributeValues":{{":id":{{"S":"a"}}{values}}}{extra}"#
    );
    lines(memory, "Query", &members).join(" ")
}

#[test]
fn a_query_is_in_the_order_of_the_range_key() {
    let mut memory = filled();
    let all = "-20 -3 -1 0 1 2 10 11 100 200";
    let reversed = "200 100 11 10 2 1 0 -1 -3 -20";
    for limit in ["", r#","Limit":1"#, r#","Limit":3"#, r#","Limit":10"#, r#","Limit":100"#] {
        assert_eq!(query(&mut memory, "", "", limit), all, "{limit}");
        let backward = format!(r#"{limit},"ScanIndexForward":false"#);
        assert_eq!(query(&mut memory, "", "", &backward), reversed, "{limit}");
    }
    memory.max_rows = 2;
    assert_eq!(query(&mut memory, "", "", ""), all);
}

#[test]
fn a_query_has_conditions_on_the_range_key() {
    let mut memory = filled();
    let one = r#",":n":{"N":"1.0"}"#;
    for (condition, expected) in [
        (" AND line = :n", "1"),
        (" AND line < :n", "-20 -3 -1 0"),
        (" AND line <= :n", "-20 -3 -1 0 1"),
        (" AND line > :n", "2 10 11 100 200"),
        (" AND line >= :n", "1 2 10 11 100 200"),
        (" AND :n > line", "-20 -3 -1 0"),
    ] {
        for extra in ["", r#","Limit":2"#] {
            assert_eq!(query(&mut memory, condition, one, extra), expected, "{condition}");
        }
    }
    let two = r#",":n":{"N":"-3"},":m":{"N":"10"}"#;
    assert_eq!(query(&mut memory, " AND line BETWEEN :n AND :m", two, ""), "-3 -1 0 1 2 10");
    let legacy = r#","KeyConditions":{"id":{"ComparisonOperator":"EQ","AttributeValueList":[{"S":"a"}]},
        "line":{"ComparisonOperator":"GE","AttributeValueList":[{"N":"100"}]}}"#;
    assert_eq!(lines(&mut memory, "Query", legacy), ["100", "200"]);
    let filter = r#","FilterExpression":"note = :note""#;
    assert_eq!(query(&mut memory, "", r#",":note":{"S":"n10"}"#, filter), "10");
}

#[test]
fn an_index_has_the_items_with_its_key_and_the_projected_attributes() {
    let mut memory = filled();
    let body = r##"{"TableName":"orders","IndexName":"by-owner","KeyConditionExpression":"#own = :o",
        "ExpressionAttributeNames":{"#own":"owner"},"ExpressionAttributeValues":{":o":{"S":"me"}},"Limit":5}"##;
    let page: Value = serde_json::from_str(&memory.ok("Query", body)).unwrap();
    assert_eq!(page["Count"], 5);
    let mut names: Vec<_> = page["Items"][0].as_object().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["id", "line", "note", "owner"]);
    let mut names: Vec<_> = page["LastEvaluatedKey"].as_object().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["id", "line", "owner"]);
    let members = r##","IndexName":"by-owner","KeyConditionExpression":"#own = :o","ExpressionAttributeNames":{"#own":"owner"},"ExpressionAttributeValues":{":o":{"S":"me"}},"Limit":5"##;
    assert_eq!(lines(&mut memory, "Query", members).len(), 12);
    assert_eq!(lines(&mut memory, "Scan", r#","IndexName":"by-owner","Limit":5"#).len(), 12);
}

#[test]
fn segments_of_a_scan_have_each_item_once() {
    let mut memory = filled();
    for total in [1, 2, 3, 10] {
        let mut all = Vec::new();
        for segment in 0..total {
            let members = format!(r#","Segment":{segment},"TotalSegments":{total},"Limit":3"#);
            all.extend(lines(&mut memory, "Scan", &members));
        }
        assert_eq!(all.len(), 20, "{total}");
    }
}

#[test]
fn parts_of_items_are_returned() {
    let mut memory = orders();
    memory.ok(
        "PutItem",
        r#"{"TableName":"orders","Item":{"id":{"S":"a"},"line":{"N":"1"},"m":{"M":{"p":{"N":"1"},"q":{"L":[{"N":"0"},{"N":"1"},{"N":"2"}]}}}}}"#,
    );
    for (projection, expected) in [
        ("id, m.p", r#"{"id":{"S":"a"},"m":{"M":{"p":{"N":"1"}}}}"#),
        ("m.q[2], m.q[0]", r#"{"m":{"M":{"q":{"L":[{"N":"0"},{"N":"2"}]}}}}"#),
        ("m.gone, m.q[7], absent", "{}"),
    ] {
        let body = format!(
            r#"{{"TableName":"orders","Key":{{"id":{{"S":"a"}},"line":{{"N":"1"}}}},"ProjectionExpression":"{projection}"}}"#
        );
        assert_eq!(
            memory.ok("GetItem", &body),
            format!(r#"{{"Item":{expected}}}"#),
            "{projection}"
        );
    }
    let count = r#"{"TableName":"orders","Select":"COUNT","ReturnConsumedCapacity":"TOTAL"}"#;
    assert_eq!(
        memory.ok("Scan", count),
        r#"{"Count":1,"ScannedCount":1,"ConsumedCapacity":{"TableName":"orders","CapacityUnits":0.5}}"#
    );
}

#[test]
fn a_page_ends_at_one_megabyte() {
    let mut memory = orders();
    let large = "x".repeat(300_000);
    for line in 0..6 {
        memory.ok(
            "PutItem",
            &format!(r#"{{"TableName":"orders","Item":{{"id":{{"S":"a"}},"line":{{"N":"{line}"}},"v":{{"S":"{large}"}}}}}}"#),
        );
    }
    let page: Value =
        serde_json::from_str(&memory.ok("Scan", r#"{"TableName":"orders"}"#)).unwrap();
    assert_eq!(page["Count"], 4);
    assert_eq!(lines(&mut memory, "Scan", "").len(), 6);
}
