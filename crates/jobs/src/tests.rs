//! Jobs of a whole cluster, in one process under virtual time: dispatchers and workers of three nodes over one table
//! group. Nodes are killed at each of their transactions, held up, stopped, and lose responses.
//!
//! Each job counts: it reads its row when it begins, and from then on stores one more than before, without a look at
//! the row. So the stored numbers have no gap and no repetition if and only if no former owner stores anything.

mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::{Instant, sleep, timeout};

use crate::tests::world::{Crash, World, id};

/// Time in which a job is expected to go on, whatever happened.
const PATIENCE: Duration = Duration::from_secs(30);
/// A killed node's jobs are at work elsewhere after this time: silence of a second, one more until the node counts as
/// gone, the dispatcher's look, and a new leader of the table group if the node led it.
const GAP: Duration = Duration::from_secs(4);

/// Waits until the condition holds.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !condition() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never came: {what}"));
}

async fn all_go_on(world: &World) {
    let before = world.counts();
    until("every job goes on", || {
        let now = world.counts();
        world.wanted().iter().all(|job| now.get(job) > before.get(job))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_job_has_one_owner_and_shares_are_even() {
    let world = World::start(3, 9);
    all_go_on(&world).await;
    let owners = world.owners();
    assert_eq!(owners.len(), 9);
    for node in 1..=3 {
        let share = owners.values().filter(|owner| **owner == id(node)).count();
        assert!((2..=4).contains(&share), "node {node} has {share} jobs");
    }
    world.check();
}

/// A node is killed at its first transaction after the jobs run, at its second, and so on, once before the group has
/// the transaction, once after it.
#[tokio::test(start_paused = true)]
async fn a_killed_owners_jobs_go_on_within_seconds_at_whichever_step_it_dies() {
    for crash in [Crash::Before, Crash::After] {
        for step in 1..=16 {
            // Node 1 leads the table group, and so it is the dispatcher. Node 2 is only an owner.
            for victim in [1, 2] {
                let world = World::start(3, 3);
                all_go_on(&world).await;
                let lost: BTreeSet<_> = world.jobs_of(id(victim));
                world.crash_at(id(victim), step, crash);
                until("the node is dead", || world.is_dead(id(victim))).await;
                let (died, before) = (Instant::now(), world.counts());
                until("its jobs go on", || {
                    let now = world.counts();
                    lost.iter().all(|job| now.get(job) > before.get(job))
                })
                .await;
                let gap = died.elapsed();
                assert!(gap <= GAP, "{crash:?} {step}: node {victim}'s jobs went on after {gap:?}");
                world.check();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_gives_its_jobs_up_first() {
    for victim in [1, 2, 3] {
        let world = World::start(3, 6);
        all_go_on(&world).await;
        let (began, before) = (Instant::now(), world.counts());
        let given_up = world.jobs_of(id(victim));
        assert!(!given_up.is_empty());
        world.stop(id(victim)).await;
        assert!(world.jobs_of(id(victim)).is_empty());
        until("its jobs go on", || {
            let now = world.counts();
            given_up.iter().all(|job| now.get(job) > before.get(job))
        })
        .await;
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        world.check();
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_was_held_up_for_a_minute_stores_nothing() {
    let world = World::start(3, 6);
    all_go_on(&world).await;
    world.hold(id(2), true);
    sleep(Duration::from_secs(60)).await;
    assert!(world.jobs_of(id(2)).is_empty());
    let refused = world.refused();
    world.hold(id(2), false);
    all_go_on(&world).await;
    // The transaction that the former owner had under way came at last, and was refused.
    assert!(world.refused() > refused, "nothing was under way");
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_drained_node_has_no_jobs() {
    let world = World::start(3, 6);
    all_go_on(&world).await;
    world.drain(id(3));
    until("node 3 has no jobs", || world.jobs_of(id(3)).is_empty()).await;
    all_go_on(&world).await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_not_wanted_any_more_ends_and_may_come_back() {
    let world = World::start(3, 4);
    all_go_on(&world).await;
    world.want(2);
    until("two jobs are left", || world.owners().len() == 2).await;
    world.want(4);
    all_go_on(&world).await;
    world.check();
}

/// An event in the life of a cluster.
#[derive(Clone, Debug)]
enum Event {
    Crash(u64, u32, Crash),
    Restart(u64),
    Hold(u64),
    Resume(u64),
    Lead(Option<u64>),
    LoseResponses(u32),
    Want(u32),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let node = 1..=3_u64;
    prop_oneof![
        (node.clone(), 1..20_u32, prop_oneof![Just(Crash::Before), Just(Crash::After)])
            .prop_map(|(node, step, crash)| Event::Crash(node, step, crash)),
        node.clone().prop_map(Event::Restart),
        node.clone().prop_map(Event::Hold),
        node.clone().prop_map(Event::Resume),
        prop::option::of(node).prop_map(Event::Lead),
        (1..6_u32).prop_map(Event::LoseResponses),
        (1..8_u32).prop_map(Event::Want),
        (1..5_000_u64).prop_map(Event::Pass),
        (1..5_000_u64).prop_map(Event::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens, no former owner stores anything, and in the end every job goes on.
    #[test]
    fn no_former_owner_stores_anything(events in prop::collection::vec(event(), 1..25)) {
        let builder = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        builder.unwrap().block_on(async {
            let world = World::start(3, 4);
            for event in events {
                match event {
                    Event::Crash(node, step, crash) => world.crash_at(id(node), step, crash),
                    Event::Restart(node) => world.restart(id(node)),
                    Event::Hold(node) => world.hold(id(node), true),
                    Event::Resume(node) => world.hold(id(node), false),
                    Event::Lead(node) => world.lead(node.map(id)),
                    Event::LoseResponses(count) => world.lose_responses(count),
                    Event::Want(jobs) => world.want(jobs),
                    Event::Pass(millis) => sleep(Duration::from_millis(millis)).await,
                }
                world.check();
            }
            world.heal();
            all_go_on(&world).await;
            world.check();
        });
    }
}
