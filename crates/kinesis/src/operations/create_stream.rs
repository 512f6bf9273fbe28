//! CreateStream: proposes a new stream to the catalog. The stream is CREATING until its shards have leaders.
//!
//! A provisioned stream has the given number of shards. An on-demand stream starts with the number that its warm
//! throughput needs.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Integer, Map, Required, Structure, Text};
use anabranch_catalog::scaling::Bounds;
use anabranch_catalog::{Distribution, NewStream, StreamCommand, StreamMode};
use anabranch_gateway::service::{Empty, Request, RequestTags};
use anabranch_types::limits;
use serde::Deserialize;

use super::record_distribution::distribution_of;
use super::stream_mode::{StreamModeDetails, check_warm_throughput};
use super::tags;
use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::streams;
use crate::targets::StreamTarget;

/// `CreateStreamInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CreateStream<'a> {
    #[serde(borrow, default)]
    stream_name: Required<Text<'a>>,
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
        checks.text("StreamName", &self.stream_name, &rules::STREAM_NAME);
        checks.number("ShardCount", &self.shard_count, &rules::POSITIVE);
        checks.structure("StreamModeDetails", &self.stream_mode_details);
        checks.map("Tags", &self.tags, &rules::TAGS, (&rules::TAG_KEY, &rules::TAG_VALUE));
        checks.number("WarmThroughputMiBps", &self.warm_throughput, &rules::NATURAL);
        checks.number("MaxRecordSizeInKiB", &self.max_record_size, &rules::MAX_RECORD_SIZE);
        let strategy = &self.record_distribution_strategy;
        checks.text("RecordDistributionStrategy", strategy, &rules::DISTRIBUTION);
    }
}

impl Request<Kinesis> for CreateStream<'_> {
    type Target = StreamTarget;
    type Response = Empty;

    fn target(&self, _: &Kinesis) -> Result<StreamTarget, Error> {
        let name = streams::parse_name(&self.stream_name)?;
        Ok(StreamTarget { name, is_named_fully: false })
    }

    fn tags(&self) -> RequestTags<'_> {
        tags::requested(&self.tags)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<Empty, Error> {
        let (kinesis, new) = (cx.service, self.new_stream(cx.service, target)?);
        kinesis.change(&target.name, StreamCommand::Create(new)).await.map(|_| Empty)
    }
}

impl CreateStream<'_> {
    fn new_stream(&self, kinesis: &Kinesis, target: &StreamTarget) -> Result<NewStream, Error> {
        let (mode, shards) = self.capacity()?;
        check_warm_throughput(mode, self.warm_throughput)?;
        Ok(NewStream {
            name: target.name.clone(),
            shards,
            mode,
            warm_throughput_mibps: self.warm_throughput.map_or(0, Integer::as_u32),
            retention_hours: limits::DEFAULT_RETENTION_HOURS,
            max_record_size_kib: self
                .max_record_size
                .map_or(limits::DEFAULT_MAX_RECORD_SIZE_KIB, Integer::as_u32),
            tags: tags::checked(&self.tags)?,
            distribution: self.distribution(mode)?,
            replicas: kinesis.settings.default_replicas,
            now: kinesis.clock.now(),
        })
    }

    /// Mode and number of shards. If neither member is given, AWS creates an on-demand stream.
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
        let distribution = distribution_of(self.record_distribution_strategy.as_deref());
        if distribution == Distribution::Auto && mode == StreamMode::Provisioned {
            return Err(Error::InvalidArgument(
                "RecordDistributionStrategy AUTO is for streams in ON_DEMAND mode.".to_owned(),
            ));
        }
        Ok(distribution)
    }
}
