use anabranch_catalog::{Command, ShardMetrics, StreamCommand};
use anabranch_types::{StreamArn, StreamName};
use serde::Deserialize;

use super::{Answer, Context, Request};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::{List, Text, Writer};

/// `EnableEnhancedMonitoringInput` (`ON`) and `DisableEnhancedMonitoringInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SetEnhancedMonitoring<'a, const ON: bool> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow)]
    shard_level_metrics: Option<List<Text<'a>>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl<const ON: bool> Constrained for SetEnhancedMonitoring<'_, ON> {
    fn check(&self, checks: &mut Checks) {
        checks.stream(&self.stream_name, &self.stream_arn, &self.stream_id);
        let (metrics, size) = (&self.shard_level_metrics, rules::METRICS.required());
        checks.texts("ShardLevelMetrics", metrics, &size, &rules::METRIC);
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

impl<const ON: bool> Request for SetEnhancedMonitoring<'_, ON> {
    type Answer = Monitoring;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Monitoring, Error> {
        let gateway = cx.gateway;
        let name = gateway.stream_name(&self.stream_name, &self.stream_arn)?;
        let before = gateway.cluster.view();
        let current = gateway.find(&before, &name)?.stream.shard_metrics;
        let named = self.shard_level_metrics.as_ref().map(List::members).unwrap_or_default();
        let named = named.iter().filter_map(|name| ShardMetrics::of_name(name));
        let none = ShardMetrics::default();
        let named = named.fold(none, ShardMetrics::with);
        let (on, off) = if ON { (named, none) } else { (none, named) };
        let command =
            Command::Stream(StreamCommand::SetShardMetrics { name: name.clone(), on, off });
        let after = gateway.change(&name, command).await?;
        let desired = gateway.find(&after, &name)?.stream.shard_metrics;
        Ok(Monitoring { arn: gateway.arn(&name), name, current, desired })
    }
}

impl Answer for Monitoring {
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

/// `EnhancedMonitoring` of a description: the service lists one set, which may be empty.
pub(super) fn write_enhanced_monitoring(w: &mut Writer, metrics: ShardMetrics) {
    w.member("EnhancedMonitoring")
        .list(|w| w.structure(|w| write_names(w, "ShardLevelMetrics", metrics)));
}
