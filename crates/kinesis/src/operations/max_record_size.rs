use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Integer, Required, Text};
use anabranch_catalog::StreamCommand;
use anabranch_gateway::service::{Empty, Request};
use serde::Deserialize;

use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;

/// `UpdateMaxRecordSizeInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UpdateMaxRecordSize<'a> {
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    #[serde(rename = "MaxRecordSizeInKiB", default)]
    max_record_size: Required<Integer>,
}

impl Constrained for UpdateMaxRecordSize<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("StreamARN", &self.stream_arn, &rules::STREAM_ARN);
        checks.text("StreamId", &self.stream_id, &rules::STREAM_ID);
        let size = &self.max_record_size;
        checks.number("MaxRecordSizeInKiB", size, &rules::MAX_RECORD_SIZE);
    }
}

impl Request<Kinesis> for UpdateMaxRecordSize<'_> {
    type Target = StreamTarget;
    type Response = Empty;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target(&None, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<Empty, Error> {
        let name = &target.name;
        let kib = self.max_record_size.as_u32();
        let command = StreamCommand::SetMaxRecordSize { name: name.clone(), kib };
        cx.service.change(name, command).await.map(|_| Empty)
    }
}
