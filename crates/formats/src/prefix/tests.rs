//! The language by tables: values, refusals and pairs.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;

/// 2018-08-27 10:30 UTC, the instant of the documentation's examples.
const INSTANT: Timestamp = Timestamp::from_millis(1_535_365_800_000);

fn data(text: &str) -> Result<Prefix, PrefixError> {
    Prefix::parse(text, PrefixKind::Data)
}

fn error(text: &str) -> Result<Prefix, PrefixError> {
    Prefix::parse(text, PrefixKind::Error)
}

fn keys(pairs: &[(&str, &str)]) -> Keys {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn evaluate(prefix: &Prefix, zone: &str) -> Result<String, EvaluateError> {
    prefix.evaluate(&Context {
        instant: INSTANT,
        zone: &Zone::parse(zone).unwrap(),
        random: &|index| format!("<{index}>"),
        error_type: (prefix.kind() == PrefixKind::Error).then_some(ErrorType::ProcessingFailed),
        keys_from_query: &keys(&[("customer", "17"), ("type.device", "mobile"), ("none", "")]),
        keys_from_lambda: &keys(&[("customer", "18")]),
    })
}

#[test]
fn values_of_data_prefixes() {
    let cases = [
        ("", "2018/08/27/10/"),
        ("legacy", "legacy2018/08/27/10/"),
        ("legacy/", "legacy/2018/08/27/10/"),
        ("!{timestamp:yyyy/MM/dd}", "2018/08/27"),
        (
            "my/DeliveredYear=!{timestamp:yyyy}/anyMonth/rand=!{firehose:random-string}",
            "my/DeliveredYear=2018/anyMonth/rand=<0>",
        ),
        ("!{firehose:random-string}/!{firehose:random-string}/", "<0>/<1>/"),
        ("!{timestamp:'year='yyyy'/month='MM}/", "year=2018/month=08/"),
        ("a!b{c}d!{timestamp:dd}", "a!b{c}d27"),
        (
            "c=!{partitionKeyFromQuery:customer}/d=!{partitionKeyFromQuery:type.device}/",
            "c=17/d=mobile/",
        ),
        ("!{partitionKeyFromLambda:customer}/!{timestamp:HH}/", "18/10/"),
    ];
    for (text, expected) in cases {
        assert_eq!(evaluate(&data(text).unwrap(), "UTC").as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn values_of_error_prefixes() {
    let cases = [
        ("errors/!{firehose:error-output-type}/", "errors/processing-failed/"),
        (
            "errors/!{firehose:error-output-type}/!{timestamp:yyyy}/anyMonth/!{timestamp:dd}",
            "errors/processing-failed/2018/anyMonth/27",
        ),
        (
            "!{firehose:error-output-type}/!{firehose:random-string}/!{firehose:error-output-type}",
            "processing-failed/<0>/processing-failed",
        ),
        ("errors/", "errors/processing-failed/2018/08/27/10/"),
    ];
    for (text, expected) in cases {
        assert_eq!(evaluate(&error(text).unwrap(), "UTC").as_deref(), Ok(expected), "{text}");
    }
    let default = Prefix::error_default(&data("mine/").unwrap());
    assert_eq!(evaluate(&default, "UTC").as_deref(), Ok("mine/processing-failed/2018/08/27/10/"));
}

#[test]
fn the_default_is_appended_unless_there_is_any_expression() {
    // The documentation appends it also to a prefix with expressions, but without a timestamp. Probes of the service
    // disagree, and win.
    let key = data("c=!{partitionKeyFromQuery:customer}/").unwrap();
    assert_eq!(evaluate(&key, "UTC").as_deref(), Ok("c=17/"));
    let random = data("!{firehose:random-string}/").unwrap();
    assert_eq!(evaluate(&random, "UTC").as_deref(), Ok("<0>/"));
}

#[test]
fn a_custom_time_zone_moves_dates() {
    let prefix = data("").unwrap();
    assert_eq!(evaluate(&prefix, "Pacific/Auckland").as_deref(), Ok("2018/08/27/22/"));
    assert_eq!(evaluate(&prefix, "Asia/Kolkata").as_deref(), Ok("2018/08/27/16/"));
    assert_eq!(Zone::parse("Europe/Berlin").unwrap().name(), "Europe/Berlin");
    assert_eq!(Zone::parse("").unwrap(), Zone::UTC);
    for unknown in ["Europe/Atlantis", "europe/berlin", "../../etc/passwd", "UTC+1"] {
        assert!(Zone::parse(unknown).is_err(), "{unknown}");
    }
}

#[test]
fn all_dates_of_a_key_are_of_one_instant() {
    let calls = Cell::new(0);
    let prefix = data("!{timestamp:mm}!{firehose:random-string}!{timestamp:mm}").unwrap();
    let value = prefix.evaluate(&Context {
        instant: INSTANT,
        zone: &Zone::UTC,
        random: &|_| {
            calls.set(calls.get() + 1);
            "-".to_owned()
        },
        error_type: None,
        keys_from_query: &Keys::new(),
        keys_from_lambda: &Keys::new(),
    });
    assert_eq!((value.as_deref(), calls.get()), (Ok("30-30"), 1));
}

#[test]
fn a_record_without_a_key_has_no_value() {
    for name in ["none", "unknown"] {
        let prefix = data(&format!("!{{partitionKeyFromQuery:{name}}}/")).unwrap();
        let expected = EvaluateError::NoKey(KeySource::Query, name.to_owned());
        assert_eq!(evaluate(&prefix, "UTC"), Err(expected.clone()));
        assert_eq!(prefix.partition(&keys(&[("none", "")]), &Keys::new()), Err(expected));
    }
}

#[test]
fn values_have_at_most_512_characters() {
    let longest = "é".repeat(512 - 14);
    assert!(evaluate(&data(&longest).unwrap(), "UTC").is_ok());
    let longer = data(&(longest + "é")).unwrap();
    assert_eq!(evaluate(&longer, "UTC"), Err(EvaluateError::TooLong(513)));
}

#[test]
fn texts_that_are_refused() {
    let cases = [
        ("!{timestamp:yyyy", PrefixError::Unterminated),
        ("!{timestamp:!{timestamp:yyyy}}", PrefixError::Unterminated),
        ("!{}", PrefixError::NoNamespace(String::new())),
        ("!{timestamp}", PrefixError::NoNamespace("timestamp".to_owned())),
        ("!{Timestamp:yyyy}", PrefixError::UnknownNamespace("Timestamp".to_owned())),
        ("!{firehose:uuid}", PrefixError::UnknownValue("uuid".to_owned())),
        ("!{firehose:error-output-type}", PrefixError::ErrorTypeInPrefix),
        ("!{partitionKeyFromQuery:}", PrefixError::EmptyKey),
    ];
    for (text, expected) in cases {
        assert_eq!(data(text), Err(expected), "{text}");
    }
    assert!(matches!(data("!{timestamp:YYYY-TT}"), Err(PrefixError::Pattern { .. })));
    assert_eq!(error("!{partitionKeyFromLambda:k}"), Err(PrefixError::KeyInErrorPrefix));
}

#[test]
fn pairs_of_prefixes() {
    const DATE: &str = "!{timestamp:yyyy}/";
    const KEY: &str = "!{partitionKeyFromQuery:k}/";
    const TYPE: &str = "e/!{firehose:error-output-type}/";
    let cases = [
        (None, None, false, Ok(())),
        (Some("mine/"), None, false, Ok(())),
        (None, Some(TYPE), false, Ok(())),
        (Some(DATE), Some(TYPE), false, Ok(())),
        (Some(DATE), Some("errors/"), false, Ok(())),
        (Some(KEY), Some(TYPE), true, Ok(())),
        (Some(DATE), None, false, Err(PrefixError::ErrorPrefixMissing)),
        (Some(KEY), None, true, Err(PrefixError::ErrorPrefixMissing)),
        (Some("mine/"), None, true, Err(PrefixError::ErrorPrefixMissingForPartitions)),
        (Some(DATE), Some(DATE), false, Err(PrefixError::ErrorTypeMissing)),
        (Some(KEY), Some(TYPE), false, Err(PrefixError::KeysWithoutPartitioning)),
        (Some(DATE), Some(TYPE), true, Err(PrefixError::PartitioningWithoutKeys)),
    ];
    for (prefix, error_prefix, dynamic, expected) in cases {
        let prefix = prefix.map(|text| data(text).unwrap());
        let error_prefix = error_prefix.map(|text| error(text).unwrap());
        let actual = check_pair(prefix.as_ref(), error_prefix.as_ref(), dynamic);
        assert_eq!(actual, expected, "{prefix:?} {error_prefix:?} {dynamic}");
    }
}

#[test]
fn the_message_of_the_service() {
    let pair = check_pair(Some(&data("!{timestamp:yyyy}").unwrap()), None, false);
    assert_eq!(
        pair.unwrap_err().to_string(),
        "Ths supplied prefix(es) do not satisfy the following constraint: ErrorOutputPrefix cannot be null or empty \
         when Prefix contains expressions"
    );
}

#[test]
fn partitions_are_told_apart_by_keys_alone() {
    let prefix = data(
        "a!b/!{partitionKeyFromQuery:k}/!{timestamp:yyyy}/!{partitionKeyFromLambda:l}!{firehose:random-string}",
    )
    .unwrap();
    let partition = |k, l| prefix.partition(&keys(&[("k", k)]), &keys(&[("l", l)])).unwrap();
    assert_eq!(partition("1", "2"), "a!!b/1/!{3}/2!{6}");
    assert_ne!(partition("!{3}/x", "x"), partition("x", "!{3}/x"));
    assert_eq!(prefix.keys(KeySource::Query).collect::<Vec<_>>(), ["k"]);
    assert_eq!(prefix.keys(KeySource::Lambda).collect::<Vec<_>>(), ["l"]);
}

proptest! {
    #[test]
    fn no_text_causes_a_panic(text in "(!\\{|\\}|timestamp:|firehose:|random-string|[yMd'/]|.)*") {
        for prefix in [data(&text), error(&text)].into_iter().flatten() {
            let _ = evaluate(&prefix, "UTC");
        }
    }

    #[test]
    fn text_without_expressions_is_kept(text in "[^!]{0,100}") {
        let value = evaluate(&data(&text).unwrap(), "UTC").unwrap();
        prop_assert_eq!(value, format!("{text}2018/08/27/10/"));
    }
}
