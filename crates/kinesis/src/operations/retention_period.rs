use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Integer, Required, Text};
use anabranch_catalog::StreamCommand;
use anabranch_gateway::service::{Empty, Request};
use serde::Deserialize;

use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;

/// `IncreaseStreamRetentionPeriodInput` (`LONGER`) and `DecreaseStreamRetentionPeriodInput` of the API
/// reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SetRetentionPeriod<'a, const LONGER: bool> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(default)]
    retention_period_hours: Required<Integer>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl<const LONGER: bool> Constrained for SetRetentionPeriod<'_, LONGER> {
    fn check(&self, checks: &mut Checks) {
        rules::check_stream(checks, &self.stream_name, &self.stream_arn, &self.stream_id);
        // The shape of the model has no bounds. The catalog checks the bounds of AWS against the stream.
        checks.present("RetentionPeriodHours", &self.retention_period_hours);
    }
}

impl<const LONGER: bool> Request<Kinesis> for SetRetentionPeriod<'_, LONGER> {
    type Target = StreamTarget;
    type Response = Empty;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<Empty, Error> {
        let name = &target.name;
        let hours = self.retention_period_hours.as_u32();
        let command = StreamCommand::SetRetention { name: name.clone(), hours, longer: LONGER };
        cx.service.change(name, command).await.map(|_| Empty)
    }
}
