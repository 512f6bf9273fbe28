//! Which groups a node leads, and how it gives the leadership to other nodes.
//!
//! A node gives leadership up one group at a time ([`Replicas::transfer_leadership`]), or for all groups at once
//! when its disk stalls ([`Replicas::set_stalled`]). In both cases the replicas renounce their terms before another
//! node hears of it. So no lease is used here after another replica leads.

use std::collections::BTreeSet;
use std::sync::Arc;

use anabranch_types::{GroupId, NodeId, ReplicaId};

use crate::error::Error;
use crate::group::{Group, LeadershipTransfer};
use crate::replicas::{Held, Replicas};

impl Replicas {
    /// Groups that replicas here lead, including the group of the catalog.
    pub fn leading(&self) -> BTreeSet<GroupId> {
        let held = self.held();
        let leading = held.iter().filter(|(_, held)| held.group.is_leader());
        leading.map(|(group, _)| *group).collect()
    }

    /// Whether the replica of `group` here leads.
    pub fn leads(&self, group: GroupId) -> bool {
        self.held().get(&group).is_some_and(|held| held.group.is_leader())
    }

    /// Succeeds if the replica of `group` here leads, has applied everything that earlier leaders committed, and no
    /// other replica can lead now.
    ///
    /// # Errors
    /// [`Error::NotFound`] if no replica of the group is open here. [`Error::NotLeader`].
    pub async fn confirm_leads(&self, group: GroupId) -> Result<(), Error> {
        self.group(group)?.read_index().await.map(drop)
    }

    /// The voters of `group`, if the replica here leads. `None` while they change.
    ///
    /// # Errors
    /// [`Error::NotFound`] if no replica of the group is open here. [`Error::NotLeader`].
    pub fn settled_voters(&self, group: GroupId) -> Result<Option<BTreeSet<ReplicaId>>, Error> {
        let group = self.group(group)?;
        group.leading_term()?;
        Ok(group.settled_voters())
    }

    fn group(&self, group: GroupId) -> Result<Arc<Group>, Error> {
        self.held().get(&group).map(|held| Arc::clone(&held.group)).ok_or(Error::NotFound)
    }

    /// Transfers the leadership of `group` to a voter that has caught up, on a node that is alive and `suits`. If
    /// there is no such voter, nothing happens. Otherwise the replica here stops leading at once. Returns once
    /// another replica leads, or after a second.
    pub async fn transfer_leadership(
        &self,
        group: GroupId,
        suits: impl Fn(NodeId) -> bool,
    ) -> LeadershipTransfer {
        let held = self.held().get(&group).map(|held| held.group.clone());
        match held {
            Some(group) => group.transfer_leadership(suits).await,
            None => LeadershipTransfer::Done,
        }
    }

    /// The node is about to stop. From now on no replica here starts an election by itself, and watches of rows end.
    pub fn leave(&self) {
        self.inner.leaving.send_replace(true);
    }

    /// Says whether the log store is stalled: it makes no progress, or has failed. While it is, no replica here
    /// leads, starts an election or takes requests, except that the only voter of a group keeps leading. The other
    /// nodes hear of the stall and take over.
    pub fn set_stalled(&self, stalled: bool) {
        if stalled {
            // Renounce the terms before another node hears of the stall, so that no lease is used after another
            // replica leads.
            let groups: Vec<_> = self.held().values().map(|held| Arc::clone(&held.group)).collect();
            groups.iter().for_each(|group| group.renounce());
        } else {
            // Meanwhile a vote that was on its way to the disk may have made a replica here the leader. The other
            // nodes count this node as silent until its next pong, and may elect another leader. So no replica here
            // has a lease for a while.
            self.inner.transport.liveness().unsettle();
        }
        self.inner.transport.set_stalled(stalled);
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.inner.transport.is_stalled()
    }

    pub(super) fn is_leaving(&self) -> bool {
        *self.inner.leaving.borrow()
    }

    /// The part of a round of upkeep that concerns leadership. Stands for election if the group has no leader. If
    /// this replica has renounced its term and no other replica has taken over, starts another transfer.
    pub(super) fn follow_leadership(&self, held: &Held) {
        if self.is_leaving() {
            return; // the caller of `leave` calls `transfer_leadership` again and again
        }
        let (group, transport) = (held.group.clone(), self.inner.transport.clone());
        let is_replaced = held.is_leader_replaced();
        let gone = move |node| is_replaced || transport.liveness().is_silent(node);
        if group.is_transferring() {
            self.tasks().spawn(async move {
                let _tried_again_next_round = group.transfer_leadership(|_| true).await;
            });
        } else if group.is_leaderless(&gone) {
            self.tasks().spawn(async move { group.stand_if_leaderless(gone).await });
        } else if held.has_lost_unseen_leader(&gone) {
            self.tasks().spawn(async move { group.release_lost_leader().await });
        }
    }
}
