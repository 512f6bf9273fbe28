use std::sync::Arc;
use std::time::Duration;

use anabranch_client::{Page, ShardRoute};
use anabranch_types::{dates, limits};
use serde::Deserialize;

use super::page::{self, COST_THIRDS, ChildShard};
use super::{Answer, Context, Request, shards};
use crate::authorization::Target;
use crate::budget::Permit;
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::token::{LIFETIME, OpenError, ShardIterator};
use crate::wire::{Flag, Integer, Text, Writer};

/// `GetRecordsInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GetRecords<'a> {
    #[serde(borrow)]
    shard_iterator: Option<Text<'a>>,
    limit: Option<Integer>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    dry_run: Option<Flag>,
}

impl Constrained for GetRecords<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("ShardIterator", &self.shard_iterator, &rules::SHARD_ITERATOR.required());
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
    /// Absent if and only if the shard is closed and drained.
    next: Option<String>,
    children: Vec<ChildShard>,
    permit: Permit,
}

/// Less than this isn't worth a call.
const LEAST_BYTES: usize = 64 * 1024;

impl Request for GetRecords<'_> {
    type Answer = Records;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        self.open(gateway).map(|iterator| Target::named_fully(iterator.stream))
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Records, Error> {
        let gateway = cx.gateway;
        let iterator = self.open(gateway)?;
        let route = route(gateway, &iterator)?;
        if self.dry_run == Some(Flag(true)) {
            return Err(Error::DryRun);
        }
        let (mut permit, max_bytes) = reserve(gateway)?;
        let limit = self.limit.map_or(u32::MAX, Integer::as_u32);
        let limit = limit.min(limits::GET_RECORDS_MAX_RECORDS);
        let read = async |from, max_bytes, wait| {
            let page = gateway.cluster.read(&route, from, limit, max_bytes, wait).await;
            let subject = || format!("Shard {} in stream {}", iterator.shard, iterator.stream);
            page.map_err(|error| Error::from_client(error, subject))
        };
        let end = |page: &Page| page::end(gateway, &iterator.stream, iterator.shard, page);
        let mut page = read(iterator.position, max_bytes, Duration::ZERO).await?;
        let wait = tip_wait(gateway);
        if is_at_tip(&page) && !wait.is_zero() && end(&page).is_none() {
            // Many may wait at once, so none keeps more room than the first records of a page need.
            permit.shrink(LEAST_BYTES.min(permit.bytes()));
            page = read(page.next, permit.bytes() * 3 / COST_THIRDS, wait).await?;
        }
        let bytes = page::bytes(&page);
        settle(gateway, &mut permit, bytes * COST_THIRDS / 3)?;
        let end = end(&page);
        let next = end.is_none().then(|| {
            let next = ShardIterator { position: page.next, ..iterator };
            gateway.sealer.seal(&next, gateway.clock.now())
        });
        Ok(Records { page, bytes, route, next, children: end.unwrap_or_default(), permit })
    }
}

impl GetRecords<'_> {
    fn open(&self, gateway: &Gateway) -> Result<ShardIterator, Error> {
        let text = self.shard_iterator.as_deref().unwrap_or_default();
        // Some clients send it as they got it, in the quotes of JSON; the service takes that.
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let now = gateway.clock.now();
        let iterator: ShardIterator =
            gateway.sealer.open(bare, now).map_err(|error| match error {
                OpenError::Forged => Error::InvalidArgument("Invalid ShardIterator.".to_owned()),
                OpenError::Expired { issued } => Error::ExpiredIterator(format!(
                    "Iterator expired. The iterator was created at time {} while right now it is {} \
                     which is further in the future than the tolerated delay of {} milliseconds.",
                    dates::service_text(issued),
                    dates::service_text(now),
                    LIFETIME.as_millis()
                )),
            })?;
        if self.stream_arn.is_some()
            && gateway.stream_name(&None, &self.stream_arn)? != iterator.stream
        {
            let message = "ShardIterator and StreamARN are of different streams.".to_owned();
            return Err(Error::InvalidArgument(message));
        }
        Ok(iterator)
    }
}

/// The iterator's shard, if it is still that of the same stream.
fn route(gateway: &Gateway, iterator: &ShardIterator) -> Result<Arc<ShardRoute>, Error> {
    let missing = || shards::missing(gateway, &iterator.stream, iterator.shard);
    let view = gateway.cluster.view();
    let found = gateway.find_for_data(&view, &iterator.stream).map_err(|_| missing())?;
    if found.stream.id != iterator.stream_id {
        return Err(missing());
    }
    found.shard(iterator.shard).cloned().ok_or_else(missing)
}

/// How long a call waits at the tip of a shard.
fn tip_wait(gateway: &Gateway) -> Duration {
    if gateway.settings.service_limits { Duration::ZERO } else { gateway.settings.tip_wait }
}

fn is_at_tip(page: &Page) -> bool {
    page.batches.is_empty() && page.behind.is_zero()
}

/// Room for the answer. A gateway that is nearly full reads less rather than nothing.
fn reserve(gateway: &Gateway) -> Result<(Permit, usize), Error> {
    let wanted = limits::GET_RECORDS_MAX_BYTES * COST_THIRDS / 3;
    let permit =
        gateway.answers.take_fair(wanted, LEAST_BYTES).ok_or_else(Error::too_much_in_flight)?;
    let max_bytes = (permit.bytes() * 3 / COST_THIRDS).min(limits::GET_RECORDS_MAX_BYTES);
    Ok((permit, max_bytes))
}

/// Makes the permit what the answer costs. One record may be larger than all that was read for.
fn settle(gateway: &Gateway, permit: &mut Permit, cost: usize) -> Result<(), Error> {
    match cost.checked_sub(permit.bytes()) {
        Some(missing) => {
            permit.join(gateway.answers.take(missing).ok_or_else(Error::too_much_in_flight)?)
        }
        None => permit.shrink(cost),
    }
    Ok(())
}

impl Answer for Records {
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
