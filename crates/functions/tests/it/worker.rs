//! The order of reads, calls and commits. The time of the runtime is paused, so waits cost nothing.

use std::time::Duration;

use anabranch_functions::Answer;
use anabranch_functions::engine::{End, ProcessingResult};
use tokio::time::Instant;

use crate::memory::{World, failed, number, ok};

#[tokio::test(start_paused = true)]
async fn records_are_called_in_order_and_the_checkpoint_follows() {
    let world = World::new();
    world.shard.put(&["a", "b"]);
    let running = world.run();
    assert_eq!(world.calls.succeed().await, "ab");
    world.shard.put(&["c"]);
    assert_eq!(world.calls.succeed().await, "c");
    world.shard.close();
    assert_eq!(running.ended.await.unwrap(), End::Finished);
    let checkpoint = world.row.checkpoint().unwrap();
    assert!(checkpoint.is_finished);
    assert_eq!(checkpoint.next.log_index, 4);
    // A worker on a finished shard has nothing to do.
    assert_eq!(world.run().ended.await.unwrap(), End::Finished);
    assert_eq!(world.calls.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_place_to_start_is_stored_before_anything_is_read() {
    let mut world = World::new();
    world.spec.starting_position = "LATEST".into();
    world.shard.put(&["a", "b"]);
    world.row.set_unreachable(true);
    let running = world.run();
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(world.row.next(), None);
    world.row.set_unreachable(false);
    let row = world.row.clone();
    until(|| row.next() == Some(3)).await;
    // A record that comes while no worker runs is not missed.
    assert_eq!(running.stop().await, End::Stopped);
    world.shard.put(&["c"]);
    let running = world.run();
    assert_eq!(world.calls.succeed().await, "c");
    assert_eq!(running.stop().await, End::Stopped);
    assert_eq!(world.row.next(), Some(4));
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_the_call_in_flight_and_stores_the_checkpoint() {
    let world = World::new();
    world.shard.put(&["a"]);
    let running = world.run();
    let (_, answer) = world.calls.next().await;
    world.shard.put(&["b"]);
    running.stop.send(()).unwrap();
    tokio::task::yield_now().await;
    answer.send(ok()).unwrap();
    assert_eq!(running.ended.await.unwrap(), End::Stopped);
    assert_eq!(world.row.next(), Some(2));
    assert_eq!(world.calls.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_ever() {
    let world = World::new();
    world.shard.put(&["a"]);
    let running = world.run();
    let (_, _never_answered) = world.calls.next().await;
    let begin = Instant::now();
    assert_eq!(running.stop().await, End::Stopped);
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    assert_eq!(world.row.next(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_fenced_worker_ends_at_once_with_its_calls() {
    let mut world = World::new();
    world.spec.batch_size = 1;
    world.shard.put(&["a", "b", "c"]);
    let running = world.run();
    world.calls.succeed().await;
    let row = world.row.clone();
    until(|| row.next() == Some(2)).await;
    world.row.fence();
    world.calls.succeed().await;
    let (records, answer) = world.calls.next().await;
    assert_eq!(records, "c");
    assert_eq!(running.ended.await.unwrap(), End::Fenced);
    assert!(answer.is_closed());
    assert_eq!(world.row.next(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn without_commits_nothing_new_begins_after_ten_seconds() {
    let mut world = World::new();
    world.spec.batch_size = 1;
    let texts: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    world.shard.put(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    let running = world.run();
    world.calls.succeed().await;
    world.row.set_unreachable(true);
    // One call a second, until there are no more.
    let begin = Instant::now();
    let mut calls = 0;
    while let Ok(call) = tokio::time::timeout(Duration::from_secs(30), world.calls.next()).await {
        tokio::time::sleep(Duration::from_secs(1)).await;
        call.1.send(ok()).unwrap();
        calls += 1;
    }
    assert!((9..=13).contains(&calls), "{calls} calls in {:?}", begin.elapsed());
    world.row.set_unreachable(false);
    world.calls.succeed().await;
    assert_eq!(running.stop().await, End::Stopped);
    assert!(world.row.next().unwrap() > calls);
}

#[tokio::test(start_paused = true)]
async fn commits_are_at_least_a_second_apart() {
    let mut world = World::new();
    world.spec.batch_size = 1;
    let texts: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    world.shard.put(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    let running = world.run();
    for text in &texts {
        let (records, answer) = world.calls.next().await;
        assert_eq!(records, *text);
        tokio::time::sleep(Duration::from_millis(100)).await;
        answer.send(ok()).unwrap();
    }
    let row = world.row.clone();
    until(|| row.next() == Some(51)).await;
    assert!((4..=8).contains(&world.row.commits()), "{}", world.row.commits());
    assert_eq!(running.stop().await, End::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_lost_repeats_what_is_not_in_the_checkpoint() {
    let world = World::new();
    world.shard.put(&["a", "b", "c"]);
    let running = world.run();
    world.calls.next().await;
    running.ended.abort();
    let _aborted = running.ended.await;
    let running = world.run();
    assert_eq!(world.calls.succeed().await, "abc");
    assert_eq!(running.stop().await, End::Stopped);
    assert_eq!(world.row.next(), Some(4));
}

#[tokio::test(start_paused = true)]
async fn a_discarded_batch_leaves_a_document() {
    let mut world = World::new();
    world.spec.maximum_retry_attempts = 1;
    world.spec.destination_config.on_failure.destination = Some("failed".into());
    world.shard.put(&["a", "b"]);
    let mut running = world.run();
    for _ in 0..2 {
        let (records, answer) = world.calls.next().await;
        assert_eq!(records, "ab");
        answer.send(failed()).unwrap();
    }
    let document = world.documents.first().await;
    let batch = &document["KinesisBatchInfo"];
    assert_eq!(batch["startSequenceNumber"], number(1).to_string());
    assert_eq!(batch["endSequenceNumber"], number(2).to_string());
    let progress = running.progress.wait_for(|progress| progress.counts.discarded == 2).await;
    assert_eq!(progress.unwrap().result, ProcessingResult::Failed);
    world.shard.put(&["c"]);
    assert_eq!(world.calls.succeed().await, "c");
    let progress = running.progress.wait_for(|progress| progress.counts.processed == 1).await;
    assert_eq!(progress.unwrap().result, ProcessingResult::Ok);
    assert_eq!(running.stop().await, End::Stopped);
    assert_eq!(world.row.next(), Some(4));
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_is_repeated_and_uses_no_attempt() {
    let mut world = World::new();
    world.spec.maximum_retry_attempts = 0;
    world.shard.put(&["a"]);
    let running = world.run();
    for _ in 0..10 {
        let (_, answer) = world.calls.next().await;
        answer.send(Answer::NotCalled).unwrap();
    }
    assert_eq!(world.calls.succeed().await, "a");
    assert_eq!(running.stop().await, End::Stopped);
    assert_eq!(world.row.next(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_is_repeated() {
    let world = World::new();
    world.shard.fail_reads(3);
    world.shard.put(&["a"]);
    let running = world.run();
    assert_eq!(world.calls.succeed().await, "a");
    assert_eq!(running.stop().await, End::Stopped);
}

#[tokio::test(start_paused = true)]
async fn the_work_ends_with_its_stream() {
    let world = World::new();
    let running = world.run();
    let row = world.row.clone();
    until(|| row.next().is_some()).await;
    world.shard.delete();
    assert_eq!(running.ended.await.unwrap(), End::Gone);
}

/// Waits until `condition` holds.
async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the condition never holds");
}
