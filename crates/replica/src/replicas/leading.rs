//! What of its groups a node leads, and how it gives that to others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anabranch_types::{GroupId, NodeId};

use crate::group::HandOver;
use crate::replicas::{Held, Replicas};

impl Replicas {
    /// Groups that replicas here lead, the catalog's included.
    pub fn leading(&self) -> BTreeSet<GroupId> {
        let held = self.held();
        let leading = held.iter().filter(|(_, held)| held.group.is_leader());
        leading.map(|(group, _)| *group).collect()
    }

    /// Whether the replica of `group` here leads.
    pub fn leads(&self, group: GroupId) -> bool {
        self.held().get(&group).is_some_and(|held| held.group.is_leader())
    }

    /// Hands the leadership of `group` to a voter on a node that `suits`, lives, and has caught up. Nothing
    /// happens if there is none; else the replica here leads no more from now on, and this returns once
    /// another one does, or after a second.
    pub async fn hand_over(&self, group: GroupId, suits: impl Fn(NodeId) -> bool) -> HandOver {
        let held = self.held().get(&group).map(|held| held.group.clone());
        match held {
            Some(group) => group.hand_over(suits).await,
            None => HandOver::Done,
        }
    }

    /// From now on no replica here stands for election by itself: the node is about to stop.
    pub fn leave(&self) {
        self.inner.leaving.store(true, Ordering::Relaxed);
    }

    /// Says that the log store makes no progress or has failed, or that it works again. While it doesn't, no replica here
    /// leads, stands for election or takes requests, and the other nodes hear that and take over.
    pub fn set_stalled(&self, stalled: bool) {
        if stalled {
            // Given up before anybody hears of it, so no lease is used after another replica leads.
            let groups: Vec<_> = self.held().values().map(|held| Arc::clone(&held.group)).collect();
            groups.iter().for_each(|group| group.renounce());
        } else {
            // A vote that was on its way to the disk may have made a replica here leader meanwhile. The others still
            // take this node for silent until the next pong, and may elect again: so it has no lease for a while.
            self.inner.transport.liveness().unsettle();
        }
        self.inner.transport.set_stalled(stalled);
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.inner.transport.is_stalled()
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.inner.leaving.load(Ordering::Relaxed)
    }

    /// What a round of upkeep does for leadership: stands where nobody leads, and tries again to hand over
    /// what this node gave up and nobody took.
    pub(super) fn follow_leadership(&self, held: &Held) {
        if self.is_leaving() {
            return; // `hand_over` is called again and again
        }
        let (group, transport) = (held.group.clone(), self.inner.transport.clone());
        let silent = move |node| transport.liveness().is_silent(node);
        if group.is_handing_over() {
            self.tasks().spawn(async move {
                let _tried_again_next_round = group.hand_over(|_| true).await;
            });
        } else if group.is_leaderless(&silent) {
            self.tasks().spawn(async move { group.stand_if_leaderless(silent).await });
        }
    }
}
