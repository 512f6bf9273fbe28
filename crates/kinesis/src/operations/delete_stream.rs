use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Flag, Text};
use anabranch_catalog::StreamCommand;
use anabranch_gateway::service::{Empty, Request};
use serde::Deserialize;

use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;

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
        rules::check_stream(checks, &self.stream_name, &self.stream_arn, &self.stream_id);
    }
}

impl Request<Kinesis> for DeleteStream<'_> {
    type Target = StreamTarget;
    type Response = Empty;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<Empty, Error> {
        let kinesis = cx.service;
        let name = &target.name;
        let with_consumers = self.enforce_consumer_deletion == Some(Flag(true));
        let command = StreamCommand::Delete { name: name.clone(), with_consumers };
        kinesis.change(name, command).await.map(|_| Empty)
    }
}
