//! Conversions between the messages of `anabranch.function.v1` and the stored definitions.

use anabranch_proto::function as pb;
use tonic::Status;
use uuid::Uuid;

use crate::function::FunctionSpec;
use crate::mapping::{DestinationConfig, FilterCriteria, FilterSpec, MappingSpec, OnFailure};

/// `FunctionResponseTypes` of a mapping whose function says which records failed.
const REPORT: &str = "ReportBatchItemFailures";
/// Maximum attempts and maximum age without a limit.
const NO_LIMIT: i64 = -1;

pub(crate) fn function_spec(function: pb::Function) -> FunctionSpec {
    let mut spec = FunctionSpec::new(&function.name, &function.url);
    if function.timeout_seconds != 0 {
        spec.timeout_in_seconds = function.timeout_seconds.into();
    }
    spec.headers = function.headers.into_iter().collect();
    spec
}

/// Values of headers are left out: they may be secrets.
pub(crate) fn function(spec: FunctionSpec) -> pb::Function {
    pb::Function {
        name: spec.function_name,
        url: spec.url,
        timeout_seconds: u32::try_from(spec.timeout_in_seconds).unwrap_or_default(),
        headers: spec.headers.into_keys().map(|name| (name, String::new())).collect(),
    }
}

pub(crate) fn mapping_id(id: &str) -> Result<Uuid, Status> {
    id.parse().map_err(|_| Status::invalid_argument("id: must be the UUID of a mapping"))
}

/// The definition in a message. Its id is of no mapping. Only the form is checked here.
pub(crate) fn mapping_spec(mapping: pb::Mapping) -> Result<MappingSpec, Status> {
    let starting_position = match mapping.starting_position() {
        pb::StartingPosition::TrimHorizon => "TRIM_HORIZON",
        pb::StartingPosition::Latest => "LATEST",
        pb::StartingPosition::AtTimestamp => "AT_TIMESTAMP",
        pb::StartingPosition::Unspecified => {
            return Err(Status::invalid_argument("starting_position: is required"));
        }
    };
    let window = mapping.batch_window_millis;
    if !window.is_multiple_of(1000) {
        let text = "MaximumBatchingWindowInSeconds: must be whole seconds";
        return Err(Status::invalid_argument(text));
    }
    let destination = Some(mapping.on_failure_stream).filter(|stream| !stream.is_empty());
    let filters = mapping.filters.into_iter().map(|pattern| FilterSpec { pattern });
    let mut spec = MappingSpec::new(Uuid::nil(), &mapping.stream, &mapping.function);
    if mapping.batch_size != 0 {
        spec.batch_size = mapping.batch_size.into();
    }
    if mapping.parallelization_factor != 0 {
        spec.parallelization_factor = mapping.parallelization_factor.into();
    }
    spec.maximum_batching_window_in_seconds = i64::try_from(window / 1000).unwrap_or(i64::MAX);
    spec.starting_position = starting_position.to_owned();
    if starting_position == "AT_TIMESTAMP" {
        let millis = mapping.starting_timestamp_millis;
        spec.starting_position_timestamp = Some(millis as f64 / 1000.0);
    }
    spec.bisect_batch_on_function_error = mapping.bisect_on_error;
    spec.maximum_retry_attempts = mapping.maximum_retry_attempts.map_or(NO_LIMIT, i64::from);
    spec.maximum_record_age_in_seconds =
        mapping.maximum_record_age_seconds.map_or(NO_LIMIT, i64::from);
    spec.destination_config = DestinationConfig { on_failure: OnFailure { destination } };
    spec.function_response_types =
        mapping.report_batch_item_failures.then(|| REPORT.to_owned()).into_iter().collect();
    spec.tumbling_window_in_seconds = mapping.tumbling_window_seconds.into();
    spec.filter_criteria = FilterCriteria { filters: filters.collect() };
    spec.enabled = mapping.enabled;
    Ok(spec)
}

/// The message of a definition that was checked when it was stored.
pub(crate) fn mapping(spec: MappingSpec) -> pb::Mapping {
    let position = match &*spec.starting_position {
        "TRIM_HORIZON" => pb::StartingPosition::TrimHorizon,
        "LATEST" => pb::StartingPosition::Latest,
        "AT_TIMESTAMP" => pb::StartingPosition::AtTimestamp,
        _ => pb::StartingPosition::Unspecified,
    };
    let number = |value: i64| u32::try_from(value).unwrap_or_default();
    let limit = |value: i64| u32::try_from(value).ok();
    let seconds = spec.starting_position_timestamp.unwrap_or_default();
    let window = u64::from(number(spec.maximum_batching_window_in_seconds)) * 1000;
    pb::Mapping {
        id: spec.uuid.to_string(),
        stream: spec.stream_name,
        function: spec.function_name,
        starting_position: position.into(),
        starting_timestamp_millis: millis(seconds),
        batch_size: number(spec.batch_size),
        batch_window_millis: window,
        parallelization_factor: number(spec.parallelization_factor),
        bisect_on_error: spec.bisect_batch_on_function_error,
        maximum_retry_attempts: limit(spec.maximum_retry_attempts),
        maximum_record_age_seconds: limit(spec.maximum_record_age_in_seconds),
        on_failure_stream: spec.destination_config.on_failure.destination.unwrap_or_default(),
        report_batch_item_failures: spec.function_response_types.iter().any(|t| t == REPORT),
        tumbling_window_seconds: number(spec.tumbling_window_in_seconds),
        filters: spec.filter_criteria.filters.into_iter().map(|f| f.pattern).collect(),
        enabled: spec.enabled,
    }
}

/// Milliseconds of seconds that were checked: from 0 to the year 9999.
fn millis(seconds: f64) -> u64 {
    let time = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let rounded = time + std::time::Duration::from_micros(500);
    u64::try_from(rounded.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Mapping;

    #[test]
    fn mappings_read_back() {
        let message = pb::Mapping {
            id: Uuid::nil().to_string(),
            stream: "s".into(),
            function: "f".into(),
            starting_position: pb::StartingPosition::AtTimestamp.into(),
            starting_timestamp_millis: 1_700_000_000_123,
            batch_size: 7,
            batch_window_millis: 5000,
            parallelization_factor: 2,
            bisect_on_error: true,
            maximum_retry_attempts: Some(0),
            maximum_record_age_seconds: Some(60),
            on_failure_stream: "dead".into(),
            report_batch_item_failures: true,
            tumbling_window_seconds: 0,
            filters: vec![r#"{"data":{"a":[1]}}"#.into()],
            enabled: true,
        };
        let spec = mapping_spec(message.clone()).unwrap();
        Mapping::check(&spec).unwrap();
        assert_eq!(mapping(spec), message);
    }

    #[test]
    fn limits_that_are_not_given_are_no_limits_and_sizes_have_lambdas_defaults() {
        let message = pb::Mapping {
            stream: "s".into(),
            function: "f".into(),
            starting_position: pb::StartingPosition::Latest.into(),
            ..pb::Mapping::default()
        };
        let spec = mapping_spec(message).unwrap();
        assert_eq!((spec.batch_size, spec.parallelization_factor), (100, 1));
        assert_eq!((spec.maximum_retry_attempts, spec.maximum_record_age_in_seconds), (-1, -1));
    }

    #[test]
    fn what_a_message_can_not_say_is_refused() {
        let mut message = pb::Mapping { stream: "s".into(), ..pb::Mapping::default() };
        assert!(mapping_spec(message.clone()).is_err(), "no position");
        message.set_starting_position(pb::StartingPosition::Latest);
        message.batch_window_millis = 1500;
        assert!(mapping_spec(message).is_err(), "half a second");
        assert!(mapping_id("x").is_err());
    }
}
