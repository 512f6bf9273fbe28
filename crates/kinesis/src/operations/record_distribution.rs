//! UpdateStreamRecordDistributionStrategy: whether records are routed by partition key or to any shard.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Required, Text};
use anabranch_catalog::{Distribution, StreamCommand, StreamMode};
use anabranch_gateway::service::{Empty, Request};
use serde::Deserialize;

use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;

/// Reads a strategy that has passed the constraints. No strategy means USER_PARTITION_KEY.
pub(super) fn distribution_of(strategy: Option<&str>) -> Distribution {
    match strategy {
        Some("AUTO") => Distribution::Auto,
        _ => Distribution::UserPartitionKey,
    }
}

/// `UpdateStreamRecordDistributionStrategyInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UpdateStreamRecordDistributionStrategy<'a> {
    #[serde(borrow, rename = "StreamARN", default)]
    stream_arn: Required<Text<'a>>,
    #[serde(borrow, default)]
    record_distribution_strategy: Required<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for UpdateStreamRecordDistributionStrategy<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("StreamARN", &self.stream_arn, &rules::STREAM_ARN);
        checks.text("StreamId", &self.stream_id, &rules::STREAM_ID);
        let strategy = &self.record_distribution_strategy;
        checks.text("RecordDistributionStrategy", strategy, &rules::DISTRIBUTION);
    }
}

impl Request<Kinesis> for UpdateStreamRecordDistributionStrategy<'_> {
    type Target = StreamTarget;
    type Response = Empty;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target_of_arn(&self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<Empty, Error> {
        let kinesis = cx.service;
        let name = &target.name;
        let view = kinesis.cluster.view();
        if kinesis.find(&view, name)?.stream.mode != StreamMode::OnDemand {
            return Err(Error::InvalidArgument(format!(
                "{} is in PROVISIONED mode: RecordDistributionStrategy is for streams in ON_DEMAND mode.",
                kinesis.subject(name)
            )));
        }
        let distribution = distribution_of(Some(&self.record_distribution_strategy));
        let command = StreamCommand::SetDistribution { name: name.clone(), distribution };
        kinesis.change(name, command).await.map(|_| Empty)
    }
}
