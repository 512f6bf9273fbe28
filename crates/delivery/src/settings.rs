//! The meaning of a destination's configuration for the pipeline, and the rules that the service model does not have.

use std::sync::Arc;
use std::time::Duration;

use anabranch_formats::compression::Compression;
use anabranch_formats::deaggregate::Deaggregation;
use anabranch_formats::delimiter::Delimiter;
use anabranch_formats::jq::Query;
use anabranch_formats::prefix::{KeySource, Prefix, PrefixError, PrefixKind, Zone, check_pair};
use serde_json::Value;

use crate::definition::{Destination, Kind};

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;
/// Source: firehose.md, "Buffering, retry and backup at a glance".
const DEFAULT_SIZE_MIB: u64 = 5;
const DEFAULT_INTERVAL_SECONDS: u64 = 300;

/// A destination, as the pipeline uses it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where and how objects with records are put.
    pub object: ObjectSettings,
    /// The processors of records.
    pub processors: Processors,
    /// Where and how records are put as they came from the source.
    pub backup: Option<ObjectSettings>,
}

/// Where and how objects are put.
#[derive(Clone, Debug)]
pub struct ObjectSettings {
    /// Name of the bucket.
    pub bucket: String,
    /// Beginning of the keys of objects with records.
    pub prefix: Prefix,
    /// Beginning of the keys of objects with error lines.
    pub error_prefix: Prefix,
    /// Time zone of the dates in keys.
    pub zone: Zone,
    /// A batch is closed when it has this many bytes before compression.
    pub size: u64,
    /// A batch is closed when its first record has waited this long.
    pub interval: Duration,
    /// Compression.
    pub compression: Compression,
    /// End of the keys, in place of that of the compression.
    pub extension: Option<String>,
}

/// The processors of records, in the order in which they work.
#[derive(Clone, Debug, Default)]
pub struct Processors {
    /// Records are decompressed by GZIP.
    pub decompress: bool,
    /// Only the messages of CloudWatch Logs are kept.
    pub log_messages: bool,
    /// Records are split into several ones.
    pub split: Option<Deaggregation>,
    /// Gives the partition keys of a record.
    pub keys: Option<Arc<Query>>,
    /// Bytes after each record.
    pub delimiter: Option<Delimiter>,
}

/// A configuration that is refused. The text is the message for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Settings {
    /// Reads a configuration whose types and constraints were checked against the service model.
    ///
    /// # Errors
    /// [`Invalid`] for what the service model does not say, and for what is not served here.
    pub fn parse(destination: &Destination) -> Result<Self, Invalid> {
        let configuration = &destination.configuration;
        let partitions = configuration.get("DynamicPartitioningConfiguration");
        let partitions = partitions.and_then(|partitions| partitions.get("Enabled"));
        let has_partitions = destination.kind == Kind::ExtendedS3
            && partitions.and_then(Value::as_bool) == Some(true);
        let mut object = ObjectSettings::parse(configuration, has_partitions)?;
        if destination.kind == Kind::S3 {
            return Ok(Self { object, processors: Processors::default(), backup: None });
        }
        refuse_enabled(configuration, "DataFormatConversionConfiguration")?;
        object.extension = text(configuration, "FileExtension").filter(|text| !text.is_empty());
        let backup = match text(configuration, "S3BackupMode").as_deref() {
            Some("Enabled") => {
                let backup = configuration.get("S3BackupConfiguration");
                let backup = backup.ok_or_else(|| {
                    invalid("S3BackupConfiguration must be given if S3BackupMode is Enabled")
                })?;
                Some(ObjectSettings::parse(backup, false)?)
            }
            _ => None,
        };
        let processing = configuration.get("ProcessingConfiguration");
        let processors = processing.map(Processors::parse).transpose()?.unwrap_or_default();
        if has_partitions {
            check_partitions(&object, &processors)?;
        } else if processors.keys.is_some() {
            return Err(invalid("Processor MetadataExtraction needs dynamic partitioning"));
        }
        Ok(Self { object, processors, backup })
    }

    /// Names of the buckets.
    pub fn buckets(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.object).chain(&self.backup).map(|object| object.bucket.as_str())
    }
}

impl ObjectSettings {
    fn parse(configuration: &Value, has_partitions: bool) -> Result<Self, Invalid> {
        let arn = text(configuration, "BucketARN").unwrap_or_default();
        let bucket = arn.rsplit(':').next().unwrap_or_default().to_owned();
        if matches!(&*bucket, "." | "..") {
            return Err(invalid("BucketARN: no bucket has this name"));
        }
        let hints = configuration.get("BufferingHints");
        let hint = |name| hints.and_then(|hints| hints.get(name)).and_then(Value::as_u64);
        let (size, interval) = match (hint("SizeInMBs"), hint("IntervalInSeconds")) {
            (Some(size), Some(interval)) => (size, interval),
            (None, None) => (DEFAULT_SIZE_MIB, DEFAULT_INTERVAL_SECONDS),
            (Some(_), None) | (None, Some(_)) => {
                let text = "BufferingHints: SizeInMBs and IntervalInSeconds must be given together";
                return Err(invalid(text));
            }
        };
        let compression = text(configuration, "CompressionFormat");
        let compression = compression.map_or(Ok(Compression::None), |text| text.parse());
        let refused = |error: PrefixError| invalid(error.to_string());
        let parse = |name, kind| {
            let text = text(configuration, name).filter(|text| !text.is_empty());
            if text.as_ref().is_some_and(|text| text.starts_with('/') || text.contains("//")) {
                return Err(invalid(format!(
                    "{name}: must not have an empty part between slashes"
                )));
            }
            text.map(|text| Prefix::parse(&text, kind)).transpose().map_err(refused)
        };
        let prefix = parse("Prefix", PrefixKind::Data)?;
        let error_prefix = parse("ErrorOutputPrefix", PrefixKind::Error)?;
        check_pair(prefix.as_ref(), error_prefix.as_ref(), has_partitions).map_err(refused)?;
        let prefix = match prefix {
            Some(prefix) => prefix,
            None => Prefix::parse("", PrefixKind::Data).map_err(refused)?,
        };
        let zone = text(configuration, "CustomTimeZone").filter(|name| !name.is_empty());
        let zone = zone.map_or(Ok(Zone::UTC), |name| Zone::parse(&name));
        Ok(Self {
            bucket,
            error_prefix: error_prefix.unwrap_or_else(|| Prefix::error_default(&prefix)),
            prefix,
            zone: zone.map_err(|error| invalid(format!("CustomTimeZone: {error}")))?,
            size: size * MIB,
            interval: Duration::from_secs(interval),
            compression: compression.map_err(|()| invalid("CompressionFormat: unknown"))?,
            extension: None,
        })
    }
}

impl Processors {
    fn parse(processing: &Value) -> Result<Self, Invalid> {
        let mut processors = Self::default();
        if processing.get("Enabled").and_then(Value::as_bool) == Some(false) {
            return Ok(processors);
        }
        for processor in
            processing.get("Processors").and_then(Value::as_array).into_iter().flatten()
        {
            let kind = text(processor, "Type").unwrap_or_default();
            let parameters = Parameters { kind: &kind, processor };
            match &*kind {
                "Decompression" => {
                    parameters.must_be("CompressionFormat", "GZIP")?;
                    processors.decompress = true;
                }
                "CloudWatchLogProcessing" => {
                    parameters.must_be("DataMessageExtraction", "true")?;
                    processors.log_messages = true;
                }
                "RecordDeAggregation" => processors.split = Some(parameters.deaggregation()?),
                "MetadataExtraction" => {
                    parameters.must_be("JsonParsingEngine", "JQ-1.6")?;
                    let text = parameters.get("MetadataExtractionQuery").unwrap_or_default();
                    let query = Query::compile(&text).map_err(|error| {
                        invalid(format!("Processor {kind}: MetadataExtractionQuery: {error}"))
                    })?;
                    processors.keys = Some(Arc::new(query));
                }
                "AppendDelimiterToRecord" => {
                    let value = parameters.get("Delimiter");
                    let delimiter =
                        value.map_or(Ok(Delimiter::newline()), |value| Delimiter::parse(&value));
                    processors.delimiter = Some(delimiter.map_err(|error| {
                        invalid(format!("Processor {kind}: Delimiter: {error}"))
                    })?);
                }
                other => return Err(invalid(format!("Processor {other} is not served here"))),
            }
        }
        if processors.log_messages && !processors.decompress {
            return Err(invalid("CloudWatchLogProcessing needs the processor Decompression"));
        }
        Ok(processors)
    }
}

/// The rules of dynamic partitioning.
/// Source: Firehose developer guide, Dynamic partitioning.
fn check_partitions(object: &ObjectSettings, processors: &Processors) -> Result<(), Invalid> {
    const LEAST_MIB: u64 = 64;
    if object.size < LEAST_MIB * MIB {
        let text = "BufferingHints: SizeInMBs must be at least 64 with dynamic partitioning";
        return Err(invalid(text));
    }
    if object.interval.is_zero() {
        let text = "BufferingHints: IntervalInSeconds must not be 0 with dynamic partitioning";
        return Err(invalid(text));
    }
    if object.prefix.keys(KeySource::Lambda).next().is_some() {
        return Err(invalid("Prefix: partitionKeyFromLambda is not served here"));
    }
    if processors.keys.is_none() {
        return Err(invalid("partitionKeyFromQuery needs the processor MetadataExtraction"));
    }
    Ok(())
}

/// The parameters of a processor.
struct Parameters<'a> {
    kind: &'a str,
    processor: &'a Value,
}

impl Parameters<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let parameters = self.processor.get("Parameters").and_then(Value::as_array)?;
        let named = |parameter: &&Value| text(parameter, "ParameterName").as_deref() == Some(name);
        text(parameters.iter().find(named)?, "ParameterValue")
    }

    fn must_be(&self, name: &str, expected: &str) -> Result<(), Invalid> {
        match self.get(name) {
            Some(value) if value.eq_ignore_ascii_case(expected) => Ok(()),
            _ => Err(invalid(format!("Processor {}: {name} must be {expected}", self.kind))),
        }
    }

    fn deaggregation(&self) -> Result<Deaggregation, Invalid> {
        let kind = self.get("SubRecordType").unwrap_or_default();
        let parsed = Deaggregation::parse(&kind, self.get("Delimiter").as_deref());
        parsed.map_err(|error| invalid(format!("Processor {}: {error}", self.kind)))
    }
}

/// Refuses a part of the configuration unless it is switched off.
fn refuse_enabled(configuration: &Value, name: &str) -> Result<(), Invalid> {
    let Some(part) = configuration.get(name) else { return Ok(()) };
    match part.get("Enabled").and_then(Value::as_bool) {
        Some(false) => Ok(()),
        Some(true) | None => Err(invalid(format!("{name} is not served here"))),
    }
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().map(str::to_owned)
}

fn invalid(text: impl Into<String>) -> Invalid {
    Invalid(text.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(members: Value) -> Result<Settings, Invalid> {
        let mut configuration = json!({"RoleARN": "r", "BucketARN": "arn:aws:s3:::bucket"});
        if let (Some(known), Value::Object(members)) = (configuration.as_object_mut(), members) {
            known.extend(members);
        }
        Settings::parse(&Destination { kind: Kind::ExtendedS3, configuration })
    }

    fn processor(kind: &str, parameters: Value) -> Value {
        json!({"ProcessingConfiguration": {"Processors": [{"Type": kind, "Parameters": parameters}]}})
    }

    /// A configuration with dynamic partitioning by a query.
    fn partitioned(query: &str, more: Value) -> Value {
        let parameter = |name, value| json!({"ParameterName": name, "ParameterValue": value});
        let parameters =
            [parameter("MetadataExtractionQuery", query), parameter("JsonParsingEngine", "JQ-1.6")];
        let mut members = json!({
            "Prefix": "!{partitionKeyFromQuery:a}/", "ErrorOutputPrefix": "bad/",
            "BufferingHints": {"SizeInMBs": 64, "IntervalInSeconds": 60},
            "DynamicPartitioningConfiguration": {"Enabled": true},
            "ProcessingConfiguration": {"Processors": [
                {"Type": "MetadataExtraction", "Parameters": parameters}
            ]}
        });
        if let (Some(known), Value::Object(more)) = (members.as_object_mut(), more) {
            known.extend(more);
        }
        members
    }

    #[test]
    fn partitions_need_a_query() {
        assert!(parse(partitioned("{a: .a}", json!({}))).unwrap().processors.keys.is_some());
    }

    #[test]
    fn the_defaults_are_those_of_the_service() {
        let settings = parse(json!({})).unwrap();
        assert_eq!(settings.object.bucket, "bucket");
        assert_eq!((settings.object.size, settings.object.interval.as_secs()), (5 << 20, 300));
        assert_eq!(settings.object.compression, Compression::None);
        assert!(settings.backup.is_none() && settings.processors.split.is_none());
    }

    #[test]
    fn what_breaks_a_rule_or_is_not_served_is_refused_by_name() {
        for (members, expected) in [
            (json!({"BufferingHints": {"SizeInMBs": 1}}), "BufferingHints"),
            (
                partitioned(
                    "{a: .a}",
                    json!({"BufferingHints": {"SizeInMBs": 5, "IntervalInSeconds": 60}}),
                ),
                "64",
            ),
            (partitioned("{a: .a", json!({})), "MetadataExtractionQuery"),
            (partitioned("{a: env}", json!({})), "MetadataExtractionQuery"),
            (
                partitioned("{a: .a}", json!({"Prefix": "!{partitionKeyFromLambda:a}/"})),
                "FromLambda",
            ),
            (json!({"DataFormatConversionConfiguration": {}}), "DataFormatConversionConfiguration"),
            (json!({"S3BackupMode": "Enabled"}), "S3BackupConfiguration"),
            (json!({"CustomTimeZone": "Moon/Sea"}), "CustomTimeZone"),
            (json!({"BucketARN": "arn:aws:s3:::.."}), "BucketARN"),
            (json!({"Prefix": "a//b"}), "Prefix"),
            (json!({"Prefix": "!{timestamp:yyyy}/"}), "ErrorOutputPrefix"),
            (processor("Lambda", json!([])), "Lambda"),
            (processor("RecordDeAggregation", json!([])), "SubRecordType"),
            (processor("Decompression", json!([])), "CompressionFormat"),
        ] {
            let error = parse(members).unwrap_err().0;
            assert!(error.contains(expected), "{error}: {expected}");
        }
        let off = json!({"DataFormatConversionConfiguration": {"Enabled": false}});
        assert!(parse(off).is_ok());
    }

    #[test]
    fn processors_that_are_switched_off_do_nothing() {
        let off = json!({"ProcessingConfiguration": {"Enabled": false, "Processors": [{"Type": "Lambda"}]}});
        assert!(parse(off).unwrap().processors.delimiter.is_none());
    }
}
