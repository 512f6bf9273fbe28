//! GetRecords: reads a page of records from the position of a shard iterator.
//!
//! Order of events: open the iterator, find its shard, reserve memory for the page, read. If the shard is open and
//! the page is empty at the tip, read again and wait for the first record. Then reduce or extend the reservation to
//! the size of the page, and seal the next iterator. The response holds the reservation until it is sent.

use std::sync::Arc;
use std::time::Duration;

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Flag, Integer, Required, Text, Writer};
use anabranch_client::{Page, ShardRoute};
use anabranch_gateway::Permit;
use anabranch_gateway::service::{Request, Response};
use anabranch_gateway::token::{LIFETIME, OpenError};
use anabranch_types::{dates, limits};
use serde::Deserialize;

use super::page::{self, COST_THIRDS, ChildShard};
use super::shards;
use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::{StreamTarget, TokenTarget};
use crate::tokens::ShardIterator;

/// `GetRecordsInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GetRecords<'a> {
    #[serde(borrow, default)]
    shard_iterator: Required<Text<'a>>,
    limit: Option<Integer>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    dry_run: Option<Flag>,
}

impl Constrained for GetRecords<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("ShardIterator", &self.shard_iterator, &rules::SHARD_ITERATOR);
        checks.number("Limit", &self.limit, &rules::LIMIT);
        checks.text("StreamARN", &self.stream_arn, &rules::STREAM_ARN);
        checks.text("StreamId", &self.stream_id, &rules::STREAM_ID);
    }
}

/// `GetRecordsOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct Records {
    page: Page,
    /// Bytes of data and partition keys in the page.
    bytes: usize,
    route: Arc<ShardRoute>,
    /// `None` if and only if the shard is closed and all of its records were read.
    next: Option<String>,
    children: Vec<ChildShard>,
    permit: Permit,
}

/// The smallest page that is worth a call, and the page size of a call that waits at the tip.
const LEAST_BYTES: usize = 64 * 1024;

impl Request<Kinesis> for GetRecords<'_> {
    type Target = TokenTarget<ShardIterator>;
    type Response = Records;

    fn target(&self, kinesis: &Kinesis) -> Result<TokenTarget<ShardIterator>, Error> {
        let token = self.open(kinesis)?;
        Ok(TokenTarget { stream: StreamTarget::named_fully(token.stream.clone()), token })
    }

    async fn run(
        &self,
        cx: &Context<'_>,
        target: &TokenTarget<ShardIterator>,
    ) -> Result<Records, Error> {
        let kinesis = cx.service;
        let iterator = &target.token;
        let route = route(kinesis, iterator)?;
        if self.dry_run == Some(Flag(true)) {
            return Err(Error::DryRun);
        }
        let (mut permit, max_bytes) = reserve(kinesis)?;
        let limit = self.limit.map_or(u32::MAX, Integer::as_u32);
        let limit = limit.min(limits::GET_RECORDS_MAX_RECORDS);
        let read = async |from, max_bytes, wait| {
            let page = kinesis.cluster.read(&route, from, limit, max_bytes, wait).await;
            let subject = || format!("Shard {} in stream {}", iterator.shard, iterator.stream);
            page.map_err(|error| Error::from_client(error, subject))
        };
        let end = |page: &Page| page::end(kinesis, &iterator.stream, iterator.shard, page);
        let mut page = read(iterator.position, max_bytes, Duration::ZERO).await?;
        let wait = tip_wait(kinesis);
        if is_at_tip(&page) && !wait.is_zero() && end(&page).is_none() {
            // Many calls may wait at once. So each of them keeps only the memory for a small page.
            permit.shrink(LEAST_BYTES.min(permit.bytes()));
            page = read(page.next, permit.bytes() * 3 / COST_THIRDS, wait).await?;
        }
        let bytes = page::bytes(&page);
        adjust(kinesis, &mut permit, bytes * COST_THIRDS / 3)?;
        let end = end(&page);
        let next = end.is_none().then(|| {
            let next = ShardIterator { position: page.next, ..iterator.clone() };
            kinesis.sealer.seal(&next, kinesis.clock.now())
        });
        Ok(Records { page, bytes, route, next, children: end.unwrap_or_default(), permit })
    }
}

impl GetRecords<'_> {
    fn open(&self, kinesis: &Kinesis) -> Result<ShardIterator, Error> {
        let text = &**self.shard_iterator;
        // Some clients send the iterator in the quotes of JSON, as they received it. AWS accepts that.
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let now = kinesis.clock.now();
        let iterator: ShardIterator =
            kinesis.sealer.open(bare, now).map_err(|error| match error {
                OpenError::Forged => Error::InvalidArgument("Invalid ShardIterator.".to_owned()),
                OpenError::Expired { issued } => Error::ExpiredIterator(format!(
                    "Iterator expired. The iterator was created at time {} while right now it is {} \
                     which is further in the future than the tolerated delay of {} milliseconds.",
                    dates::service_text(issued),
                    dates::service_text(now),
                    LIFETIME.as_millis()
                )),
            })?;
        if let Some(arn) = &self.stream_arn
            && kinesis.name_in_arn("StreamARN", arn)? != iterator.stream
        {
            let message = "ShardIterator and StreamARN are of different streams.".to_owned();
            return Err(Error::InvalidArgument(message));
        }
        Ok(iterator)
    }
}

/// Finds the shard of the iterator. A later stream of the same name does not count.
fn route(kinesis: &Kinesis, iterator: &ShardIterator) -> Result<Arc<ShardRoute>, Error> {
    let missing = || shards::missing(kinesis, &iterator.stream, iterator.shard);
    let view = kinesis.cluster.view();
    let found = kinesis.find_for_data(&view, &iterator.stream).map_err(|_| missing())?;
    if found.stream.id != iterator.stream_id {
        return Err(missing());
    }
    found.shard(iterator.shard).cloned().ok_or_else(missing)
}

/// How long a call waits at the tip of a shard.
fn tip_wait(kinesis: &Kinesis) -> Duration {
    if kinesis.service_limits { Duration::ZERO } else { kinesis.settings.tip_wait }
}

fn is_at_tip(page: &Page) -> bool {
    page.batches.is_empty() && page.behind.is_zero()
}

/// Reserves memory for the response. A gateway that is nearly full reads less, and does not fail as long as the
/// smallest page fits.
fn reserve(kinesis: &Kinesis) -> Result<(Permit, usize), Error> {
    let wanted = limits::GET_RECORDS_MAX_BYTES * COST_THIRDS / 3;
    let permit =
        kinesis.responses.take_fair(wanted, LEAST_BYTES).ok_or_else(Error::too_much_in_flight)?;
    let max_bytes = (permit.bytes() * 3 / COST_THIRDS).min(limits::GET_RECORDS_MAX_BYTES);
    Ok((permit, max_bytes))
}

/// Adjusts the permit to the cost of the response. The page may be larger than the reservation, because a read
/// returns at least one record, whatever its size.
fn adjust(kinesis: &Kinesis, permit: &mut Permit, cost: usize) -> Result<(), Error> {
    match cost.checked_sub(permit.bytes()) {
        Some(missing) => {
            permit.join(kinesis.responses.take(missing).ok_or_else(Error::too_much_in_flight)?)
        }
        None => permit.shrink(cost),
    }
    Ok(())
}

impl Response for Records {
    fn expected_bytes(&self) -> usize {
        1024 + self.bytes * 4 / 3 + self.page.record_count() * 192
    }

    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("Records").list(|w| page::write_records(w, &self.page, &self.route));
            if let Some(next) = &self.next {
                w.member("NextShardIterator").plain(next);
            }
            page::write_end(w, &self.page, &self.children);
        });
    }

    fn into_permit(self) -> Option<Permit> {
        Some(self.permit)
    }
}

#[cfg(test)]
mod cost;
