//! RegisterStreamConsumer: proposes a new consumer of a stream to the catalog. It is CREATING at first.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Map, Required, Text, Writer};
use anabranch_catalog::ConsumerCommand;
use anabranch_gateway::service::{Request, RequestTags, Response};
use serde::Deserialize;

use super::consumers::{self, ConsumerSummary};
use super::tags;
use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;

/// `RegisterStreamConsumerInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RegisterStreamConsumer<'a> {
    #[serde(borrow, rename = "StreamARN", default)]
    stream_arn: Required<Text<'a>>,
    #[serde(borrow, default)]
    consumer_name: Required<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    #[serde(borrow)]
    tags: Option<Map<'a>>,
}

impl Constrained for RegisterStreamConsumer<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("StreamARN", &self.stream_arn, &rules::STREAM_ARN);
        checks.text("ConsumerName", &self.consumer_name, &rules::CONSUMER_NAME);
        checks.text("StreamId", &self.stream_id, &rules::STREAM_ID);
        checks.map("Tags", &self.tags, &rules::TAGS, (&rules::TAG_KEY, &rules::TAG_VALUE));
    }
}

/// `RegisterStreamConsumerOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct Registered(ConsumerSummary);

impl Request<Kinesis> for RegisterStreamConsumer<'_> {
    type Target = StreamTarget;
    type Response = Registered;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target_of_arn(&self.stream_arn)
    }

    fn tags(&self) -> RequestTags<'_> {
        tags::requested(&self.tags)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<Registered, Error> {
        let kinesis = cx.service;
        let name = &target.name;
        let consumer = consumers::parse_name(&self.consumer_name)?;
        let command = ConsumerCommand::Register {
            name: name.clone(),
            consumer: consumer.clone(),
            tags: tags::checked(&self.tags)?,
            now: kinesis.clock.now(),
        };
        let view = kinesis.change(name, command).await?;
        let known = kinesis.find(&view, name)?.stream.consumers.get(&consumer);
        // Another call may have removed the consumer already.
        let known = known.ok_or(Error::Internal)?;
        Ok(Registered(ConsumerSummary::new(kinesis, name, &consumer, known)))
    }
}

impl Response for Registered {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| w.member("Consumer").structure(|w| self.0.write_members(w)));
    }
}
