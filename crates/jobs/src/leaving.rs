//! Which nodes are about to stop. A worker that stops writes a row before it gives up its jobs, so the dispatcher gives
//! it no others, and deletes the row when it begins again.

use std::collections::BTreeSet;

use anabranch_client::ShownRows;
use anabranch_table::{Key, SpaceId};
use anabranch_types::NodeId;
use bytes::Bytes;

/// Name of the space with a row for each node that is about to stop. Stored: never change it.
pub(crate) const SPACE: &str = "jobs/leaving";

/// The row of a node: its number as text, without a value.
pub(crate) fn key(space: SpaceId, node: NodeId) -> Key {
    Key { space, key: Bytes::from(node.0.to_string()) }
}

/// The nodes that are about to stop.
pub(crate) fn nodes(rows: &ShownRows) -> BTreeSet<NodeId> {
    let number = |key: &Bytes| std::str::from_utf8(key).ok()?.parse().ok();
    rows.all().filter_map(|(key, _)| number(key)).map(NodeId).collect()
}
