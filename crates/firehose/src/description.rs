//! The description of a delivery stream: what was sent, with the defaults of the service, and without secrets.

use anabranch_delivery::{Definition, Kind, Source};
use serde_json::{Map, Value, json};

use crate::control::DESTINATION_ID;

/// `DeliveryStreamType` of a source.
pub(crate) const fn source_type(source: &Source) -> &'static str {
    match source {
        Source::DirectPut { .. } => "DirectPut",
        Source::Stream { .. } => "KinesisStreamAsSource",
    }
}

/// `DeliveryStreamDescription`. `encryption` is the state of the encryption. A delivery stream has one destination;
/// `after` is the id after which they are listed.
pub(crate) fn describe(
    definition: &Definition,
    arn: &str,
    encryption: &str,
    after: Option<&str>,
) -> Value {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
    put("DeliveryStreamName", json!(definition.name));
    put("DeliveryStreamARN", json!(arn));
    put("DeliveryStreamStatus", json!(definition.status.text()));
    if let Some(details) = &definition.failure {
        put("FailureDescription", json!({ "Type": "UNKNOWN_ERROR", "Details": details }));
    }
    if matches!(definition.source, Source::DirectPut { .. }) {
        let mut members = match (&definition.encryption, encryption) {
            (Some(Value::Object(input)), "ENABLED" | "ENABLING") => input.clone(),
            _ => Map::new(),
        };
        members.insert("Status".to_owned(), json!(encryption));
        put("DeliveryStreamEncryptionConfiguration", Value::Object(members));
    }
    put("DeliveryStreamType", json!(source_type(&definition.source)));
    put("VersionId", json!(definition.version.to_string()));
    put("CreateTimestamp", seconds(definition.created_millis));
    if let Some(updated) = definition.updated_millis {
        put("LastUpdateTimestamp", seconds(updated));
    }
    match &definition.source {
        Source::DirectPut { hint: Some(hint) } => {
            put("Source", json!({ "DirectPutSourceDescription": { "ThroughputHintInMBs": hint } }));
        }
        Source::DirectPut { hint: None } => {}
        Source::Stream { arn, role, .. } => {
            let source = json!({
                "KinesisStreamARN": arn,
                "RoleARN": role,
                "DeliveryStartTimestamp": seconds(definition.created_millis),
            });
            put("Source", json!({ "KinesisStreamSourceDescription": source }));
        }
    }
    let destinations = match after {
        Some(after) if after >= DESTINATION_ID => json!([]),
        Some(_) | None => json!([destination(definition)]),
    };
    put("Destinations", destinations);
    put("HasMoreDestinations", json!(false));
    Value::Object(members)
}

fn seconds(millis: u64) -> Value {
    json!(millis as f64 / 1000.0)
}

/// The destination, in the deprecated form and in the extended one, as in AWS.
fn destination(definition: &Definition) -> Value {
    let configuration = &definition.destination.configuration;
    let mut extended = s3(configuration);
    let mut members = Map::new();
    members.insert("DestinationId".to_owned(), json!(DESTINATION_ID));
    members.insert("S3DestinationDescription".to_owned(), Value::Object(extended.clone()));
    if definition.destination.kind == Kind::ExtendedS3 {
        for name in [
            "ProcessingConfiguration",
            "DataFormatConversionConfiguration",
            "DynamicPartitioningConfiguration",
            "FileExtension",
            "CustomTimeZone",
        ] {
            if let Some(value) = configuration.get(name) {
                extended.insert(name.to_owned(), value.clone());
            }
        }
        let backup =
            configuration.get("S3BackupMode").cloned().unwrap_or_else(|| json!("Disabled"));
        extended.insert("S3BackupMode".to_owned(), backup);
        if let Some(backup) = configuration.get("S3BackupConfiguration") {
            extended.insert("S3BackupDescription".to_owned(), Value::Object(s3(backup)));
        }
    } else {
        extended.insert("S3BackupMode".to_owned(), json!("Disabled"));
    }
    members.insert("ExtendedS3DestinationDescription".to_owned(), Value::Object(extended));
    Value::Object(members)
}

/// `S3DestinationDescription` of a configuration, with the defaults of the service.
fn s3(configuration: &Value) -> Map<String, Value> {
    let defaults = [
        ("RoleARN", None),
        ("BucketARN", None),
        ("Prefix", None),
        ("ErrorOutputPrefix", None),
        ("BufferingHints", Some(json!({ "SizeInMBs": 5, "IntervalInSeconds": 300 }))),
        ("CompressionFormat", Some(json!("UNCOMPRESSED"))),
        ("EncryptionConfiguration", Some(json!({ "NoEncryptionConfig": "NoEncryption" }))),
        ("CloudWatchLoggingOptions", Some(json!({ "Enabled": false }))),
    ];
    let member = |(name, default): (&str, Option<Value>)| {
        let value = configuration.get(name).cloned().or(default)?;
        Some((name.to_owned(), value))
    };
    defaults.into_iter().filter_map(member).collect()
}

#[cfg(test)]
mod tests {
    use anabranch_delivery::Destination;

    use super::*;

    #[test]
    fn a_description_has_what_was_sent_and_the_defaults_of_the_service() {
        let configuration = json!({
            "RoleARN": "r", "BucketARN": "b", "Prefix": "p/", "FileExtension": ".json",
            "ProcessingConfiguration": {"Enabled": false}
        });
        let destination = Destination { kind: Kind::ExtendedS3, configuration };
        let definition = Definition::new("n", Source::DirectPut { hint: None }, destination, 1500);
        let description = describe(&definition, "arn", "DISABLED", None);
        assert_eq!(description["CreateTimestamp"], json!(1.5));
        assert_eq!(description["DeliveryStreamStatus"], "CREATING");
        let extended = &description["Destinations"][0]["ExtendedS3DestinationDescription"];
        assert_eq!(extended["BufferingHints"], json!({"SizeInMBs": 5, "IntervalInSeconds": 300}));
        assert_eq!(extended["FileExtension"], ".json");
        assert_eq!(extended["S3BackupMode"], "Disabled");
        let old = &description["Destinations"][0]["S3DestinationDescription"];
        assert_eq!(old["Prefix"], "p/");
        assert!(old.get("FileExtension").is_none());
        let after = describe(&definition, "arn", "DISABLED", Some(DESTINATION_ID));
        assert_eq!(after["Destinations"], json!([]));
    }
}
