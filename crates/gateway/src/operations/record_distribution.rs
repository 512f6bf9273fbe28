use anabranch_catalog::{Command, Distribution, StreamCommand, StreamMode};
use serde::Deserialize;

use super::{Context, Empty, Request};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::Text;

/// What a checked member says; nothing is USER_PARTITION_KEY.
pub(super) fn distribution_of(strategy: &Option<Text<'_>>) -> Distribution {
    match strategy.as_deref() {
        Some("AUTO") => Distribution::Auto,
        _ => Distribution::UserPartitionKey,
    }
}

/// `UpdateStreamRecordDistributionStrategyInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UpdateStreamRecordDistributionStrategy<'a> {
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    record_distribution_strategy: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for UpdateStreamRecordDistributionStrategy<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("StreamARN", &self.stream_arn, &rules::STREAM_ARN.required());
        checks.text("StreamId", &self.stream_id, &rules::STREAM_ID);
        let strategy = &self.record_distribution_strategy;
        checks.text("RecordDistributionStrategy", strategy, &rules::DISTRIBUTION.required());
    }
}

impl Request for UpdateStreamRecordDistributionStrategy<'_> {
    type Answer = Empty;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.stream_target(&None, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let gateway = cx.gateway;
        let name = gateway.stream_name(&None, &self.stream_arn)?;
        let view = gateway.cluster.view();
        if gateway.find(&view, &name)?.stream.mode != StreamMode::OnDemand {
            return Err(Error::InvalidArgument(format!(
                "{} is in PROVISIONED mode: RecordDistributionStrategy is for streams in ON_DEMAND mode.",
                gateway.subject(&name)
            )));
        }
        let distribution = distribution_of(&self.record_distribution_strategy);
        let command =
            Command::Stream(StreamCommand::SetDistribution { name: name.clone(), distribution });
        gateway.change(&name, command).await.map(|_| Empty)
    }
}
