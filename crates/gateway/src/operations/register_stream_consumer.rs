use anabranch_catalog::{Command, ConsumerCommand};
use serde::Deserialize;

use super::consumers::{self, ConsumerSummary};
use super::{Answer, Context, Request, tags};
use crate::authorization::{AskedTags, Target};
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::{Map, Text, Writer};

/// `RegisterStreamConsumerInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RegisterStreamConsumer<'a> {
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    consumer_name: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    #[serde(borrow)]
    tags: Option<Map<'a>>,
}

impl Constrained for RegisterStreamConsumer<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("StreamARN", &self.stream_arn, &rules::STREAM_ARN.required());
        checks.text("ConsumerName", &self.consumer_name, &rules::CONSUMER_NAME.required());
        checks.text("StreamId", &self.stream_id, &rules::STREAM_ID);
        checks.map("Tags", &self.tags, &rules::TAGS, (&rules::TAG_KEY, &rules::TAG_VALUE));
    }
}

/// `RegisterStreamConsumerOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct Registered(ConsumerSummary);

impl Request for RegisterStreamConsumer<'_> {
    type Answer = Registered;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.stream_target(&None, &self.stream_arn)
    }

    fn tags(&self) -> AskedTags<'_> {
        tags::asked(&self.tags)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Registered, Error> {
        let gateway = cx.gateway;
        let name = gateway.stream_name(&None, &self.stream_arn)?;
        let consumer = consumers::parse_name(self.consumer_name.as_deref().unwrap_or_default())?;
        let command = Command::Consumer(ConsumerCommand::Register {
            name: name.clone(),
            consumer: consumer.clone(),
            tags: tags::checked(&self.tags)?,
            now: gateway.clock.now(),
        });
        let view = gateway.change(&name, command).await?;
        let known = gateway.find(&view, &name)?.stream.consumers.get(&consumer);
        // Somebody else was as fast as to remove it already.
        let known = known.ok_or(Error::Internal)?;
        Ok(Registered(ConsumerSummary::new(gateway, &name, &consumer, known)))
    }
}

impl Answer for Registered {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| w.member("Consumer").structure(|w| self.0.write_members(w)));
    }
}
