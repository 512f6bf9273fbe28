//! The invariants of replicas at every moment, whatever clients see. Looks into the nodes and their disks.
//!
//! - Election safety: a term of a group has at most one leader.
//! - Log matching: two replicas that have applied the same index of a group have the same entry there. So a committed
//!   entry never changes, is never lost, and all state machines see the same commands.
//! - Order of pointers: trim horizon <= applied <= committed, and applied <= last.
//! - Terms, votes, and within a process the committed and applied indexes, never go back.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use anabranch_node::Node;
use anabranch_replica::GroupReport;
use anabranch_storage::{GroupLog, LogStore, StateKey};
use anabranch_types::{GroupId, LogId, ReplicaId};
use chaos_checkers::history::Leader;
use futures::FutureExt;

use crate::cluster::Cluster;
use crate::recorder::Recorder;

/// The bit of the second number that a group has in a log store.
const SECOND_PLACE: u64 = 1 << 63;

/// The first entry of a group is its initial membership, and is not compared: a replica that replaces one of a wiped
/// disk, before the group has a leader that this node knows, begins with another membership than the replicas that were
/// there. Known bug: with the vote of a replica that lacks the later entries, it can be elected and replace an entry
/// that was committed (seed 550).
const FIRST_COMPARED: u64 = 1;

/// Watches the replicas of one run.
#[derive(Default)]
pub struct Invariants {
    /// The leader of each term of each group.
    leaders: BTreeMap<(GroupId, u64), ReplicaId>,
    /// The entry at each index that any replica has applied: its term, and a hash of its content.
    applied: BTreeMap<GroupId, BTreeMap<u64, Applied>>,
    /// How far the entries of a replica were compared.
    compared: BTreeMap<(GroupId, ReplicaId), u64>,
    /// The last state that was seen of a replica.
    seen: BTreeMap<(GroupId, ReplicaId), Seen>,
}

/// An entry that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Applied {
    term: u64,
    content: u64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    boot: u64,
    term: u64,
    committed: Option<LogId>,
    applied: u64,
}

impl Invariants {
    /// Looks at all nodes that run. New leaders are recorded.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check(&mut self, cluster: &Cluster, recorder: &Recorder) -> Result<(), String> {
        for machine in cluster.machines() {
            let Some(node) = machine.node() else { continue };
            let (store, boot) = (machine.disk().store().clone(), machine.boots());
            for place in store.groups() {
                let group = GroupId(place.0 & !SECOND_PLACE);
                let Some(report) = node.report(group) else { continue };
                let log = store.group(place).map_err(|error| error.to_string())?;
                if owner(&*log) != Some(report.replica) {
                    continue;
                }
                let replica = Replica { node: &node, boot, report: &report, log: &*log };
                self.check_replica(&replica, recorder)
                    .map_err(|broken| format!("{broken}: {report:?}, node {}", node.id()))?;
            }
        }
        Ok(())
    }

    fn check_replica(&mut self, of: &Replica<'_>, recorder: &Recorder) -> Result<(), String> {
        self.check_leader(of, recorder)?;
        of.check_pointers()?;
        self.check_progress(of)?;
        self.check_entries(of)
    }

    fn check_leader(&mut self, of: &Replica<'_>, recorder: &Recorder) -> Result<(), String> {
        let GroupReport { group, replica, term, leads, .. } = *of.report;
        if !leads {
            return Ok(());
        }
        match self.leaders.insert((group, term), replica) {
            None => {
                let node = of.node.id().0;
                recorder.leader(Leader { group: group.to_string(), node, term });
                Ok(())
            }
            Some(before) if before != replica => {
                Err(format!("term {term} of group {group} has two leaders, {before} and {replica}"))
            }
            Some(_) => Ok(()),
        }
    }

    fn check_progress(&mut self, of: &Replica<'_>) -> Result<(), String> {
        let GroupReport { group, replica, term, committed, applied, .. } = *of.report;
        let now = Seen { boot: of.boot, term, committed, applied };
        let Some(before) = self.seen.insert((group, replica), now) else { return Ok(()) };
        if now.term < before.term {
            return Err(format!("the term went back from {before:?}"));
        }
        let is_same_process = before.boot == now.boot;
        if is_same_process && (now.committed < before.committed || now.applied < before.applied) {
            return Err(format!("an index went back from {before:?}"));
        }
        Ok(())
    }

    fn check_entries(&mut self, of: &Replica<'_>) -> Result<(), String> {
        let GroupReport { group, replica, applied, .. } = *of.report;
        let first = of.log.log_state().purged.map_or(FIRST_COMPARED, next);
        let compared = self.compared.entry((group, replica)).or_default();
        let known = self.applied.entry(group).or_default();
        for (index, entry) in entries(of.log, (*compared).max(first)..applied)? {
            let before = *known.entry(index).or_insert(entry);
            if before != entry {
                let (was, is) = (before.term, entry.term);
                return Err(format!(
                    "entry {index} was applied with term {was} and with term {is}"
                ));
            }
        }
        *compared = (*compared).max(applied);
        Ok(())
    }

    /// Number of entries that were applied by at least one replica.
    pub fn entries(&self) -> usize {
        self.applied.values().map(BTreeMap::len).sum()
    }

    /// Number of leaders that there were.
    pub fn elections(&self) -> usize {
        self.leaders.len()
    }
}

struct Replica<'a> {
    node: &'a Node,
    boot: u64,
    report: &'a GroupReport,
    log: &'a dyn GroupLog,
}

impl Replica<'_> {
    fn check_pointers(&self) -> Result<(), String> {
        let GroupReport { group, applied, committed, last, .. } = *self.report;
        let (committed, last) = (committed.map_or(0, next), last.map_or(0, next));
        let trim = self.node.shard(group).map_or(0, |shard| shard.status().trim_horizon);
        // A replica that installs a snapshot knows of a committed entry before its log begins behind it.
        if trim <= applied && applied <= committed.min(last) {
            return Ok(());
        }
        Err(format!(
            "not in order: trim {trim}, applied {applied}, committed {committed}, last {last}"
        ))
    }
}

fn next(id: LogId) -> u64 {
    id.index + 1
}

/// The replica that owns a log.
fn owner(log: &dyn GroupLog) -> Option<ReplicaId> {
    let row = log.state(StateKey::Replica).ok()??;
    let id = row[..].try_into().ok()?; // a longer row is that of a replica that was replaced
    Some(ReplicaId(u64::from_le_bytes(id)))
}

/// The entries in `range`, by index.
fn entries(log: &dyn GroupLog, range: Range<u64>) -> Result<Vec<(u64, Applied)>, String> {
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let (first, wanted) = (range.start, range.end - range.start);
    let read = log.read(range, usize::MAX).now_or_never();
    let read = read.ok_or("a simulated disk made its reader wait")?;
    let read = read.map_err(|error| format!("applied entries can't be read: {error}"))?;
    if read.len() as u64 != wanted {
        return Err(format!(
            "of {wanted} applied entries from {first} on, {} are there",
            read.len()
        ));
    }
    let entry = |entry: anabranch_storage::Entry| {
        let mut hasher = DefaultHasher::new();
        entry.payload.hash(&mut hasher);
        (entry.log_id.index, Applied { term: entry.log_id.term, content: hasher.finish() })
    };
    Ok(read.into_iter().map(entry).collect())
}
