//! What the operations on consumers with enhanced fan-out share.

use anabranch_catalog::{Consumer, ConsumerStatus};
use anabranch_types::{ConsumerArn, ConsumerName, StreamName, Timestamp};
use serde::Deserialize;

use super::Context;
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::{Text, Writer};

/// The members that name a consumer: all that two operations have.
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
    /// The consumer, for policies.
    pub(super) fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        if let Some(arn) = self.consumer_arn.as_deref() {
            return gateway.consumer_target(arn);
        }
        let (Some(_), Some(name)) = (&self.stream_arn, self.consumer_name.as_deref()) else {
            return Err(unnamed());
        };
        let stream = gateway.stream_name(&None, &self.stream_arn)?;
        Ok(Target::Consumer { stream, consumer: parse_name(name)?, created_seconds: None })
    }

    /// The consumer that they mean: its ARN, or its stream's ARN and its name, or all three if they agree.
    pub(super) fn find(
        &self,
        cx: &Context<'_>,
    ) -> Result<(StreamName, ConsumerName, Consumer), Error> {
        let gateway = cx.gateway;
        let view = gateway.cluster.view();
        if let Some(arn) = self.consumer_arn.as_deref() {
            let (arn, consumer) = gateway.consumer_in_arn(&view, arn)?;
            let ConsumerArn { stream, consumer: name, .. } = arn;
            let stream_agrees = match &self.stream_arn {
                Some(_) => gateway.stream_name(&None, &self.stream_arn)? == stream.stream,
                None => true,
            };
            let name_agrees = self.consumer_name.as_deref().is_none_or(|n| n == name.as_str());
            if !stream_agrees || !name_agrees {
                return Err(Error::InvalidArgument(
                    "StreamARN, ConsumerName and ConsumerARN must name the same consumer."
                        .to_owned(),
                ));
            }
            return Ok((stream.stream, name, consumer.clone()));
        }
        let (Some(_), Some(name)) = (&self.stream_arn, self.consumer_name.as_deref()) else {
            return Err(unnamed());
        };
        let stream = gateway.stream_name(&None, &self.stream_arn)?;
        let name = parse_name(name)?;
        let consumer = gateway.find(&view, &stream)?.stream.consumers.get(&name);
        let consumer = consumer.cloned().ok_or_else(|| {
            let (account, region) = (&gateway.settings.account, &gateway.settings.region);
            let text =
                format!("Consumer {name} of stream {stream} under account {account} in {region}");
            Error::NotFound(format!("{text} not found."))
        })?;
        Ok((stream, name, consumer))
    }
}

fn unnamed() -> Error {
    let message = "Either ConsumerARN or both StreamARN and ConsumerName must be provided.";
    Error::InvalidArgument(message.to_owned())
}

/// A name that has passed the constraints.
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
        gateway: &Gateway,
        stream: &StreamName,
        name: &ConsumerName,
        consumer: &Consumer,
    ) -> Self {
        let arn = gateway.consumer_arn(stream, name, consumer);
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
