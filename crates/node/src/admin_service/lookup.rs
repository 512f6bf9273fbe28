//! Finds what a request names: nodes, groups, streams and shards. Checks the sizes of pages.

use anabranch_catalog::{Catalog, GroupRef, Refusal, Stream};
use anabranch_types::{GroupId, NodeId, ParseError, ShardId, StreamName};
use tonic::Status;

use crate::admin_service::refusals::invalid;

pub(super) fn find_group(catalog: &Catalog, group: u64) -> Result<GroupRef<'_>, Status> {
    let found = catalog.groups().find(|found| found.group == GroupId(group));
    found.ok_or_else(|| Status::not_found(format!("there is no group {group}")))
}

pub(super) fn find_node(
    catalog: &Catalog,
    node: NodeId,
) -> Result<&anabranch_catalog::Node, Status> {
    let found = catalog.nodes.get(&node);
    found.ok_or_else(|| Status::not_found(Refusal::NodeNotFound { node }.to_string()))
}

pub(super) fn find_stream<'a>(
    catalog: &'a Catalog,
    name: &str,
) -> Result<(StreamName, &'a Stream), Status> {
    let name: StreamName = name.parse().map_err(|error: ParseError| invalid("stream", error))?;
    match catalog.streams.get(&name) {
        Some(stream) => Ok((name, stream)),
        None => Err(Status::not_found(format!("there is no stream {name}"))),
    }
}

/// The shard with this number or id.
pub(super) fn shard_id(text: &str) -> Result<ShardId, Status> {
    if let Ok(number) = text.parse() {
        return Ok(ShardId(number));
    }
    text.parse().map_err(|error: ParseError| invalid("shard", error))
}

/// How many items a page has. A request of 0 gets `default`.
pub(super) fn page_limit(asked: u32, default: usize, most: usize) -> Result<usize, Status> {
    match usize::try_from(asked).unwrap_or(usize::MAX) {
        0 => Ok(default),
        limit if limit <= most => Ok(limit),
        _ => Err(invalid("limit", format!("must be at most {most}"))),
    }
}
