use anabranch_catalog::scaling::Bounds;
use anabranch_catalog::{Command, Distribution, NewStream, StreamCommand, StreamMode};
use anabranch_types::limits;
use serde::Deserialize;

use super::record_distribution::distribution_of;
use super::stream_mode::{StreamModeDetails, check_warm_throughput};
use super::{Context, Empty, Request, tags};
use crate::authorization::{AskedTags, Target};
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::streams;
use crate::wire::{Integer, Map, Structure, Text};

/// `CreateStreamInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CreateStream<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    shard_count: Option<Integer>,
    #[serde(borrow)]
    stream_mode_details: Option<Structure<StreamModeDetails<'a>>>,
    #[serde(borrow)]
    tags: Option<Map<'a>>,
    #[serde(rename = "WarmThroughputMiBps")]
    warm_throughput: Option<Integer>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    max_record_size: Option<Integer>,
    #[serde(borrow)]
    record_distribution_strategy: Option<Text<'a>>,
}

impl Constrained for CreateStream<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("StreamName", &self.stream_name, &rules::STREAM_NAME.required());
        checks.number("ShardCount", &self.shard_count, &rules::POSITIVE);
        checks.structure("StreamModeDetails", &self.stream_mode_details);
        checks.map("Tags", &self.tags, &rules::TAGS, (&rules::TAG_KEY, &rules::TAG_VALUE));
        checks.number("WarmThroughputMiBps", &self.warm_throughput, &rules::NATURAL);
        checks.number("MaxRecordSizeInKiB", &self.max_record_size, &rules::MAX_RECORD_SIZE);
        let strategy = &self.record_distribution_strategy;
        checks.text("RecordDistributionStrategy", strategy, &rules::DISTRIBUTION);
    }
}

impl Request for CreateStream<'_> {
    type Answer = Empty;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.stream_target(&self.stream_name, &None)
    }

    fn tags(&self) -> AskedTags<'_> {
        tags::asked(&self.tags)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let (gateway, new) = (cx.gateway, self.new_stream(cx)?);
        let name = new.name.clone();
        gateway.change(&name, Command::Stream(StreamCommand::Create(new))).await.map(|_| Empty)
    }
}

impl CreateStream<'_> {
    fn new_stream(&self, cx: &Context<'_>) -> Result<NewStream, Error> {
        let (mode, shards) = self.capacity()?;
        check_warm_throughput(mode, self.warm_throughput)?;
        Ok(NewStream {
            name: streams::parse_name(self.stream_name.as_deref().unwrap_or_default())?,
            shards,
            mode,
            warm_throughput_mibps: self.warm_throughput.map_or(0, Integer::as_u32),
            retention_hours: limits::DEFAULT_RETENTION_HOURS,
            max_record_size_kib: self
                .max_record_size
                .map_or(limits::DEFAULT_MAX_RECORD_SIZE_KIB, Integer::as_u32),
            tags: tags::checked(&self.tags)?,
            distribution: self.distribution(mode)?,
            replicas: cx.gateway.settings.default_replicas,
            now: cx.gateway.clock.now(),
        })
    }

    /// Mode and shards. With neither given the service makes an on-demand stream.
    fn capacity(&self) -> Result<(StreamMode, u32), Error> {
        let mode = self.stream_mode_details.as_ref().map(|details| details.0.mode());
        let warm = self.warm_throughput.map_or(0, Integer::as_u32);
        let on_demand = (StreamMode::OnDemand, Bounds::for_warm_throughput(warm).floor());
        match (mode, self.shard_count) {
            (Some(StreamMode::OnDemand), Some(_)) => Err(Error::Validation(
                "ShardCount must not be given for a stream in ON_DEMAND mode.".to_owned(),
            )),
            (Some(StreamMode::OnDemand) | None, None) => Ok(on_demand),
            (Some(StreamMode::Provisioned) | None, Some(count)) => {
                Ok((StreamMode::Provisioned, count.as_u32()))
            }
            (Some(StreamMode::Provisioned), None) => Err(Error::Validation(
                "ShardCount must be given for a stream in PROVISIONED mode.".to_owned(),
            )),
        }
    }

    fn distribution(&self, mode: StreamMode) -> Result<Distribution, Error> {
        let distribution = distribution_of(&self.record_distribution_strategy);
        if distribution == Distribution::Auto && mode == StreamMode::Provisioned {
            return Err(Error::InvalidArgument(
                "RecordDistributionStrategy AUTO is for streams in ON_DEMAND mode.".to_owned(),
            ));
        }
        Ok(distribution)
    }
}
