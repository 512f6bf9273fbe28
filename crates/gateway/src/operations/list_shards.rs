use std::ops::Bound;

use anabranch_catalog::{Shard, ShardStatus, Stream, StreamStatus};
use anabranch_types::{ShardId, StreamName, Timestamp, limits};
use serde::Deserialize;

use super::list_streams::next_token_error;
use super::shards::{self, ShardSummary};
use super::{Answer, Context, Request};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::token::{ShardFilter, ShardsPage};
use crate::wire::{Integer, Moment, Structure, Text, Writer};

/// `ListShardsInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListShards<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow)]
    next_token: Option<Text<'a>>,
    #[serde(borrow)]
    exclusive_start_shard_id: Option<Text<'a>>,
    max_results: Option<Integer>,
    stream_creation_timestamp: Option<Moment>,
    #[serde(borrow)]
    shard_filter: Option<Structure<FilterMember<'a>>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

/// `ShardFilter` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FilterMember<'a> {
    #[serde(borrow, rename = "Type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    shard_id: Option<Text<'a>>,
    timestamp: Option<Moment>,
}

impl Constrained for ListShards<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.stream(&self.stream_name, &self.stream_arn, &self.stream_id);
        checks.text("NextToken", &self.next_token, &rules::NEXT_TOKEN);
        let start = &self.exclusive_start_shard_id;
        checks.text("ExclusiveStartShardId", start, &rules::SHARD_ID);
        checks.number("MaxResults", &self.max_results, &rules::LIMIT);
        checks.structure("ShardFilter", &self.shard_filter);
    }
}

impl Constrained for FilterMember<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("Type", &self.kind, &rules::SHARD_FILTER_TYPE.required());
        checks.text("ShardId", &self.shard_id, &rules::SHARD_ID);
    }
}

/// `ListShardsOutput` of the API reference: a page of one version of the catalog.
#[derive(Debug)]
pub(crate) struct ShardList {
    shards: Vec<ShardSummary>,
    next_token: Option<String>,
}

/// What is asked for, by the request or by its token.
struct Query {
    name: StreamName,
    after: Option<ShardId>,
    filter: ShardFilter,
}

impl Request for ListShards<'_> {
    type Answer = ShardList;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        match self.next_token.as_deref() {
            Some(token) => {
                self.continued(gateway, token).map(|page| Target::named_fully(page.stream))
            }
            None => gateway.stream_target(&self.stream_name, &self.stream_arn),
        }
    }

    async fn run(&self, cx: &Context<'_>) -> Result<ShardList, Error> {
        let gateway = cx.gateway;
        let view = gateway.cluster.view();
        let (query, stream) = match self.next_token.as_deref() {
            Some(token) => {
                let page = self.continued(gateway, token)?;
                let stream = gateway.find(&view, &page.stream)?.stream;
                if stream.id != page.stream_id {
                    let subject = gateway.subject(&page.stream);
                    return Err(Error::NotFound(format!("{subject} not found.")));
                }
                let query =
                    Query { name: page.stream, after: Some(page.after), filter: page.filter };
                (query, stream)
            }
            None => {
                let query = self.begun(gateway)?;
                let stream = gateway.find(&view, &query.name)?.stream;
                (query, stream)
            }
        };
        check_creation(gateway, &query.name, stream, self.stream_creation_timestamp)?;
        let now = gateway.clock.now();
        let limit = self.max_results.map_or(u32::MAX, Integer::as_u32);
        let (shards, last) = page(stream, &query, limit, now);
        let seal = |after| {
            let page = ShardsPage {
                stream: query.name.clone(),
                stream_id: stream.id,
                after,
                filter: query.filter,
            };
            gateway.sealer.seal(&page, now)
        };
        Ok(ShardList { shards, next_token: last.map(seal) })
    }
}

impl ListShards<'_> {
    /// A first page.
    fn begun(&self, gateway: &Gateway) -> Result<Query, Error> {
        if self.stream_name.is_none() && self.stream_arn.is_none() {
            return Err(Error::InvalidArgument(
                "Either NextToken or StreamName should be provided.".to_owned(),
            ));
        }
        let name = gateway.stream_name(&self.stream_name, &self.stream_arn)?;
        let start = self.exclusive_start_shard_id.as_deref();
        let after = start.map(|text| shards::parse_id(gateway, &name, text)).transpose()?;
        let filter = self.filter(gateway, &name)?.unwrap_or_default();
        Ok(Query { name, after, filter })
    }

    /// A further page. The token says everything; members that say the same again are refused, as
    /// the service refuses them, but for StreamARN, which SDKs add to route the call.
    fn continued(&self, gateway: &Gateway, token: &str) -> Result<ShardsPage, Error> {
        let beside = [
            ("StreamName", self.stream_name.is_some()),
            ("StreamCreationTimestamp", self.stream_creation_timestamp.is_some()),
            ("ExclusiveStartShardId", self.exclusive_start_shard_id.is_some()),
        ];
        if let Some((member, _)) = beside.iter().find(|(_, given)| *given) {
            return Err(Error::InvalidArgument(format!(
                "NextToken and {member} cannot be provided together."
            )));
        }
        let page: ShardsPage =
            gateway.sealer.open(token, gateway.clock.now()).map_err(next_token_error)?;
        if self.stream_arn.is_some() && gateway.stream_name(&None, &self.stream_arn)? != page.stream
        {
            let message = "NextToken and StreamARN are of different streams.".to_owned();
            return Err(Error::InvalidArgument(message));
        }
        if self.filter(gateway, &page.stream)?.is_some_and(|filter| filter != page.filter) {
            let message = "NextToken and ShardFilter cannot be provided together.".to_owned();
            return Err(Error::InvalidArgument(message));
        }
        Ok(page)
    }

    fn filter(&self, gateway: &Gateway, name: &StreamName) -> Result<Option<ShardFilter>, Error> {
        let Some(Structure(filter)) = &self.shard_filter else { return Ok(None) };
        let kind = filter.kind.as_deref().unwrap_or_default();
        let lacks = |member| {
            Error::InvalidArgument(format!("ShardFilter of type {kind} must have {member}."))
        };
        let shard = || filter.shard_id.as_deref().ok_or_else(|| lacks("ShardId"));
        let moment = || filter.timestamp.map(|m| m.0).ok_or_else(|| lacks("Timestamp"));
        let read = match kind {
            "AFTER_SHARD_ID" => {
                ShardFilter::AfterShardId(shards::parse_id(gateway, name, shard()?)?)
            }
            "AT_TRIM_HORIZON" => ShardFilter::AtTrimHorizon,
            "AT_LATEST" => ShardFilter::AtLatest,
            "AT_TIMESTAMP" => ShardFilter::AtTimestamp(moment()?),
            "FROM_TIMESTAMP" => ShardFilter::FromTimestamp(moment()?),
            _ => ShardFilter::FromTrimHorizon,
        };
        let idle = |member| {
            Error::InvalidArgument(format!("ShardFilter of type {kind} must not have {member}."))
        };
        if filter.timestamp.is_some() && !kind.ends_with("_TIMESTAMP") {
            return Err(idle("Timestamp"));
        }
        if filter.shard_id.is_some() && kind != "AFTER_SHARD_ID" {
            return Err(idle("ShardId"));
        }
        Ok(Some(read))
    }
}

/// Refuses a stream that isn't the one created at `created`, and one that is being created.
pub(super) fn check_creation(
    gateway: &Gateway,
    name: &StreamName,
    stream: &Stream,
    created: Option<Moment>,
) -> Result<(), Error> {
    // Clients send back what DescribeStream said, some of them in whole seconds.
    let differs = |Moment(moment): Moment| match moment.as_millis() % 1000 {
        0 => moment.as_secs() != stream.created.as_secs(),
        _ => moment != stream.created,
    };
    if created.is_some_and(differs) {
        return Err(Error::NotFound(format!("{} not found.", gateway.subject(name))));
    }
    if stream.status == StreamStatus::Creating {
        let status = stream.status.name();
        return Err(Error::InUse(format!(
            "{} not ACTIVE, instead in state {status}",
            gateway.subject(name)
        )));
    }
    Ok(())
}

/// The page, and the last shard of it if more follow.
fn page(
    stream: &Stream,
    query: &Query,
    limit: u32,
    now: Timestamp,
) -> (Vec<ShardSummary>, Option<ShardId>) {
    let limit = limit.min(limits::LIST_SHARDS_MAX_SHARDS) as usize;
    let horizon = horizon(stream, now);
    let after = query.after.map_or(Bound::Unbounded, Bound::Excluded);
    let matches = |shard: &&Shard| is_listed(shard, query.filter, horizon);
    let rest = stream.shards.range((after, Bound::Unbounded)).map(|(_, shard)| shard);
    let mut rest = rest.filter(matches);
    let shards: Vec<_> = rest.by_ref().take(limit).collect();
    let last = rest.next().and(shards.last()).map(|shard| shard.id);
    let summaries = shards.into_iter().map(ShardSummary::new).collect();
    (summaries, last)
}

/// The oldest moment of which the stream still has records.
fn horizon(stream: &Stream, now: Timestamp) -> Timestamp {
    now.minus(stream.retention()).max(stream.created)
}

/// Whether a filter lets a shard pass (API reference, `ShardFilter`).
fn is_listed(shard: &Shard, filter: ShardFilter, horizon: Timestamp) -> bool {
    let lived_at_or_after = |moment| match shard.status {
        ShardStatus::Open => true,
        ShardStatus::Closed { at, .. } => at >= moment,
    };
    let lived_at = |moment| shard.created <= moment && lived_at_or_after(moment);
    match filter {
        ShardFilter::AfterShardId(after) => shard.id > after,
        ShardFilter::AtLatest => shard.is_open(),
        ShardFilter::AtTrimHorizon => lived_at(horizon),
        ShardFilter::FromTrimHorizon => lived_at_or_after(horizon),
        ShardFilter::AtTimestamp(moment) => lived_at(moment.max(horizon)),
        ShardFilter::FromTimestamp(moment) => lived_at_or_after(moment.max(horizon)),
    }
}

impl Answer for ShardList {
    fn expected_bytes(&self) -> usize {
        512 + self.shards.len() * 384
    }

    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("Shards").list(|w| self.shards.iter().for_each(|shard| shard.write(w)));
            if let Some(token) = &self.next_token {
                w.member("NextToken").plain(token);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lineage::tests::stream;

    const NOW: Timestamp = Timestamp::from_millis(40_000);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    /// Shard 1 split at second 20, 0 and 2 merged at second 30.
    fn resharded() -> Stream {
        stream(&[
            (0, 4, &[], 1, Some(30)),
            (4, 8, &[], 1, Some(20)),
            (4, 6, &[1], 20, Some(30)),
            (6, 8, &[1], 20, None),
            (0, 6, &[0, 2], 30, None),
        ])
    }

    fn listed(stream: &Stream, filter: ShardFilter, now: Timestamp) -> Vec<u32> {
        let horizon = horizon(stream, now);
        let shards = stream.shards.values();
        let shards = shards.filter(|s| is_listed(s, filter, horizon));
        shards.map(|shard| shard.id.0).collect()
    }

    #[test]
    fn filters_choose_shards_by_their_lives() {
        let stream = resharded();
        let listed = |filter| listed(&stream, filter, NOW);
        assert_eq!(listed(ShardFilter::AfterShardId(ShardId(2))), [3, 4]);
        assert_eq!(listed(ShardFilter::AtTrimHorizon), [0, 1]);
        assert_eq!(listed(ShardFilter::FromTrimHorizon), [0, 1, 2, 3, 4]);
        assert_eq!(listed(ShardFilter::AtLatest), [3, 4]);
        assert_eq!(listed(ShardFilter::AtTimestamp(at(25))), [0, 2, 3]);
        assert_eq!(listed(ShardFilter::FromTimestamp(at(25))), [0, 2, 3, 4]);
        assert_eq!(listed(ShardFilter::FromTimestamp(at(0))), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn shards_that_closed_before_the_horizon_are_not_listed() {
        let stream = resharded();
        let now = at(24 * 3600 + 25);
        assert_eq!(listed(&stream, ShardFilter::FromTrimHorizon, now), [0, 2, 3, 4]);
        assert_eq!(listed(&stream, ShardFilter::AtTrimHorizon, now), [0, 2, 3]);
        assert_eq!(listed(&stream, ShardFilter::AtTimestamp(at(5)), now), [0, 2, 3]);
    }

    #[test]
    fn pages_join_without_gap_or_repeat() {
        let stream = resharded();
        let mut query =
            Query { name: "s".parse().unwrap(), after: None, filter: ShardFilter::AtTrimHorizon };
        query.filter = ShardFilter::FromTrimHorizon;
        let (first, last) = page(&stream, &query, 3, NOW);
        assert_eq!((first.len(), last), (3, Some(ShardId(2))));
        query.after = last;
        let (second, last) = page(&stream, &query, 3, NOW);
        assert_eq!((second.len(), last), (2, None));
    }
}
