//! One version of the catalog, prepared for routing: from a hash key to the open shard, and from a group to its
//! shard.
//!
//! A view never changes. A new version of the catalog becomes a new view, so a call that holds a view sees one state
//! of all streams.

use std::collections::HashMap;
use std::sync::Arc;

use anabranch_catalog::{Catalog, Shard, Stream, StreamId, StreamMode};
use anabranch_planted::{Bug, planted};
use anabranch_types::{GroupId, HashKey, NodeId, ShardId, StreamName, Timestamp};

/// One version of the catalog, prepared for routing. Never changes.
#[derive(Debug, Default)]
pub struct View {
    catalog: Catalog,
    routes: HashMap<StreamName, Vec<Arc<ShardRoute>>>,
    by_group: HashMap<GroupId, Arc<ShardRoute>>,
    /// Nodes with a replica of each table group.
    tables: HashMap<GroupId, Vec<NodeId>>,
}

/// All that is needed to reach one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardRoute {
    /// Name of the stream.
    pub stream: StreamName,
    /// Tells the stream from an earlier or later one of the same name.
    pub stream_id: StreamId,
    /// Id of the shard.
    pub shard: ShardId,
    /// Group that holds the shard.
    pub group: GroupId,
    /// When the shard was born. It is part of its sequence numbers.
    pub birth: Timestamp,
    /// Retention of its records.
    pub retention_hours: u32,
    /// Highest hash key of the shard, inclusive.
    pub end: HashKey,
    /// Whether the shard's load is measured. If so, appends carry the hash keys of their records.
    pub is_measured: bool,
    /// Nodes that hold a replica.
    pub nodes: Vec<NodeId>,
}

/// A stream of a [`View`].
#[derive(Clone, Copy, Debug)]
pub struct StreamView<'a> {
    /// The stream as the catalog has it.
    pub stream: &'a Stream,
    open: &'a [Arc<ShardRoute>],
    view: &'a View,
}

impl View {
    /// Prepares the routes of `catalog`.
    pub fn new(catalog: Catalog) -> Self {
        let mut view = Self::default();
        for (name, stream) in &catalog.streams {
            let mut open = Vec::new();
            for shard in stream.shards.values() {
                let route = Arc::new(route(name, stream, shard));
                view.by_group.insert(shard.group, Arc::clone(&route));
                if shard.is_open() {
                    open.push(route);
                }
            }
            if let Some(job) = stream.job.as_ref().filter(|_| planted(Bug::OpenChildrenEarly)) {
                open.retain(|route| !job.parents.contains(&route.shard));
                let children = job.children.values();
                open.extend(children.map(|child| Arc::new(route(name, stream, child))));
            }
            open.sort_by_key(|route| route.end);
            view.routes.insert(name.clone(), open);
        }
        let tables = catalog.table_groups.iter();
        let holders = tables.map(|(id, group)| (*id, group.holders().map(|r| r.node).collect()));
        view.tables = holders.collect();
        view.catalog = catalog;
        view
    }

    /// The catalog of this version.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The stream of that name, whatever its status.
    pub fn stream(&self, name: &StreamName) -> Option<StreamView<'_>> {
        let stream = self.catalog.streams.get(name)?;
        let open = self.routes.get(name).map(Vec::as_slice).unwrap_or_default();
        Some(StreamView { stream, open, view: self })
    }

    /// Nodes with a replica of `group`, which holds a shard or tables. `None` if there is no such group.
    pub fn holders(&self, group: GroupId) -> Option<&[NodeId]> {
        let shard = || self.by_group.get(&group).map(|route| &route.nodes);
        self.tables.get(&group).or_else(shard).map(Vec::as_slice)
    }

    /// The shard that `group` holds.
    pub fn group(&self, group: GroupId) -> Option<&Arc<ShardRoute>> {
        self.by_group.get(&group)
    }
}

impl<'a> StreamView<'a> {
    /// The open shard that `key` belongs to.
    pub fn shard_for(&self, key: HashKey) -> Option<&'a Arc<ShardRoute>> {
        self.open.get(self.open.partition_point(|route| route.end < key))
    }

    /// The route to `shard`, open or closed.
    pub fn shard(&self, shard: ShardId) -> Option<&'a Arc<ShardRoute>> {
        self.view.group(self.stream.shards.get(&shard)?.group)
    }
}

fn route(name: &StreamName, stream: &Stream, shard: &Shard) -> ShardRoute {
    ShardRoute {
        stream: name.clone(),
        stream_id: stream.id,
        shard: shard.id,
        group: shard.group,
        birth: shard.birth,
        retention_hours: stream.retention_hours,
        end: shard.range.end(),
        is_measured: stream.mode == StreamMode::OnDemand,
        nodes: shard.holders().map(|replica| replica.node).collect(),
    }
}
