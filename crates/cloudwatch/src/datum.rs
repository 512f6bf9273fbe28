//! One metric of a call: its members, the rules of CloudWatch for them, and the sample that they make.
//!
//! A metric has its values in one of three forms: one value, a list of values with their counts, or the statistics of
//! values that the client has added up itself, which is what the Kinesis libraries send.

use std::fmt::Display;
use std::time::Duration;

use anabranch_aws::wire::{Integer, List, Moment, Real, Structure, Text};
use anabranch_types::Timestamp;
use serde::Deserialize;

use crate::error::Error;

/// `MetricDatum` of the service model.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MetricDatum<'a> {
    #[serde(borrow)]
    metric_name: Option<Text<'a>>,
    #[serde(borrow)]
    dimensions: Option<List<Structure<Dimension<'a>>, MAX_DIMENSIONS>>,
    timestamp: Option<Moment>,
    value: Option<Real>,
    statistic_values: Option<Structure<StatisticSet>>,
    values: Option<List<Real, MAX_VALUES>>,
    counts: Option<List<Real, MAX_VALUES>>,
    #[serde(borrow)]
    unit: Option<Text<'a>>,
    storage_resolution: Option<Integer>,
}

/// `Dimension` of the service model.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Dimension<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
}

/// `StatisticSet` of the service model.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StatisticSet {
    sample_count: Option<Real>,
    sum: Option<Real>,
    minimum: Option<Real>,
    maximum: Option<Real>,
}

/// The values of one metric, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample<'r> {
    pub metric: &'r str,
    /// Names and values of the dimensions, as they were sent.
    pub dimensions: Vec<(&'r str, &'r str)>,
    pub statistics: Statistics,
}

/// Number, sum and extremes of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Statistics {
    /// Never negative. CloudWatch allows fractions.
    pub count: f64,
    pub sum: f64,
    pub minimum: f64,
    pub maximum: f64,
}

// Source of the limits: CloudWatch API reference, MetricDatum and Dimension.
const MAX_DIMENSIONS: usize = 30;
const MAX_VALUES: usize = 150;
const MAX_NAME_CHARACTERS: usize = 255;
const MAX_DIMENSION_VALUE_CHARACTERS: usize = 1024;
const OLDEST: Duration = Duration::from_secs(14 * 24 * 3600);
const NEWEST: Duration = Duration::from_secs(2 * 3600);
const RESOLUTIONS: [i64; 2] = [1, 60];
const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

impl MetricDatum<'_> {
    /// Checks the members. `number` is the place of the metric in the call, from 1.
    ///
    /// # Errors
    /// The first rule that a member breaks, with the words of AWS.
    pub(crate) fn sample(&self, number: usize, now: Timestamp) -> Result<Sample<'_>, Error> {
        let path = format!("MetricData.member.{number}");
        let of = |member: &str| format!("{path}.{member}");
        let metric = checked_text(&of("MetricName"), &self.metric_name, MAX_NAME_CHARACTERS)?;
        let dimensions = self.dimensions(&of("Dimensions"))?;
        self.check_time(&of("Timestamp"), now)?;
        if let Some(unit) = &self.unit
            && !UNITS.contains(&&**unit)
        {
            return Err(not_in_set(of("Unit"), UNITS.join(", ")));
        }
        if let Some(Integer(resolution)) = self.storage_resolution
            && !RESOLUTIONS.contains(&resolution)
        {
            return Err(not_in_set(of("StorageResolution"), "1, 60"));
        }
        let statistics = self.statistics(&of)?;
        Ok(Sample { metric, dimensions, statistics })
    }

    fn dimensions(&self, path: &str) -> Result<Vec<(&str, &str)>, Error> {
        let Some(list) = &self.dimensions else { return Ok(Vec::new()) };
        check_size(path, list.count(), MAX_DIMENSIONS)?;
        let dimensions = list.members().iter().zip(1..);
        let checked = dimensions.map(|(Structure(dimension), number)| {
            let of = |member| format!("{path}.member.{number}.{member}");
            let name = checked_text(&of("Name"), &dimension.name, MAX_NAME_CHARACTERS)?;
            let value =
                checked_text(&of("Value"), &dimension.value, MAX_DIMENSION_VALUE_CHARACTERS)?;
            Ok((name, value))
        });
        checked.collect()
    }

    fn check_time(&self, path: &str, now: Timestamp) -> Result<(), Error> {
        let Some(Moment(moment)) = self.timestamp else { return Ok(()) };
        let rule = match () {
            () if moment < now.minus(OLDEST) => "within the past two weeks",
            () if moment > now.plus(NEWEST) => "no more than two hours in the future",
            () => return Ok(()),
        };
        Err(Error::Value(format!("The parameter {path} must specify a time {rule}.")))
    }

    /// The statistics of the one form of values that the metric has.
    fn statistics(&self, of: &impl Fn(&str) -> String) -> Result<Statistics, Error> {
        let values = self.values.as_ref().filter(|values| values.count() > 0);
        let given = [
            ("Value", self.value.is_some()),
            ("StatisticValues", self.statistic_values.is_some()),
            ("Values", values.is_some()),
        ];
        let mut forms = given.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name);
        if let (Some(one), Some(other)) = (forms.next(), forms.next()) {
            return Err(Error::Exclusive(of(one), of(other)));
        }
        match (self.value, &self.statistic_values, values) {
            (Some(Real(value)), ..) => {
                check_number(of("Value"), value)?;
                Ok(Statistics { count: 1.0, sum: value, minimum: value, maximum: value })
            }
            (_, Some(Structure(set)), _) => set.statistics(|member| of(member)),
            (.., Some(values)) => self.statistics_of_values(values, of),
            (None, None, None) => Err(Error::Missing(format!(
                "At least one of the parameters {}, {} or {} must be specified.",
                of("Value"),
                of("StatisticValues"),
                of("Values")
            ))),
        }
    }

    /// Each value counts once if there are no counts.
    fn statistics_of_values(
        &self,
        values: &List<Real, MAX_VALUES>,
        of: &impl Fn(&str) -> String,
    ) -> Result<Statistics, Error> {
        check_size(&of("Values"), values.count(), MAX_VALUES)?;
        if let Some(counts) = &self.counts
            && counts.count() != values.count()
        {
            let (values, counts) = (of("Values"), of("Counts"));
            let text = format!("The parameters {values} and {counts} must be of the same size.");
            return Err(Error::Value(text));
        }
        let mut all = Statistics::NONE;
        for (index, Real(value)) in values.members().iter().enumerate() {
            let count = self.counts.as_ref().map_or(1.0, |counts| counts.members()[index].0);
            let place = |list: &str| format!("{}.member.{}", of(list), index + 1);
            check_number(place("Values"), *value)?;
            check_count(place("Counts"), count)?;
            all.add(&Statistics { count, sum: value * count, minimum: *value, maximum: *value });
        }
        Ok(all)
    }
}

impl StatisticSet {
    fn statistics(&self, of: impl Fn(&str) -> String) -> Result<Statistics, Error> {
        let path = |member| of(&format!("StatisticValues.{member}"));
        let number = |member, value: Option<Real>| {
            let Real(value) = value.ok_or_else(|| Error::required(path(member)))?;
            check_number(path(member), value)?;
            Ok(value)
        };
        let count = number("SampleCount", self.sample_count)?;
        check_count(path("SampleCount"), count)?;
        let sum = number("Sum", self.sum)?;
        let minimum = number("Minimum", self.minimum)?;
        let maximum = number("Maximum", self.maximum)?;
        if maximum < minimum {
            let (maximum, minimum) = (path("Maximum"), path("Minimum"));
            let text = format!("The parameter {maximum} must be greater than {minimum}.");
            return Err(Error::Value(text));
        }
        Ok(Statistics { count, sum, minimum, maximum })
    }
}

impl Statistics {
    /// Those of no values.
    pub(crate) const NONE: Self =
        Self { count: 0.0, sum: 0.0, minimum: f64::INFINITY, maximum: f64::NEG_INFINITY };

    /// Adds other values. Statistics of no values have no extremes.
    pub(crate) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        if other.count > 0.0 {
            self.minimum = self.minimum.min(other.minimum);
            self.maximum = self.maximum.max(other.maximum);
        }
    }
}

/// A text that must be there, with 1 to `max` characters.
pub(crate) fn checked_text<'t>(
    path: &str,
    text: &'t Option<Text<'_>>,
    max: usize,
) -> Result<&'t str, Error> {
    let text = text.as_deref().ok_or_else(|| Error::required(path))?;
    if text.is_empty() {
        return Err(Error::invalid("", path));
    }
    if text.chars().count() > max {
        let limit = max + 1;
        let text = format!("The parameter {path} must be shorter than {limit} characters.");
        return Err(Error::Value(text));
    }
    Ok(text)
}

fn check_size(path: &str, size: usize, max: usize) -> Result<(), Error> {
    if size <= max {
        return Ok(());
    }
    Err(Error::Value(format!("The collection {path} must not have a size greater than {max}.")))
}

fn not_in_set(path: String, set: impl Display) -> Error {
    Error::Value(format!("The parameter {path} must be a value in the set [ {set} ]"))
}

/// Refuses a value outside -2^360 to 2^360, an infinite one, and one that is not a number.
fn check_number(path: String, value: f64) -> Result<(), Error> {
    if value.abs() <= 360_f64.exp2() {
        return Ok(());
    }
    let shown = match value {
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        other => format!("{other:?}"),
    };
    Err(Error::invalid(shown, path))
}

fn check_count(path: String, count: f64) -> Result<(), Error> {
    check_number(path.clone(), count)?;
    if count < 0.0 { Err(Error::invalid(format!("{count:?}"), path)) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
