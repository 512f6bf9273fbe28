use anabranch_catalog::{Command, StreamCommand};
use serde::Deserialize;

use super::{Context, Empty, Request};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::{Flag, Text};

/// `DeleteStreamInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DeleteStream<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    enforce_consumer_deletion: Option<Flag>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for DeleteStream<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.stream(&self.stream_name, &self.stream_arn, &self.stream_id);
    }
}

impl Request for DeleteStream<'_> {
    type Answer = Empty;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let gateway = cx.gateway;
        let name = gateway.stream_name(&self.stream_name, &self.stream_arn)?;
        let with_consumers = self.enforce_consumer_deletion == Some(Flag(true));
        let command = Command::Stream(StreamCommand::Delete { name: name.clone(), with_consumers });
        gateway.change(&name, command).await.map(|_| Empty)
    }
}
