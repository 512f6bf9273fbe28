//! DescribeLimits: the number of open shards and on-demand streams, and their limits.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::Writer;
use anabranch_catalog::{StreamMode, StreamStatus};
use anabranch_gateway::service::{Request, Response};
use serde::Deserialize;

use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::targets::Account;

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

/// The largest numbers that the shapes of AWS can hold. The cluster itself has no limit.
///
/// Source: the service model, `ShardCountObject` and `OnDemandStreamCountLimitObject`.
const NO_LIMIT: u64 = 1_000_000;

impl Request<Kinesis> for DescribeLimits {
    type Target = Account;
    type Response = Limits;

    fn target(&self, _: &Kinesis) -> Result<Account, Error> {
        Ok(Account)
    }

    async fn run(&self, cx: &Context<'_>, _: &Account) -> Result<Limits, Error> {
        let view = cx.service.cluster.view();
        let streams = || {
            let streams = view.catalog().streams.iter();
            let own = streams.filter(|(name, _)| !name.is_internal()).map(|(_, stream)| stream);
            own.filter(|stream| stream.status != StreamStatus::Deleting)
        };
        let on_demand = streams().filter(|stream| stream.mode == StreamMode::OnDemand);
        Ok(Limits {
            open_shards: streams().map(|stream| stream.open_shards().count()).sum(),
            on_demand_streams: on_demand.count(),
        })
    }
}

impl Response for Limits {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("ShardLimit").number(NO_LIMIT);
            w.member("OpenShardCount").number(self.open_shards as u64);
            w.member("OnDemandStreamCount").number(self.on_demand_streams as u64);
            w.member("OnDemandStreamCountLimit").number(NO_LIMIT);
        });
    }
}
