//! The languages: texts of errors, evaluation, and properties.

use proptest::prelude::*;

use super::condition::{Comparator, Operand};
use super::*;
use crate::value::tests::{attributes, parsed, printed, value};
use crate::value::{Attributes, Value};

const VALUES: &str = r#"{":n":{"N":"5"},":m":{"N":"3"},":s":{"S":"b"},":l":{"L":[{"N":"1"}]},":ss":{"SS":["x"]},":bool":{"BOOL":true},":type":{"S":"N"}}"#;
const ITEM: &str = r#"{"n":{"N":"5.0"},"s":{"S":"abc"},"l":{"L":[{"N":"1"},{"N":"2"},{"N":"3"}]},"ss":{"SS":["x","y"]},
    "m":{"M":{"p":{"N":"1"},"q":{"L":[{"M":{"r":{"S":"deep"}}}]}}},"bool":{"BOOL":true}}"#;

fn placeholders() -> Placeholders {
    let names = [("#m", "m"), ("#dot", "a.b"), ("#status", "status")];
    let names = names.map(|(key, name)| (key.to_owned(), name.to_owned())).into();
    Placeholders::new(Some(names), Some(parsed(VALUES))).unwrap()
}

fn condition(text: &str) -> Result<Condition, String> {
    let parsed = Condition::parse("ConditionExpression", text, &mut placeholders());
    parsed.map_err(|error| error.to_string().replace("Invalid ConditionExpression: ", ""))
}

fn updated(text: &str) -> String {
    let update = Update::parse(text, &mut placeholders());
    let applied = update.and_then(|update| update.apply(&parsed(ITEM)));
    match applied {
        Ok(item) => {
            let old = parsed(ITEM);
            let removed =
                old.keys().filter(|name| !item.contains_key(*name)).map(|name| format!("-{name}"));
            let changed: Attributes = item
                .iter()
                .filter(|(name, value)| old.get(*name) != Some(value))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            format!("{}{}", printed(&changed), removed.collect::<String>())
        }
        Err(error) => error.to_string().replace("Invalid UpdateExpression: ", ""),
    }
}

#[test]
fn conditions_hold_or_not() {
    for (text, expected) in [
        ("n = :n", true),
        ("n <> :n", false),
        ("gone <> :n", true),
        ("gone = :n", false),
        ("gone < :n", false),
        ("n >= :n and n <= :n", true),
        ("n > :m AND NOT n < :m", true),
        ("s < :n", false),
        ("s > :s", false),
        ("n BETWEEN :m AND :n", true),
        ("n IN (:m, :s, :n)", true),
        ("gone IN (:m)", false),
        ("attribute_exists(#m.q[0].r)", true),
        ("attribute_exists (m.q[1])", true),
        ("attribute_not_exists(#dot)", true),
        ("attribute_type(n, :type)", true),
        ("attribute_type(s, :type)", false),
        ("begins_with(s, :s)", false),
        ("contains(s, :s)", true),
        ("contains(l, :m)", true),
        ("contains(ss, :s)", false),
        ("size(s) = :m", true),
        ("size(l) = size(s)", true),
        ("size(n) = :m", false),
        ("n = :m OR s = :s OR n = :n", true),
        ("n = :m AND s = :s OR n = :n", true),
        ("n = :m AND (s = :s OR n = :n)", false),
        ("(n = :n) AND (n = :n)", true),
        ("NOT NOT n = :n", true),
        (":bool = bool", true),
    ] {
        let expected = if text.contains("q[1]") { false } else { expected };
        assert_eq!(
            condition(text).map(|condition| condition.holds(&parsed(ITEM))),
            Ok(expected),
            "{text}"
        );
    }
}

#[test]
fn faulty_conditions_get_the_texts_of_dynamodb() {
    for (text, expected) in [
        ("", "The expression can not be empty;"),
        ("n = ", "Syntax error; token: \"<EOF>\", near: \"=\""),
        ("n AND s", "Syntax error; token: \"AND\", near: \"n AND s\""),
        ("n == :n", "Syntax error; token: \"=\", near: \"== :n\""),
        ("n = :n)", "Syntax error; token: \")\", near: \":n)\""),
        ("n = !", "Syntax error; token: \"!\", near: \"= !\""),
        ("5 = :n", "Syntax error; token: \"5\", near: \"5 =\""),
        (
            "n = :gone",
            "An expression attribute value used in expression is not defined; attribute value: :gone",
        ),
        (
            "#gone = :n",
            "An expression attribute name used in the document path is not defined; attribute name: #gone",
        ),
        ("status = :n", "Attribute name is a reserved keyword; reserved keyword: status"),
        ("m.Status = :n", "Attribute name is a reserved keyword; reserved keyword: Status"),
        ("foo(n)", "Invalid function name; function: foo"),
        (
            "size(n)",
            "The function is not allowed to be used this way in an expression; function: size",
        ),
        (
            "n = attribute_exists(n)",
            "The function is not allowed to be used this way in an expression; function: attribute_exists",
        ),
        (
            "attribute_exists(n) = :n",
            "The function is not allowed to be used this way in an expression; function: attribute_exists",
        ),
        (
            "attribute_exists(n, s)",
            "Incorrect number of operands for operator or function; operator or function: attribute_exists, number of operands: 2",
        ),
        (
            "attribute_exists(:n)",
            "Operator or function requires a document path; operator or function: attribute_exists",
        ),
        (
            "attribute_type(n, :s)",
            "Invalid attribute type name found; type: b, valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}",
        ),
        (
            "begins_with(s, :n)",
            "Incorrect operand type for operator or function; operator or function: begins_with, operand type: N",
        ),
        (
            "n < :bool",
            "Incorrect operand type for operator or function; operator or function: <, operand type: BOOL",
        ),
        (
            "n = n",
            "The first operand must be distinct from the remaining operands for this operator or function; operator: =, first operand: [n]",
        ),
        (
            "n BETWEEN :n AND :m",
            "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound operand: AttributeValue: {N:5}, upper bound operand: AttributeValue: {N:3}",
        ),
        ("((n = :n))", "The expression has redundant parentheses;"),
        ("((n = :n AND s = :s))", "The expression has redundant parentheses;"),
    ] {
        assert_eq!(condition(text), Err(expected.to_owned()), "{text}");
    }
    assert!(condition("((n = :n) AND (s = :s))").is_ok());
    assert_eq!(
        condition(&format!("n = :n{}", " ".repeat(4096))),
        Err("Expression size has exceeded the maximum allowed size; expression size: 4102"
            .to_owned())
    );
    assert!(
        condition(&"NOT ".repeat(1000)).unwrap_err().starts_with("The expression is nested deeper")
    );
    assert!(
        condition(&"(".repeat(4000)).unwrap_err().starts_with("The expression is nested deeper")
    );
    assert!(
        condition(&format!("n{} = :n", "[0]".repeat(1000)))
            .unwrap_err()
            .starts_with("The expression is nested")
    );
}

#[test]
fn updates_change_items() {
    for (text, expected) in [
        ("SET n = n + :m", r#"{"n":{"N":"8"}}"#),
        ("SET n = :m - n", r#"{"n":{"N":"-2"}}"#),
        ("SET a = n, n = :m", r#"{"a":{"N":"5"},"n":{"N":"3"}}"#),
        ("SET n = if_not_exists(n, :m), a = if_not_exists(gone, :m) + :m", r#"{"a":{"N":"6"}}"#),
        ("SET l = list_append(l, :l)", r#"{"l":{"L":[{"N":"1"},{"N":"2"},{"N":"3"},{"N":"1"}]}}"#),
        (
            "SET l = list_append(:l, if_not_exists(gone, :l))",
            r#"{"l":{"L":[{"N":"1"},{"N":"1"}]}}"#,
        ),
        ("SET l[1] = :s, l[9] = :n", r#"{"l":{"L":[{"N":"1"},{"S":"b"},{"N":"3"},{"N":"5"}]}}"#),
        ("REMOVE l[0], l[2]", r#"{"l":{"L":[{"N":"2"}]}}"#),
        ("REMOVE l[2], l[0], gone", r#"{"l":{"L":[{"N":"2"}]}}"#),
        (
            "SET m.x = :n REMOVE m.p",
            r#"{"m":{"M":{"q":{"L":[{"M":{"r":{"S":"deep"}}}]},"x":{"N":"5"}}}}"#,
        ),
        ("set #m.q[0].r = :s", r#"{"m":{"M":{"p":{"N":"1"},"q":{"L":[{"M":{"r":{"S":"b"}}}]}}}}"#),
        ("REMOVE n, s", "{}-n-s"),
        ("ADD n :m, a :m", r#"{"a":{"N":"3"},"n":{"N":"8"}}"#),
        ("DELETE ss :ss ADD b :ss", r#"{"b":{"SS":["x"]},"ss":{"SS":["y"]}}"#),
        ("DELETE gone :ss", "{}"),
    ] {
        assert_eq!(updated(text), expected, "{text}");
    }
    let emptied = Update::parse("DELETE ss :ss", &mut placeholders()).unwrap();
    assert_eq!(printed(&emptied.apply(&parsed(r#"{"ss":{"SS":["x"]}}"#)).unwrap()), "{}");
}

#[test]
fn faulty_updates_get_the_texts_of_dynamodb() {
    let wrong_type = "An operand in the update expression has an incorrect data type";
    let wrong_path = "The document path provided in the update expression is invalid for update";
    for (text, expected) in [
        (
            "SET n = :m SET s = :s",
            "The \"SET\" section can only be used once in an update expression;",
        ),
        ("n = :m", "Syntax error; token: \"n\", near: \"n =\""),
        ("SET n :m", "Syntax error; token: \":m\", near: \"n :m\""),
        ("SET n = :m,", "Syntax error; token: \"<EOF>\", near: \",\""),
        ("SET n = n + n + n", "Syntax error; token: \"+\", near: \"n + n\""),
        (
            "SET m = :m, m.p = :n",
            "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [m], path two: [m, p]",
        ),
        (
            "SET m.p = :m, m[1] = :n",
            "Two document paths conflict with each other; must remove or rewrite one of these paths; path one: [m, p], path two: [m, [1]]",
        ),
        ("SET n = size(s)", "The function is not allowed in an update expression; function: size"),
        ("SET n = foo(s)", "Invalid function name; function: foo"),
        (
            "SET n = if_not_exists(:n, :n)",
            "Operator or function requires a document path; operator or function: if_not_exists",
        ),
        (
            "SET n = list_append(n)",
            "Incorrect number of operands for operator or function; operator or function: list_append, number of operands: 1",
        ),
        (
            "SET n = n + :s",
            "Incorrect operand type for operator or function; operator or function: +, operand type: S",
        ),
        (
            "ADD n :s",
            "Incorrect operand type for operator or function; operator: ADD, operand type: STRING, typeSet: ALLOWED_FOR_ADD_OPERAND",
        ),
        (
            "DELETE n :n",
            "Incorrect operand type for operator or function; operator: DELETE, operand type: NUMBER, typeSet: ALLOWED_FOR_DELETE_OPERAND",
        ),
        ("ADD n s", "Syntax error; token: \"s\", near: \"n s\""),
        (
            "SET n = gone",
            "The provided expression refers to an attribute that does not exist in the item",
        ),
        ("SET n = s + :m", wrong_type),
        ("ADD s :n", wrong_type),
        ("SET l = list_append(n, :l)", wrong_type),
        ("SET gone.x = :n", wrong_path),
        ("SET n.x = :n", wrong_path),
        ("REMOVE gone.x", wrong_path),
    ] {
        assert_eq!(updated(text), expected, "{text}");
    }
}

#[test]
fn an_update_that_multiplies_a_large_value_stops_early() {
    let item = Attributes::from([("v".to_owned(), Value::S("x".repeat(390_000)))]);
    let sets: Vec<_> = (0..500).map(|n| format!("a{n}=v")).collect();
    let update = Update::parse(&format!("SET {}", sets.join(",")), &mut placeholders()).unwrap();
    assert!(update.apply(&item).unwrap_err().to_string().starts_with("Item size to update"));
    let values = Attributes::from([(":v".to_owned(), Value::S("x".repeat(390_000)))]);
    let mut placeholders = Placeholders::new(None, Some(values)).unwrap();
    let text = format!("n IN ({})", vec![":v"; 500].join(","));
    assert!(Condition::parse("FilterExpression", &text, &mut placeholders).is_err());
}

#[test]
fn placeholders_are_checked() {
    let error = |names: &[(&str, &str)], values: &str| {
        let names =
            names.iter().map(|(key, name)| ((*key).to_owned(), (*name).to_owned())).collect();
        Placeholders::new(Some(names), Some(parsed(values))).unwrap_err().to_string()
    };
    assert_eq!(error(&[], "{}"), "ExpressionAttributeNames must not be empty");
    assert_eq!(error(&[("#a", "a")], "{}"), "ExpressionAttributeValues must not be empty");
    assert_eq!(
        error(&[("a", "a")], "{}"),
        "ExpressionAttributeNames contains invalid key: Syntax error; key: \"a\""
    );
    assert_eq!(
        error(&[("#a", "a")], r#"{":":{"N":"1"}}"#),
        "ExpressionAttributeValues contains invalid key: Syntax error; key: \":\""
    );
    let mut given = placeholders();
    Condition::parse("ConditionExpression", "#m = :n AND #dot = :s", &mut given).unwrap();
    assert_eq!(
        given.check_used().unwrap_err().to_string(),
        "Value provided in ExpressionAttributeNames unused in expressions: keys: {#status}"
    );
}

/// Texts made of the words of the languages.
fn text() -> impl Strategy<Value = String> {
    let words = [
        "SET",
        "REMOVE",
        "ADD",
        "DELETE",
        "AND",
        "OR",
        "NOT",
        "BETWEEN",
        "IN",
        "(",
        ")",
        ",",
        ".",
        "[",
        "]",
        "0",
        "1",
        "=",
        "<>",
        "<",
        ">=",
        "+",
        "-",
        "n",
        "s",
        "m",
        "#m",
        ":n",
        ":s",
        ":l",
        ":ss",
        "size(",
        "contains(",
        "attribute_exists(",
        "begins_with(",
        "if_not_exists(",
        "list_append(",
        " ",
        "é",
        "#",
        ":",
        "!",
    ];
    let word = proptest::sample::select(words.to_vec());
    proptest::collection::vec(word, 0..24).prop_map(|words| words.join(" "))
}

/// Conditions on the attributes a, b and c without functions, with their text.
fn simple() -> impl Strategy<Value = (String, Condition)> {
    let comparator = proptest::sample::select(vec![
        Comparator::Equal,
        Comparator::NotEqual,
        Comparator::Less,
        Comparator::LessOrEqual,
        Comparator::Greater,
        Comparator::GreaterOrEqual,
    ]);
    let leaf = ("[abc]", comparator, 0..4_usize).prop_map(|(name, comparator, number)| {
        let text = format!("{name} {} :v{number}", comparator.symbol());
        let value = Operand::Value(Value::N((number as u64).into()));
        (text, Condition::Compare(comparator, Operand::Path(Path::attribute(name)), value))
    });
    leaf.prop_recursive(3, 12, 3, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            inner.prop_map(|(text, condition)| (
                format!("NOT ({text})"),
                Condition::Not(Box::new(condition))
            )),
            pair.clone().prop_map(|((one, first), (other, second))| {
                (
                    format!("{} AND {}", grouped(&one), grouped(&other)),
                    Condition::All(vec![first, second]),
                )
            }),
            pair.prop_map(|((one, first), (other, second))| {
                (
                    format!("{} OR {}", grouped(&one), grouped(&other)),
                    Condition::Any(vec![first, second]),
                )
            }),
        ]
    })
}

fn grouped(text: &str) -> String {
    if text.contains(" AND ") || text.contains(" OR ") {
        format!("({text})")
    } else {
        text.to_owned()
    }
}

/// The meaning of a condition, written a second time in the plainest way.
fn naive(condition: &Condition, item: &Attributes) -> bool {
    if let Condition::All(parts) = condition {
        return parts.iter().filter(|part| !naive(part, item)).count() == 0;
    }
    if let Condition::Any(parts) = condition {
        return parts.iter().filter(|part| naive(part, item)).count() > 0;
    }
    if let Condition::Not(part) = condition {
        return !naive(part, item);
    }
    let Condition::Compare(comparator, Operand::Path(path), Operand::Value(Value::N(right))) =
        condition
    else {
        panic!("{condition:?}");
    };
    let Some(Value::N(left)) = item.get(&path.attribute) else {
        return *comparator == Comparator::NotEqual;
    };
    match comparator {
        Comparator::Equal => left == right,
        Comparator::NotEqual => left != right,
        Comparator::Less => left < right,
        Comparator::LessOrEqual => left <= right,
        Comparator::Greater => left > right,
        Comparator::GreaterOrEqual => left >= right,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_a_parser_panic(text in text(), any in ".{0,40}", item in attributes()) {
        for text in [text, any] {
            if let Ok(condition) = Condition::parse("FilterExpression", &text, &mut placeholders()) {
                let _ = condition.holds(&item);
            }
            if let Ok(update) = Update::parse(&text, &mut placeholders()) {
                let _ = update.apply(&item);
            }
            if let Ok(projection) = Projection::parse(&text, &mut placeholders()) {
                let _ = projection.apply(&item);
            }
        }
    }

    #[test]
    fn conditions_mean_what_a_naive_model_says((text, condition) in simple(), numbers in prop::array::uniform3(0..5_u64)) {
        let values = (0..4_u64).map(|number| (format!(":v{number}"), Value::N(number.into()))).collect();
        let mut placeholders = Placeholders::new(None, Some(values)).unwrap();
        let parsed = Condition::parse("ConditionExpression", &text, &mut placeholders).unwrap();
        let names = ["a", "b", "c"].into_iter().zip(numbers).filter(|(_, number)| *number < 4);
        let item = names.map(|(name, number)| (name.to_owned(), Value::N(number.into()))).collect();
        prop_assert_eq!(parsed.holds(&item), naive(&condition, &item), "{}", text);
    }

    #[test]
    fn a_value_that_is_set_is_found(item in attributes(), value in value()) {
        let update = Update { is_legacy: false, actions: vec![(Path::attribute("new".into()), update::Action::Set(update::Sum::Term(update::Term::Value(value.clone()))))] };
        let new = update.apply(&item).unwrap();
        prop_assert_eq!(Path::attribute("new".into()).find(&new), Some(&value));
        prop_assert!(item.iter().all(|(name, value)| new.get(name) == Some(value)));
    }
}
