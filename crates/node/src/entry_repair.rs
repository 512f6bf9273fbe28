//! Repairs damaged entries of this node's logs with copies from other nodes (ADR-0022).
//!
//! Order of events: the log store finds an entry that it can't read, when it opens the log, in a read, or in the
//! scrub. From then on every read of the entry fails or waits. This node asks the others for the entry by term and
//! index, and has the copy written where the entry is.
//!
//! An entry that every other holder of the group says it does not have was never committed, or is lost. After three
//! such rounds the replica is quarantined, and the catalog replaces it. If no other node can have a copy, the entry
//! is corrected from its checksum, which works if one bit is wrong.
//!
//! Never: the log is cut, or an entry is written that another node does not have under the same term and
//! index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anabranch_proto::node as pb;
use anabranch_replica::DamagedLog;
use anabranch_storage::{Entry, Error, GroupLog};
use anabranch_types::{GroupId, LogId, NodeId};
use tokio::time::sleep;

use crate::node::Node;

/// Time between two rounds while an entry is damaged.
const ROUND: Duration = Duration::from_millis(300);
/// Rounds in which every holder has said that it lacks an entry, before the replica is quarantined.
const ROUNDS_WITHOUT_COPY: u32 = 3;
/// Most entries in one request.
const AT_ONCE: usize = 64;
/// Bytes of copies in one response. A response with one copy may be longer.
const ANSWER_BYTES: usize = 4 << 20;

/// Repairs entries for as long as the node runs.
pub(crate) async fn follow(node: Node) {
    let mut without = BTreeMap::new();
    loop {
        let damaged = node.replicas().damaged();
        for DamagedLog { group, log, is_local } in &damaged {
            if *is_local {
                repair_by_checksum(*group, &**log, log.damaged()).await;
            } else {
                repair_log(&node, *group, log, &mut without).await;
            }
        }
        if damaged.is_empty() {
            without.clear();
            node.store().until_damaged().await;
        } else {
            sleep(ROUND).await;
        }
    }
}

/// For each entry, in how many rounds no holder had it.
type RoundsWithoutCopy = BTreeMap<(GroupId, LogId), u32>;

/// Corrects entries of which no other node has a copy.
async fn repair_by_checksum(
    group: GroupId,
    log: &dyn GroupLog,
    damaged: impl IntoIterator<Item = LogId>,
) {
    for id in damaged {
        if let Err(error) = log.repair_by_checksum(id).await {
            tracing::warn!(%group, entry = %id, %error, "not mended");
        }
    }
}

async fn repair_log(
    node: &Node,
    group: GroupId,
    log: &Arc<dyn GroupLog>,
    without: &mut RoundsWithoutCopy,
) {
    let mut left: BTreeSet<LogId> = log.damaged().into_iter().collect();
    let holders = holders(node, group);
    let first = holders.clone().unwrap_or_default();
    // A node that is not known as a holder may have been one.
    let others = node.peers().others().into_iter().filter(|other| !first.contains(other));
    let mut lacking: BTreeMap<LogId, BTreeSet<NodeId>> = BTreeMap::new();
    for other in first.iter().copied().chain(others).filter(|other| *other != node.id()) {
        for missing in repair_from(node, group, &**log, other, &mut left).await {
            lacking.entry(missing).or_default().insert(other);
        }
        if left.is_empty() {
            return;
        }
    }
    if is_alone(node, holders.as_ref()) {
        return repair_by_checksum(group, &**log, left).await;
    }
    let Some(holders) = holders else { return };
    for id in left {
        if !lacking.get(&id).cloned().unwrap_or_default().is_superset(&holders) {
            continue; // a holder has not answered yet
        }
        let rounds = without.entry((group, id)).or_default();
        *rounds += 1;
        if *rounds >= ROUNDS_WITHOUT_COPY {
            let log = Arc::clone(log);
            let reason = format!("entry {id} is damaged, and no other node has it");
            let condemned = tokio::task::spawn_blocking(move || log.condemn(&reason)).await;
            if let Err(error) = condemned {
                tracing::error!(%group, %error, "the verdict isn't made");
            }
            return;
        }
    }
}

/// Whether no other node can have a copy. Then nothing is gained if the replica is quarantined.
fn is_alone(node: &Node, holders: Option<&BTreeSet<NodeId>>) -> bool {
    match holders {
        Some(holders) => holders.is_empty(),
        None => node.peers().others().is_empty() && node.settings().join.is_empty(),
    }
}

/// The other nodes that hold a voter of `group`; `None` until this node's catalog is current.
fn holders(node: &Node, group: GroupId) -> Option<BTreeSet<NodeId>> {
    if !node.is_current() {
        return None;
    }
    let catalog = node.catalog_view().newest();
    let known = catalog.groups().find(|known| known.group == group)?;
    let nodes: BTreeSet<_> = known.voters().iter().map(|replica| replica.node).collect();
    let is_held = known.holders().any(|replica| replica.node == node.id());
    is_held.then(|| nodes.into_iter().filter(|holder| *holder != node.id()).collect())
}

/// Asks `other` for the entries in `left`, repairs the entries that it sends, and removes them from `left`. Returns
/// the entries that `other` does not have.
async fn repair_from(
    node: &Node,
    group: GroupId,
    log: &dyn GroupLog,
    other: NodeId,
    left: &mut BTreeSet<LogId>,
) -> Vec<LogId> {
    let mut lacking = Vec::new();
    let mut to_ask: Vec<LogId> = left.iter().copied().collect();
    while !to_ask.is_empty() {
        let asked: Vec<LogId> = to_ask.iter().copied().take(AT_ONCE).collect();
        let answer = node.peers().remotes().copy_entries(other, group, asked.clone()).await;
        let (copies, missing) = match answer {
            Ok(answer) => answer,
            Err(status) => {
                tracing::debug!(node = %other, %group, %status, "no copies of damaged entries");
                return lacking;
            }
        };
        let mut answered: BTreeSet<LogId> = missing.iter().copied().collect();
        lacking.extend(missing);
        for copy in copies {
            let id = copy.log_id;
            if !left.contains(&id) {
                continue;
            }
            answered.insert(id);
            match log.repair(copy).await {
                Ok(()) => {
                    left.remove(&id);
                }
                Err(error @ Error::Damaged { .. }) => {
                    tracing::warn!(%group, entry = %id, node = %other, %error, "not a copy");
                    lacking.push(id);
                }
                Err(error) => {
                    tracing::warn!(%group, entry = %id, node = %other, %error, "not mended");
                }
            }
        }
        if answered.is_empty() {
            answered.extend(asked); // an entry in neither list is damaged there too
        }
        to_ask.retain(|id| !answered.contains(id));
    }
    lacking
}

/// The copies of entries that this node's logs of a group have, for another node.
pub(crate) async fn copies(
    node: &Node,
    request: pb::CopyEntriesRequest,
) -> pb::CopyEntriesResponse {
    let mut answer = pb::CopyEntriesResponse::default();
    let group = GroupId(request.group);
    let logs = node.replicas().stored_logs(group);
    let mut bytes = 0;
    for id in request.entries.into_iter().take(AT_ONCE) {
        let purged = logs.iter().filter_map(|log| log.log_state().purged).map(|last| last.index);
        match copy_in(&logs, LogId { term: id.term, index: id.index }).await {
            // The entry was trimmed here. The node that asks will trim it soon, too, so it is not said to be missing.
            Ok(None) if purged.max() >= Some(id.index) => {}
            Ok(None) => answer.missing.push(id),
            Ok(Some(entry)) => {
                bytes += entry.payload.len();
                if bytes > ANSWER_BYTES && !answer.copies.is_empty() {
                    return answer;
                }
                answer.copies.push(pb::EntryCopy { id: Some(id), payload: entry.payload });
            }
            Err(error) => tracing::info!(%group, %error, "no copy of a damaged entry"),
        }
    }
    answer
}

/// The entry as one of these logs has it.
async fn copy_in(logs: &[Arc<dyn GroupLog>], id: LogId) -> Result<Option<Entry>, Error> {
    let mut found = Ok(None);
    for log in logs {
        match log.copy_of(id).await {
            Ok(Some(entry)) => return Ok(Some(entry)),
            Ok(None) => {}
            Err(error) => found = Err(error),
        }
    }
    found
}
