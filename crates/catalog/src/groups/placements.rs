//! Finds the replicas of groups, to change them. Groups of all kinds are found here, so no rule about replicas has a
//! loop for each kind.

use std::collections::BTreeMap;

use anabranch_types::{GroupId, StreamName};

use crate::groups::{Move, Replica};
use crate::model::{Catalog, Shard, Stream};

/// The places of one group's replicas, to be changed.
pub(super) struct Placement<'a> {
    /// Id of the group.
    pub(super) group: GroupId,
    /// Replicas, without a replica that a move is adding.
    pub(super) replicas: &'a mut Vec<Replica>,
    /// The move that is under way.
    pub(super) moving: &'a mut Option<Move>,
}

impl Catalog {
    /// The placements of all groups: those of shards, then those of tables, then that of the catalog's own.
    ///
    /// Replicas get new ids in this order, and all releases must give out the same ids for the same commands. So the
    /// order must stay as it is.
    pub(super) fn placements_mut(&mut self) -> impl Iterator<Item = Placement<'_>> {
        let shards = shards_mut(&mut self.streams).map(|shard| Placement {
            group: shard.group,
            replicas: &mut shard.replicas,
            moving: &mut shard.moving,
        });
        let tables = self.table_groups.iter_mut().map(|(group, table)| Placement {
            group: *group,
            replicas: &mut table.replicas,
            moving: &mut table.moving,
        });
        let (replicas, moving) = (&mut self.replicas, &mut self.moving);
        let own = Placement { group: GroupId::CATALOG, replicas, moving };
        shards.chain(tables).chain(std::iter::once(own))
    }

    /// The placement of a group, if the catalog has the group.
    pub(super) fn placement_mut(&mut self, group: GroupId) -> Option<Placement<'_>> {
        self.placements_mut().find(|placement| placement.group == group)
    }

    /// Gives another id to the group of a shard or of tables.
    pub(super) fn rename_group(&mut self, group: GroupId, id: GroupId) {
        if let Some(table) = self.table_groups.remove(&group) {
            self.table_groups.insert(id, table);
            return;
        }
        if let Some(shard) = shards_mut(&mut self.streams).find(|shard| shard.group == group) {
            shard.group = id;
        }
    }
}

/// All shards of all streams, hidden children of jobs included.
fn shards_mut(streams: &mut BTreeMap<StreamName, Stream>) -> impl Iterator<Item = &mut Shard> {
    streams.values_mut().flat_map(|stream| {
        let children = stream.job.iter_mut().flat_map(|job| job.children.values_mut());
        stream.shards.values_mut().chain(children)
    })
}
