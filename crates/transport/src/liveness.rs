use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anabranch_proto::replica as pb;
use anabranch_types::NodeId;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// Something happened to another node's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// Nothing was heard from it for the silence limit, or it says that its disk is stalled.
    Silent(NodeId),
    /// It is heard again, for the first time, or its disk works again.
    Heard(NodeId),
    /// Its process is another one than before: what it led, it leads no more.
    Restarted(NodeId),
}

/// What this node knows of the life of the others.
///
/// A peer is heard when it opens a stream to this node, sends a request or answers one. With each ping that it
/// answers it says how often it has given this node up. If that is as often as before, it hadn't by when it answered: so a leader
/// that has such proof from a majority, younger than the silence limit less a margin, leads alone.
#[derive(Debug)]
pub struct Liveness {
    silence: Duration,
    peers: Mutex<BTreeMap<NodeId, Peer>>,
    events: broadcast::Sender<PeerEvent>,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    boot: Option<u64>,
    /// Since when it is this process and hasn't given this node up, as far as this node knows.
    known_since: Instant,
    /// How often it has given this node up, as it said last.
    given_up: Option<u64>,
    /// When it was found to have given this node up, or to be another process than before, last.
    left: Option<Instant>,
    /// How often this node has given it up.
    silences: u64,
    heard: Instant,
    silent: bool,
    answered_ping: Option<Instant>,
    /// Round trip of its recent pings.
    round_trip: Option<Duration>,
    refuses_records: bool,
    /// It said with its last pong that its disk is stalled: it can do nothing, so it counts as silent.
    stalled: bool,
}

/// The other nodes, as [`Liveness::is_silent`] says of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) heard: u64,
    pub(crate) silent: u64,
    /// How often this node has declared one of them silent.
    pub(crate) silences: u64,
}

const EVENTS_KEPT: usize = 1024;
/// Silence limits after which a process that started has heard from the leaders that it follows.
const SETTLES_IN_SILENCES: u32 = 5;

impl Liveness {
    pub(crate) fn new(silence: Duration) -> Self {
        Self { silence, peers: Mutex::default(), events: broadcast::channel(EVENTS_KEPT).0 }
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<PeerEvent> {
        self.events.subscribe()
    }

    /// Whether `node` has been silent for too long, or has a stalled disk. A node that was never heard is not judged
    /// until it could have been.
    pub fn is_silent(&self, node: NodeId) -> bool {
        self.lock().get(&node).is_some_and(|peer| peer.silent || peer.stalled)
    }

    /// Whether nothing was heard from `node` for too long: what it says of its disk doesn't count.
    pub(crate) fn is_unheard(&self, node: NodeId) -> bool {
        self.lock().get(&node).is_some_and(|peer| peer.silent)
    }

    /// Whether `node` is one that this node knows the address of, so that it can be heard.
    pub fn watches(&self, node: NodeId) -> bool {
        self.lock().contains_key(&node)
    }

    /// Whether `node` answered a ping that was sent no longer than `age` ago, and has been the same
    /// process for long enough to know whom it follows. A voter that just restarted doesn't yet, and
    /// might vote for another one: its answers prove nothing.
    pub fn answered_within(&self, node: NodeId, age: Duration) -> bool {
        let peers = self.lock();
        let Some(peer) = peers.get(&node) else { return false };
        let settled = peer.known_since.elapsed() >= SETTLES_IN_SILENCES * self.silence;
        settled && peer.answered_ping.is_some_and(|sent| sent.elapsed() <= age)
    }

    /// Whether `node` may follow another leader than this node: it hasn't answered a ping that was sent no longer than
    /// `age` ago, though there was time for that, or has given this node up or started anew lately.
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

    /// How often this node has given `node` up.
    pub(crate) fn silences(&self, node: NodeId) -> u64 {
        self.lock().get(&node).map_or(0, |peer| peer.silences)
    }

    /// Forgets what answers have proved so far: for the time in which a process settles, no node follows this one for sure.
    pub fn unsettle(&self) {
        let now = Instant::now();
        for peer in self.lock().values_mut() {
            (peer.known_since, peer.answered_ping) = (now, None);
        }
    }

    /// How long a ping to each node that isn't silent takes and its answer: a mean of the last two seconds,
    /// near enough.
    pub fn round_trips(&self) -> BTreeMap<NodeId, Duration> {
        let peers = self.lock();
        let heard = peers.iter().filter(|(_, peer)| !peer.silent);
        heard.filter_map(|(node, peer)| Some((*node, peer.round_trip?))).collect()
    }

    /// Whether `node` said with its last pong that its disk has no room for records.
    pub fn refuses_records(&self, node: NodeId) -> bool {
        self.lock().get(&node).is_some_and(|peer| peer.refuses_records)
    }

    /// How many nodes are heard, and how many are not.
    pub(crate) fn counts(&self) -> Counts {
        let peers = self.lock();
        let silent = peers.values().filter(|peer| peer.silent || peer.stalled).count() as u64;
        Counts {
            heard: peers.len() as u64 - silent,
            silent,
            silences: peers.values().map(|peer| peer.silences).sum(),
        }
    }

    /// Begins to watch over `node`.
    pub(crate) fn watch(&self, node: NodeId) {
        let now = Instant::now();
        let fresh = Peer {
            boot: None,
            known_since: now,
            given_up: None,
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
            (peer.known_since, peer.left) = (peer.heard, Some(peer.heard));
            (peer.answered_ping, peer.given_up) = (None, None);
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

    /// Takes the answer to a ping that was sent at `sent`.
    pub(crate) fn ping_answered(&self, node: NodeId, sent: Instant, pong: &pb::Ping) {
        self.heard(node, None);
        let mut peers = self.lock();
        let Some(peer) = peers.get_mut(&node) else { return };
        let given_up = pong.given_up;
        if peer.given_up.replace(given_up).is_some_and(|before| before != given_up) {
            let now = Instant::now();
            (peer.known_since, peer.left) = (now, Some(now));
        }
        let took = sent.elapsed();
        peer.round_trip = Some(peer.round_trip.map_or(took, |mean| (mean * 7 + took) / 8));
        peer.refuses_records = pong.refuses_records;
        let was_stalled = std::mem::replace(&mut peer.stalled, pong.stalled);
        if pong.stalled {
            // A node that can't write can neither follow nor lead: its answer proves nothing for a lease. This node
            // gives it up, and its next pong tells it so.
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

    /// Finds peers that fell silent since the last call.
    pub(crate) fn check(&self) {
        let mut silent = Vec::new();
        for (node, peer) in self.lock().iter_mut() {
            if !peer.silent && peer.heard.elapsed() > self.silence {
                peer.silent = true;
                if peer.stalled {
                    continue; // it was given up already
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

    fn pong(given_up: u64) -> pb::Ping {
        pb::Ping { given_up, ..pb::Ping::default() }
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
    async fn an_answer_proves_life_from_when_the_ping_was_sent() {
        let liveness = Liveness::new(Duration::from_secs(1));
        liveness.watch(NODE);
        tokio::time::advance(Duration::from_secs(5)).await;
        let sent = Instant::now();
        tokio::time::advance(Duration::from_millis(600)).await;
        liveness.ping_answered(NODE, sent, &pong(0));
        assert!(liveness.answered_within(NODE, Duration::from_millis(700)));
        tokio::time::advance(Duration::from_millis(200)).await;
        assert!(!liveness.answered_within(NODE, Duration::from_millis(700)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gave_this_node_up_proves_nothing_by_an_answer_until_it_has_settled() {
        let liveness = Liveness::new(Duration::from_secs(1));
        let age = Duration::from_millis(700);
        liveness.watch(NODE);
        assert!(!liveness.may_have_left(NODE, age), "it is too early for an answer");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(liveness.may_have_left(NODE, age));
        liveness.ping_answered(NODE, Instant::now(), &pong(7));
        assert!(liveness.answered_within(NODE, age) && !liveness.may_have_left(NODE, age));
        // Cut off for a while, in which it may have voted for another.
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(!liveness.answered_within(NODE, age) && liveness.may_have_left(NODE, age));
        for _ in 0..2 {
            liveness.ping_answered(NODE, Instant::now(), &pong(8));
            assert!(!liveness.answered_within(NODE, age) && liveness.may_have_left(NODE, age));
        }
        tokio::time::advance(Duration::from_secs(5)).await;
        liveness.ping_answered(NODE, Instant::now(), &pong(8));
        assert!(liveness.answered_within(NODE, age) && !liveness.may_have_left(NODE, age));
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
        assert!(liveness.answered_within(NODE, age) && !liveness.is_silent(NODE));
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..2 {
            liveness.ping_answered(NODE, Instant::now(), &stalled);
            liveness.heard(NODE, None);
            assert!(liveness.is_silent(NODE) && !liveness.is_unheard(NODE));
            assert!(!liveness.answered_within(NODE, age) && liveness.may_have_left(NODE, age));
        }
        assert_eq!(liveness.silences(NODE), 1);
        // Its process hangs too: that is no second loss.
        tokio::time::advance(Duration::from_secs(2)).await;
        liveness.check();
        assert!(liveness.is_unheard(NODE));
        liveness.ping_answered(NODE, Instant::now(), &pong(0));
        assert!(!liveness.is_silent(NODE) && liveness.answered_within(NODE, age));
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
        assert!(liveness.answered_within(NODE, age));
        liveness.heard(NODE, Some(2));
        assert!(!liveness.answered_within(NODE, age));
        liveness.ping_answered(NODE, Instant::now(), &pong(0));
        assert!(!liveness.answered_within(NODE, age));
        tokio::time::advance(Duration::from_secs(5)).await;
        liveness.ping_answered(NODE, Instant::now(), &pong(0));
        assert!(liveness.answered_within(NODE, age));
    }
}
