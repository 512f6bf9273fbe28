//! Tests of the rules for one metric, in tables of forms.

use anabranch_aws::wire::{self, Format};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// The sample of a metric that is written as the fields of a form, or the code and the text of its error.
fn sample(form: &str) -> Result<String, (&'static str, String)> {
    let datum: MetricDatum<'_> = wire::decode(Format::Query, form.as_bytes()).unwrap();
    let sample = datum.sample(3, NOW).map_err(|error| (error.wire().2, error.to_string()))?;
    let Statistics { count, sum, minimum, maximum } = sample.statistics;
    let dimensions = sample.dimensions;
    Ok(format!("{} {dimensions:?}: {count} sum {sum}, {minimum} to {maximum}", sample.metric))
}

fn fault(form: &str) -> (&'static str, String) {
    sample(&format!("MetricName=m&{form}")).unwrap_err()
}

#[test]
fn a_metric_has_one_of_three_forms_of_values() {
    let is = |form: &str, expected: &str| {
        assert_eq!(sample(&format!("MetricName=m&{form}")).as_deref(), Ok(expected), "{form}");
    };
    is("Value=1.5", "m []: 1 sum 1.5, 1.5 to 1.5");
    is("Value=-2", "m []: 1 sum -2, -2 to -2");
    is("Values.member.1=1&Values.member.2=5", "m []: 2 sum 6, 1 to 5");
    let counted = "Values.member.1=1&Values.member.2=5&Counts.member.1=3&Counts.member.2=0";
    is(counted, "m []: 3 sum 3, 1 to 1");
    let set = "StatisticValues.SampleCount=4&StatisticValues.Sum=10&StatisticValues.Minimum=1\
               &StatisticValues.Maximum=5";
    is(set, "m []: 4 sum 10, 1 to 5");
    let more = "Value=1&Unit=Bytes/Second&StorageResolution=1&Timestamp=2027-01-15T08:00:00Z\
                &Dimensions.member.1.Name=Operation&Dimensions.member.1.Value=Get";
    is(more, r#"m [("Operation", "Get")]: 1 sum 1, 1 to 1"#);
}

#[test]
fn values_of_two_forms_or_of_none_are_refused() {
    let both = "The parameters MetricData.member.3.Value and MetricData.member.3.Values are mutually \
                exclusive and you have specified both.";
    assert_eq!(
        fault("Value=1&Values.member.1=1"),
        ("InvalidParameterCombination", both.to_owned())
    );
    let set = "StatisticValues.Sum=1&";
    assert_eq!(fault(&format!("{set}Value=1")).0, "InvalidParameterCombination");
    assert_eq!(fault(&format!("{set}Values.member.1=1")).0, "InvalidParameterCombination");
    for none in ["Unit=None", "Values=", "Counts.member.1=1"] {
        assert_eq!(fault(none).0, "MissingParameter", "{none}");
    }
}

#[test]
fn every_member_has_its_rule() {
    let value = "InvalidParameterValue";
    let long = |length| "x".repeat(length);
    let table = [
        ("Value=NaN", "The value NaN for parameter MetricData.member.3.Value is invalid."),
        ("Value=inf", "The value Infinity for parameter MetricData.member.3.Value is invalid."),
        ("Value=-inf", "The value -Infinity for parameter MetricData.member.3.Value is invalid."),
        ("Value=1e109", "The value 1e109 for parameter MetricData.member.3.Value is invalid."),
        (
            "Values.member.1=1&Values.member.2=NaN",
            "The value NaN for parameter MetricData.member.3.Values.member.2 is invalid.",
        ),
        (
            "Values.member.1=1&Counts.member.1=-1",
            "The value -1.0 for parameter MetricData.member.3.Counts.member.1 is invalid.",
        ),
        (
            "Values.member.1=1&Counts.member.1=1&Counts.member.2=1",
            "The parameters MetricData.member.3.Values and MetricData.member.3.Counts must be of the same size.",
        ),
        (
            "StatisticValues.SampleCount=1&StatisticValues.Sum=1&StatisticValues.Minimum=2&StatisticValues.Maximum=1",
            "The parameter MetricData.member.3.StatisticValues.Maximum must be greater than MetricData.member.3.StatisticValues.Minimum.",
        ),
        (
            "StatisticValues.SampleCount=-1&StatisticValues.Sum=1&StatisticValues.Minimum=1&StatisticValues.Maximum=1",
            "The value -1.0 for parameter MetricData.member.3.StatisticValues.SampleCount is invalid.",
        ),
        (
            "Value=1&StorageResolution=5",
            "The parameter MetricData.member.3.StorageResolution must be a value in the set [ 1, 60 ]",
        ),
        (
            "Value=1&Timestamp=2027-01-01T07:59:59Z",
            "The parameter MetricData.member.3.Timestamp must specify a time within the past two weeks.",
        ),
        (
            "Value=1&Timestamp=2027-01-15T10:00:01Z",
            "The parameter MetricData.member.3.Timestamp must specify a time no more than two hours in the future.",
        ),
        (
            "Value=1&Dimensions.member.1.Name=&Dimensions.member.1.Value=v",
            "The value  for parameter MetricData.member.3.Dimensions.member.1.Name is invalid.",
        ),
    ];
    for (form, text) in table {
        assert_eq!(fault(form), (value, text.to_owned()), "{form}");
    }
    let (code, text) = fault("Value=1&Unit=Furlongs");
    let start =
        "The parameter MetricData.member.3.Unit must be a value in the set [ Seconds, Micro";
    assert!(code == value && text.starts_with(start), "{text}");
    let dimension =
        format!("Value=1&Dimensions.member.1.Name=n&Dimensions.member.1.Value={}", long(1025));
    let text = "The parameter MetricData.member.3.Dimensions.member.1.Value must be shorter than 1025 characters.";
    assert_eq!(fault(&dimension), (value, text.to_owned()));
    let name = sample(&format!("MetricName={}&Value=1", long(256))).unwrap_err();
    let text = "The parameter MetricData.member.3.MetricName must be shorter than 256 characters.";
    assert_eq!(name, (value, text.to_owned()));
}

#[test]
fn lists_have_a_largest_size() {
    let list = |count: usize, field: &dyn Fn(usize) -> String| {
        (1..=count).map(field).collect::<Vec<_>>().join("&")
    };
    let values = |count| list(count, &|at| format!("Values.member.{at}=1"));
    assert!(sample(&format!("MetricName=m&{}", values(150))).is_ok());
    let text = "The collection MetricData.member.3.Values must not have a size greater than 150.";
    assert_eq!(fault(&values(151)), ("InvalidParameterValue", text.to_owned()));
    let dimensions = |count| {
        let field =
            |at| format!("Dimensions.member.{at}.Name=n{at}&Dimensions.member.{at}.Value=v");
        format!("Value=1&{}", list(count, &field))
    };
    assert!(sample(&format!("MetricName=m&{}", dimensions(30))).is_ok());
    let text =
        "The collection MetricData.member.3.Dimensions must not have a size greater than 30.";
    assert_eq!(fault(&dimensions(31)), ("InvalidParameterValue", text.to_owned()));
}

#[test]
fn absent_members_are_named() {
    let missing = |text: &str| ("MissingParameter", format!("The parameter {text} is required."));
    assert_eq!(sample("Value=1").unwrap_err(), missing("MetricData.member.3.MetricName"));
    assert_eq!(
        fault("StatisticValues.SampleCount=1&StatisticValues.Sum=1&StatisticValues.Minimum=1"),
        missing("MetricData.member.3.StatisticValues.Maximum")
    );
    assert_eq!(
        fault("Value=1&Dimensions.member.1.Name=n"),
        missing("MetricData.member.3.Dimensions.member.1.Value")
    );
}
