//! The constraints of the shapes that operations share. A rule has a limit of length or value, a pattern, or a set of
//! words.
//!
//! Source: the service model (botocore 1.44.5, `kinesis/2013-12-02`). The comment of each rule names its shape. A
//! pattern of the model is kept as text for messages, and a function next to it decides the same without a regular
//! expression engine.

use anabranch_aws::constraints::{Checks, Rule};
use anabranch_aws::wire::{Member, Text};
use anabranch_catalog::ShardMetrics;
use anabranch_types::limits;

/// Checks the three members that can name a stream.
pub(crate) fn check_stream<'t>(
    checks: &mut Checks,
    name: &impl Member<Text<'t>>,
    arn: &impl Member<Text<'t>>,
    id: &impl Member<Text<'t>>,
) {
    checks.text("StreamName", name, &STREAM_NAME);
    checks.text("StreamARN", arn, &STREAM_ARN);
    checks.text("StreamId", id, &STREAM_ID);
}

/// Checks the two members that can name a stream or a consumer.
pub(crate) fn check_resource<'t>(
    checks: &mut Checks,
    arn: &impl Member<Text<'t>>,
    id: &impl Member<Text<'t>>,
) {
    checks.text("ResourceARN", arn, &RESOURCE_ARN);
    checks.text("StreamId", id, &STREAM_ID);
}

/// `StreamName`
pub(crate) const STREAM_NAME: Rule = Rule::range(1, 128).pattern("[a-zA-Z0-9_.-]+", is_name);
/// `StreamARN`
pub(crate) const STREAM_ARN: Rule =
    Rule::range(1, 2048).pattern(r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+", is_stream_arn);
/// `StreamId`: reserved by AWS. It is checked and then ignored.
pub(crate) const STREAM_ID: Rule =
    Rule::range(1, 24).pattern("[a-z0-9]{20}-[a-z0-9]{3}", is_stream_id);
/// `ShardId`
pub(crate) const SHARD_ID: Rule = STREAM_NAME;
/// `PartitionKey`
pub(crate) const PARTITION_KEY: Rule = Rule::range(1, limits::PARTITION_KEY_MAX_CHARACTERS as u64);
/// `Data`
pub(crate) const DATA: Rule = Rule::range(0, limits::RECORD_MAX_BYTES as u64);
/// `HashKey`
pub(crate) const HASH_KEY: Rule =
    Rule::ANY.pattern(r"^(0|([1-9]\d{0,38}))$", |text| is_decimal(text, 39));
/// `SequenceNumber`
pub(crate) const SEQUENCE_NUMBER: Rule =
    Rule::ANY.pattern(r"^(0|([1-9]\d{0,128}))$", |text| is_decimal(text, 129));
/// `DescribeStreamInputLimit`, `GetRecordsInputLimit`, `ListShardsInputLimit`, `ListStreamsInputLimit`
pub(crate) const LIMIT: Rule = Rule::range(1, 10_000);
/// `NextToken`
pub(crate) const NEXT_TOKEN: Rule = Rule::range(1, 1_048_576);
/// `ShardIterator`
pub(crate) const SHARD_ITERATOR: Rule = Rule::range(1, 512);
/// `PositiveIntegerObject`
pub(crate) const POSITIVE: Rule = Rule::range(1, u64::MAX);
/// `NaturalIntegerObject`
pub(crate) const NATURAL: Rule = Rule::range(0, u64::MAX);
/// `MaxRecordSizeInKiB`
pub(crate) const MAX_RECORD_SIZE: Rule =
    Rule::range(limits::DEFAULT_MAX_RECORD_SIZE_KIB as u64, limits::MAX_RECORD_SIZE_KIB as u64);
/// `PutRecordsRequestEntryList`
pub(crate) const RECORDS: Rule = Rule::range(1, limits::PUT_RECORDS_MAX_RECORDS as u64);
/// `TagMap`
pub(crate) const TAGS: Rule = Rule::range(1, 200);
/// `TagKey`
pub(crate) const TAG_KEY: Rule = Rule::range(1, 128);
/// `TagValue`
pub(crate) const TAG_VALUE: Rule = Rule::range(0, 256);
/// `TagKeyList`
pub(crate) const TAG_KEYS: Rule = Rule::range(1, limits::MAX_TAGS as u64);
/// `ListTagsForStreamInputLimit`
pub(crate) const TAGS_LIMIT: Rule = Rule::range(1, limits::MAX_TAGS as u64);
/// `EncryptionType`
pub(crate) const ENCRYPTION_TYPE: Rule = Rule::one_of(&["NONE", "KMS"]);
/// `KeyId`
pub(crate) const KEY_ID: Rule = Rule::range(1, 2048);
/// `ConsumerName`
pub(crate) const CONSUMER_NAME: Rule = STREAM_NAME;
/// `ConsumerARN`
pub(crate) const CONSUMER_ARN: Rule = Rule::range(1, 2048).pattern(
    r"^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+",
    is_consumer_arn,
);
/// `ResourceARN`
pub(crate) const RESOURCE_ARN: Rule = Rule::range(1, 2048)
    .pattern(r"arn:aws.*:kinesis:.*:\d{12}:.*(stream|channel|queue)/\S+", is_resource_arn);
/// `MetricsNameList`
pub(crate) const METRICS: Rule = Rule::range(1, 7);
/// `MetricsName`
pub(crate) const METRIC: Rule = Rule::one_of(&ShardMetrics::WORDS);
/// `MinimumThroughputBillingCommitmentInputStatus`
pub(crate) const COMMITMENT_STATUS: Rule = Rule::one_of(&["ENABLED", "DISABLED"]);
/// `StreamMode`
pub(crate) const STREAM_MODE: Rule = Rule::one_of(&["PROVISIONED", "ON_DEMAND"]);
/// `ScalingType`
pub(crate) const SCALING_TYPE: Rule = Rule::one_of(&["UNIFORM_SCALING"]);
/// `RecordDistributionStrategy`
pub(crate) const DISTRIBUTION: Rule = Rule::one_of(&["AUTO", "USER_PARTITION_KEY"]);
/// `ShardIteratorType`
pub(crate) const SHARD_ITERATOR_TYPE: Rule = Rule::one_of(&[
    "AT_SEQUENCE_NUMBER",
    "AFTER_SEQUENCE_NUMBER",
    "TRIM_HORIZON",
    "LATEST",
    "AT_TIMESTAMP",
]);
/// `ShardFilterType`
pub(crate) const SHARD_FILTER_TYPE: Rule = Rule::one_of(&[
    "AFTER_SHARD_ID",
    "AT_TRIM_HORIZON",
    "FROM_TRIM_HORIZON",
    "AT_LATEST",
    "AT_TIMESTAMP",
    "FROM_TIMESTAMP",
]);

fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    !text.is_empty() && text.bytes().all(allowed)
}

fn is_decimal(text: &str, max_digits: usize) -> bool {
    let digits = (1..=max_digits).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits && (text == "0" || !text.starts_with('0'))
}

fn is_stream_id(text: &str) -> bool {
    let allowed = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() == 24
        && bytes[20] == b'-'
        && bytes[..20].iter().all(allowed)
        && bytes[21..].iter().all(allowed)
}

fn is_stream_arn(text: &str) -> bool {
    let Some((head, name)) = text.split_once(":stream/") else { return false };
    is_owner(head) && !name.is_empty() && !name.contains(char::is_whitespace)
}

/// Whether the text is `arn:aws…:kinesis:…:<12 digits>`.
fn is_owner(head: &str) -> bool {
    let Some((front, account)) = head.rsplit_once(':') else { return false };
    let service = front.strip_prefix("arn:aws").is_some_and(|rest| rest.contains(":kinesis:"));
    service && account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit())
}

fn is_consumer_arn(text: &str) -> bool {
    let Some((stream, consumer)) = text.split_once("/consumer/") else { return false };
    let Some((head, name)) = stream.split_once(":stream/") else { return false };
    let Some((consumer, seconds)) = consumer.split_once(':') else { return false };
    let digit = seconds.bytes().next().is_some_and(|b| b.is_ascii_digit());
    is_owner(head) && is_name(name) && is_name(consumer) && digit
}

fn is_resource_arn(text: &str) -> bool {
    [":stream/", ":channel/", ":queue/"].into_iter().any(|kind| {
        let parts = text.split_once(kind);
        parts.is_some_and(|(head, rest)| {
            is_owner(head) && !rest.is_empty() && !rest.contains(char::is_whitespace)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn fits(rule: &Rule, value: &str) -> bool {
        struct One<'a>(Option<Text<'a>>, Rule);
        impl anabranch_aws::constraints::Constrained for One<'_> {
            fn check(&self, checks: &mut Checks) {
                checks.text("Member", &self.0, &self.1);
            }
        }
        anabranch_aws::constraints::check(&One(Some(Text(Cow::Borrowed(value))), *rule)).is_ok()
    }

    #[test]
    fn patterns_decide_like_the_regular_expressions_of_the_model() {
        let sequence = |text: &str| fits(&SEQUENCE_NUMBER, text);
        assert!(sequence("0") && sequence("49") && sequence(&"9".repeat(129)));
        assert!(!sequence("") && !sequence("01") && !sequence("-1") && !sequence(&"9".repeat(130)));
        let arn = |text: &str| fits(&STREAM_ARN, text);
        assert!(arn("arn:aws:kinesis:us-east-1:123456789012:stream/a"));
        assert!(arn("arn:aws-cn:kinesis:cn-north-1:123456789012:stream/a"));
        for bad in [
            "a",
            "arn:aws:kinesis:us-east-1:12345678901:stream/a",
            "arn:aws:s3:us-east-1:123456789012:stream/a",
            "arn:aws:kinesis:us-east-1:123456789012:stream/",
            "arn:aws:kinesis:us-east-1:123456789012:stream/a b",
            "arn:aws:kinesis:us-east-1:123456789012:streams/a",
        ] {
            assert!(!arn(bad), "{bad}");
        }
        let id = |text: &str| fits(&STREAM_ID, text);
        assert!(id("abcdefghij0123456789-abc") && !id("abcdefghij0123456789-ab") && !id("é"));
    }
}
