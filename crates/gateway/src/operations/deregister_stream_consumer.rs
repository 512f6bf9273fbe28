use anabranch_catalog::Command;
use serde::Deserialize;

use super::consumers::ConsumerMembers;
use super::{Context, Empty, Request};
use crate::constraints::{Checks, Constrained};
use crate::errors::Error;
use crate::wire::Text;

/// `DeregisterStreamConsumerInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DeregisterStreamConsumer<'a> {
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    consumer_name: Option<Text<'a>>,
    #[serde(borrow, rename = "ConsumerARN")]
    consumer_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl DeregisterStreamConsumer<'_> {
    fn members(&self) -> ConsumerMembers<'_> {
        let Self { stream_arn, consumer_name, consumer_arn, stream_id } = self;
        ConsumerMembers { stream_arn, consumer_name, consumer_arn, stream_id }
    }
}

impl Constrained for DeregisterStreamConsumer<'_> {
    fn check(&self, checks: &mut Checks) {
        self.members().check(checks);
    }
}

impl Request for DeregisterStreamConsumer<'_> {
    type Answer = Empty;

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let (name, consumer, known) = self.members().find(cx)?;
        let created = known.created;
        let command = Command::DeregisterConsumer { name: name.clone(), consumer, created };
        cx.gateway.change(&name, command).await.map(|_| Empty)
    }
}
