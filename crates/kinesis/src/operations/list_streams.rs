//! ListStreams: lists the streams of the account in pages, in the order of their names.
//!
//! A client may page by `ExclusiveStartStreamName` or by `NextToken`. A token holds the version of the catalog on the
//! first page, and streams that were created later are left out. So a listing ends, even while streams are created.

use std::ops::Bound;

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Integer, Text, Writer};
use anabranch_catalog::{Catalog, StreamMode, StreamStatus};
use anabranch_gateway::service::{Request, Response};
use anabranch_gateway::token::OpenError;
use anabranch_types::{StreamArn, StreamName, Timestamp, dates, limits};
use serde::Deserialize;

use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::streams::{self, mode_text};
use crate::targets::Account;
use crate::tokens::StreamsPage;

/// `ListStreamsInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListStreams<'a> {
    limit: Option<Integer>,
    #[serde(borrow)]
    exclusive_start_stream_name: Option<Text<'a>>,
    #[serde(borrow)]
    next_token: Option<Text<'a>>,
}

impl Constrained for ListStreams<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.number("Limit", &self.limit, &rules::LIMIT);
        let start = &self.exclusive_start_stream_name;
        checks.text("ExclusiveStartStreamName", start, &rules::STREAM_NAME);
        checks.text("NextToken", &self.next_token, &rules::NEXT_TOKEN);
    }
}

/// `ListStreamsOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct StreamList {
    streams: Vec<StreamSummary>,
    /// Present if and only if more streams follow. So paginators that use `NextToken` and paginators that use
    /// `HasMoreStreams` both stop correctly.
    next_token: Option<String>,
}

/// `StreamSummary` of the API reference.
#[derive(Debug)]
struct StreamSummary {
    name: StreamName,
    arn: StreamArn,
    status: StreamStatus,
    mode: StreamMode,
    created: Timestamp,
}

impl Request<Kinesis> for ListStreams<'_> {
    type Target = Account;
    type Response = StreamList;

    fn target(&self, _: &Kinesis) -> Result<Account, Error> {
        Ok(Account)
    }

    async fn run(&self, cx: &Context<'_>, _: &Account) -> Result<StreamList, Error> {
        let kinesis = cx.service;
        let view = kinesis.cluster.view();
        let (start, version) = self.start(kinesis)?;
        let version = version.unwrap_or(view.catalog().version);
        let limit = self.limit.map_or(u32::MAX, Integer::as_u32);
        let (streams, has_more) = page(kinesis, view.catalog(), start.as_ref(), version, limit);
        let last = streams.last().filter(|_| has_more);
        let seal = |last: &StreamSummary| {
            let page = StreamsPage { after: last.name.clone(), version };
            kinesis.sealer.seal(&page, kinesis.clock.now())
        };
        let next_token = last.map(seal);
        Ok(StreamList { streams, next_token })
    }
}

impl ListStreams<'_> {
    /// The name after which the page begins, and for a further page the version of the first one. A paginator may
    /// send the start name of its first call together with the token. The later of the two names counts.
    fn start(&self, kinesis: &Kinesis) -> Result<(Option<StreamName>, Option<u64>), Error> {
        let start = self.exclusive_start_stream_name.as_deref();
        let start = start.map(streams::parse_name).transpose()?;
        let Some(token) = self.next_token.as_deref() else { return Ok((start, None)) };
        let page: StreamsPage =
            kinesis.sealer.open(token, kinesis.clock.now()).map_err(next_token_error)?;
        Ok((start.max(Some(page.after)), Some(page.version)))
    }
}

fn page(
    kinesis: &Kinesis,
    catalog: &Catalog,
    start: Option<&StreamName>,
    version: u64,
    limit: u32,
) -> (Vec<StreamSummary>, bool) {
    let limit = limit.min(limits::LIST_STREAMS_MAX_STREAMS);
    let after = start.map_or(Bound::Unbounded, Bound::Excluded);
    let rest = catalog.streams.range::<StreamName, _>((after, Bound::Unbounded));
    // The id of a stream is the version of the catalog in which it was created.
    let mut rest = rest.filter(|(name, stream)| stream.id.0 <= version && !name.is_internal());
    let summary = |(name, stream): (&StreamName, &anabranch_catalog::Stream)| StreamSummary {
        name: name.clone(),
        arn: kinesis.arn(name),
        status: stream.status,
        mode: stream.mode,
        created: stream.created,
    };
    let streams = rest.by_ref().take(limit as usize).map(summary).collect();
    (streams, rest.next().is_some())
}

/// The error for a paging token that cannot be opened.
pub(super) fn next_token_error(error: OpenError) -> Error {
    match error {
        OpenError::Forged => Error::InvalidArgument("NextToken is invalid.".to_owned()),
        OpenError::Expired { issued } => Error::ExpiredNextToken(format!(
            "NextToken has expired. It was created at {}.",
            dates::service_text(issued)
        )),
    }
}

impl Response for StreamList {
    fn expected_bytes(&self) -> usize {
        512 + self.streams.len() * 512
    }

    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("StreamNames").list(|w| self.streams.iter().for_each(|s| w.plain(&s.name)));
            w.member("HasMoreStreams").flag(self.next_token.is_some());
            if let Some(token) = &self.next_token {
                w.member("NextToken").plain(token);
            }
            w.member("StreamSummaries").list(|w| self.streams.iter().for_each(|s| s.write(w)));
        });
    }
}

impl StreamSummary {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("StreamName").plain(&self.name);
            w.member("StreamARN").plain(&self.arn);
            w.member("StreamStatus").plain(self.status.name());
            w.member("StreamModeDetails").structure(|w| {
                w.member("StreamMode").plain(mode_text(self.mode));
            });
            w.member("StreamCreationTimestamp").timestamp(self.created);
        });
    }
}
