//! Keeps a program a member of its group: heartbeats, and the newest list of its shards. A member that was removed
//! joins again.

use std::sync::Arc;
use std::time::Duration;

use anabranch_proto::consumer as pb;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tonic::Streaming;

use crate::error::Error;
use crate::group::calls::Coordinator;

/// A watch that is silent for this time is begun again. The coordinator answers each five seconds.
const SILENCE: Duration = Duration::from_secs(8);
/// Pause after a failure.
const AGAIN: Duration = Duration::from_millis(500);

/// The shards of the member, as the coordinator told them last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assignment {
    pub(crate) shards: Arc<Vec<pb::OwnedShard>>,
    /// There is nothing to read any more.
    pub(crate) stream_is_gone: bool,
}

/// Runs until the task is dropped, or the stream is gone.
pub(crate) async fn keep_membership(
    coordinator: Coordinator,
    join: pb::JoinRequest,
    session: Duration,
    assigned: watch::Sender<Assignment>,
) {
    let (mut heartbeats, mut watches) = (coordinator.clone(), coordinator.clone());
    let mut joins = coordinator;
    heartbeats.answers_within(session / 3);
    loop {
        tokio::select! {
            () = send_heartbeats(&mut heartbeats, session) => {}
            () = follow(&mut watches, &assigned) => {}
        }
        // The group does not know the member any more: what it owned belongs to others.
        assigned.send_replace(Assignment::default());
        match joins.join(join.clone()).await {
            Ok(_) => {}
            Err(Error::NotFound) => {
                assigned.send_replace(Assignment { stream_is_gone: true, ..Assignment::default() });
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "the member could not join its group again");
                sleep(AGAIN).await;
            }
        }
    }
}

/// Sends heartbeats. Ends when the group does not know the member.
async fn send_heartbeats(coordinator: &mut Coordinator, session: Duration) {
    let mut beats = interval(session / 3);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        match coordinator.heartbeat().await {
            Ok(_) => {}
            Err(Error::NotFound) => return,
            Err(error) => tracing::warn!(%error, "a heartbeat failed"),
        }
    }
}

/// Shows each list of shards. Ends when the group does not know the member.
async fn follow(coordinator: &mut Coordinator, assigned: &watch::Sender<Assignment>) {
    loop {
        match coordinator.watch().await {
            Ok(lists) => show(lists, assigned).await,
            Err(Error::NotFound) => return,
            Err(error) => tracing::warn!(%error, "the shards of the member are not known"),
        }
        sleep(AGAIN).await;
    }
}

async fn show(mut lists: Streaming<pb::WatchResponse>, assigned: &watch::Sender<Assignment>) {
    loop {
        match timeout(SILENCE, lists.message()).await {
            // Also a list without changes is shown: what failed before is tried again.
            Ok(Ok(Some(list))) => {
                let shards = Arc::new(list.shards);
                assigned.send_replace(Assignment { shards, stream_is_gone: false });
            }
            Ok(Err(error)) => {
                tracing::info!(%error, "the list of the member's shards is asked for again");
                return;
            }
            Ok(Ok(None)) | Err(_) => return,
        }
    }
}
