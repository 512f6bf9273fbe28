//! Placement: the nodes for the replicas of a new group.
//!
//! The choice is a pure function of the catalog, so every replica of the catalog makes the same. A group gets fewer
//! replicas than wanted if there are fewer nodes; `replica_moves.rs` adds the others later.

use std::collections::BTreeMap;

use anabranch_types::{NodeId, ReplicaId};

use crate::groups::Replica;
use crate::model::Catalog;
use crate::nodes::NodeState;

/// Chooses nodes for the replicas of a new group, at most `count`, and gives ids to the replicas.
///
/// No node is chosen twice. Preferred are nodes in zones that the group is not in yet, then those with the fewest
/// replicas, then those with the lowest ids. `load` and `next_replica` are updated, for the next group of the same
/// command.
pub(crate) fn place(
    catalog: &Catalog,
    count: u32,
    load: &mut BTreeMap<NodeId, u64>,
    next_replica: &mut u64,
) -> Vec<Replica> {
    let mut chosen: Vec<Replica> = Vec::new();
    let zone_of = |node: &NodeId| catalog.nodes.get(node).map_or("", |node| node.zone.as_str());
    while chosen.len() < count as usize {
        let free = catalog.nodes.iter().filter(|(id, node)| {
            node.state == NodeState::Active && chosen.iter().all(|replica| replica.node != **id)
        });
        let best = free.min_by_key(|(id, node)| {
            let zone_taken =
                chosen.iter().any(|replica| zone_of(&replica.node) == node.zone.as_str());
            (zone_taken, load.get(id).copied().unwrap_or(0), **id)
        });
        let Some((id, _)) = best else { break };
        *load.entry(*id).or_default() += 1;
        chosen.push(Replica { id: ReplicaId(*next_replica), node: *id });
        *next_replica += 1;
    }
    chosen
}

/// Number of replicas on each node, those of the catalog itself left out.
pub(crate) fn load(catalog: &Catalog) -> BTreeMap<NodeId, u64> {
    let mut load = BTreeMap::new();
    let groups = catalog.groups().filter(|group| group.is_load());
    for replica in groups.flat_map(|group| group.holders().collect::<Vec<_>>()) {
        *load.entry(replica.node).or_default() += 1;
    }
    load
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use anabranch_types::ShardId;

    use super::*;
    use crate::model::StreamMode::Provisioned;
    use crate::outcome::{Outcome, Refusal};
    use crate::script::Script;

    #[test]
    fn replicas_spread_over_nodes_then_zones_then_load() {
        let mut script = Script::with_nodes(1, &["a", "a", "b", "c"]);
        script.create("s", 4, Provisioned);
        let mut load = BTreeMap::new();
        for shard in script.stream("s").shards.values() {
            let zones: BTreeSet<_> = shard
                .replicas
                .iter()
                .map(|replica| script.catalog.nodes[&replica.node].zone.clone())
                .collect();
            assert_eq!(zones.len(), 3, "{shard:?}");
            shard.replicas.iter().for_each(|r| *load.entry(r.node).or_insert(0) += 1);
        }
        assert_eq!(load[&NodeId(1)], 2);
        assert_eq!(load[&NodeId(2)], 2);
    }

    #[test]
    fn fewer_nodes_give_fewer_replicas_and_no_node_gives_a_refusal() {
        let mut script = Script::with_nodes(1, &["a"]);
        script.create("s", 1, Provisioned);
        assert_eq!(script.stream("s").shards[&ShardId(0)].replicas.len(), 1);
        let mut empty = Script::with_nodes(1, &[]);
        assert_eq!(empty.create("s", 1, Provisioned), Outcome::Refused(Refusal::NoNodes));
    }
}
