//! Which other nodes are alive, as this node knows it, and what their responses to pings prove.
//!
//! ```text
//! this node                                        peer
//! sends a ping at t  --------------------------->
//!                    <---------------------------  pong: "I have declared you silent n times so far"
//! n is the same as before: at t the peer had not declared this node silent
//! ```
//!
//! So the peer helps no other node to take over until t plus the silence limit (leader lease, ADR-0005). A proof
//! counts from when the ping was sent, not from when the pong came.
//!
//! A peer is *silent* if nothing was heard from it for the silence limit, or if its last pong said that its disk is
//! stalled.
//!
//! This never happens: the response of a node that restarted, or that declared this node silent, is a proof right
//! away. Such a node may follow another leader. It must *settle* first, for five silence limits.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anabranch_proto::replica as pb;
use anabranch_types::NodeId;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// A change of the liveness of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// Nothing was heard from the node for the silence limit, or it said that its disk is stalled.
    Silent(NodeId),
    /// The node is heard after it was silent, or its disk works again.
    Heard(NodeId),
    /// The node runs another process than before. It no longer leads the groups that it led.
    Restarted(NodeId),
}

/// Liveness of the other nodes, as this node knows it.
///
/// A peer is heard when it opens a stream to this node, sends a request or responds to one. Each pong says how often
/// the peer has declared this node silent. If that number has not changed, the peer had not done it by the time of
/// the pong. So a leader that has such proofs from a majority, younger than the silence limit less a margin, is the
/// only leader.
#[derive(Debug)]
pub struct Liveness {
    silence: Duration,
    peers: Mutex<BTreeMap<NodeId, Peer>>,
    events: broadcast::Sender<PeerEvent>,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    boot: Option<u64>,
    /// Since when the peer runs this process and has not declared this node silent, by what this node knows.
    known_since: Instant,
    /// How often the peer has declared this node silent, from its last pong.
    reported_silences: Option<u64>,
    /// When this node last found that the peer had declared it silent, or had restarted.
    left: Option<Instant>,
    /// How often this node has declared the peer silent.
    silences: u64,
    heard: Instant,
    silent: bool,
    answered_ping: Option<Instant>,
    /// Mean round trip of recent pings to the peer.
    round_trip: Option<Duration>,
    refuses_records: bool,
    /// The last pong said that the peer's disk is stalled. Such a peer can do nothing, so it counts as silent.
    stalled: bool,
}

/// Numbers of other nodes, by [`Liveness::is_silent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) heard: u64,
    pub(crate) silent: u64,
    /// How often this node has declared a node silent, all nodes together.
    pub(crate) silences: u64,
}

const EVENTS_KEPT: usize = 1024;
/// A process that started has heard from the leaders that it follows after this many silence limits.
const SETTLES_IN_SILENCES: u32 = 5;

impl Liveness {
    pub(crate) fn new(silence: Duration) -> Self {
        Self { silence, peers: Mutex::default(), events: broadcast::channel(EVENTS_KEPT).0 }
    }

    /// The events from now on.
    pub fn events(&self) -> broadcast::Receiver<PeerEvent> {
        self.events.subscribe()
    }

    /// Whether `node` was not heard for the silence limit, or has a stalled disk. For a node that was never heard,
    /// the silence limit begins when this node starts to watch it.
    pub fn is_silent(&self, node: NodeId) -> bool {
        self.lock().get(&node).is_some_and(|peer| peer.silent || peer.stalled)
    }

    /// Whether nothing was heard from `node` for the silence limit. Whether its disk is stalled makes no difference.
    pub(crate) fn is_unheard(&self, node: NodeId) -> bool {
        self.lock().get(&node).is_some_and(|peer| peer.silent)
    }

    /// Whether this node knows the address of `node` and so may hear it.
    pub fn watches(&self, node: NodeId) -> bool {
        self.lock().contains_key(&node)
    }

    /// Whether `node` answered a ping that was sent at most `age` ago, has settled, and has run the same process
    /// without declaring this node silent at least since `since`.
    ///
    /// A voter that just restarted does not know the leaders that it follows and might vote for another replica. If its
    /// disk was wiped, it will never know them. So its responses prove nothing until it has acknowledged something, and
    /// `since` is when that was sent.
    pub fn answered_within(&self, node: NodeId, age: Duration, since: Instant) -> bool {
        let peers = self.lock();
        let Some(peer) = peers.get(&node) else { return false };
        let settled = peer.known_since.elapsed() >= SETTLES_IN_SILENCES * self.silence;
        settled
            && peer.known_since <= since
            && peer.answered_ping.is_some_and(|sent| sent.elapsed() <= age)
    }

    /// Whether `node` may follow another leader than this node. That is so if it answered no ping that was sent at
    /// most `age` ago although there was time for a response. It is also so if the node restarted or declared this
    /// node silent a short time ago.
    pub fn may_have_left(&self, node: NodeId, age: Duration) -> bool {
        let peers = self.lock();
        let Some(peer) = peers.get(&node) else { return true };
        let settles = SETTLES_IN_SILENCES * self.silence;
        let has_left_lately = peer.left.is_some_and(|left| left.elapsed() < settles);
        let answers = match peer.answered_ping {
            Some(sent) => sent.elapsed() <= age,
            None => peer.known_since.elapsed() <= self.silence,
        };
        has_left_lately || !answers
    }

    /// How often this node has declared `node` silent.
    pub(crate) fn silences(&self, node: NodeId) -> u64 {
        self.lock().get(&node).map_or(0, |peer| peer.silences)
    }

    /// Counts this node as if it had declared every other node silent. The next pong tells each of them, and then no
    /// response of this node is a proof for it until this node has settled.
    pub fn disown(&self) {
        self.lock().values_mut().for_each(|peer| peer.silences += 1);
    }

    /// The silence limit.
    pub fn silence(&self) -> Duration {
        self.silence
    }

    /// Forgets all proofs. Until the time to settle has passed again, no response of any node is a proof.
    pub fn unsettle(&self) {
        let now = Instant::now();
        for peer in self.lock().values_mut() {
            (peer.known_since, peer.answered_ping) = (now, None);
        }
    }

    /// Mean round trip of a ping to each node that is not silent, over about the last two seconds.
    pub fn round_trips(&self) -> BTreeMap<NodeId, Duration> {
        let peers = self.lock();
        let heard = peers.iter().filter(|(_, peer)| !peer.silent);
        heard.filter_map(|(node, peer)| Some((*node, peer.round_trip?))).collect()
    }

    /// Whether the last pong of `node` said that its disk has no free space for records.
    pub fn refuses_records(&self, node: NodeId) -> bool {
        self.lock().get(&node).is_some_and(|peer| peer.refuses_records)
    }

    /// Numbers of other nodes that are heard and that are silent.
    pub(crate) fn counts(&self) -> Counts {
        let peers = self.lock();
        let silent = peers.values().filter(|peer| peer.silent || peer.stalled).count() as u64;
        Counts {
            heard: peers.len() as u64 - silent,
            silent,
            silences: peers.values().map(|peer| peer.silences).sum(),
        }
    }

    /// Begins to watch `node`.
    pub(crate) fn watch(&self, node: NodeId) {
        let now = Instant::now();
        let fresh = Peer {
            boot: None,
            known_since: now,
            reported_silences: None,
            left: None,
            silences: 0,
            heard: now,
            silent: false,
            answered_ping: None,
            round_trip: None,
            refuses_records: false,
            stalled: false,
        };
        self.lock().entry(node).or_insert(fresh);
    }

    /// Notes that `node` was heard. `boot` identifies its process, if the message said it.
    pub(crate) fn heard(&self, node: NodeId, boot: Option<u64>) {
        let mut peers = self.lock();
        let Some(peer) = peers.get_mut(&node) else { return };
        peer.heard = Instant::now();
        let was_silent = std::mem::replace(&mut peer.silent, false) && !peer.stalled;
        let restarted = match (peer.boot, boot) {
            (Some(before), Some(now)) => before != now,
            _ => false,
        };
        peer.boot = boot.or(peer.boot);
        if restarted {
            // The new process does not know which leaders the old one followed. So the proofs of the old process no
            // longer count.
            (peer.known_since, peer.left) = (peer.heard, Some(peer.heard));
            (peer.answered_ping, peer.reported_silences) = (None, None);
            peer.round_trip = None;
            peer.refuses_records = false;
            peer.stalled = false;
        }
        drop(peers);
        if was_silent {
            self.send(PeerEvent::Heard(node));
        }
        if restarted {
            self.send(PeerEvent::Restarted(node));
        }
    }

    /// Handles the pong to a ping that was sent at `sent`.
    pub(crate) fn ping_answered(&self, node: NodeId, sent: Instant, pong: &pb::Ping) {
        self.heard(node, (pong.boot != 0).then_some(pong.boot));
        let mut peers = self.lock();
        let Some(peer) = peers.get_mut(&node) else { return };
        let silences = pong.given_up;
        // Another number: the peer has declared this node silent since its last pong, and may have voted for another
        // leader.
        if peer.reported_silences.replace(silences).is_some_and(|before| before != silences) {
            let now = Instant::now();
            (peer.known_since, peer.left) = (now, Some(now));
        }
        let took = sent.elapsed();
        peer.round_trip = Some(peer.round_trip.map_or(took, |mean| (mean * 7 + took) / 8));
        peer.refuses_records = pong.refuses_records;
        let was_stalled = std::mem::replace(&mut peer.stalled, pong.stalled);
        if pong.stalled {
            // A node that can't write can neither follow nor lead, so its pong is no proof for a lease. This node
            // declares it silent, and tells it so with its next pong.
            peer.silences += u64::from(!was_stalled);
        } else {
            peer.answered_ping = peer.answered_ping.max(Some(sent));
        }
        drop(peers);
        match (was_stalled, pong.stalled) {
            (false, true) => self.send(PeerEvent::Silent(node)),
            (true, false) => self.send(PeerEvent::Heard(node)),
            (false, false) | (true, true) => {}
        }
    }

    /// Finds the peers that fell silent since the last call.
    pub(crate) fn check(&self) {
        let mut silent = Vec::new();
        for (node, peer) in self.lock().iter_mut() {
            if !peer.silent && peer.heard.elapsed() > self.silence {
                peer.silent = true;
                if peer.stalled {
                    continue; // it was declared silent already
                }
                peer.silences += 1;
                silent.push(*node);
            }
        }
        silent.into_iter().for_each(|node| self.send(PeerEvent::Silent(node)));
    }

    fn send(&self, event: PeerEvent) {
        tracing::info!(?event, "peer");
        let _nobody_listens = self.events.send(event);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(2);

    fn pong(silences: u64) -> pb::Ping {
        pb::Ping { given_up: silences, ..pb::Ping::default() }
    }

    /// Whether the pongs are a proof for something that was sent now.
    fn proves(liveness: &Liveness, age: Duration) -> bool {
        liveness.answered_within(NODE, age, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_falls_silent_once_and_is_heard_again() {
        let liveness = Liveness::new(Duration::from_secs(1));
        let mut events = liveness.events();
        liveness.watch(NODE);
        tokio::time::advance(Duration::from_millis(900)).await;
        liveness.check();
        assert!(!liveness.is_silent(NODE));
        tokio::time::advance(Duration::from_millis(200)).await;
        liveness.check();
        liveness.check();
        assert!(liveness.is_silent(NODE));
        liveness.heard(NODE, Some(1));
        assert!(!liveness.is_silent(NODE));
        assert_eq!(events.try_recv(), Ok(PeerEvent::Silent(NODE)));
        assert_eq!(events.try_recv(), Ok(PeerEvent::Heard(NODE)));
        assert!(events.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn another_boot_is_a_restart() {
        let liveness = Liveness::new(Duration::from_secs(1));
        let mut events = liveness.events();
        liveness.watch(NODE);
        liveness.heard(NODE, Some(1));
        liveness.heard(NODE, Some(1));
        liveness.heard(NODE, None);
        assert!(events.try_recv().is_err());
        liveness.heard(NODE, Some(2));
        assert_eq!(events.try_recv(), Ok(PeerEvent::Restarted(NODE)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pong_proves_life_from_when_its_ping_was_sent() {
        let liveness = Liveness::new(Duration::from_secs(1));
        liveness.watch(NODE);
        tokio::time::advance(Duration::from_secs(5)).await;
        let sent = Instant::now();
        tokio::time::advance(Duration::from_millis(600)).await;
        liveness.ping_answered(NODE, sent, &pong(0));
        assert!(proves(&liveness, Duration::from_millis(700)));
        tokio::time::advance(Duration::from_millis(200)).await;
        assert!(!proves(&liveness, Duration::from_millis(700)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_declared_this_one_silent_proves_nothing_until_it_has_settled() {
        let liveness = Liveness::new(Duration::from_secs(1));
        let age = Duration::from_millis(700);
        liveness.watch(NODE);
        assert!(!liveness.may_have_left(NODE, age), "it is too early for an answer");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(liveness.may_have_left(NODE, age));
        liveness.ping_answered(NODE, Instant::now(), &pong(7));
        assert!(proves(&liveness, age) && !liveness.may_have_left(NODE, age));
        // The peer was cut off for a while and may have voted for another leader.
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(!proves(&liveness, age) && liveness.may_have_left(NODE, age));
        for _ in 0..2 {
            liveness.ping_answered(NODE, Instant::now(), &pong(8));
            assert!(!proves(&liveness, age) && liveness.may_have_left(NODE, age));
        }
        tokio::time::advance(Duration::from_secs(5)).await;
        liveness.ping_answered(NODE, Instant::now(), &pong(8));
        assert!(proves(&liveness, age) && !liveness.may_have_left(NODE, age));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_with_a_stalled_disk_counts_as_silent_and_its_answers_prove_nothing() {
        let liveness = Liveness::new(Duration::from_secs(1));
        let mut events = liveness.events();
        let age = Duration::from_millis(700);
        let stalled = pb::Ping { stalled: true, ..pb::Ping::default() };
        liveness.watch(NODE);
        tokio::time::advance(Duration::from_secs(5)).await;
        liveness.ping_answered(NODE, Instant::now(), &pong(0));
        assert!(proves(&liveness, age) && !liveness.is_silent(NODE));
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..2 {
            liveness.ping_answered(NODE, Instant::now(), &stalled);
            liveness.heard(NODE, None);
            assert!(liveness.is_silent(NODE) && !liveness.is_unheard(NODE));
            assert!(!proves(&liveness, age) && liveness.may_have_left(NODE, age));
        }
        assert_eq!(liveness.silences(NODE), 1);
        // Its process hangs, too. The node is not declared silent a second time.
        tokio::time::advance(Duration::from_secs(2)).await;
        liveness.check();
        assert!(liveness.is_unheard(NODE));
        liveness.ping_answered(NODE, Instant::now(), &pong(0));
        assert!(!liveness.is_silent(NODE) && proves(&liveness, age));
        assert_eq!(liveness.silences(NODE), 1);
        assert_eq!(events.try_recv(), Ok(PeerEvent::Silent(NODE)));
        assert_eq!(events.try_recv(), Ok(PeerEvent::Heard(NODE)));
        assert!(events.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn round_trips_are_means_of_the_pings_of_one_process() {
        let liveness = Liveness::new(Duration::from_secs(1));
        liveness.watch(NODE);
        liveness.heard(NODE, Some(1));
        assert_eq!(liveness.round_trips(), BTreeMap::new());
        for millis in [8, 8, 16] {
            let sent = Instant::now();
            tokio::time::advance(Duration::from_millis(millis)).await;
            liveness.ping_answered(NODE, sent, &pong(0));
        }
        assert_eq!(liveness.round_trips(), BTreeMap::from([(NODE, Duration::from_millis(9))]));
        liveness.heard(NODE, Some(2));
        assert_eq!(liveness.round_trips(), BTreeMap::new());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_of_a_process_that_just_started_prove_nothing() {
        let liveness = Liveness::new(Duration::from_secs(1));
        let age = Duration::from_millis(700);
        liveness.watch(NODE);
        liveness.heard(NODE, Some(1));
        tokio::time::advance(Duration::from_secs(5)).await;
        liveness.ping_answered(NODE, Instant::now(), &pong(0));
        assert!(proves(&liveness, age));
        liveness.heard(NODE, Some(2));
        assert!(!proves(&liveness, age));
        liveness.ping_answered(NODE, Instant::now(), &pong(0));
        assert!(!proves(&liveness, age));
        tokio::time::advance(Duration::from_secs(5)).await;
        liveness.ping_answered(NODE, Instant::now(), &pong(0));
        assert!(proves(&liveness, age));
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_proves_nothing_about_what_an_earlier_one_acknowledged() {
        let liveness = Liveness::new(Duration::from_secs(1));
        let age = Duration::from_millis(700);
        liveness.watch(NODE);
        let acknowledged = Instant::now();
        liveness.ping_answered(NODE, Instant::now(), &pb::Ping { boot: 1, ..pong(0) });
        tokio::time::advance(Duration::from_secs(5)).await;
        liveness.ping_answered(NODE, Instant::now(), &pb::Ping { boot: 1, ..pong(0) });
        assert!(liveness.answered_within(NODE, age, acknowledged));
        // Only the pong tells that the process is another one.
        liveness.ping_answered(NODE, Instant::now(), &pb::Ping { boot: 2, ..pong(0) });
        tokio::time::advance(Duration::from_secs(5)).await;
        liveness.ping_answered(NODE, Instant::now(), &pb::Ping { boot: 2, ..pong(0) });
        assert!(!liveness.answered_within(NODE, age, acknowledged));
        assert!(proves(&liveness, age));
    }
}
