use anabranch_catalog::{StreamMode, StreamStatus};
use serde::Deserialize;

use super::{Answer, Context, Request};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::Writer;

/// `DescribeLimitsInput` of the API reference.
#[derive(Debug, Deserialize)]
pub(crate) struct DescribeLimits {}

impl Constrained for DescribeLimits {
    fn check(&self, _: &mut Checks) {}
}

/// `DescribeLimitsOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct Limits {
    open_shards: usize,
    on_demand_streams: usize,
}

/// What the service's shapes can hold at most: the cluster has no limit of its own.
///
/// Source: the service model, `ShardCountObject` and `OnDemandStreamCountLimitObject`.
const NO_LIMIT: u64 = 1_000_000;

impl Request for DescribeLimits {
    type Answer = Limits;

    fn target(&self, _: &Gateway) -> Result<Target, Error> {
        Ok(Target::Account)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Limits, Error> {
        let view = cx.gateway.cluster.view();
        let streams = || {
            let streams = view.catalog().streams.values();
            streams.filter(|stream| stream.status != StreamStatus::Deleting)
        };
        let on_demand = streams().filter(|stream| stream.mode == StreamMode::OnDemand);
        Ok(Limits {
            open_shards: streams().map(|stream| stream.open_shards().count()).sum(),
            on_demand_streams: on_demand.count(),
        })
    }
}

impl Answer for Limits {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("ShardLimit").number(NO_LIMIT);
            w.member("OpenShardCount").number(self.open_shards as u64);
            w.member("OnDemandStreamCount").number(self.on_demand_streams as u64);
            w.member("OnDemandStreamCountLimit").number(NO_LIMIT);
        });
    }
}
