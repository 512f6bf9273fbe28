//! The agreed time of one node of three: wrong clocks, clocks that are set, and lost majorities.

use anabranch_types::ManualClock;

use super::*;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LIMIT: Duration = Duration::from_secs(1);
const ME: NodeId = NodeId(1);
const OTHERS: [NodeId; 2] = [NodeId(2), NodeId(3)];
const DAY: i64 = 24 * 3600 * 1000;

/// Node 1 of three, whose own clock runs with tokio's time and can be set.
struct Node {
    clocks: Clocks,
    own: Arc<SetClock>,
    began: Instant,
}

/// A clock that runs with tokio's time, and is ahead of it by `ahead` milliseconds.
struct SetClock {
    ahead: AtomicI64,
    began: Instant,
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        START.plus(self.began.elapsed()).shifted(self.ahead.load(Ordering::Relaxed))
    }
}

impl Node {
    fn start() -> Self {
        let began = Instant::now();
        let own = Arc::new(SetClock { ahead: AtomicI64::new(0), began });
        let clocks = Clocks::new(ME, Arc::<SetClock>::clone(&own), LIMIT);
        clocks.set_nodes([ME, OTHERS[0], OTHERS[1]]);
        Self { clocks, own, began }
    }

    /// The right time.
    fn time(&self) -> Timestamp {
        START.plus(self.began.elapsed())
    }

    fn set_own(&self, ahead: i64) {
        self.own.ahead.store(ahead, Ordering::Relaxed);
    }

    /// A pong of each of the other nodes. `ahead` says by how many milliseconds their clocks are ahead.
    fn pongs(&self, ahead: [i64; 2]) {
        for (node, ahead) in OTHERS.into_iter().zip(ahead) {
            self.clocks.read(node, Instant::now(), self.time().shifted(ahead).as_millis());
        }
    }

    /// Lets `millis` pass, with pongs each 200 ms. `ahead` says by how many milliseconds the other clocks are ahead.
    async fn pass(&self, millis: u64, ahead: [i64; 2]) {
        for _ in 0..millis / 200 {
            tokio::time::advance(Duration::from_millis(200)).await;
            self.pongs(ahead);
            self.clocks.check();
        }
    }

    /// By how many milliseconds [`Clock::now`] is ahead of the right time.
    fn error(&self) -> i64 {
        self.clocks.now().ahead_of(self.time())
    }
}

#[tokio::test(start_paused = true)]
async fn before_others_are_known_the_own_clock_stamps_and_nothing_expires() {
    let node = Node::start();
    node.set_own(DAY);
    assert_eq!((node.error(), node.clocks.agreed()), (DAY, None));
    node.pongs([0, 0]);
    assert_eq!((node.error(), node.clocks.agreed()), (0, None), "the own clock is wrong");
    node.set_own(300);
    assert_eq!(node.error(), 300, "right clocks differ a little");
    assert_eq!(node.clocks.agreed(), Some(node.clocks.now()));
}

#[tokio::test(start_paused = true)]
async fn a_step_of_the_own_clock_changes_nothing_at_once() {
    let node = Node::start();
    node.pass(1000, [0, 0]).await;
    for step in [DAY, -DAY, 60_000, -1_500] {
        node.set_own(step);
        assert_eq!((node.error(), node.clocks.agreed()), (0, None), "{step}");
        tokio::time::advance(Duration::from_millis(150)).await;
        assert_eq!(node.error(), 0, "{step}, without a pong since");
        node.set_own(0);
        assert!(node.clocks.agreed().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_is_far_after_it_was_wrong_for_a_second_and_until_it_is_right() {
    let node = Node::start();
    node.pass(1000, [0, 0]).await;
    node.set_own(5_000);
    node.pass(800, [0, 0]).await;
    assert!(!node.clocks.is_far(ME));
    node.pass(600, [0, 0]).await;
    assert!(node.clocks.is_far(ME) && !node.clocks.is_far(OTHERS[0]));
    node.set_own(900);
    node.pass(2000, [0, 0]).await;
    assert!(node.clocks.is_far(ME), "below the limit, not below half of it");
    node.set_own(400);
    node.pass(200, [0, 0]).await;
    assert!(!node.clocks.is_far(ME));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_of_another_node_is_found_and_ignored() {
    let node = Node::start();
    node.pass(1000, [0, -DAY]).await;
    assert_eq!((node.error(), node.clocks.agreed()), (0, Some(node.time())));
    assert!(node.clocks.is_far(OTHERS[1]) && !node.clocks.is_far(OTHERS[0]));
    let report = node.clocks.report();
    assert!(report.is_agreed);
    assert_eq!(report.far, BTreeSet::from([OTHERS[1]]));
    assert_eq!(report.ahead_millis[&OTHERS[1]], -DAY);
}

#[tokio::test(start_paused = true)]
async fn nothing_expires_while_no_majority_agrees() {
    let node = Node::start();
    node.pass(1000, [DAY, -DAY]).await;
    assert_eq!((node.error(), node.clocks.agreed()), (0, None));
    assert!(!node.clocks.is_far(ME));
    assert!(!node.clocks.report().is_agreed);
}

#[tokio::test(start_paused = true)]
async fn clocks_of_nodes_that_fell_silent_do_not_count() {
    let node = Node::start();
    node.pass(1000, [0, 0]).await;
    tokio::time::advance(READING_LIFETIME + Duration::from_millis(1)).await;
    node.clocks.check();
    assert_eq!(node.clocks.agreed(), None);
    node.clocks.read(OTHERS[0], Instant::now(), node.time().as_millis());
    assert!(node.clocks.agreed().is_some(), "two of three agree");
}

#[tokio::test(start_paused = true)]
async fn without_a_majority_the_last_agreed_time_goes_on_and_nothing_expires() {
    let node = Node::start();
    node.set_own(DAY);
    node.pass(2000, [0, 0]).await;
    tokio::time::advance(Duration::from_secs(3600)).await;
    node.clocks.check();
    assert_eq!((node.error(), node.clocks.agreed()), (0, None));
    assert!(node.clocks.is_far(ME), "no majority has found it right");
    node.set_own(0);
    assert_eq!(node.clocks.agreed(), None);
    node.pongs([0, 0]);
    assert!(node.clocks.agreed().is_some() && !node.clocks.is_far(ME));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_follows_when_all_its_clocks_are_set() {
    let node = Node::start();
    node.pass(1000, [0, 0]).await;
    node.set_own(DAY);
    node.pass(200, [DAY, 0]).await;
    assert_eq!((node.error(), node.clocks.is_far(ME)), (DAY, false));
    node.pass(200, [DAY, DAY]).await;
    assert_eq!(node.clocks.agreed(), Some(node.time().shifted(DAY)));
}

#[tokio::test(start_paused = true)]
async fn a_slow_pong_counts_for_the_middle_of_its_round_trip_and_a_fast_one_is_kept() {
    let node = Node::start();
    let pong = async |answered_after: u64, takes: u64| {
        let sent = Instant::now();
        tokio::time::advance(Duration::from_millis(answered_after)).await;
        let wall = node.time().as_millis();
        tokio::time::advance(Duration::from_millis(takes - answered_after)).await;
        node.clocks.read(OTHERS[0], sent, wall);
        node.clocks.report().ahead_millis[&OTHERS[0]]
    };
    assert_eq!(pong(200, 400).await, 0);
    assert_eq!(pong(400, 400).await, 0, "less than half of the round trip off: as before");
    assert_eq!(pong(10, 20).await, 0);
    let sent = Instant::now();
    tokio::time::advance(LONGEST_ROUND_TRIP + Duration::from_millis(1)).await;
    node.clocks.read(OTHERS[1], sent, node.time().as_millis());
    assert!(!node.clocks.report().ahead_millis.contains_key(&OTHERS[1]), "it took too long");
}

#[tokio::test(start_paused = true)]
async fn pongs_without_a_clock_are_ignored() {
    let node = Node::start();
    OTHERS.iter().for_each(|other| node.clocks.read(*other, Instant::now(), 0));
    assert_eq!(node.clocks.agreed(), None);
}

#[tokio::test(start_paused = true)]
async fn the_only_node_of_a_cluster_trusts_its_clock_once_it_knows_the_nodes() {
    let own = Arc::new(ManualClock::new(START));
    let clocks = Clocks::new(ME, Arc::<ManualClock>::clone(&own), LIMIT);
    assert_eq!((clocks.now(), clocks.agreed()), (START, None));
    clocks.set_nodes([ME]);
    own.advance(Duration::from_secs(25 * 3600));
    assert_eq!(clocks.agreed(), Some(own.now()));
    assert_eq!(clocks.now(), own.now());
}

#[tokio::test(start_paused = true)]
async fn the_clock_of_a_removed_node_is_ignored() {
    let node = Node::start();
    node.pass(1000, [DAY, 0]).await;
    node.clocks.set_nodes([ME, OTHERS[0]]);
    assert_eq!(node.clocks.agreed(), None, "two nodes that differ");
    node.clocks.set_nodes([ME, OTHERS[1]]);
    assert!(node.clocks.agreed().is_some());
}
