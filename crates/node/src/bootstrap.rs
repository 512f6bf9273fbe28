//! How a node that starts finds its place: as a founder of a new cluster, as a member that comes back, as a node that
//! joins, or as a node whose disk was wiped.
//!
//! Order of events: [`join`] opens the node's replica of the catalog, if it is clear which replica that is.
//! [`find_cluster`] learns which nodes there are, for a node that joins. [`register`] tells the catalog where this
//! start of the node is, and the catalog decides about its replicas.
//!
//! Never: a node takes part under a replica id whose votes and entries its disk may have forgotten
//! (ADR-0007). So a node with an empty disk first asks the others whether it had a replica, and a disk that went back
//! in time keeps its replica of the catalog closed.

use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{Catalog, Command, NodeCommand, NodeRegistration, Outcome, Replica};
use anabranch_planted::{Bug, planted};
use anabranch_replica::GroupSpec;
use anabranch_types::{GroupId, Incarnation, NodeId, ReplicaId};
use futures::future::join_all;
use tokio::time::sleep;

use crate::error::Error;
use crate::node::Node;
use crate::went_back;

const RETRY: Duration = Duration::from_millis(100);

/// The replicas of the catalog in a new cluster: the id of each founder's replica is the number of its node.
fn founders(node: &Node) -> Vec<Replica> {
    let voters = node.settings().initial_voters();
    voters.into_iter().map(|node| Replica { id: ReplicaId(node.0), node }).collect()
}

/// The state of the catalog before its first command. Every replica of the catalog begins with it, also a replica
/// that is made later, because it applies the same log. `newer` is a version of the catalog that remembers the
/// founders, if one is known.
pub(crate) fn first_catalog(node: &Node, newer: Option<&Catalog>) -> Catalog {
    match newer.map(|catalog| catalog.founders.as_slice()) {
        Some(founders @ [_, ..]) => Catalog::bootstrap(founders),
        Some([]) | None => {
            Catalog::bootstrap(&stored_founders(node).unwrap_or_else(|| founders(node)))
        }
    }
}

/// Opens this node's replica of the catalog, if it has one. A node with an empty disk waits here until the other
/// nodes have told whether it had a replica before.
pub(crate) async fn join(node: &Node) -> Result<(), Error> {
    let founders = founders(node);
    let own = founders.iter().find(|replica| replica.node == node.id());
    let replica = match (stored_replica(node), own) {
        (Some(stored), _) => match reason_to_stay_closed(node, stored).await {
            Some(reason) => {
                tracing::error!(reason, "the replica of the catalog on this disk stays closed");
                return Ok(());
            }
            None => stored,
        },
        (None, Some(own)) if node.began_empty() && is_new_here(node, &founders).await => own.id,
        // The catalog will give this disk a replica, or has taken away the replica that it had.
        (None, Some(_)) | (None, None) => return Ok(()),
    };
    let spec = GroupSpec {
        group: GroupId::CATALOG,
        replica,
        members: founders.clone(),
        is_new: node.began_empty(),
        born: 0,
    };
    if is_damaged(node) || !open_own(node, &spec).await {
        let node = node.clone();
        node.clone().spawn(async move {
            loop {
                if let Some((_, log)) = node.replicas().stored_replica(GroupId::CATALOG) {
                    log.until_repaired().await; // other nodes have copies
                }
                if open_own(&node, &spec).await {
                    return;
                }
            }
        });
    }
    Ok(())
}

/// Whether some entries of the catalog's log on this disk can't be read.
fn is_damaged(node: &Node) -> bool {
    let stored = node.replicas().stored_replica(GroupId::CATALOG);
    stored.is_some_and(|(_, log)| !log.damaged().is_empty())
}

/// Opens this node's replica of the catalog. `false` if damaged entries prevent it.
async fn open_own(node: &Node, spec: &GroupSpec) -> bool {
    match node.replicas().open_catalog(spec, first_catalog(node, None)).await {
        Ok(replica) => node.catalog_view().set_replica(replica),
        Err(error) if is_damaged(node) => {
            tracing::warn!(%error, "entries of the catalog's log are damaged");
            return false;
        }
        Err(error) => tracing::error!(%error, "catalog replica is out of service"),
    }
    true
}

/// Why the replica of the catalog on this disk must not take part, by the other nodes that answer soon.
async fn reason_to_stay_closed(node: &Node, stored: ReplicaId) -> Option<&'static str> {
    let (remotes, own) = (node.peers().remotes(), node.id());
    let others = node.peers().others().into_iter();
    let asked = join_all(others.map(|other| remotes.info_about(other, own)));
    // A node that joined a cluster knows only addresses until it has read the catalog.
    let addresses = node.settings().join.iter();
    let asked_there = join_all(addresses.map(|address| remotes.info_about_at(address, own)));
    let (told, told_there) = tokio::join!(asked, asked_there);
    let mut told: Vec<_> = told.into_iter().chain(told_there).filter_map(Result::ok).collect();
    told.retain(|info| info.cluster == node.settings().cluster);
    if went_back::is_known_of(node, &told) {
        return Some("the disk went back in time");
    }
    let is_superseded = told.iter().any(|info| info.catalog_recovered_as > stored.0);
    is_superseded.then_some("the catalog was recovered without it")
}

/// Learns which nodes are at the addresses that a joining node was given. Ends once a node of the cluster has
/// answered.
pub(crate) async fn find_cluster(node: Node) {
    let settings = node.settings();
    while !settings.join.is_empty() {
        for address in &settings.join {
            match node.peers().remotes().node_info_at(address).await {
                Ok(info) if info.cluster != settings.cluster => {
                    let (found, own) = (info.cluster, &settings.cluster);
                    tracing::error!(address, found, own, "node of another cluster");
                }
                Ok(info) if info.node != node.id().0 => {
                    return node.peers().set(NodeId(info.node), address);
                }
                Ok(_) => {}
                Err(status) => tracing::info!(address, %status, "join"),
            }
        }
        sleep(RETRY).await;
    }
}

/// The id of the replica of the catalog that this disk holds.
pub(crate) fn stored_replica(node: &Node) -> Option<ReplicaId> {
    Some(node.replicas().stored_replica(GroupId::CATALOG)?.0)
}

/// The founders of the catalog's group, as this disk's replica remembers them.
fn stored_founders(node: &Node) -> Option<Vec<Replica>> {
    let (_, log) = node.replicas().stored_replica(GroupId::CATALOG)?;
    let row = log.state(anabranch_storage::StateKey::Founders).ok()??;
    let catalog = anabranch_proto::decode_catalog(row).ok()?;
    Some(catalog.founders)
}

/// Whether no earlier disk of this node ever held a replica of the catalog. Returns once the others have told: either
/// a catalog does not know this node, or the disks of all founders are empty, so the cluster is new.
async fn is_new_here(node: &Node, founders: &[Replica]) -> bool {
    let others: Vec<NodeId> =
        founders.iter().map(|replica| replica.node).filter(|other| *other != node.id()).collect();
    loop {
        let mut empty = 0;
        for other in &others {
            let Ok(info) = node.peers().remotes().node_info(*other).await else { continue };
            if info.cluster != node.settings().cluster {
                tracing::error!(node = %other, cluster = info.cluster, "peer of another cluster");
                continue;
            }
            if info.catalog_version > 0 {
                // The other node has seen a catalog, so the cluster is not new, even if the node can't send that
                // catalog now.
                let Some(catalog) = fetch_catalog(node, *other).await else { continue };
                return is_unused(&catalog, node.id(), node.this_start().incarnation)
                    || planted(Bug::KeepIdentity);
            }
            empty += usize::from(info.began_empty);
        }
        if empty == others.len() {
            return true;
        }
        sleep(RETRY).await;
    }
}

/// Whether the founding replica of `node` may begin with an empty log, by the catalog of another node: no earlier
/// disk of the node ever held it. A catalog that gave the node another replica id knows of an earlier disk, also if
/// the node has registered its new disk since then. A catalog that was recovered may have forgotten this node. It
/// remembers that its founders are gone.
fn is_unused(catalog: &Catalog, node: NodeId, incarnation: Incarnation) -> bool {
    let known = catalog.nodes.get(&node);
    let is_same_disk = known.is_none_or(|known| known.incarnation == incarnation);
    let founder = Replica { id: ReplicaId(node.0), node };
    catalog.recovered_as().is_none() && is_same_disk && catalog.replicas.contains(&founder)
}

async fn fetch_catalog(node: &Node, from: NodeId) -> Option<Catalog> {
    let mut versions = node.peers().remotes().watch(from, 0, 0).await.ok()?;
    let first = versions.message().await.ok()??;
    anabranch_proto::decode_catalog(first.catalog).ok()
}

/// Registers this start of the node in the catalog. Tries until the catalog has applied it.
pub(crate) async fn register(node: Node) {
    let (settings, start) = (node.settings(), node.this_start());
    let command = Command::Node(NodeCommand::Register(NodeRegistration {
        node: settings.node,
        incarnation: start.incarnation,
        starts: start.starts,
        boot: start.boot,
        grpc_address: settings.grpc_address.clone(),
        api_address: settings.api_address.clone(),
        zone: settings.zone.clone(),
    }));
    while is_taken(&node).await {
        let node = node.id();
        tracing::error!(%node, "another process is this node already: give this one another number");
        sleep(RETRY * 10).await;
    }
    loop {
        match node.propose(&command).await {
            Ok(Outcome::Done { version }) => {
                node.catalog_view().set_registered(version);
                tracing::info!(node = %settings.node, "registered");
                return;
            }
            Ok(Outcome::Refused(refusal)) => tracing::error!(%refusal, "registration refused"),
            Err(error) => tracing::info!(%error, "registration"),
        }
        sleep(RETRY).await;
    }
}

/// Whether another process runs as the node with this number. A node that joins a cluster waits here for its first
/// version of the catalog.
async fn is_taken(node: &Node) -> bool {
    let settings = node.settings();
    if settings.join.is_empty() {
        return false; // the configuration names every node
    }
    let mut versions = node.catalog();
    let Ok(catalog) =
        versions.wait_for(|catalog| catalog.version > 0).await.map(|c| Arc::clone(&c))
    else {
        return false;
    };
    let Some(known) = catalog.nodes.get(&node.id()) else { return false };
    if known.incarnation == node.this_start().incarnation
        || known.grpc_address == settings.grpc_address
    {
        return false;
    }
    let there = node.peers().remotes().node_info_at(&known.grpc_address).await;
    there.is_ok_and(|info| info.node == node.id().0 && info.cluster == settings.cluster)
}

#[cfg(test)]
mod tests {
    use anabranch_catalog::Command;

    use super::*;

    const NODE: NodeId = NodeId(2);

    /// A catalog with three founders, after `NODE` has registered disks with these incarnations.
    fn catalog(incarnations: &[u64]) -> Catalog {
        let founder = |node| Replica { id: ReplicaId(node), node: NodeId(node) };
        let mut catalog = Catalog::bootstrap(&[founder(1), founder(2), founder(3)]);
        for (log_index, incarnation) in (1..).zip(incarnations) {
            let registration = NodeRegistration {
                node: NODE,
                incarnation: Incarnation(*incarnation),
                starts: 1,
                boot: log_index,
                grpc_address: "a:1".into(),
                api_address: String::new(),
                zone: String::new(),
            };
            let command = Command::Node(NodeCommand::Register(registration));
            assert!(matches!(catalog.apply(log_index, command), Outcome::Done { .. }));
        }
        catalog
    }

    #[test]
    fn a_founder_begins_if_no_other_disk_was_registered() {
        assert!(is_unused(&catalog(&[]), NODE, Incarnation(7)));
        assert!(is_unused(&catalog(&[7]), NODE, Incarnation(7)));
    }

    #[test]
    fn a_founder_with_a_wiped_disk_never_begins_again() {
        assert!(!is_unused(&catalog(&[6]), NODE, Incarnation(7)));
        // The new disk was registered, but lost power before it held anything.
        assert!(!is_unused(&catalog(&[6, 7]), NODE, Incarnation(7)));
    }
}
