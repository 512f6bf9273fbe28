//! Queries against results of jq 1.6, refusals, and runs that must end.
//!
//! `jq_1_6.tsv` was made once by Debian's jq 1.6, in UTC. Lines with `input` have a name and a document. Every other
//! line has the name of an input, a query and its results, of which the last one may be `error`.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_types::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::record::tests::record;

const TABLE: &str = include_str!("jq_1_6.tsv");

/// Queries of the table with another result here. The comment at the top of `jq.rs` has the reasons.
const DIFFERENT: [&str; 15] = [
    "\"10:15\"|strptime(\"%H:%M\")|mktime",
    "\"2020-03-01T00:00:00.123Z\"|fromdate",
    "\"Thu, 05 Mar 2015 23:51:47 GMT\"|strptime(\"%a, %d %b %Y %H:%M:%S %Z\")|mktime",
    "\"aaa\"|gsub(\"^a\";\"b\")",
    "\"xyz\"|capture(\"(?<a>x)(?<n>q)?\")",
    ".quantity as $q|[range($q)]",
    "1425599621.678|gmtime", // rounded differently
    "1e12|todate",
    "8|significand,logb,gamma,frexp,exp10", // exp10 is exact here
    "[.1,1e-7]|tostring",
    "[1,2]|map_values(empty)",
    "error",       // jq 1.6 is silent about an error that is null
    "error(null)", // the same
    "limit(0;1)",
    "nan<nan",
];

fn results(query: &str, input: &str) -> Vec<String> {
    let query = match Query::compile(query) {
        Ok(query) => query,
        Err(error) => return vec![error.to_string()],
    };
    let result = query.run(&record(input), |outputs| {
        let mut texts = Vec::new();
        for output in outputs {
            let text = output.map(|value| value.to_string());
            let is_last = text.is_err();
            texts.push(text.unwrap_or_else(|_| "error".to_owned()));
            if is_last {
                break;
            }
        }
        Ok(texts)
    });
    result.unwrap_or_else(|message| vec![message.into_owned()])
}

#[test]
fn results_are_those_of_jq_1_6() {
    let mut inputs = BTreeMap::new();
    let (mut count, mut different, mut unknown) = (0, BTreeSet::new(), Vec::new());
    for line in TABLE.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        if fields[0] == "input" {
            inputs.insert(fields[1], fields[2]);
            continue;
        }
        count += 1;
        let actual = results(fields[1], inputs[fields[0]]);
        if actual != fields[2..] {
            different.insert(fields[1]);
            if !DIFFERENT.contains(&fields[1]) {
                unknown.push(format!("{line}: {actual:?}"));
            }
        }
    }
    assert!(unknown.is_empty(), "{} of {count}: {unknown:#?}", unknown.len());
    assert_eq!(different, BTreeSet::from(DIFFERENT));
}

#[test]
fn queries_that_see_more_than_the_record_do_not_compile() {
    for query in [
        "env",
        "env.HOME",
        "$ENV",
        "$ENV.HOME",
        "input",
        "[inputs]",
        "debug",
        "debug(\"x\")",
        "stderr",
        "halt",
        "halt_error",
        "halt_error(1)",
        "input_filename",
        "input_line_number",
        "$__loc__",
        "$__prog_args",
        "get_search_list",
    ] {
        let error = Query::compile(query).unwrap_err();
        assert!(matches!(error, QueryError::Undefined { .. }), "{query}: {error}");
    }
    for query in ["import \"a\" as a; .", "include \"a\"; .", "import \"a\" as $a; $a"] {
        assert_eq!(Query::compile(query).unwrap_err(), QueryError::Module, "{query}");
    }
}

#[test]
fn errors_name_the_place() {
    let text = |query: &str| Query::compile(query).unwrap_err().to_string();
    assert_eq!(text("nothing(1)"), "query has an undefined or refused filter: nothing");
    assert_eq!(text("$x"), "query has an undefined or refused variable: $x");
    assert_eq!(text(".a | | .b"), "query has a syntax error near \"|\"");
    assert_eq!(text(""), "query has a syntax error near \"\"");
    assert_eq!(text("{a: .b,, c}"), "query has a syntax error near \",\"");
}

#[test]
fn the_clock_is_the_arrival_of_the_record() {
    let query = Query::compile("{day: (now | strftime(\"%Y-%m-%d\"))}").unwrap();
    let arrival = Timestamp::from_millis(1_583_020_800_123);
    let record = Record { arrival, ..record("{}") };
    assert_eq!(query.keys(&record).unwrap()["day"], "2020-03-01");
}

fn keys(query: &str, data: &str) -> Result<Vec<(String, String)>, String> {
    match Query::compile(query).unwrap().keys(&record(data)) {
        Ok(keys) => Ok(keys.into_iter().collect()),
        Err(failure) => {
            assert_eq!((&*failure.code, &failure.record), (EXTRACTION_ERROR_CODE, &record(data)));
            Err(failure.message.into_owned())
        }
    }
}

#[test]
fn keys_are_texts_numbers_and_booleans() {
    let query = "{text: .t, number: .n, whole: .w, flag: .f}";
    let data = r#"{"t":"é/x","n":1.50,"w":3.0,"f":false}"#;
    let expected = [("flag", "false"), ("number", "1.5"), ("text", "é/x"), ("whole", "3")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(keys(query, data).unwrap(), expected);
}

#[test]
fn records_without_keys_fail() {
    let cases = [
        ("{k: .k}", "{}", "partition key k is null or empty"),
        ("{k: .k}", r#"{"k":""}"#, "partition key k is null or empty"),
        ("{k: .k}", r#"{"k":[1]}"#, "partition key k is an array"),
        ("{k: .k.l}", r#"{"k":1}"#, "Cannot index number with string \"l\""),
        ("{(.k): 1}", r#"{"k":1}"#, "Cannot use number (1) as object key"),
        (".k", r#"{"k":1}"#, "query gave number (1), not an object"),
        ("empty", "{}", "query gave no result"),
        ("{k: (1,2)}", "{}", "query gave more than one result"),
        ("{k: (1,error(\"late\"))}", "{}", "late"),
    ];
    for (query, data, expected) in cases {
        assert_eq!(keys(query, data).unwrap_err(), expected, "{query}");
    }
    for data in ["", "hello", "{}{}", "{\"a\":1", "{\"a\":\"\u{1}\"}"] {
        let message = keys("{k: 1}", data).unwrap_err();
        assert!(message.starts_with("record is not JSON: "), "{message}");
    }
}

fn filtered(query: &str, data: &str) -> Result<Vec<String>, String> {
    match Query::compile(query).unwrap().filter(&record(data)) {
        Ok(records) => {
            assert!((0..).zip(&records).all(|(place, record)| record.sub_sequence == place));
            let text = |record: &Record| String::from_utf8(record.data.to_vec()).unwrap();
            Ok(records.iter().map(text).collect())
        }
        Err(failure) => Err(failure.message.into_owned()),
    }
}

#[test]
fn filters_drop_edit_and_multiply_records() {
    let data = r#"{ "b": 2, "a": [1, 2.0], "é": "\u00e9\n" }"#;
    assert_eq!(filtered(".", data).unwrap(), [r#"{"b":2,"a":[1,2],"é":"é\n"}"#]);
    assert_eq!(filtered("empty", data).unwrap(), [""; 0]);
    assert_eq!(filtered("select(.b > 2)", data).unwrap(), [""; 0]);
    assert_eq!(filtered("del(.a) | .c = \"x\"", data).unwrap(), [r#"{"b":2,"é":"é\n","c":"x"}"#]);
    assert_eq!(filtered(".a[] | {v: .}", data).unwrap(), [r#"{"v":1}"#, r#"{"v":2}"#]);
    assert_eq!(filtered(".b, error(\"late\")", data).unwrap_err(), "late");
}

#[test]
fn runs_end_when_they_took_too_many_steps() {
    for query in [
        "def f: f; f",
        "def f: ., f; f",
        "[repeat(1)]",
        "last(repeat(.))",
        "first(repeat(empty))",
        "until(false; .)",
        "[range(1e9)] | length",
        "[range(infinite)]",
        "last(range(infinite))",
        "reduce range(100) as $i (\"x\"; . + .)",
        "reduce range(100) as $i ([1]; . + .)",
        "\"x\" * 1e12",
        "[limit(1e9; repeat(1))]",
        "[.[1e8] = 1]",
        "while(true; .)",
        "[range(2000)] | map([range(2000)])",
        "[range(100000)] | sort_by(-.) | map(tostring) | join(\",\") | explode | map([.]) | add",
        "label $out | def f: f; f",
    ] {
        let results = results(query, "null");
        assert_eq!(results, ["query took too many steps"], "{query}");
    }
}

#[test]
fn runs_end_when_they_need_too_much_stack() {
    let too_deep = Exhausted::Stack.to_string();
    for query in [
        "def f: 1 + f; f",
        "def f: [f]; f",
        "reduce range(30000) as $i (null; [.]) | tojson",
        "reduce range(30000) as $i (null; [.]) == reduce range(30000) as $i (null; [.])",
        "reduce range(30000) as $i (null; {a: .}) | tostring",
    ] {
        assert_eq!(results(query, "null"), [&*too_deep], "{query}");
    }
    // Nested values as such are no problem, also when they are dropped.
    assert_eq!(results("reduce range(30000) as $i (null; [.]) | length", "null"), ["1"]);
    let count = results("[recurse(if . < 1000 then . + 1 else empty end)] | length", "0");
    assert_eq!(count, ["1001"]);
}

#[test]
fn a_run_does_not_change_the_bounds_of_the_next() {
    let [endless, good] = ["def f: f; f", ".a"].map(|query| Query::compile(query).unwrap());
    for _ in 0..3 {
        assert!(endless.filter(&record("{}")).is_err());
        assert_eq!(good.filter(&record(r#"{"a":1}"#)).unwrap().len(), 1);
    }
}

#[test]
fn large_records_have_enough_steps() {
    let items: Vec<String> = (0..20_000).map(|i| format!("{{\"id\":{i}}}")).collect();
    let data = format!("{{\"items\":[{}],\"k\":\"v\"}}", items.join(","));
    assert_eq!(keys("{k: .k}", &data).unwrap(), [("k".to_owned(), "v".to_owned())]);
    assert_eq!(results("[.items[].id] | add", &data), ["199990000"]);
}

#[test]
fn queries_that_would_need_too_much_stack_are_refused() {
    assert_eq!(Query::compile(&" ".repeat(9000)).unwrap_err(), QueryError::TooLong(9000));
    let deep = "[".repeat(65) + &"]".repeat(65);
    assert_eq!(Query::compile(&deep).unwrap_err(), QueryError::TooComplex);
    let keys: Vec<String> =
        (0..50).map(|at| format!("key_{at}: (.time[0:19] | strptime(\"%Y-%m-%d\"))")).collect();
    assert!(Query::compile(&format!("{{{}}}", keys.join(", "))).is_ok());
    // The longest chains that fit. They compile or not, but do not break.
    for (unit, end) in [
        (".|", "."),
        (".,", "."),
        ("1+", "1"),
        ("-", "1"),
        ("try ", "."),
        ("1 as $x|", "."),
        ("def f:", "."),
        ("def f:1;", "."),
        ("if . then ", "1"),
        ("label $x|", "."),
        ("reduce ", "."),
        (".a", ""),
        ("1//", "1"),
        (".a=", "1"),
        (".[0]", ""),
        ("\"\\(1)\"+", "1"),
        ("reduce . as $x (1; ", "2"),
        ("1 and ", "1"),
    ] {
        for count in [50, 120, 166, 200, 250, 500, 1000, (LONGEST_QUERY - end.len()) / unit.len()] {
            if let Ok(query) = Query::compile(&(unit.repeat(count) + end)) {
                let _ = query.filter(&record("null"));
            }
        }
    }
}

#[test]
fn deep_records_fail() {
    let deep = "[".repeat(1_000_000);
    assert!(keys("{k: 1}", &deep).unwrap_err().starts_with("record is not JSON: recursion limit"));
}

#[test]
fn queries_are_shared_by_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Query>();
}

proptest! {
    #[test]
    fn no_query_causes_a_panic(query in "[.|,a-c\\[\\](){}$\"0-9:+ ]{0,30}", data in "[0-9\\[\\],{}\":a-c]{0,30}") {
        if let Ok(query) = Query::compile(&query) {
            let _ = query.filter(&record(data));
        }
    }

    #[test]
    fn documents_come_back(text: String, number: f64, flag: bool) {
        let number = if number.is_finite() { number } else { 0.0 };
        let data = serde_json::json!({ "t": [text, null], "n": number, "f": flag });
        let back = filtered(".", &data.to_string()).unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&back[0]).unwrap();
        prop_assert_eq!(&parsed["t"], &data["t"]);
        prop_assert_eq!(&parsed["f"], &data["f"]);
        prop_assert_eq!(parsed["n"].as_f64(), Some(number));
    }
}
