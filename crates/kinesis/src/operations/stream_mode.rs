//! UpdateStreamMode, and the members about the mode that it shares with CreateStream.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Integer, Required, Structure, Text};
use anabranch_catalog::{StreamCommand, StreamMode};
use anabranch_gateway::service::{Empty, Request};
use serde::Deserialize;

use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;

/// `StreamModeDetails` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StreamModeDetails<'a> {
    #[serde(borrow, default)]
    stream_mode: Required<Text<'a>>,
}

impl Constrained for StreamModeDetails<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("StreamMode", &self.stream_mode, &rules::STREAM_MODE);
    }
}

impl StreamModeDetails<'_> {
    pub(super) fn mode(&self) -> StreamMode {
        match &**self.stream_mode {
            "ON_DEMAND" => StreamMode::OnDemand,
            _ => StreamMode::Provisioned,
        }
    }
}

/// Refuses a warm throughput for a provisioned stream.
pub(super) fn check_warm_throughput(mode: StreamMode, warm: Option<Integer>) -> Result<(), Error> {
    if mode == StreamMode::Provisioned && warm.is_some() {
        return Err(Error::Validation(
            "WarmThroughputMiBps is for streams in ON_DEMAND mode.".to_owned(),
        ));
    }
    Ok(())
}

/// `UpdateStreamModeInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UpdateStreamMode<'a> {
    #[serde(borrow, rename = "StreamARN", default)]
    stream_arn: Required<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    stream_mode_details: Required<Structure<StreamModeDetails<'a>>>,
    #[serde(rename = "WarmThroughputMiBps")]
    warm_throughput: Option<Integer>,
}

impl Constrained for UpdateStreamMode<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("StreamARN", &self.stream_arn, &rules::STREAM_ARN);
        checks.text("StreamId", &self.stream_id, &rules::STREAM_ID);
        checks.structure("StreamModeDetails", &self.stream_mode_details);
        checks.number("WarmThroughputMiBps", &self.warm_throughput, &rules::NATURAL);
    }
}

impl Request<Kinesis> for UpdateStreamMode<'_> {
    type Target = StreamTarget;
    type Response = Empty;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target_of_arn(&self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<Empty, Error> {
        let name = &target.name;
        let mode = self.stream_mode_details.0.mode();
        check_warm_throughput(mode, self.warm_throughput)?;
        let warm_throughput_mibps = self.warm_throughput.map(Integer::as_u32);
        let command = StreamCommand::SetMode { name: name.clone(), mode, warm_throughput_mibps };
        cx.service.change(name, command).await.map(|_| Empty)
    }
}
