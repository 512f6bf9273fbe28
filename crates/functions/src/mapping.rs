//! The definition of a mapping: which function gets the records of which stream, and how.
//!
//! [`MappingSpec`] is the form in JSON, for storage and for commands, with the names of Lambda's API. [`Mapping`] has
//! been checked.

use std::time::Duration;

use anabranch_shard::Start;
use anabranch_types::{StreamArn, StreamName, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::filter::Filters;
use crate::invalid::Invalid;
use crate::limits::{
    BATCH_SIZE, BATCHING_WINDOW_SECONDS, PARALLELIZATION_FACTOR, RECORD_AGE_SECONDS,
    RETRY_ATTEMPTS, TUMBLING_WINDOW_SECONDS,
};
use crate::name::FunctionName;

/// Version of the JSON form. Every other version is refused.
const VERSION: u32 = 1;
/// The only value of `FunctionResponseTypes`.
const REPORT: &str = "ReportBatchItemFailures";

/// A mapping as JSON. Not checked. The members are those of `CreateEventSourceMapping`, except that streams and
/// functions are named, not ARNs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "the names and meanings are those of Lambda's API")]
pub struct MappingSpec {
    pub version: u32,
    #[serde(rename = "UUID")]
    pub uuid: Uuid,
    pub stream_name: String,
    pub function_name: String,
    #[serde(default = "hundred")]
    pub batch_size: i64,
    #[serde(default)]
    pub maximum_batching_window_in_seconds: i64,
    #[serde(default = "one")]
    pub parallelization_factor: i64,
    pub starting_position: String,
    /// Seconds since 1970, with a fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starting_position_timestamp: Option<f64>,
    #[serde(default)]
    pub bisect_batch_on_function_error: bool,
    #[serde(default = "no_limit")]
    pub maximum_retry_attempts: i64,
    #[serde(default = "no_limit")]
    pub maximum_record_age_in_seconds: i64,
    #[serde(default)]
    pub destination_config: DestinationConfig,
    #[serde(default)]
    pub function_response_types: Vec<String>,
    #[serde(default)]
    pub tumbling_window_in_seconds: i64,
    #[serde(default)]
    pub filter_criteria: FilterCriteria,
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// `DestinationConfig` of a mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DestinationConfig {
    /// Where documents about discarded batches go.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// `DestinationConfig.OnFailure` of a mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct OnFailure {
    /// Name or ARN of a stream. Absent or empty: there is no destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
}

/// `FilterCriteria` of a mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct FilterCriteria {
    /// Filters, joined by OR.
    #[serde(default)]
    pub filters: Vec<FilterSpec>,
}

/// One filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct FilterSpec {
    /// The pattern, JSON text.
    pub pattern: String,
}

/// A mapping. A value of this type has been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// UUID of the mapping.
    pub id: Uuid,
    /// Stream that is read.
    pub stream: StreamName,
    /// Function that is called.
    pub function: FunctionName,
    /// Most records of a batch.
    pub batch_size: usize,
    /// How long a batch is gathered. Zero: what one read gave is sent at once.
    pub batching_window: Duration,
    /// Calls of one shard at a time.
    pub parallelization_factor: usize,
    /// Where a shard without a checkpoint is read from.
    pub start: StartingPosition,
    /// Whether a failed batch is cut in two.
    pub bisect: bool,
    /// Retries of a batch; `None`: until its records expire.
    pub maximum_retries: Option<u32>,
    /// Records above this age are discarded; `None`: as long as they are retained.
    pub maximum_age: Option<Duration>,
    /// Stream for documents about discarded batches.
    pub on_failure: Option<StreamName>,
    /// Whether the response may name the records that failed (`ReportBatchItemFailures`).
    pub reports_failures: bool,
    /// Length of a tumbling window.
    pub tumbling_window: Option<Duration>,
    /// Which records go to the function.
    pub filters: Filters,
    /// Whether the mapping works.
    pub enabled: bool,
}

/// Where a mapping begins to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartingPosition {
    /// `TRIM_HORIZON`: the oldest record that is retained.
    TrimHorizon,
    /// `LATEST`: records that are put after the mapping began to read.
    Latest,
    /// `AT_TIMESTAMP`: records that arrived then or later.
    AtTimestamp(Timestamp),
}

impl StartingPosition {
    /// As the reader of a shard takes it.
    pub const fn start(self) -> Start {
        match self {
            Self::TrimHorizon => Start::TrimHorizon,
            Self::Latest => Start::Latest,
            Self::AtTimestamp(time) => Start::AtTimestamp(time),
        }
    }
}

impl MappingSpec {
    /// A mapping with Lambda's defaults that begins at `TRIM_HORIZON`.
    pub fn new(uuid: Uuid, stream: &str, function: &str) -> Self {
        Self {
            version: VERSION,
            uuid,
            stream_name: stream.to_owned(),
            function_name: function.to_owned(),
            batch_size: hundred(),
            maximum_batching_window_in_seconds: 0,
            parallelization_factor: one(),
            starting_position: "TRIM_HORIZON".to_owned(),
            starting_position_timestamp: None,
            bisect_batch_on_function_error: false,
            maximum_retry_attempts: no_limit(),
            maximum_record_age_in_seconds: no_limit(),
            destination_config: DestinationConfig::default(),
            function_response_types: Vec::new(),
            tumbling_window_in_seconds: 0,
            filter_criteria: FilterCriteria::default(),
            enabled: true,
        }
    }

    /// Parses the JSON form. Unknown members are refused.
    ///
    /// # Errors
    /// [`Invalid`] for the whole text.
    pub fn parse(json: &[u8]) -> Result<Self, Invalid> {
        serde_json::from_slice(json).map_err(|error| Invalid::new("EventSourceMapping", error))
    }

    /// The JSON form.
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers can be written")
    }
}

impl Mapping {
    /// Checks `spec`.
    ///
    /// # Errors
    /// [`Invalid`] names the first member that breaks a rule.
    pub fn check(spec: &MappingSpec) -> Result<Self, Invalid> {
        if spec.version != VERSION {
            return Err(Invalid::new("Version", format_args!("must be {VERSION}")));
        }
        let window = spec.maximum_batching_window_in_seconds;
        let window =
            Invalid::check("MaximumBatchingWindowInSeconds", window, &BATCHING_WINDOW_SECONDS)?;
        let retries = spec.maximum_retry_attempts;
        let retries = Invalid::check::<i64>("MaximumRetryAttempts", retries, &RETRY_ATTEMPTS)?;
        let tumbling = spec.tumbling_window_in_seconds;
        let tumbling =
            Invalid::check("TumblingWindowInSeconds", tumbling, &TUMBLING_WINDOW_SECONDS)?;
        let mapping = Self {
            id: spec.uuid,
            stream: stream("StreamName", &spec.stream_name)?,
            function: spec.function_name.parse()?,
            batch_size: Invalid::check("BatchSize", spec.batch_size, &BATCH_SIZE)?,
            batching_window: Duration::from_secs(window),
            parallelization_factor: Invalid::check(
                "ParallelizationFactor",
                spec.parallelization_factor,
                &PARALLELIZATION_FACTOR,
            )?,
            start: starting_position(spec)?,
            bisect: spec.bisect_batch_on_function_error,
            maximum_retries: u32::try_from(retries).ok(),
            maximum_age: maximum_age(spec.maximum_record_age_in_seconds)?,
            on_failure: on_failure(spec)?,
            reports_failures: reports_failures(&spec.function_response_types)?,
            tumbling_window: (tumbling > 0).then(|| Duration::from_secs(tumbling)),
            filters: Filters::compile(spec.filter_criteria.filters.iter().map(|f| &*f.pattern))?,
            enabled: spec.enabled,
        };
        if mapping.tumbling_window.is_some() && mapping.parallelization_factor > 1 {
            let rule =
                "must be 1 with a tumbling window, because each call gets the state of the last";
            return Err(Invalid::new("ParallelizationFactor", rule));
        }
        Ok(mapping)
    }

    /// Checks what only a new mapping has to fulfil.
    ///
    /// # Errors
    /// [`Invalid`] if the mapping is to start in the future.
    pub fn check_new(&self, now: Timestamp) -> Result<(), Invalid> {
        match self.start {
            StartingPosition::AtTimestamp(time) if time > now => {
                Err(Invalid::new("StartingPositionTimestamp", "must not be in the future"))
            }
            StartingPosition::TrimHorizon
            | StartingPosition::Latest
            | StartingPosition::AtTimestamp(_) => Ok(()),
        }
    }

    /// Checks that `next` may take the place of this mapping: some members are fixed for life.
    ///
    /// # Errors
    /// [`Invalid`] names the member that would change.
    pub fn check_update(&self, next: &Self) -> Result<(), Invalid> {
        let changed = [
            ("UUID", self.id != next.id),
            ("StreamName", self.stream != next.stream),
            ("StartingPosition", self.start != next.start),
        ];
        match changed.into_iter().find(|(_, changed)| *changed) {
            Some((member, _)) => Err(Invalid::new(member, "must not change")),
            None => Ok(()),
        }
    }
}

fn starting_position(spec: &MappingSpec) -> Result<StartingPosition, Invalid> {
    const MEMBER: &str = "StartingPositionTimestamp";
    let time = spec.starting_position_timestamp;
    let start = match (&*spec.starting_position, time) {
        ("TRIM_HORIZON", _) => StartingPosition::TrimHorizon,
        ("LATEST", _) => StartingPosition::Latest,
        ("AT_TIMESTAMP", Some(seconds)) => StartingPosition::AtTimestamp(timestamp(seconds)?),
        ("AT_TIMESTAMP", None) => {
            return Err(Invalid::new(MEMBER, "is required with AT_TIMESTAMP"));
        }
        _ => {
            let rule = "must be TRIM_HORIZON, LATEST or AT_TIMESTAMP";
            return Err(Invalid::new("StartingPosition", rule));
        }
    };
    if time.is_some() && !matches!(start, StartingPosition::AtTimestamp(_)) {
        return Err(Invalid::new(MEMBER, "needs the starting position AT_TIMESTAMP"));
    }
    Ok(start)
}

fn timestamp(seconds: f64) -> Result<Timestamp, Invalid> {
    // Up to the year 9999.
    if !(0.0..=253_402_300_799.0).contains(&seconds) {
        let rule = "must be seconds since 1970, before the year 10000";
        return Err(Invalid::new("StartingPositionTimestamp", rule));
    }
    let since_1970 = Duration::from_secs_f64(seconds) + Duration::from_micros(500);
    Ok(Timestamp::default().plus(since_1970)) // rounded to milliseconds
}

fn maximum_age(seconds: i64) -> Result<Option<Duration>, Invalid> {
    if seconds == -1 {
        return Ok(None);
    }
    let (least, most) = (RECORD_AGE_SECONDS.start(), RECORD_AGE_SECONDS.end());
    let rule = || format!("must be -1, or {least} to {most}, is {seconds}");
    let checked = Invalid::check("MaximumRecordAgeInSeconds", seconds, &RECORD_AGE_SECONDS);
    let seconds = checked.map_err(|error| Invalid { rule: rule(), ..error })?;
    Ok(Some(Duration::from_secs(seconds)))
}

fn on_failure(spec: &MappingSpec) -> Result<Option<StreamName>, Invalid> {
    const MEMBER: &str = "DestinationConfig.OnFailure.Destination";
    let destination = spec.destination_config.on_failure.destination.as_deref();
    let Some(text) = destination.filter(|text| !text.is_empty()) else { return Ok(None) };
    let destination = stream(MEMBER, text)?;
    if destination.as_str() == spec.stream_name {
        return Err(Invalid::new(MEMBER, "must not be the stream that the mapping reads"));
    }
    Ok(Some(destination))
}

/// `text` is the name or the ARN of a stream.
fn stream(member: &'static str, text: &str) -> Result<StreamName, Invalid> {
    let by_arn = text.parse().map(|arn: StreamArn| arn.stream);
    let found = by_arn.or_else(|_| text.parse());
    found.map_err(|_| Invalid::new(member, "must be the name or the ARN of a stream"))
}

fn reports_failures(types: &[String]) -> Result<bool, Invalid> {
    match types {
        [] => Ok(false),
        [one] if one == REPORT => Ok(true),
        _ => {
            let rule = format_args!("must be empty or [{REPORT}]");
            Err(Invalid::new("FunctionResponseTypes", rule))
        }
    }
}

fn hundred() -> i64 {
    100
}

fn one() -> i64 {
    1
}

fn no_limit() -> i64 {
    -1
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = r#"{"Version":1,"UUID":"0b3fd11c-6d6b-4a52-9b5c-ff9d14bd1d05","StreamName":"meters","FunctionName":"sum","BatchSize":500,"MaximumBatchingWindowInSeconds":5,"ParallelizationFactor":2,"StartingPosition":"AT_TIMESTAMP","StartingPositionTimestamp":1767225612.25,"BisectBatchOnFunctionError":true,"MaximumRetryAttempts":3,"MaximumRecordAgeInSeconds":3600,"DestinationConfig":{"OnFailure":{"Destination":"failed"}},"FunctionResponseTypes":["ReportBatchItemFailures"],"TumblingWindowInSeconds":0,"FilterCriteria":{"Filters":[{"Pattern":"{\"data\":{\"kind\":[\"alarm\"]}}"}]},"Enabled":true}"#;

    fn spec() -> MappingSpec {
        MappingSpec::new(Uuid::nil(), "meters", "sum")
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut MappingSpec), expected: &str) {
        let mut spec = spec();
        change(&mut spec);
        assert_eq!(Mapping::check(&spec).unwrap_err().to_string(), expected);
    }

    #[test]
    fn the_stored_form_is_read_and_written_byte_for_byte() {
        let spec = MappingSpec::parse(STORED.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(spec.json()).unwrap(), STORED);
        let mapping = Mapping::check(&spec).unwrap();
        let start = StartingPosition::AtTimestamp(Timestamp::from_millis(1_767_225_612_250));
        assert_eq!(mapping.start, start);
        assert_eq!((mapping.batch_size, mapping.parallelization_factor), (500, 2));
        assert_eq!(mapping.batching_window, Duration::from_secs(5));
        assert_eq!(mapping.maximum_retries, Some(3));
        assert_eq!(mapping.maximum_age, Some(Duration::from_secs(3600)));
        assert_eq!(mapping.on_failure.as_ref().map(StreamName::as_str), Some("failed"));
        assert!(mapping.bisect && mapping.reports_failures && mapping.enabled);
    }

    #[test]
    fn defaults_are_those_of_lambda() {
        let json = br#"{"Version":1,"UUID":"00000000-0000-0000-0000-000000000000","StreamName":"meters","FunctionName":"sum","StartingPosition":"TRIM_HORIZON"}"#;
        let parsed = MappingSpec::parse(json).unwrap();
        assert_eq!(parsed, spec());
        let mapping = Mapping::check(&parsed).unwrap();
        assert_eq!((mapping.batch_size, mapping.parallelization_factor), (100, 1));
        assert_eq!(mapping.batching_window, Duration::ZERO);
        assert_eq!((mapping.maximum_retries, mapping.maximum_age), (None, None));
        assert_eq!((mapping.on_failure, mapping.tumbling_window), (None, None));
        assert!(!mapping.bisect && !mapping.reports_failures && mapping.enabled);
    }

    #[test]
    fn an_invalid_member_is_named_with_its_rule() {
        check(|spec| spec.version = 0, "Version: must be 1");
        for value in [0, 10_001, -1, i64::MAX] {
            let expected = format!("BatchSize: must be 1 to 10000, is {value}");
            check(|spec| spec.batch_size = value, &expected);
        }
        check(
            |spec| spec.maximum_batching_window_in_seconds = 301,
            "MaximumBatchingWindowInSeconds: must be 0 to 300, is 301",
        );
        check(
            |spec| spec.parallelization_factor = 11,
            "ParallelizationFactor: must be 1 to 10, is 11",
        );
        check(
            |spec| spec.maximum_retry_attempts = -2,
            "MaximumRetryAttempts: must be -1 to 10000, is -2",
        );
        for value in [-2, 0, 59, 604_801] {
            let expected =
                format!("MaximumRecordAgeInSeconds: must be -1, or 60 to 604800, is {value}");
            check(|spec| spec.maximum_record_age_in_seconds = value, &expected);
        }
        check(
            |spec| spec.tumbling_window_in_seconds = 901,
            "TumblingWindowInSeconds: must be 0 to 900, is 901",
        );
        check(
            |spec| spec.starting_position = "latest".into(),
            "StartingPosition: must be TRIM_HORIZON, LATEST or AT_TIMESTAMP",
        );
        check(
            |spec| spec.starting_position = "AT_TIMESTAMP".into(),
            "StartingPositionTimestamp: is required with AT_TIMESTAMP",
        );
        check(
            |spec| spec.starting_position_timestamp = Some(1.0),
            "StartingPositionTimestamp: needs the starting position AT_TIMESTAMP",
        );
        check(
            |spec| spec.function_response_types = vec!["Other".into()],
            "FunctionResponseTypes: must be empty or [ReportBatchItemFailures]",
        );
        check(
            |spec| spec.stream_name = "a b".into(),
            "StreamName: must be the name or the ARN of a stream",
        );
        let destination = |spec: &mut MappingSpec, text: &str| {
            spec.destination_config.on_failure.destination = Some(text.into());
        };
        check(
            |spec| destination(spec, "arn:aws:sqs:eu-west-1:111122223333:q"),
            "DestinationConfig.OnFailure.Destination: must be the name or the ARN of a stream",
        );
        check(
            |spec| destination(spec, "meters"),
            "DestinationConfig.OnFailure.Destination: must not be the stream that the mapping reads",
        );
        check(
            |spec| (spec.tumbling_window_in_seconds, spec.parallelization_factor) = (60, 2),
            "ParallelizationFactor: must be 1 with a tumbling window, because each call gets the state of the last",
        );
    }

    #[test]
    fn a_destination_may_be_an_arn_and_an_empty_one_is_none() {
        let mut spec = spec();
        let arn = "arn:aws:kinesis:eu-west-1:111122223333:stream/failed";
        spec.destination_config.on_failure.destination = Some(arn.into());
        let named = Mapping::check(&spec).unwrap().on_failure;
        assert_eq!(named.as_ref().map(StreamName::as_str), Some("failed"));
        spec.destination_config.on_failure.destination = Some(String::new());
        assert_eq!(Mapping::check(&spec).unwrap().on_failure, None);
    }

    #[test]
    fn a_start_in_the_future_is_refused_for_a_new_mapping() {
        let mut spec = spec();
        spec.starting_position = "AT_TIMESTAMP".into();
        spec.starting_position_timestamp = Some(10.5);
        let mapping = Mapping::check(&spec).unwrap();
        assert_eq!(mapping.check_new(Timestamp::from_millis(10_500)), Ok(()));
        let error = mapping.check_new(Timestamp::from_millis(10_499)).unwrap_err();
        assert_eq!(error.to_string(), "StartingPositionTimestamp: must not be in the future");
        for seconds in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
            spec.starting_position_timestamp = Some(seconds);
            let error = Mapping::check(&spec).unwrap_err();
            assert_eq!(error.member, "StartingPositionTimestamp");
        }
    }

    #[test]
    fn stream_start_and_uuid_are_fixed_for_life() {
        let mapping = Mapping::check(&spec()).unwrap();
        let changed = |change: fn(&mut MappingSpec)| {
            let mut spec = spec();
            change(&mut spec);
            let next = Mapping::check(&spec).unwrap();
            mapping.check_update(&next).err().map(|error| error.to_string())
        };
        assert_eq!(changed(|spec| spec.batch_size = 7), None);
        assert_eq!(changed(|spec| spec.function_name = "other".into()), None);
        let fixed = |member: &str| Some(format!("{member}: must not change"));
        assert_eq!(changed(|spec| spec.stream_name = "b".into()), fixed("StreamName"));
        assert_eq!(changed(|spec| spec.uuid = Uuid::max()), fixed("UUID"));
        let latest = changed(|spec| spec.starting_position = "LATEST".into());
        assert_eq!(latest, fixed("StartingPosition"));
    }

    #[test]
    fn unknown_members_are_refused() {
        let json = STORED.replace("\"Enabled\"", "\"OnSuccess\"");
        let error = MappingSpec::parse(json.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("EventSourceMapping: unknown field `OnSuccess`"), "{error}");
    }
}
