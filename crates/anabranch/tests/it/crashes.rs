//! Nodes that are killed at random moments under load, while records expire and logs are trimmed.

use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anabranch_client::ShardRoute;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use crate::cluster::{BUSY_LOGS, Cluster};
use crate::load::Load;

const ROUNDS: u64 = 100;
/// Records are kept for 24 hours, so records of the last twelve rounds can be read.
const HOURS_A_ROUND: u64 = 2;
/// Rounds from one comparison of all replicas to the next.
const COMPARE_EVERY: u64 = 10;

/// A cluster under load, and counts of what happened to it.
struct Trial {
    load: Load,
    cluster: Cluster,
    shards: Vec<Arc<ShardRoute>>,
    rng: StdRng,
    began: Instant,
    kills: u64,
    kills_in_flight: u64,
    reclaimed: u64,
    reclaimed_by: [u64; 3],
}

impl Trial {
    async fn start(name: &str) -> Self {
        let seed = env::var("ANABRANCH_TEST_SEED")
            .map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
        println!("{name}: seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let cluster = Cluster::start(3, BUSY_LOGS).await;
        let client = cluster.client().await;
        let shards = cluster.create_stream(&client, 2).await;
        let load = Load::start(client, &shards, &mut rng);
        let began = Instant::now();
        Self {
            load,
            cluster,
            shards,
            rng,
            began,
            kills: 0,
            kills_in_flight: 0,
            reclaimed: 0,
            reclaimed_by: [0; 3],
        }
    }

    fn rounds() -> u64 {
        env::var("ANABRANCH_TEST_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap())
    }

    /// Lets the load go on until a random moment, at which the caller kills nodes.
    async fn random_moment(&mut self) {
        let calls = self.rng.random_range(50..400);
        self.load.calls(calls).await;
        sleep(Duration::from_micros(self.rng.random_range(0..20_000))).await;
        self.kills += 1;
        self.kills_in_flight += u64::from(self.load.in_flight() > 0);
    }

    /// For the time when all nodes run again. Waits until every call has ended, checks every record, and moves the
    /// clock on. The clock must not move during a call: a retry is recognised for two minutes only.
    async fn judge(&mut self, round: u64) {
        let awaited = Instant::now();
        let _quiet = self.load.pause().await;
        if awaited.elapsed() > Duration::from_secs(3) {
            println!("round {round}: calls under way took {:.1?}", awaited.elapsed());
        }
        let compare = (round + 1).is_multiple_of(COMPARE_EVERY);
        self.judge_shards(compare).await;
        for (node, known) in self.cluster.nodes.iter().zip(&mut self.reclaimed_by) {
            let now = node.report().await["storage"]["segments_reclaimed"].as_u64().unwrap();
            self.reclaimed += now.saturating_sub(*known);
            *known = now;
        }
        self.cluster.advance(HOURS_A_ROUND).await;
    }

    async fn judge_shards(&mut self, compare: bool) {
        for shard in &self.shards {
            let began = self.cluster.now();
            let records = if compare {
                self.cluster.replicas_are_equal(shard.group).await
            } else {
                self.cluster.read_leader(shard.group).await
            };
            self.load.oracle().judge(shard.group, &records, (began, self.cluster.now()));
        }
    }

    /// Compares all replicas to the end. Checks that the trial was a real one: most kills hit a call under way, and
    /// logs were trimmed and their segments used again all the time.
    async fn finish(mut self) {
        let _quiet = self.load.pause().await;
        self.judge_shards(true).await;
        for shard in &self.shards {
            self.cluster.replicas_trim_alike(shard.group).await;
        }
        let counts = self.load.oracle().counts;
        let Self { kills, kills_in_flight, reclaimed, began, .. } = &self;
        println!(
            "{kills} kills ({kills_in_flight} hit calls under way) in {:.0?}: {counts:?}, {reclaimed} segments reclaimed",
            began.elapsed()
        );
        assert!(2 * kills_in_flight > *kills, "most kills hit nothing");
        assert!(counts.unknown > 0, "no kill made an outcome unknown");
        assert!(counts.expired > 0 && *reclaimed > 0, "nothing was trimmed");
        for node in &mut self.cluster.nodes {
            node.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_after_another_killed_a_hundred_times_loses_nothing() {
    let mut trial = Trial::start("one node").await;
    for round in 0..Trial::rounds() {
        trial.random_moment().await;
        let down = Duration::from_millis(trial.rng.random_range(0..200));
        let victim = trial.rng.random_range(0..trial.cluster.nodes.len());
        let node = &mut trial.cluster.nodes[victim];
        node.kill();
        sleep(down).await;
        node.start();
        node.ready().await;
        trial.judge(round).await;
    }
    trial.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_killed_together_a_hundred_times_loses_nothing() {
    let mut trial = Trial::start("all nodes").await;
    for round in 0..Trial::rounds() {
        trial.random_moment().await;
        trial.cluster.kill_all();
        trial.cluster.start_all();
        if trial.rng.random_ratio(1, 4) {
            // Once more, while they recover.
            sleep(Duration::from_millis(trial.rng.random_range(0..300))).await;
            trial.cluster.kill_all();
            trial.cluster.start_all();
        }
        trial.cluster.all_ready().await;
        trial.judge(round).await;
    }
    trial.finish().await;
}
