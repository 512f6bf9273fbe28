//! Amazon Resource Names of streams and consumers, with their parts.
//!
//! A value is always well-formed, because parsing is the only way in for text. Parsing a written value yields the
//! same value, with one exception: the partition is not kept, and `aws` is written.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::names::{ConsumerName, ParseError, StreamName};

/// The id of an account: twelve digits. The default is `000000000000`, for a cluster without a setting for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// The twelve digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let valid = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
        valid.then(|| Self(text.into())).ok_or(ParseError::AccountId)
    }
}

impl Default for AccountId {
    fn default() -> Self {
        Self("000000000000".into())
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a region, as ARNs contain it. Only the form is checked: clients of any region are served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(Arc<str>);

impl Region {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Region {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let valid = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        valid.then(|| Self(text.into())).ok_or(ParseError::Region)
    }
}

impl Default for Region {
    fn default() -> Self {
        Self("us-east-1".into())
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `arn:aws:kinesis:<region>:<account>:stream/<name>`. Any partition (`aws`, `aws-cn`, …) is read, and `aws` is
/// written.
///
/// Source: the pattern of `StreamARN` in the service model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StreamArn {
    /// Region in the ARN. It need not be the region of this cluster.
    pub region: Region,
    /// Account that owns the stream.
    pub account: AccountId,
    /// Name of the stream.
    pub stream: StreamName,
}

impl FromStr for StreamArn {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().ok_or(ParseError::StreamArn);
        let (arn, partition, service) = (next()?, next()?, next()?);
        let (region, account, resource) = (next()?, next()?, next()?);
        let name = resource.strip_prefix("stream/").ok_or(ParseError::StreamArn)?;
        if arn != "arn" || !partition.starts_with("aws") || service != "kinesis" {
            return Err(ParseError::StreamArn);
        }
        Ok(Self {
            region: region.parse().map_err(|_| ParseError::StreamArn)?,
            account: account.parse().map_err(|_| ParseError::StreamArn)?,
            stream: name.parse().map_err(|_| ParseError::StreamArn)?,
        })
    }
}

impl fmt::Display for StreamArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:aws:kinesis:{}:{}:stream/{}", self.region, self.account, self.stream)
    }
}

/// `<stream ARN>/consumer/<name>:<seconds>`. The creation time distinguishes a consumer from an earlier one of the
/// same name.
///
/// Source: the pattern of `ConsumerARN` in the service model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConsumerArn {
    /// ARN of the consumer's stream.
    pub stream: StreamArn,
    /// Name of the consumer.
    pub consumer: ConsumerName,
    /// Creation time of the consumer, in seconds since 1970-01-01 UTC.
    pub created_seconds: u64,
}

impl FromStr for ConsumerArn {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (stream, consumer) = text.split_once("/consumer/").ok_or(ParseError::ConsumerArn)?;
        let (name, seconds) = consumer.rsplit_once(':').ok_or(ParseError::ConsumerArn)?;
        let digits = !seconds.is_empty() && seconds.bytes().all(|b| b.is_ascii_digit());
        let seconds = if digits { seconds.parse().ok() } else { None };
        Ok(Self {
            stream: stream.parse().map_err(|_| ParseError::ConsumerArn)?,
            consumer: name.parse().map_err(|_| ParseError::ConsumerArn)?,
            created_seconds: seconds.ok_or(ParseError::ConsumerArn)?,
        })
    }
}

impl fmt::Display for ConsumerArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/consumer/{}:{}", self.stream, self.consumer, self.created_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_arn_parses_from_its_own_text() {
        let text = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders/consumer/app:1764000000";
        assert_eq!(text.parse::<ConsumerArn>().unwrap().to_string(), text);
        let stream = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
        for bad in [
            "",
            "/consumer/",
            "/consumer/app",
            "/consumer/:1",
            "/consumer/a b:1",
            "/consumer/app:+1",
        ] {
            let bad = format!("{stream}{bad}");
            assert_eq!(bad.parse::<ConsumerArn>(), Err(ParseError::ConsumerArn), "{bad}");
        }
    }

    #[test]
    fn a_stream_arn_parses_from_its_own_text() {
        let text = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
        assert_eq!(text.parse::<StreamArn>().unwrap().to_string(), text);
        for bad in [
            "",
            "arn:aws:kinesis",
            "arn:aws:s3:eu-west-1:123456789012:stream/orders",
            "arn:aws:kinesis:eu-west-1:12:stream/orders",
            "arn:aws:kinesis:eu-west-1:123456789012:orders",
            "arn:aws:kinesis:eu-west-1:123456789012:stream/",
        ] {
            assert_eq!(bad.parse::<StreamArn>(), Err(ParseError::StreamArn), "{bad}");
        }
    }
}
