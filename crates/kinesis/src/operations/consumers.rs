//! Shared by the operations on consumers with enhanced fan-out: the members that name a consumer, and its
//! description.
//!
//! A request names a consumer by its ARN, which means a certain registration, or by the ARN of the stream and the
//! name, which mean the current registration.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Text, Writer};
use anabranch_catalog::{Consumer, ConsumerStatus};
use anabranch_types::{ConsumerArn, ConsumerName, StreamName, Timestamp};
use serde::Deserialize;

use crate::error::Error;
use crate::kinesis::Kinesis;
use crate::rules;
use crate::targets::ConsumerTarget;

/// The members that name a consumer. DescribeStreamConsumer and DeregisterStreamConsumer have no others.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ConsumerMembers<'a> {
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    consumer_name: Option<Text<'a>>,
    #[serde(borrow, rename = "ConsumerARN")]
    consumer_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for ConsumerMembers<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("StreamARN", &self.stream_arn, &rules::STREAM_ARN);
        checks.text("ConsumerName", &self.consumer_name, &rules::CONSUMER_NAME);
        checks.text("ConsumerARN", &self.consumer_arn, &rules::CONSUMER_ARN);
        checks.text("StreamId", &self.stream_id, &rules::STREAM_ID);
    }
}

impl ConsumerMembers<'_> {
    /// Reads the target: the ARN of the consumer, or the ARN of its stream and its name.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if members are missing. [`Error::NotFound`] for another account.
    pub(super) fn target(&self, kinesis: &Kinesis) -> Result<ConsumerTarget, Error> {
        if let Some(arn) = self.consumer_arn.as_deref() {
            return kinesis.consumer_arn_target(arn).map(ConsumerTarget::Arn);
        }
        let (Some(arn), Some(name)) = (&self.stream_arn, self.consumer_name.as_deref()) else {
            return Err(unnamed());
        };
        let stream = kinesis.name_in_arn("StreamARN", arn)?;
        Ok(ConsumerTarget::Name { stream, consumer: parse_name(name)? })
    }

    /// Finds the consumer of `target` and checks that all given members name it.
    ///
    /// # Errors
    /// [`Error::NotFound`]. [`Error::InvalidArgument`] if other members name another consumer.
    pub(super) fn find(
        &self,
        kinesis: &Kinesis,
        target: &ConsumerTarget,
    ) -> Result<(StreamName, ConsumerName, Consumer), Error> {
        let view = kinesis.cluster.view();
        let (stream, consumer, known) = kinesis.find_consumer_target(&view, target)?;
        let stream_agrees = match &self.stream_arn {
            Some(arn) => kinesis.name_in_arn("StreamARN", arn)? == stream,
            None => true,
        };
        let name_agrees = self.consumer_name.as_deref().is_none_or(|n| n == consumer.as_str());
        if !stream_agrees || !name_agrees {
            return Err(Error::InvalidArgument(
                "StreamARN, ConsumerName and ConsumerARN must name the same consumer.".to_owned(),
            ));
        }
        Ok((stream, consumer, known.clone()))
    }
}

fn unnamed() -> Error {
    let message = "Either ConsumerARN or both StreamARN and ConsumerName must be provided.";
    Error::InvalidArgument(message.to_owned())
}

/// Reads a consumer name that has passed the constraints.
pub(super) fn parse_name(text: &str) -> Result<ConsumerName, Error> {
    text.parse().map_err(|error| Error::InvalidArgument(format!("ConsumerName: {error}.")))
}

/// `Consumer` of the API reference.
#[derive(Debug)]
pub(crate) struct ConsumerSummary {
    arn: ConsumerArn,
    status: ConsumerStatus,
    created: Timestamp,
}

impl ConsumerSummary {
    pub(super) fn new(
        kinesis: &Kinesis,
        stream: &StreamName,
        name: &ConsumerName,
        consumer: &Consumer,
    ) -> Self {
        let arn = kinesis.consumer_arn(stream, name, consumer);
        Self { arn, status: consumer.status, created: consumer.created }
    }

    pub(super) fn write_members(&self, w: &mut Writer) {
        w.member("ConsumerName").plain(&self.arn.consumer);
        w.member("ConsumerARN").plain(&self.arn);
        w.member("ConsumerStatus").plain(self.status.name());
        w.member("ConsumerCreationTimestamp").timestamp(self.created);
    }

    /// `ConsumerDescription` of the API reference.
    pub(super) fn write_description(&self, w: &mut Writer) {
        self.write_members(w);
        w.member("StreamARN").plain(&self.arn.stream);
    }
}
