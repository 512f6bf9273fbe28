//! Finds the replica that can do what a call asks: nearly always the leader of the shard.
//!
//! Order of events: the node that led last is asked first. A node that refuses may name the leader (a hint), which is
//! asked next; without a hint the replicas are asked in turn. Nodes that this process's own node finds silent are left
//! out while others are there.
//!
//! A node that takes a call and never answers must not hold it for long. So an attempt is given up
//! - once this process's own node finds the asked node silent;
//! - once another node is known to lead, which [`Search::attempt`] asks the other replicas after a second;
//! - for calls that change nothing also after a second, and two, four, and so on in later attempts of the same call.
//!
//! What never happens: an append that is still on its way to a leader without a known successor is sent again.

use std::pin::pin;
use std::sync::PoisonError;
use std::time::Duration;

use anabranch_shard::Start;
use anabranch_types::{GroupId, NodeId};
use futures::future::{FutureExt, select_ok};
use tokio::time::{Instant, sleep, timeout};

use crate::call::{self, CallError};
use crate::client::Inner;
use crate::error::Error;
use crate::view::ShardRoute;

/// How long a call looks for a leader. Longer than a fail-over takes, shorter than an SDK waits.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);
/// Shortest and longest pause of a search for a leader.
pub(crate) const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_millis(25);
/// A pause is this part of what the search took so far: a leader that takes over within milliseconds is found about as
/// soon.
pub(crate) const PAUSE_PART: u32 = 4;
/// How often an attempt without an answer looks whether it is in vain.
const LOOK: Duration = Duration::from_millis(100);
/// How long the first attempt may stay without an answer before others are asked.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two questions to the other replicas of one shard whether one of them leads, of all calls together.
const PROBE_PAUSE: Duration = Duration::from_millis(500);

/// What may become of a call whose answer doesn't come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The call only reads: it may be made twice.
    Reads,
    /// The call writes: it is made again only where another node leads by now.
    Writes,
}

/// The leader that a refusal names.
pub(crate) fn result_hint<T>(result: &Result<T, CallError>) -> Option<NodeId> {
    match result {
        Err(CallError::NotLeader(hint)) => *hint,
        _ => None,
    }
}

/// The search of one call for the leader of one shard.
pub(crate) struct Search<'a> {
    inner: &'a Inner,
    shard: &'a ShardRoute,
    pub(crate) began: Instant,
    hint: Option<NodeId>,
    asked: Option<NodeId>,
    /// Hints that were followed at once since the last pause.
    followed: usize,
    /// Which replica is next when there is no hint.
    turn: usize,
    /// Attempts that were given up because their time was over.
    timed_out: u32,
}

impl<'a> Search<'a> {
    /// A search that begins with the node that led last, as far as this client knows.
    pub(crate) fn new(inner: &'a Inner, shard: &'a ShardRoute) -> Self {
        Self {
            inner,
            shard,
            began: Instant::now(),
            hint: inner.leader(shard.group),
            asked: None,
            followed: 0,
            turn: 0,
            timed_out: 0,
        }
    }

    /// Begins with the replica at `turn` where no leader is known.
    pub(crate) fn at_turn(self, turn: usize) -> Self {
        let turn = turn % self.nodes(<[NodeId]>::len).max(1);
        Self { turn, ..self }
    }

    /// The node to ask now: the leader as far as is known, else one replica after the other.
    pub(crate) fn next(&mut self) -> NodeId {
        let hint = self.hint.take().filter(|hint| !self.inner.is_silent(*hint));
        let node = hint.unwrap_or_else(|| self.next_in_turn());
        self.asked = Some(node);
        node
    }

    /// The next replica whose node isn't silent; the next one if all are.
    fn next_in_turn(&mut self) -> NodeId {
        let turn = self.turn;
        let (node, passed) = self.nodes(|nodes| {
            let from_turn = |step: usize| nodes.get((turn + step) % nodes.len().max(1)).copied();
            let heard = (0..nodes.len()).find_map(|step| {
                let node = from_turn(step).filter(|node| !self.inner.is_silent(*node))?;
                Some((node, step + 1))
            });
            heard.unwrap_or_else(|| (from_turn(0).unwrap_or_default(), 1))
        });
        self.turn += passed;
        node
    }

    /// Where replicas are: by the newest view, for they may have moved since the route was made.
    fn nodes<R>(&self, look: impl FnOnce(&[NodeId]) -> R) -> R {
        let view = self.inner.view.load();
        look(view.group(self.shard.group).map_or(&self.shard.nodes, |route| &route.nodes))
    }

    /// Waits for what `node` answers to `call`, for as long as that makes sense.
    ///
    /// # Errors
    /// What the call says; [`CallError::Unknown`] if it was given up.
    pub(crate) async fn attempt<T>(
        &mut self,
        node: NodeId,
        effect: Effect,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let (mut call, began) = (pin!(call), Instant::now());
        loop {
            if let Ok(result) = timeout(LOOK, &mut call).await {
                if matches!(result, Err(CallError::Unknown(_))) {
                    self.inner.forget_leader(self.shard.group, node);
                }
                return result;
            }
            let elapsed = began.elapsed();
            if effect == Effect::Writes
                && elapsed >= PATIENCE
                && self.inner.may_probe(self.shard.group)
            {
                tokio::select! {
                    biased;
                    result = &mut call => return result,
                    () = self.probe(node) => {}
                }
            }
            let patience = match effect {
                Effect::Reads => PATIENCE * (1 << self.timed_out.min(4)),
                Effect::Writes => DEADLINE,
            };
            let is_late = elapsed >= patience;
            if is_late || self.inner.is_silent(node) || self.is_led_by_another_than(node) {
                self.timed_out += u32::from(is_late);
                self.inner.forget_leader(self.shard.group, node);
                return Err(CallError::Unknown("no answer in time".into()));
            }
        }
    }

    fn is_led_by_another_than(&self, node: NodeId) -> bool {
        self.inner.leader(self.shard.group).is_some_and(|leader| leader != node)
    }

    /// Asks the replicas on other nodes than `asked` whether one of them leads, and remembers which.
    async fn probe(&self, asked: NodeId) {
        let others = |nodes: &[NodeId]| -> Vec<NodeId> {
            let others = nodes.iter().filter(|node| **node != asked);
            others.copied().filter(|node| !self.inner.is_silent(*node)).collect()
        };
        let questions = self.nodes(others).into_iter().map(|node| {
            // Only a leader that a majority follows knows the end of the shard.
            let end = self.inner.seek_at(node, self.shard.group, Start::Latest, true);
            async move { timeout(PROBE_PAUSE, end).await.ok()?.ok().map(|_| node) }
                .map(|leader| leader.ok_or(()))
                .boxed()
        });
        let questions: Vec<_> = questions.collect();
        if questions.is_empty() {
            return;
        }
        if let Ok((leader, _)) = select_ok(questions).await {
            self.found(leader);
        }
    }

    /// Remembers that `node` leads.
    pub(crate) fn found(&self, node: NodeId) {
        if self.inner.leader(self.shard.group) != Some(node) {
            self.inner.set_leader(self.shard.group, node);
        }
    }

    /// Whether to try again. Pauses once every replica was asked, and after a hint that leads nowhere new: a
    /// leader that isn't ready yet names itself, and two nodes may name each other for a while. A node in
    /// this process answers without letting others run, so without the pause nothing would change.
    pub(crate) async fn again(&mut self, hint: &Option<NodeId>) -> bool {
        if self.began.elapsed() > DEADLINE || self.is_gone() {
            return false;
        }
        let hint = hint.filter(|hint| !self.inner.is_silent(*hint));
        let nodes = self.nodes(<[NodeId]>::len).max(1);
        let is_new = hint.is_some() && hint != self.asked && self.followed < nodes;
        self.hint = hint;
        if is_new {
            self.followed += 1;
        } else if hint.is_some() || self.turn == 0 || self.turn >= nodes {
            (self.followed, self.turn) = (0, self.turn % nodes);
            let pause = self.began.elapsed() / PAUSE_PART;
            sleep(pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)).await;
        }
        true
    }

    fn is_gone(&self) -> bool {
        self.inner.view.load().group(self.shard.group).is_none()
    }

    pub(crate) fn failure(&self) -> Error {
        if self.is_gone() { Error::NotFound } else { Error::NoLeader }
    }
}

impl Inner {
    /// The node that led `group` last, as far as this client knows.
    fn leader(&self, group: GroupId) -> Option<NodeId> {
        self.leaders.read().unwrap_or_else(PoisonError::into_inner).get(&group).copied()
    }

    fn set_leader(&self, group: GroupId, node: NodeId) {
        self.leaders.write().unwrap_or_else(PoisonError::into_inner).insert(group, node);
    }

    /// Forgets that `node` led `group`, unless another node is known to lead by now.
    fn forget_leader(&self, group: GroupId, node: NodeId) {
        let mut leaders = self.leaders.write().unwrap_or_else(PoisonError::into_inner);
        if leaders.get(&group) == Some(&node) {
            leaders.remove(&group);
        }
    }

    /// Whether the other replicas of `group` may be asked now whether one of them leads. However many calls wait for
    /// an answer, one of them asks.
    fn may_probe(&self, group: GroupId) -> bool {
        let mut probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = probed.get(&group).is_none_or(|last| last.elapsed() >= PROBE_PAUSE);
        if is_due {
            probed.retain(|_, last| last.elapsed() < PROBE_PAUSE);
            probed.insert(group, Instant::now());
        }
        is_due
    }

    /// Whether this process's own node has heard nothing of `node` for too long.
    pub(crate) fn is_silent(&self, node: NodeId) -> bool {
        self.local.as_ref().is_some_and(|local| local.id() != node && local.is_silent(node))
    }

    /// Asks one node where a reader begins.
    pub(crate) async fn seek_at(
        &self,
        node: NodeId,
        group: GroupId,
        start: Start,
        leader_only: bool,
    ) -> Result<anabranch_shard::Position, CallError> {
        match self.local_if(node) {
            Some(local) => local.seek(group, start, leader_only).await,
            None => match self.channel_of(node) {
                Some(channel) => call::seek(channel, group, start, leader_only).await,
                None => Err(CallError::NotLeader(None)),
            },
        }
    }
}

#[cfg(test)]
mod tests;
