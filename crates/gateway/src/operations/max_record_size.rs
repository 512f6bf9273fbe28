use anabranch_catalog::{Command, StreamCommand};
use serde::Deserialize;

use super::{Context, Empty, Request};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::{Integer, Text};

/// `UpdateMaxRecordSizeInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UpdateMaxRecordSize<'a> {
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    max_record_size: Option<Integer>,
}

impl Constrained for UpdateMaxRecordSize<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("StreamARN", &self.stream_arn, &rules::STREAM_ARN);
        checks.text("StreamId", &self.stream_id, &rules::STREAM_ID);
        let rule = rules::MAX_RECORD_SIZE.required();
        checks.number("MaxRecordSizeInKiB", &self.max_record_size, &rule);
    }
}

impl Request for UpdateMaxRecordSize<'_> {
    type Answer = Empty;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.stream_target(&None, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let name = cx.gateway.stream_name(&None, &self.stream_arn)?;
        let kib = self.max_record_size.map_or(0, Integer::as_u32);
        let command = Command::Stream(StreamCommand::SetMaxRecordSize { name: name.clone(), kib });
        cx.gateway.change(&name, command).await.map(|_| Empty)
    }
}
