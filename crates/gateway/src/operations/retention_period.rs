use anabranch_catalog::{Command, StreamCommand};
use serde::Deserialize;

use super::{Context, Empty, Request};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::{Integer, Text};

/// `IncreaseStreamRetentionPeriodInput` (`LONGER`) and `DecreaseStreamRetentionPeriodInput` of the API
/// reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SetRetentionPeriod<'a, const LONGER: bool> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    retention_period_hours: Option<Integer>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl<const LONGER: bool> Constrained for SetRetentionPeriod<'_, LONGER> {
    fn check(&self, checks: &mut Checks) {
        checks.stream(&self.stream_name, &self.stream_arn, &self.stream_id);
        // The shape has no bounds: those of the service are checked against the stream.
        let is_there = self.retention_period_hours.map(|_| Integer(1));
        checks.number("RetentionPeriodHours", &is_there, &rules::POSITIVE.required());
    }
}

impl<const LONGER: bool> Request for SetRetentionPeriod<'_, LONGER> {
    type Answer = Empty;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let name = cx.gateway.stream_name(&self.stream_name, &self.stream_arn)?;
        let hours = self.retention_period_hours.map_or(0, Integer::as_u32);
        let command = Command::Stream(StreamCommand::SetRetention {
            name: name.clone(),
            hours,
            longer: LONGER,
        });
        cx.gateway.change(&name, command).await.map(|_| Empty)
    }
}
