//! Table groups: Raft groups that replicate the rows of tables.
//!
//! ```text
//! -- CreateGroups --> Creating -- Activate --> Ready
//! ```
//!
//! The catalog knows which table groups exist, the places of their replicas and their moves. It knows no table and no
//! row: these are in the groups, so their changes do not send the catalog to every node.
//!
//! A node asks for groups, and the controller activates a group once it has a leader. A group is known by its id
//! alone. A Creating group that begins anew (`groups/replicas.rs`) gets another id, so a command about the group before
//! it finds no group, and changes nothing.
//!
//! It never happens that a group is deleted: a group without tables stays, for the tables to come.

use anabranch_types::{GroupId, limits};

use crate::apply::Change;
use crate::groups::{Move, Replica, holders};
use crate::model::Catalog;
use crate::outcome::Refusal;
use crate::placement;

/// A Raft group that replicates tables. Its id is the key in [`Catalog::table_groups`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableGroup {
    /// Number of replicas that the group is to have. It has fewer while the cluster has fewer nodes.
    pub wanted_replicas: u32,
    /// Replicas of the group, without a replica that a move is adding.
    pub replicas: Vec<Replica>,
    /// The move that is under way in the group.
    pub moving: Option<Move>,
    /// Whether the group takes rows.
    pub status: TableGroupStatus,
}

/// Whether a table group takes rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableGroupStatus {
    /// The group elects its first leader. It holds no row yet, so it may begin anew.
    Creating,
    /// The group takes rows. A group that is ready never begins anew.
    Ready,
}

/// A change to the table groups of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableCommand {
    /// A node wants groups for tables. Makes groups until there are at least so many, Creating ones included.
    ///
    /// A node that wants one more than it sees names the next number. So a command that is repeated, or that several
    /// nodes propose at once, makes one group.
    CreateGroups {
        /// Number of replicas of each new group, at least 1. A group gets fewer if there are fewer nodes. Groups that
        /// exist stay as they are.
        replicas: u32,
        /// Number of groups that there are to be, at most [`limits::MAX_TABLE_GROUPS`].
        at_least: u32,
    },
    /// The controller saw a leader in a Creating group. Changes nothing if there is no such group: it has begun anew
    /// under another id.
    Activate {
        /// Id of the group.
        group: GroupId,
    },
}

impl TableCommand {
    pub(crate) fn apply(self, catalog: &mut Catalog) -> Result<Change, Refusal> {
        match self {
            Self::CreateGroups { replicas, at_least } => {
                catalog.create_table_groups(replicas, at_least)
            }
            Self::Activate { group } => Ok(catalog.activate_table_group(group)),
        }
    }
}

impl Catalog {
    /// A refusal changes nothing.
    fn create_table_groups(&mut self, replicas: u32, at_least: u32) -> Result<Change, Refusal> {
        let wanted = u64::from(at_least);
        let missing = wanted.saturating_sub(self.table_groups.len() as u64);
        if missing == 0 {
            return Ok(Change::AlreadySo);
        }
        let limit = limits::MAX_TABLE_GROUPS as u64;
        if wanted > limit {
            return Err(Refusal::Limit { what: "table groups", actual: wanted, limit });
        }
        let (mut load, mut next_replica) = (placement::load(self), self.next_replica);
        let mut made = Vec::new();
        for number in 0..missing {
            let placed = placement::place(self, replicas, &mut load, &mut next_replica);
            if placed.is_empty() {
                return Err(Refusal::NoNodes);
            }
            let group = TableGroup {
                wanted_replicas: replicas,
                replicas: placed,
                moving: None,
                status: TableGroupStatus::Creating,
            };
            made.push((GroupId(self.next_group + number), group));
        }
        self.table_groups.extend(made);
        self.next_group += missing;
        self.next_replica = next_replica;
        Ok(Change::Made)
    }

    fn activate_table_group(&mut self, group: GroupId) -> Change {
        match self.table_groups.get_mut(&group) {
            Some(found) if found.status == TableGroupStatus::Creating => {
                found.status = TableGroupStatus::Ready;
                Change::Made
            }
            Some(_) | None => Change::AlreadySo,
        }
    }
}

impl TableGroup {
    /// All replicas that nodes are to hold; see [`GroupRef::holders`](crate::GroupRef::holders).
    pub fn holders(&self) -> impl Iterator<Item = Replica> + '_ {
        holders(&self.replicas, self.moving)
    }
}

#[cfg(test)]
mod tests;
