//! Which logs in a node's log store belong to a group, and which replica owns each of them.
//!
//! The log store keeps one log under each number. A group has two numbers there, called *places*: its own id, and
//! its id with the highest bit set. One place holds the log of this node's replica. If that replica replaced another
//! one on this node, the other place keeps the log of the old replica until the new replica votes: the old log may
//! hold the only good copy of an entry (ADR-0022). The row [`StateKey::Replica`] of each log names its owner. A group
//! of tables has a checkpoint log beside each of these logs (ADR-0032), under the number with the bit 62 set.
//!
//! ```text
//! place          log                    row StateKey::Replica
//! 7              of replica 1, old      1 and the mark REPLACED, or the log is quarantined
//! 7 | 1 << 63    of replica 9           9
//! ```
//!
//! Always: at most one place has a log that a replica may continue. The mark is synced before the new log begins.

use std::collections::BTreeSet;
use std::sync::Arc;

use anabranch_storage::{Error as StoreError, GroupLog, Health, LogStore, StateKey};
use anabranch_types::{GroupId, ReplicaId};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::error::Error;

/// The bit that tells the second place of a group from the first.
const SECOND: u64 = 1 << 63;
/// The bit that tells the checkpoint log of a place from its log.
const CHECKPOINTS: u64 = 1 << 62;
/// Follows the id in the row of a log whose replica was replaced.
const REPLACED: u8 = 1;

/// The two places of a group.
fn places(group: GroupId) -> [GroupId; 2] {
    [group, GroupId(group.0 | SECOND)]
}

/// The group that a place belongs to.
pub(crate) fn group_in(place: GroupId) -> GroupId {
    GroupId(place.0 & !(SECOND | CHECKPOINTS))
}

/// Whether the log in this place is a checkpoint log. Other nodes have no copy of its entries.
pub(crate) fn is_checkpoint_log(place: GroupId) -> bool {
    place.0 & CHECKPOINTS != 0
}

/// The checkpoint log beside the log in `place`.
fn checkpoint_place(place: GroupId) -> GroupId {
    GroupId(place.0 | CHECKPOINTS)
}

/// The groups that have a log in the store.
pub(crate) fn stored_groups(store: &dyn LogStore) -> BTreeSet<GroupId> {
    store.groups().into_iter().map(group_in).collect()
}

/// The log in one place.
struct Found {
    place: GroupId,
    log: Arc<dyn GroupLog>,
    owner: Owner,
}

/// A replica and its log.
pub(crate) type Owned = (ReplicaId, Arc<dyn GroupLog>);

/// The owner of a log.
enum Owner {
    /// The log is empty and has no owner yet.
    Empty,
    Replica(ReplicaId),
    /// No replica may continue the log: its replica was replaced, or the log has content but names no owner.
    Abandoned,
    /// The log is quarantined, so its row can't be trusted.
    Quarantined,
}

/// The logs in the two places. Creates an empty log in the first place if that is free, but never in the second
/// place.
fn find_logs(group: GroupId, store: &dyn LogStore) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    for place in places(group) {
        if place != group && !store.holds(place) {
            continue;
        }
        let log = store.group(place)?;
        let owner = owner_of(&*log)?;
        found.push(Found { place, log, owner });
    }
    Ok(found)
}

fn owner_of(log: &dyn GroupLog) -> Result<Owner, Error> {
    if matches!(log.health(), Health::Quarantined { .. }) {
        return Ok(Owner::Quarantined);
    }
    let replica = |row: &Bytes| Some(ReplicaId(u64::from_le_bytes(row[..].try_into().ok()?)));
    match log.state(StateKey::Replica) {
        Ok(Some(row)) => Ok(replica(&row).map_or(Owner::Abandoned, Owner::Replica)),
        Ok(None) if log.log_state().last.is_some() || log.vote().is_some() => Ok(Owner::Abandoned),
        Ok(None) => Ok(Owner::Empty),
        Err(StoreError::Quarantined { .. }) => Ok(Owner::Quarantined),
        Err(error) => Err(error.into()),
    }
}

/// The replica of `group` that owns a healthy log in this store, and that log.
///
/// # Errors
/// [`Error::OutOfService`] if the log store has stopped.
pub(crate) fn current(group: GroupId, store: &dyn LogStore) -> Result<Option<Owned>, Error> {
    if !places(group).iter().any(|place| store.holds(*place)) {
        return Ok(None);
    }
    let of = |found: Found| match found.owner {
        Owner::Replica(id) => Some((id, found.log)),
        Owner::Empty | Owner::Abandoned | Owner::Quarantined => None,
    };
    Ok(find_logs(group, store)?.into_iter().find_map(of))
}

/// Every log of `group` in the store: first the log of the current replica, then the old one.
pub(crate) fn logs(group: GroupId, store: &dyn LogStore) -> Vec<Arc<dyn GroupLog>> {
    let held = places(group).into_iter().filter(|place| store.holds(*place));
    let mut logs: Vec<_> = held.filter_map(|place| store.group(place).ok()).collect();
    logs.sort_by_key(|log| !matches!(owner_of(&**log), Ok(Owner::Replica(_))));
    logs
}

/// The log of `replica`. If `replica` has no log yet, it gets an empty one beside the logs of other replicas. But a
/// quarantined log may be this replica's own log. So it is returned, unless [`begin_anew`] was called for this
/// replica before.
pub(crate) async fn claim(
    group: GroupId,
    replica: ReplicaId,
    store: &Arc<dyn LogStore>,
) -> Result<Arc<dyn GroupLog>, Error> {
    let mut found = find_logs(group, &**store)?;
    let own = |found: &Found| matches!(found.owner, Owner::Replica(id) if id == replica);
    if let Some(at) = found.iter().position(own) {
        return Ok(found.swap_remove(at).log);
    }
    let is_newer = |found: &Found| matches!(found.owner, Owner::Replica(id) if id > replica);
    if found.iter().any(is_newer) {
        // Replica ids only grow. So the catalog was recovered from an older replica of it, and has forgotten the
        // newer replica.
        return Err(Error::OutOfService("this node holds a newer replica of the group".into()));
    }
    // The owner of a quarantined log can't be read any more, so the log may belong to this very replica. Only a
    // replica that the catalog made as a replacement may begin beside it. For such a replica the node calls
    // `begin_anew`.
    if let Some(at) = found.iter().position(|found| matches!(found.owner, Owner::Quarantined)) {
        return Ok(found.swap_remove(at).log);
    }
    begin_anew(group, replica, store).await
}

/// Gives `replica` a place with an empty log, beside the logs of other replicas. If it has a log already, returns
/// that one.
pub(crate) async fn begin_anew(
    group: GroupId,
    replica: ReplicaId,
    store: &Arc<dyn LogStore>,
) -> Result<Arc<dyn GroupLog>, Error> {
    let found = find_logs(group, &**store)?;
    if let Some(own) = found.iter().find(|f| matches!(f.owner, Owner::Replica(id) if id == replica))
    {
        return Ok(Arc::clone(&own.log));
    }
    let is_free = |place: &GroupId| {
        found.iter().all(|f| f.place != *place || matches!(f.owner, Owner::Empty))
    };
    let place = match places(group).into_iter().find(is_free) {
        Some(place) => place,
        None => {
            // Both places are taken. The shorter log is deleted: its replica probably never caught up and never
            // voted.
            let place = found.iter().max_by_key(|found| worth_removing(found));
            let place = place.map_or(group, |found| found.place);
            remove_place(place, store).await?;
            place
        }
    };
    // Mark the other log before the new one begins, so that a crash never leaves two logs that a replica may
    // continue.
    for old in found.iter().filter(|found| found.place != place) {
        if let Owner::Replica(id) = old.owner {
            let replaced = [&id.0.to_le_bytes()[..], &[REPLACED]].concat();
            write_row(&*old.log, replaced.into()).await?;
        }
    }
    let log = store.group(place)?;
    write_row(&*log, Bytes::copy_from_slice(&replica.0.to_le_bytes())).await?;
    Ok(log)
}

async fn write_row(log: &dyn GroupLog, row: Bytes) -> Result<(), Error> {
    let (done, written) = oneshot::channel();
    let row = vec![(StateKey::Replica, Some(row))];
    log.put_state(row, Some(Box::new(move |result| drop(done.send(result)))));
    written.await.map_err(|_| Error::OutOfService("the log store is gone".into()))??;
    Ok(())
}

/// Sort key: the shortest log is the maximum, because it is worth the least.
fn worth_removing(found: &Found) -> std::cmp::Reverse<Option<u64>> {
    std::cmp::Reverse(found.log.log_state().last.map(|last| last.index))
}

/// The checkpoint log beside the log of `replica`, which [`claim`] has returned. Creates it if it is missing.
pub(crate) fn checkpoint_log(
    group: GroupId,
    replica: ReplicaId,
    store: &Arc<dyn LogStore>,
) -> Result<Arc<dyn GroupLog>, Error> {
    let own = |found: &Found| matches!(found.owner, Owner::Replica(id) if id == replica);
    let place = find_logs(group, &**store)?.into_iter().find(own).map(|found| found.place);
    let place = place.ok_or_else(|| Error::OutOfService("the replica has no log".into()))?;
    Ok(store.group(checkpoint_place(place))?)
}

/// Whether both places of `group` hold a log.
pub(crate) fn is_doubled(group: GroupId, store: &dyn LogStore) -> bool {
    places(group).iter().all(|place| store.holds(*place))
}

/// Deletes the old log beside the log of `replica`. Returns whether there was one.
pub(crate) async fn remove_old(
    group: GroupId,
    replica: ReplicaId,
    store: &Arc<dyn LogStore>,
) -> Result<bool, Error> {
    if !is_doubled(group, &**store) {
        return Ok(false);
    }
    let found = find_logs(group, &**store)?;
    let own = |found: &Found| matches!(found.owner, Owner::Replica(id) if id == replica);
    let Some(own) = found.iter().find(|found| own(found)) else { return Ok(false) };
    for other in found.iter().filter(|other| other.place != own.place) {
        remove_place(other.place, store).await?;
    }
    Ok(true)
}

/// Deletes every log of `group` on this node.
pub(crate) async fn remove(group: GroupId, store: &Arc<dyn LogStore>) -> Result<(), Error> {
    for place in places(group) {
        let is_there = store.holds(place) || store.holds(checkpoint_place(place));
        if place == group || is_there {
            remove_place(place, store).await?;
        }
    }
    Ok(())
}

async fn remove_place(place: GroupId, store: &Arc<dyn LogStore>) -> Result<(), Error> {
    // The checkpoint log goes first. After a crash in between, the log is still there to be removed.
    let checkpoints = checkpoint_place(place);
    if store.holds(checkpoints) {
        remove_log(checkpoints, store).await?;
    }
    remove_log(place, store).await
}

async fn remove_log(place: GroupId, store: &Arc<dyn LogStore>) -> Result<(), Error> {
    let (done, removed) = oneshot::channel();
    store.remove_group(place, Box::new(move |result| drop(done.send(result))));
    removed.await.map_err(|_| Error::OutOfService("the log store is gone".into()))??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use anabranch_storage::{SimSettings, SimStore, Vote};

    use super::*;

    const GROUP: GroupId = GroupId(7);

    fn store() -> (SimStore, Arc<dyn LogStore>) {
        let store = SimStore::new(SimSettings::default());
        (store.clone(), Arc::new(store))
    }

    fn vote(log: &dyn GroupLog, term: u64) {
        let vote = Vote { term, replica: ReplicaId(1), committed: false };
        log.save_vote(vote, Box::new(|_| {}));
    }

    #[tokio::test]
    async fn a_replica_finds_its_own_log_and_begins_beside_that_of_another() {
        let (sim, store) = store();
        vote(&*claim(GROUP, ReplicaId(1), &store).await.unwrap(), 5);
        let second = claim(GROUP, ReplicaId(2), &store).await.unwrap();
        assert_eq!(second.vote(), None);
        vote(&*second, 6);
        let own = claim(GROUP, ReplicaId(2), &store).await.unwrap();
        assert_eq!(own.vote().map(|vote| vote.term), Some(6));
        assert_eq!(stored_groups(&*store), BTreeSet::from([GROUP]));
        assert_eq!(current(GROUP, &*store).unwrap().map(|(id, _)| id), Some(ReplicaId(2)));
        let old = claim(GROUP, ReplicaId(1), &store).await;
        assert!(matches!(old, Err(Error::OutOfService(_))), "a replica that was replaced");
        // If the new log is quarantined, the old log does not become current again.
        sim.quarantine(GroupId(GROUP.0 | SECOND), "rot");
        assert!(current(GROUP, &*store).unwrap().is_none());
        assert_eq!(logs(GROUP, &*store).len(), 2);
    }

    #[tokio::test]
    async fn an_old_log_is_removed_beside_that_of_the_replica() {
        let (_, store) = store();
        vote(&*claim(GROUP, ReplicaId(1), &store).await.unwrap(), 5);
        vote(&*claim(GROUP, ReplicaId(2), &store).await.unwrap(), 6);
        assert!(remove_old(GROUP, ReplicaId(2), &store).await.unwrap());
        assert!(!remove_old(GROUP, ReplicaId(2), &store).await.unwrap());
        assert_eq!(claim(GROUP, ReplicaId(2), &store).await.unwrap().vote().unwrap().term, 6);
        remove(GROUP, &store).await.unwrap();
        assert!(store.groups().is_empty());
    }

    #[tokio::test]
    async fn a_checkpoint_log_goes_with_its_log_also_if_it_is_left_over() {
        let (_, store) = store();
        vote(&*claim(GROUP, ReplicaId(1), &store).await.unwrap(), 5);
        for place in places(GROUP).map(checkpoint_place) {
            vote(&*store.group(place).unwrap(), 1);
        }
        assert_eq!(stored_groups(&*store), BTreeSet::from([GROUP]));
        remove(GROUP, &store).await.unwrap();
        assert!(store.groups().is_empty(), "{:?}", store.groups());
    }

    #[tokio::test]
    async fn a_quarantined_log_is_returned_until_another_replica_may_begin() {
        let (sim, store) = store();
        vote(&*claim(GROUP, ReplicaId(1), &store).await.unwrap(), 5);
        sim.quarantine(GROUP, "rot");
        for replica in [1, 2] {
            let log = claim(GROUP, ReplicaId(replica), &store).await.unwrap();
            assert!(matches!(log.health(), Health::Quarantined { .. }));
        }
        begin_anew(GROUP, ReplicaId(2), &store).await.unwrap();
        let log = claim(GROUP, ReplicaId(2), &store).await.unwrap();
        assert_eq!((log.health(), log.vote()), (Health::Healthy, None));
        assert_eq!(logs(GROUP, &*store).len(), 2);
        // The same if the second log is quarantined, too.
        sim.quarantine(GroupId(GROUP.0 | SECOND), "rot");
        assert!(matches!(
            claim(GROUP, ReplicaId(2), &store).await.unwrap().health(),
            Health::Quarantined { .. }
        ));
        begin_anew(GROUP, ReplicaId(3), &store).await.unwrap();
        let log = claim(GROUP, ReplicaId(3), &store).await.unwrap();
        assert_eq!((log.health(), log.vote()), (Health::Healthy, None));
        assert_eq!(logs(GROUP, &*store).len(), 2);
    }
}
