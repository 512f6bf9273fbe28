//! EnableEnhancedMonitoring and DisableEnhancedMonitoring: choose the metrics of each shard.
//!
//! The choice is part of the stream in the catalog. The response shows the metrics before and after the change.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{List, Required, Text, Writer};
use anabranch_catalog::{ShardMetrics, StreamCommand};
use anabranch_gateway::service::{Request, Response};
use anabranch_types::{StreamArn, StreamName};
use serde::Deserialize;

use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;

/// `EnableEnhancedMonitoringInput` (`ON`) and `DisableEnhancedMonitoringInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SetEnhancedMonitoring<'a, const ON: bool> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    shard_level_metrics: Required<List<Text<'a>>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl<const ON: bool> Constrained for SetEnhancedMonitoring<'_, ON> {
    fn check(&self, checks: &mut Checks) {
        rules::check_stream(checks, &self.stream_name, &self.stream_arn, &self.stream_id);
        let metrics = &self.shard_level_metrics;
        checks.texts("ShardLevelMetrics", metrics, &rules::METRICS, &rules::METRIC);
    }
}

/// `EnhancedMonitoringOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct Monitoring {
    name: StreamName,
    arn: StreamArn,
    current: ShardMetrics,
    desired: ShardMetrics,
}

impl<const ON: bool> Request<Kinesis> for SetEnhancedMonitoring<'_, ON> {
    type Target = StreamTarget;
    type Response = Monitoring;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<Monitoring, Error> {
        let kinesis = cx.service;
        let name = &target.name;
        let before = kinesis.cluster.view();
        let current = kinesis.find(&before, name)?.stream.shard_metrics;
        let named = self
            .shard_level_metrics
            .members()
            .iter()
            .filter_map(|name| ShardMetrics::of_name(name));
        let none = ShardMetrics::default();
        let named = named.fold(none, ShardMetrics::with);
        let (on, off) = if ON { (named, none) } else { (none, named) };
        let command = StreamCommand::SetShardMetrics { name: name.clone(), on, off };
        let after = kinesis.change(name, command).await?;
        let desired = kinesis.find(&after, name)?.stream.shard_metrics;
        Ok(Monitoring { arn: kinesis.arn(name), name: name.clone(), current, desired })
    }
}

impl Response for Monitoring {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("StreamName").plain(&self.name);
            write_names(w, "CurrentShardLevelMetrics", self.current);
            write_names(w, "DesiredShardLevelMetrics", self.desired);
            w.member("StreamARN").plain(&self.arn);
        });
    }
}

fn write_names(w: &mut Writer, member: &'static str, metrics: ShardMetrics) {
    w.member(member).list(|w| metrics.names().for_each(|name| w.plain(name)));
}

/// Writes `EnhancedMonitoring` of a description. As in AWS, it is a list with one set, which may be empty.
pub(super) fn write_enhanced_monitoring(w: &mut Writer, metrics: ShardMetrics) {
    w.member("EnhancedMonitoring")
        .list(|w| w.structure(|w| write_names(w, "ShardLevelMetrics", metrics)));
}
