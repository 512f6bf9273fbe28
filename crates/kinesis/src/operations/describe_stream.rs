//! DescribeStream: the description of a stream, with a page of its shards.
//!
//! Unlike ListShards, the pages have no token. Each page shows the shards as they are at that moment.

use std::ops::Bound;

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Integer, Text, Writer};
use anabranch_catalog::{Stream, StreamStatus};
use anabranch_gateway::service::{Request, Response};
use anabranch_types::{ShardId, limits};
use serde::Deserialize;

use super::shards::{self, ShardSummary};
use super::stream_basics::StreamBasics;
use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;

/// `DescribeStreamInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DescribeStream<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    limit: Option<Integer>,
    #[serde(borrow)]
    exclusive_start_shard_id: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for DescribeStream<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_stream(checks, &self.stream_name, &self.stream_arn, &self.stream_id);
        checks.number("Limit", &self.limit, &rules::LIMIT);
        let start = &self.exclusive_start_shard_id;
        checks.text("ExclusiveStartShardId", start, &rules::SHARD_ID);
    }
}

/// `StreamDescription` of the API reference.
#[derive(Debug)]
pub(crate) struct StreamDescription {
    basics: StreamBasics,
    shards: Vec<ShardSummary>,
    has_more: bool,
}

impl Request<Kinesis> for DescribeStream<'_> {
    type Target = StreamTarget;
    type Response = StreamDescription;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(
        &self,
        cx: &Context<'_>,
        target: &StreamTarget,
    ) -> Result<StreamDescription, Error> {
        let kinesis = cx.service;
        let name = &target.name;
        let view = kinesis.cluster.view();
        let stream = kinesis.find(&view, name)?.stream;
        let start = self.exclusive_start_shard_id.as_deref();
        let start = start.map(|text| shards::parse_id(kinesis, name, text)).transpose()?;
        let (shards, has_more) = page(stream, start, self.limit);
        Ok(StreamDescription { basics: StreamBasics::of(kinesis, name, stream), shards, has_more })
    }
}

/// Returns the shards after `start`, and whether more shards follow. A stream that is being created has no shards
/// yet.
fn page(
    stream: &Stream,
    start: Option<ShardId>,
    limit: Option<Integer>,
) -> (Vec<ShardSummary>, bool) {
    if stream.status == StreamStatus::Creating {
        return (Vec::new(), false);
    }
    let limit = limit.map_or(u32::MAX, Integer::as_u32).min(limits::DESCRIBE_STREAM_MAX_SHARDS);
    let after = start.map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = stream.shards.range((after, Bound::Unbounded)).map(|(_, shard)| shard);
    let shards = rest
        .by_ref()
        .take(limit as usize)
        .map(|shard| ShardSummary::new(shard, shard.status))
        .collect();
    (shards, rest.next().is_some())
}

impl Response for StreamDescription {
    fn expected_bytes(&self) -> usize {
        512 + self.shards.len() * 384
    }

    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| w.member("StreamDescription").structure(|w| self.write_members(w)));
    }
}

impl StreamDescription {
    fn write_members(&self, w: &mut Writer) {
        self.basics.write_state(w);
        w.member("Shards").list(|w| self.shards.iter().for_each(|shard| shard.write(w)));
        w.member("HasMoreShards").flag(self.has_more);
        self.basics.write_settings(w);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lineage::tests::stream;

    fn ids(stream: &Stream, start: Option<u32>, limit: Option<i64>) -> (String, bool) {
        let (shards, has_more) = page(stream, start.map(ShardId), limit.map(Integer));
        let mut writer = Writer::new(anabranch_aws::wire::Format::Json, 0);
        writer.list(|w| shards.iter().for_each(|shard| shard.write(w)));
        let text = String::from_utf8(writer.finish()).unwrap();
        let ids = text.split("\"ShardId\":\"shardId-").skip(1).map(|part| part[11..12].to_owned());
        (ids.collect::<Vec<_>>().join(" "), has_more)
    }

    #[test]
    fn a_page_begins_after_the_start_and_tells_whether_more_shards_follow() {
        let eighths: Vec<_> = (0..8).map(|i| (i, i + 1, &[][..], 1, None)).collect();
        let stream = stream(&eighths);
        assert_eq!(ids(&stream, None, None), ("0 1 2 3 4 5 6 7".into(), false));
        assert_eq!(ids(&stream, None, Some(3)), ("0 1 2".into(), true));
        assert_eq!(ids(&stream, Some(2), Some(3)), ("3 4 5".into(), true));
        assert_eq!(ids(&stream, Some(5), Some(2)), ("6 7".into(), false));
        assert_eq!(ids(&stream, Some(7), None), (String::new(), false));
        assert_eq!(ids(&stream, Some(u32::MAX), None), (String::new(), false));
    }

    #[test]
    fn a_stream_in_creation_shows_no_shards() {
        let mut stream = stream(&[(0, 8, &[], 1, None)]);
        stream.status = StreamStatus::Creating;
        assert_eq!(ids(&stream, None, None), (String::new(), false));
    }
}
