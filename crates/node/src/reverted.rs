//! Has the catalog replace replicas that no longer have entries which they had acknowledged to a leader on this node:
//! their disks went back in time while they ran (ADR-0007).

use std::time::Duration;

use anabranch_catalog::{Command, GroupCommand, Outcome};
use tokio::time::{MissedTickBehavior, interval};

use crate::node::Node;

const ROUND: Duration = Duration::from_secs(1);

/// Runs for as long as the node does.
pub(crate) async fn follow(node: Node) {
    let mut ticks = interval(ROUND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (group, lost) in node.replicas().reverted() {
            match node.propose(&Command::Group(GroupCommand::ReplaceReplica { group, lost })).await
            {
                // The replica was replaced, or the catalog does not list it any more.
                Ok(Outcome::Done { .. } | Outcome::Refused(_)) => {
                    node.replicas().forget_reverted(group, lost);
                }
                Err(error) => tracing::info!(%group, replica = %lost, %error, "replacement"),
            }
        }
    }
}
