//! ListShards: lists the shards of a stream in pages, with a filter.
//!
//! All pages of a listing show the version of the first page. Its token holds the highest shard number and the time
//! of that page, and from these two a later version of the catalog can show the shards as they were (see
//! [`StreamVersion`]). So a listing is complete and has no duplicates, however often the stream is resharded
//! meanwhile.

use std::ops::Bound;

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Integer, Moment, Required, Structure, Text, Writer};
use anabranch_catalog::{Shard, ShardStatus, Stream, StreamStatus};
use anabranch_gateway::service::{Request, Response};
use anabranch_types::{ShardId, StreamName, Timestamp, limits};
use serde::Deserialize;

use super::list_streams::next_token_error;
use super::shards::{self, ShardSummary};
use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::lineage::Lineage;
use crate::rules;
use crate::targets::{StreamTarget, TokenTarget};
use crate::tokens::{ShardFilter, ShardsPage, StreamVersion};

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
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FilterMember<'a> {
    #[serde(borrow, rename = "Type", default)]
    kind: Required<Text<'a>>,
    #[serde(borrow)]
    shard_id: Option<Text<'a>>,
    timestamp: Option<Moment>,
}

impl Constrained for ListShards<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_stream(checks, &self.stream_name, &self.stream_arn, &self.stream_id);
        checks.text("NextToken", &self.next_token, &rules::NEXT_TOKEN);
        let start = &self.exclusive_start_shard_id;
        checks.text("ExclusiveStartShardId", start, &rules::SHARD_ID);
        checks.number("MaxResults", &self.max_results, &rules::LIMIT);
        checks.structure("ShardFilter", &self.shard_filter);
    }
}

impl Constrained for FilterMember<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("Type", &self.kind, &rules::SHARD_FILTER_TYPE);
        checks.text("ShardId", &self.shard_id, &rules::SHARD_ID);
    }
}

/// `ListShardsOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct ShardList {
    shards: Vec<ShardSummary>,
    next_token: Option<String>,
}

/// A listing, as the request or its token describes it.
struct Query {
    after: Option<ShardId>,
    filter: ShardFilter,
    version: StreamVersion,
}

impl Request<Kinesis> for ListShards<'_> {
    type Target = TokenTarget<Option<ShardsPage>>;
    type Response = ShardList;

    fn target(&self, kinesis: &Kinesis) -> Result<Self::Target, Error> {
        let Some(token) = self.next_token.as_deref() else {
            let stream = self.named(kinesis)?;
            return Ok(TokenTarget { stream, token: None });
        };
        let page = self.open_token(kinesis, token)?;
        let stream = StreamTarget::named_fully(page.stream.clone());
        Ok(TokenTarget { stream, token: Some(page) })
    }

    async fn run(&self, cx: &Context<'_>, target: &Self::Target) -> Result<ShardList, Error> {
        let kinesis = cx.service;
        let view = kinesis.cluster.view();
        let name = &target.stream.name;
        let (query, stream) = match &target.token {
            Some(page) => {
                let stream = kinesis.find(&view, name)?.stream;
                if stream.id != page.stream_id {
                    let subject = kinesis.subject(name);
                    return Err(Error::NotFound(format!("{subject} not found.")));
                }
                let ShardsPage { after, filter, version, .. } = *page;
                (Query { after: Some(after), filter, version }, stream)
            }
            None => {
                let (after, filter) = self.first_page(kinesis, name)?;
                let stream = kinesis.find(&view, name)?.stream;
                let last = stream.shards.keys().next_back().copied().unwrap_or(ShardId(0));
                // If no majority agrees on the time, no closed shard is left out.
                let listed_at = kinesis.clock.agreed().unwrap_or_default();
                let version = StreamVersion { last, listed_at };
                (Query { after, filter, version }, stream)
            }
        };
        check_creation(kinesis, name, stream, self.stream_creation_timestamp)?;
        let limit = self.max_results.map_or(u32::MAX, Integer::as_u32);
        let (shards, last) = page(stream, &query, limit);
        let seal = |after| {
            let page = ShardsPage {
                stream: name.clone(),
                stream_id: stream.id,
                after,
                filter: query.filter,
                version: query.version,
            };
            kinesis.sealer.seal(&page, kinesis.clock.now())
        };
        Ok(ShardList { shards, next_token: last.map(seal) })
    }
}

impl ListShards<'_> {
    fn named(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        if self.stream_name.is_none() && self.stream_arn.is_none() {
            return Err(Error::InvalidArgument(
                "Either NextToken or StreamName should be provided.".to_owned(),
            ));
        }
        kinesis.stream_target(&self.stream_name, &self.stream_arn)
    }

    /// Reads the members of a first page: the shard before the first one to list, and the filter.
    fn first_page(
        &self,
        kinesis: &Kinesis,
        name: &StreamName,
    ) -> Result<(Option<ShardId>, ShardFilter), Error> {
        let start = self.exclusive_start_shard_id.as_deref();
        let after = start.map(|text| shards::parse_id(kinesis, name, text)).transpose()?;
        let filter = self.filter(kinesis, name)?.unwrap_or_default();
        Ok((after, filter))
    }

    /// Opens the token of a further page. The token holds the whole listing. As in AWS, members that repeat a part of
    /// it are refused.
    fn open_token(&self, kinesis: &Kinesis, token: &str) -> Result<ShardsPage, Error> {
        let beside = [
            ("StreamName", self.stream_name.is_some()),
            ("StreamARN", self.stream_arn.is_some()),
            ("ShardFilter", self.shard_filter.is_some()),
            ("StreamCreationTimestamp", self.stream_creation_timestamp.is_some()),
            ("ExclusiveStartShardId", self.exclusive_start_shard_id.is_some()),
        ];
        if let Some((member, _)) = beside.iter().find(|(_, given)| *given) {
            return Err(Error::InvalidArgument(format!(
                "NextToken and {member} cannot be provided together."
            )));
        }
        kinesis.sealer.open(token, kinesis.clock.now()).map_err(next_token_error)
    }

    fn filter(&self, kinesis: &Kinesis, name: &StreamName) -> Result<Option<ShardFilter>, Error> {
        let Some(Structure(filter)) = &self.shard_filter else { return Ok(None) };
        let kind = &**filter.kind;
        let lacks = |member| {
            Error::InvalidArgument(format!("ShardFilter of type {kind} must have {member}."))
        };
        let shard = || filter.shard_id.as_deref().ok_or_else(|| lacks("ShardId"));
        let moment = || filter.timestamp.map(|m| m.0).ok_or_else(|| lacks("Timestamp"));
        let read = match kind {
            "AFTER_SHARD_ID" => {
                ShardFilter::AfterShardId(shards::parse_id(kinesis, name, shard()?)?)
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

/// Refuses a stream that was not created at `created`, and a stream that is being created.
pub(super) fn check_creation(
    kinesis: &Kinesis,
    name: &StreamName,
    stream: &Stream,
    created: Option<Moment>,
) -> Result<(), Error> {
    // Clients send back the creation time from DescribeStream. Some of them cut it to whole seconds.
    let differs = |Moment(moment): Moment| match moment.as_millis() % 1000 {
        0 => moment.as_secs() != stream.created.as_secs(),
        _ => moment != stream.created,
    };
    if created.is_some_and(differs) {
        return Err(Error::NotFound(format!("{} not found.", kinesis.subject(name))));
    }
    if stream.status == StreamStatus::Creating {
        return Err(kinesis.not_active(name));
    }
    Ok(())
}

/// Returns the shards of the page, and the last of them if more shards follow.
fn page(stream: &Stream, query: &Query, limit: u32) -> (Vec<ShardSummary>, Option<ShardId>) {
    let StreamVersion { last, listed_at } = query.version;
    let limit = limit.min(limits::LIST_SHARDS_MAX_SHARDS) as usize;
    let horizon = horizon(stream, listed_at);
    let after = query.after.map_or(Bound::Unbounded, Bound::Excluded);
    let lineage = Lineage::of(stream);
    let rest = stream.shards.range((after, Bound::Unbounded)).map(|(_, shard)| shard);
    let rest = rest.take_while(|shard| shard.id <= last);
    let then = rest.map(|shard| (shard, status_then(shard, &lineage, last)));
    let mut listed =
        then.filter(|(shard, status)| is_listed(shard, *status, query.filter, horizon));
    let shards: Vec<_> = listed.by_ref().take(limit).collect();
    let next = listed.next().and(shards.last()).map(|(shard, _)| shard.id);
    let summaries = shards.into_iter().map(|(shard, status)| ShardSummary::new(shard, status));
    (summaries.collect(), next)
}

/// The status of a shard when `last` was the highest shard number. A shard whose children came later was open then.
fn status_then(shard: &Shard, lineage: &Lineage, last: ShardId) -> ShardStatus {
    match lineage.children(shard.id).iter().any(|child| *child > last) {
        true => ShardStatus::Open,
        false => shard.status,
    }
}

/// Trim horizon as a moment: the stream has no older records.
fn horizon(stream: &Stream, now: Timestamp) -> Timestamp {
    now.minus(stream.retention()).max(stream.created)
}

/// Whether the filter selects a shard (API reference, `ShardFilter`).
fn is_listed(shard: &Shard, status: ShardStatus, filter: ShardFilter, horizon: Timestamp) -> bool {
    let lived_at_or_after = |moment| match status {
        ShardStatus::Open => true,
        ShardStatus::Closed { at, .. } => at >= moment,
    };
    let lived_at = |moment| shard.created <= moment && lived_at_or_after(moment);
    match filter {
        ShardFilter::AfterShardId(after) => shard.id > after,
        ShardFilter::AtLatest => status == ShardStatus::Open,
        ShardFilter::AtTrimHorizon => lived_at(horizon),
        ShardFilter::FromTrimHorizon => lived_at_or_after(horizon),
        ShardFilter::AtTimestamp(moment) => lived_at(moment.max(horizon)),
        ShardFilter::FromTimestamp(moment) => lived_at_or_after(moment.max(horizon)),
    }
}

impl Response for ShardList {
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

    /// Shard 1 was split at second 20, shards 0 and 2 were merged at second 30.
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
        let shards = shards.filter(|shard| is_listed(shard, shard.status, filter, horizon));
        shards.map(|shard| shard.id.0).collect()
    }

    #[test]
    fn filters_select_shards_by_creation_and_closing() {
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

    fn query(filter: ShardFilter, last: u32, listed_at: Timestamp) -> Query {
        let version = StreamVersion { last: ShardId(last), listed_at };
        Query { after: None, filter, version }
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_duplicate() {
        let stream = resharded();
        let mut query = query(ShardFilter::FromTrimHorizon, 4, NOW);
        let (first, last) = page(&stream, &query, 3);
        assert_eq!((first.len(), last), (3, Some(ShardId(2))));
        query.after = last;
        let (second, last) = page(&stream, &query, 3);
        assert_eq!((second.len(), last), (2, None));
    }

    #[test]
    fn a_later_page_shows_the_shards_as_they_were_on_the_first_page() {
        let stream = resharded();
        let shown = |filter, last, listed_at| {
            let (shards, next) = page(&stream, &query(filter, last, listed_at), 10);
            assert_eq!(next, None);
            let mut writer = anabranch_aws::wire::Writer::new(anabranch_aws::wire::Format::Json, 0);
            writer.list(|w| shards.iter().for_each(|shard| shard.write(w)));
            let text = String::from_utf8(writer.finish()).unwrap();
            let shard = |part: &str| {
                let open = if part.contains("EndingSequenceNumber") { "" } else { "+" };
                format!("{}{open}", &part[11..12])
            };
            let shards = text.split("\"ShardId\":\"shardId-").skip(1).map(shard);
            shards.collect::<Vec<_>>().join(" ")
        };
        let all = ShardFilter::FromTrimHorizon;
        assert_eq!(shown(all, 1, at(10)), "0+ 1+");
        assert_eq!(shown(all, 3, at(25)), "0+ 1 2+ 3+");
        assert_eq!(shown(all, 4, NOW), "0 1 2 3+ 4+");
        assert_eq!(shown(ShardFilter::AtLatest, 3, at(25)), "0+ 2+ 3+");
        assert_eq!(shown(ShardFilter::AtTimestamp(at(25)), 3, at(25)), "0+ 2+ 3+");
    }
}
