//! When a node that has started is ready: once its replicas have everything that their groups had committed.
//!
//! Order of events: the catalog knows this start of the node, and every replica that it names for this node is open
//! (`reconcile.rs`). Then this node asks the leaders of its groups how far each log is committed, once for each
//! group, and waits until its own replicas have applied as much.
//!
//! An operator who restarts one node after the other waits for this before the next node stops. Until then a group
//! may have no other sound copy of its newest records, so a node that says "ready" too early risks the loss of a
//! majority. A group without a leader is waited for only for a while: this node alone can't change that, and the
//! nodes that could may be waiting to be started.
//!
//! Never: a node that was ready becomes unready because a replica lags. Leaders know how far each
//! replica is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{Catalog, GroupRef, StreamStatus};
use anabranch_types::{GroupId, NodeId};
use tokio::time::{Instant, sleep};

use crate::group_reports::{self, Reports};
use crate::node::Node;

/// Time between two looks.
const ROUND: Duration = Duration::from_millis(100);
/// How long the node waits for groups without a leader.
const LEADERLESS_PATIENCE: Duration = Duration::from_secs(10);

/// Ends once the replicas have caught up.
pub(crate) async fn follow(node: Node) {
    let readiness = node.readiness();
    readiness.placed().await;
    let began = Instant::now();
    let catalog = node.catalog_view().newest();
    let mut behind = Behind::new(groups_here(&node, &catalog).map(|group| group.group));
    loop {
        let catalog = node.catalog_view().newest();
        let groups: Vec<_> = groups_here(&node, &catalog).collect();
        behind.retain(&groups.iter().map(|group| group.group).collect());
        let left: Vec<_> = groups.into_iter().filter(|g| behind.0.contains_key(&g.group)).collect();
        behind.note(node.id(), &group_reports::gather(&node, &left).await);
        if began.elapsed() > LEADERLESS_PATIENCE {
            for group in behind.leave_out_leaderless() {
                tracing::warn!(%group, "ready without it: the group has no leader");
            }
        }
        if behind.0.is_empty() {
            return readiness.set_caught_up();
        }
        sleep(ROUND).await;
    }
}

/// The groups of which this node holds a voter, by the catalog. Streams that are being deleted don't count.
fn groups_here<'a>(node: &Node, catalog: &'a Arc<Catalog>) -> impl Iterator<Item = GroupRef<'a>> {
    let own = node.id();
    catalog.groups().filter(move |group| {
        let deleted = group.shard().is_some_and(|of| of.stream.status == StreamStatus::Deleting);
        !deleted && group.voters().iter().any(|replica| replica.node == own)
    })
}

/// Groups whose replica on this node may lack something, each with the first log index that it need not have. The
/// index is `None` until a leader has told it.
#[derive(Debug)]
struct Behind(BTreeMap<GroupId, Option<u64>>);

impl Behind {
    fn new(groups: impl Iterator<Item = GroupId>) -> Self {
        Self(groups.map(|group| (group, None)).collect())
    }

    /// Forgets groups that this node does not hold any more.
    fn retain(&mut self, groups: &BTreeSet<GroupId>) {
        self.0.retain(|group, _| groups.contains(group));
    }

    /// Compares the reports of the leaders with those of this node, and forgets groups that have caught up.
    fn note(&mut self, own: NodeId, reports: &Reports) {
        self.0.retain(|group, needed| {
            let Some((leader, report)) = reports.leader(*group) else { return true };
            if leader == own {
                return false;
            }
            let needed =
                needed.get_or_insert(report.committed_index.map_or(0, |committed| committed + 1));
            let here = reports.node(own).and_then(|here| here.group(*group));
            let applied = here.and_then(|here| here.applied_index).map_or(0, |applied| applied + 1);
            applied < *needed
        });
    }

    /// Forgets the groups of which no leader was found, and returns them.
    fn leave_out_leaderless(&mut self) -> BTreeSet<GroupId> {
        let leaderless = self.0.extract_if(.., |_, needed| needed.is_none());
        leaderless.map(|(group, _)| group).collect()
    }
}

#[cfg(test)]
mod tests {
    use anabranch_proto::node as pb;

    use super::*;

    const GROUP: GroupId = GroupId(7);
    const OWN: NodeId = NodeId(1);

    fn report(leads: bool, committed: Option<u64>, applied: Option<u64>) -> pb::GroupReport {
        pb::GroupReport {
            group: GROUP.0,
            leads,
            committed_index: committed,
            applied_index: applied,
            ..pb::GroupReport::default()
        }
    }

    fn reports(own: pb::GroupReport, other: Option<pb::GroupReport>) -> Reports {
        let of = |report| pb::GroupsResponse { groups: vec![report], ..Default::default() }.into();
        let others = other.map(|report| (NodeId(2), of(report)));
        [(OWN, of(own))].into_iter().chain(others).collect()
    }

    #[test]
    fn a_replica_has_caught_up_once_it_has_what_was_committed_when_the_leader_was_asked() {
        let mut behind = Behind::new([GROUP].into_iter());
        let leader = |committed| Some(report(true, Some(committed), Some(committed)));
        behind.note(OWN, &reports(report(false, None, Some(3)), leader(9)));
        assert_eq!(behind.0[&GROUP], Some(10));
        behind.note(OWN, &reports(report(false, None, Some(8)), leader(500)));
        assert_eq!(behind.0[&GROUP], Some(10), "later records are not waited for");
        behind.note(OWN, &reports(report(false, None, Some(9)), leader(900)));
        assert!(behind.0.is_empty());
    }

    #[test]
    fn a_leader_lacks_nothing() {
        let mut behind = Behind::new([GROUP].into_iter());
        behind.note(OWN, &reports(report(true, None, None), None));
        assert!(behind.0.is_empty());
    }

    #[test]
    fn a_replica_that_is_not_open_has_not_caught_up() {
        let mut behind = Behind::new([GROUP].into_iter());
        let quarantined = pb::GroupReport {
            group: GROUP.0,
            quarantined: Some("damaged".into()),
            ..Default::default()
        };
        behind.note(OWN, &reports(quarantined, Some(report(true, Some(0), Some(0)))));
        assert_eq!(behind.0[&GROUP], Some(1));
        assert!(behind.leave_out_leaderless().is_empty(), "it has a leader");
    }

    #[test]
    fn a_group_without_a_leader_is_left_out_when_asked() {
        let mut behind = Behind::new([GROUP].into_iter());
        behind.note(OWN, &reports(report(false, None, Some(3)), Some(report(false, None, None))));
        assert_eq!(behind.0[&GROUP], None);
        assert_eq!(behind.leave_out_leaderless(), BTreeSet::from([GROUP]));
        assert!(behind.0.is_empty());
    }
}
