use anabranch_catalog::{Command, StreamCommand, StreamMode};
use serde::Deserialize;

use super::{Context, Empty, Request};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::{Integer, Structure, Text};

/// `StreamModeDetails` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StreamModeDetails<'a> {
    #[serde(borrow)]
    stream_mode: Option<Text<'a>>,
}

impl Constrained for StreamModeDetails<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("StreamMode", &self.stream_mode, &rules::STREAM_MODE.required());
    }
}

impl StreamModeDetails<'_> {
    pub(super) fn mode(&self) -> StreamMode {
        match self.stream_mode.as_deref() {
            Some("ON_DEMAND") => StreamMode::OnDemand,
            _ => StreamMode::Provisioned,
        }
    }
}

/// Refuses a warm throughput for a stream that isn't to be on-demand.
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
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    #[serde(borrow)]
    stream_mode_details: Option<Structure<StreamModeDetails<'a>>>,
    #[serde(rename = "WarmThroughputMiBps")]
    warm_throughput: Option<Integer>,
}

impl Constrained for UpdateStreamMode<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("StreamARN", &self.stream_arn, &rules::STREAM_ARN.required());
        checks.text("StreamId", &self.stream_id, &rules::STREAM_ID);
        checks.required_structure("StreamModeDetails", &self.stream_mode_details);
        checks.number("WarmThroughputMiBps", &self.warm_throughput, &rules::NATURAL);
    }
}

impl Request for UpdateStreamMode<'_> {
    type Answer = Empty;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.stream_target(&None, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let name = cx.gateway.stream_name(&None, &self.stream_arn)?;
        let details = self.stream_mode_details.as_ref();
        let mode = details.map_or(StreamMode::Provisioned, |details| details.0.mode());
        check_warm_throughput(mode, self.warm_throughput)?;
        let warm_throughput_mibps = self.warm_throughput.map(Integer::as_u32);
        let command = Command::Stream(StreamCommand::SetMode {
            name: name.clone(),
            mode,
            warm_throughput_mibps,
        });
        cx.gateway.change(&name, command).await.map(|_| Empty)
    }
}
