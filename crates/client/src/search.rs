//! Finds the replica that can do what a call asks: nearly always the leader of the shard or of the table group.
//!
//! Order of events: the node that led last is asked first. A node that refuses may name the leader (a hint), and the
//! hint is asked next. Without a hint the replicas are asked in turn. Nodes that this process's own node finds silent
//! are left out while others are there. [`Search::run`] is the loop of every call to a shard (`shard_call.rs`).
//!
//! A node that takes a call and never answers must not hold it for long (ADR-0026). So an attempt is given up
//! - once this process's own node finds the asked node silent;
//! - once another node is known to lead. [`Search::attempt`] asks the other replicas after a second;
//! - for calls that change nothing also after one second, and after two, four, and so on in later attempts of the
//!   same call.
//!
//! Never: an append that is still on its way to a leader without a known successor is sent again.

use std::pin::pin;
use std::time::Duration;

use anabranch_shard::Start;
use anabranch_table::Request;
use anabranch_types::{GroupId, NodeId};
use futures::future::{FutureExt, select_ok};
use tokio::time::{Instant, sleep, timeout};

use crate::call::CallError;
use crate::client::Inner;
use crate::error::Error;
use crate::known_leaders::PROBE_PAUSE;
use crate::shard_call::{Attempt, Effect, ShardCall};
use crate::view::ShardRoute;

/// How long a call looks for a leader. Longer than a fail-over takes, shorter than an SDK waits.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);
/// How long a read insists on the leader before any replica may answer.
const LEADER_READ_PATIENCE: Duration = Duration::from_millis(500);
/// Shortest pause of a search for a leader.
pub(crate) const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// Longest pause of a search for a leader.
const LONGEST_PAUSE: Duration = Duration::from_millis(25);
/// A pause is this part of the time that the search has taken. So the search finds a new leader soon after its
/// election, and a long search asks rarely.
const PAUSE_PART: u32 = 4;
/// How often an attempt without a response looks whether another node leads.
const LOOK: Duration = Duration::from_millis(100);
/// How long the first attempt may stay without a response before the other replicas are asked.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a group holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Shard,
    Table,
}

/// The search of one call for the leader of one group.
pub(crate) struct Search<'a> {
    inner: &'a Inner,
    group: GroupId,
    kind: Kind,
    /// Nodes with a replica when the call began.
    holders: &'a [NodeId],
    began: Instant,
    hint: Option<NodeId>,
    asked: Option<NodeId>,
    /// Hints that were followed without a pause since the last pause.
    followed: usize,
    /// Which replica is next when there is no hint.
    turn: usize,
    /// Attempts that were given up because their time was over.
    timed_out: u32,
}

impl<'a> Search<'a> {
    /// A search that begins with the node that led last, as this client knows it.
    pub(crate) fn new(inner: &'a Inner, shard: &'a ShardRoute) -> Self {
        Self::of_group(inner, shard.group, Kind::Shard, &shard.nodes)
    }

    /// As [`Self::new`], for a group with replicas on `holders`.
    pub(crate) fn of_group(
        inner: &'a Inner,
        group: GroupId,
        kind: Kind,
        holders: &'a [NodeId],
    ) -> Self {
        Self {
            inner,
            group,
            kind,
            holders,
            began: Instant::now(),
            hint: inner.leaders.get(group),
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

    /// Sends `call` to one node after the other until one gives a response.
    ///
    /// # Errors
    /// The error that the call makes of its last attempt, or of the end of its time.
    pub(crate) async fn run<C: ShardCall>(mut self, mut call: C) -> Result<C::Response, Error> {
        loop {
            let attempt = Attempt {
                node: self.next(),
                leader_only: !C::ANY_REPLICA_LATER || self.began.elapsed() < LEADER_READ_PATIENCE,
            };
            let response = call.send(self.inner, attempt);
            let hint = match self.attempt(attempt.node, C::EFFECT, response).await {
                Ok(response) => {
                    if call.proves_leader(attempt) {
                        self.found(attempt.node);
                    }
                    return Ok(response);
                }
                Err(error) => call.failed(error)?,
            };
            if !self.again(&hint).await {
                return Err(call.timed_out(self.failure()));
            }
        }
    }

    /// The node to ask now: the leader if one is known, else the replicas in turn.
    fn next(&mut self) -> NodeId {
        let hint = self.hint.take().filter(|hint| !self.inner.is_silent(*hint));
        let node = hint.unwrap_or_else(|| self.next_in_turn());
        self.asked = Some(node);
        node
    }

    /// The next replica whose node is not silent, or the next one if all are silent.
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

    /// The nodes that hold a replica. From the newest view, because replicas may have moved since the route was made.
    fn nodes<R>(&self, look: impl FnOnce(&[NodeId]) -> R) -> R {
        let view = self.inner.catalog.load();
        look(view.holders(self.group).unwrap_or(self.holders))
    }

    /// Waits for the response of `node` to `call`, until the attempt is given up.
    ///
    /// # Errors
    /// The error of the call; [`CallError::Unknown`] if the attempt was given up.
    async fn attempt<T>(
        &mut self,
        node: NodeId,
        effect: Effect,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let (mut call, began) = (pin!(call), Instant::now());
        loop {
            if let Ok(result) = timeout(LOOK, &mut call).await {
                if matches!(result, Err(CallError::Unknown(_))) {
                    // The node may hang: the next call shall not begin with it.
                    self.inner.leaders.forget(self.group, node);
                }
                return result;
            }
            let elapsed = began.elapsed();
            if effect == Effect::Writes
                && elapsed >= PATIENCE
                && self.inner.leaders.may_probe(self.group)
            {
                tokio::select! {
                    biased;
                    result = &mut call => return result,
                    () = self.probe(node) => {}
                }
            }
            let patience = match effect {
                // It doubles, so that a disk that is merely slow is not asked ever more often.
                Effect::Reads => PATIENCE * (1 << self.timed_out.min(4)),
                // A slow leader keeps its appends: sent elsewhere they would only add load.
                Effect::Writes => DEADLINE,
            };
            let is_late = elapsed >= patience;
            if is_late || self.inner.is_silent(node) || self.is_led_by_another_than(node) {
                self.timed_out += u32::from(is_late);
                self.inner.leaders.forget(self.group, node);
                return Err(CallError::Unknown("no answer in time".into()));
            }
        }
    }

    fn is_led_by_another_than(&self, node: NodeId) -> bool {
        self.inner.leaders.get(self.group).is_some_and(|leader| leader != node)
    }

    /// Asks the replicas on other nodes than `asked` whether one of them leads, and remembers which.
    async fn probe(&self, asked: NodeId) {
        let others = |nodes: &[NodeId]| -> Vec<NodeId> {
            let others = nodes.iter().filter(|node| **node != asked);
            others.copied().filter(|node| !self.inner.is_silent(*node)).collect()
        };
        let requests = self.nodes(others).into_iter().map(|node| {
            let leads = timeout(PROBE_PAUSE, self.leads(node));
            leads.map(move |leads| if leads == Ok(true) { Ok(node) } else { Err(()) }).boxed()
        });
        let requests: Vec<_> = requests.collect();
        if requests.is_empty() {
            return; // select_ok panics without a future
        }
        if let Ok((leader, _)) = select_ok(requests).await {
            self.found(leader);
        }
    }

    /// Whether `node` leads now: a response that only a leader gives which a majority follows.
    async fn leads(&self, node: NodeId) -> bool {
        let Ok(target) = self.inner.target(node) else { return false };
        match self.kind {
            Kind::Shard => target.seek(self.group, Start::Latest, true).await.is_ok(),
            Kind::Table => target.table(self.group, &Request::ListSpaces).await.is_ok(),
        }
    }

    /// Remembers that `node` leads.
    fn found(&self, node: NodeId) {
        self.inner.leaders.set(self.group, node);
    }

    /// Whether to try again. Pauses once every replica was asked, and after a hint that leads nowhere new: a
    /// leader that is not ready yet names itself, and two nodes may name each other for a while. A node in
    /// this process answers without letting other tasks run, so without the pause nothing would change.
    async fn again(&mut self, hint: &Option<NodeId>) -> bool {
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

    /// Whether the catalog does not list the shard any more.
    fn is_gone(&self) -> bool {
        self.inner.catalog.load().holders(self.group).is_none()
    }

    /// Why the search ends without a response.
    fn failure(&self) -> Error {
        if self.is_gone() { Error::NotFound } else { Error::NoLeader }
    }
}

#[cfg(test)]
mod tests;
