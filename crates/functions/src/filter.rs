//! Filter criteria: which records of a stream go to the function.
//!
//! A pattern is a JSON object. All its keys must be in the record and match; other fields of the record do not matter.
//! Under `data` a pattern sees the record's data as JSON. Beside it are the other members of `kinesis` in the event:
//! `partitionKey`, `sequenceNumber`, `approximateArrivalTimestamp` and `kinesisSchemaVersion`. Several patterns are
//! joined by OR.
//!
//! Data that is not JSON matches no pattern with rules for `data`. A pattern without such rules never looks at it.
//!
//! Source: AWS Lambda Developer Guide, event filtering. Arrays are matched as EventBridge does it: a rule holds for an
//! array if it holds for an element.

mod matcher;
mod pattern;
mod value;

use crate::event::Record;
use crate::filter::pattern::Pattern;
use crate::filter::value::Value;
use crate::invalid::Invalid;
use crate::limits::{FILTERS, PATTERN_CHARACTERS};

/// The member of an invalid pattern.
const MEMBER: &str = "FilterCriteria";

/// Compiled filters. Without a filter every record passes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filters(Vec<Filter>);

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    pattern: Pattern,
    sees_data: bool,
    sees_metadata: bool,
}

impl Filters {
    /// Compiles patterns.
    ///
    /// # Errors
    /// [`Invalid`] if there are too many, if one is too long, or if one is not a pattern.
    pub fn compile<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, Invalid> {
        let filters: Vec<Filter> =
            patterns.into_iter().map(Filter::compile).collect::<Result<_, _>>()?;
        if filters.len() > FILTERS {
            return Err(Invalid::new(MEMBER, format_args!("must be at most {FILTERS} filters")));
        }
        Ok(Self(filters))
    }

    /// Whether `record` goes to the function.
    pub fn pass(&self, record: &Record) -> bool {
        self.0.is_empty() || self.0.iter().any(|filter| filter.matches(record))
    }
}

impl Filter {
    fn compile(text: &str) -> Result<Self, Invalid> {
        if text.chars().count() > PATTERN_CHARACTERS {
            let rule = format_args!("a pattern must be at most {PATTERN_CHARACTERS} characters");
            return Err(Invalid::new(MEMBER, rule));
        }
        let invalid = |error| {
            Invalid::new(MEMBER, format_args!("Invalid filter pattern definition. {error}"))
        };
        let pattern = Pattern::parse(text).map_err(invalid)?;
        let sees_data = pattern.mentions(&|key| key == "data");
        let sees_metadata = pattern.mentions(&|key| key != "data");
        Ok(Self { pattern, sees_data, sees_metadata })
    }

    fn matches(&self, record: &Record) -> bool {
        let data = if self.sees_data { Value::parse(&record.data) } else { None };
        if self.sees_data && data.is_none() {
            return false;
        }
        let metadata = if self.sees_metadata { metadata(record) } else { Vec::new() };
        let find = |key: &str| match key {
            "data" => data,
            _ => metadata
                .iter()
                .find(|(name, _)| *name == key)
                .and_then(|(_, json)| Value::parse(json.as_bytes())),
        };
        self.pattern.matches(&find)
    }
}

/// The other members of `kinesis`, as JSON.
fn metadata(record: &Record) -> Vec<(&'static str, String)> {
    let key = String::from_utf8_lossy(&record.partition_key);
    let text = |text: &str| serde_json::Value::from(text).to_string();
    vec![
        ("kinesisSchemaVersion", text("1.0")),
        ("partitionKey", text(&key)),
        ("sequenceNumber", text(&record.number.to_string())),
        ("approximateArrivalTimestamp", record.arrival.as_secs_f64().to_string()),
    ]
}

#[cfg(test)]
mod tests;
