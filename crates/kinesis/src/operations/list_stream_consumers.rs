//! ListStreamConsumers: lists the registered consumers of a stream in pages, in the order of their names.
//!
//! The token holds the last consumer of the page and the id of the stream, so a token of an earlier stream of the
//! same name is refused.

use std::ops::Bound;

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Integer, Moment, Required, Text, Writer};
use anabranch_gateway::service::{Request, Response};
use anabranch_types::limits;
use serde::Deserialize;

use super::consumers::ConsumerSummary;
use super::list_shards::check_creation;
use super::list_streams::next_token_error;
use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;
use crate::tokens::ConsumersPage;

/// `ListStreamConsumersInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListStreamConsumers<'a> {
    #[serde(borrow, rename = "StreamARN", default)]
    stream_arn: Required<Text<'a>>,
    #[serde(borrow)]
    next_token: Option<Text<'a>>,
    max_results: Option<Integer>,
    stream_creation_timestamp: Option<Moment>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for ListStreamConsumers<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("StreamARN", &self.stream_arn, &rules::STREAM_ARN);
        checks.text("NextToken", &self.next_token, &rules::NEXT_TOKEN);
        checks.number("MaxResults", &self.max_results, &rules::LIMIT);
        checks.text("StreamId", &self.stream_id, &rules::STREAM_ID);
    }
}

/// `ListStreamConsumersOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct ConsumerList {
    consumers: Vec<ConsumerSummary>,
    next_token: Option<String>,
}

impl Request<Kinesis> for ListStreamConsumers<'_> {
    type Target = StreamTarget;
    type Response = ConsumerList;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target_of_arn(&self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<ConsumerList, Error> {
        let (kinesis, now) = (cx.service, cx.service.clock.now());
        let name = &target.name;
        let view = kinesis.cluster.view();
        let stream = kinesis.find(&view, name)?.stream;
        check_creation(kinesis, name, stream, self.stream_creation_timestamp)?;
        let page = self.next_token.as_deref().map(|token| {
            let page: ConsumersPage = kinesis.sealer.open(token, now).map_err(next_token_error)?;
            if page.stream_id == stream.id {
                return Ok(page.after);
            }
            Err(Error::InvalidArgument("NextToken is of another stream.".to_owned()))
        });
        let after = page.transpose()?;
        let limit = self.max_results.map_or(u32::MAX, Integer::as_u32);
        let limit = limit.min(limits::LIST_STREAM_CONSUMERS_MAX_CONSUMERS) as usize;
        let after = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = stream.consumers.range((after, Bound::Unbounded));
        let page: Vec<_> = rest.by_ref().take(limit).collect();
        let last = page.last().filter(|_| rest.next().is_some());
        let next_token = last.map(|(after, _)| {
            let page = ConsumersPage { stream_id: stream.id, after: (*after).clone() };
            kinesis.sealer.seal(&page, now)
        });
        let summary = |(consumer, known)| ConsumerSummary::new(kinesis, name, consumer, known);
        Ok(ConsumerList { consumers: page.into_iter().map(summary).collect(), next_token })
    }
}

impl Response for ConsumerList {
    fn expected_bytes(&self) -> usize {
        512 + self.consumers.len() * 384
    }

    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("Consumers").list(|w| {
                for consumer in &self.consumers {
                    w.structure(|w| consumer.write_members(w));
                }
            });
            if let Some(token) = &self.next_token {
                w.member("NextToken").plain(token);
            }
        });
    }
}
