//! Where in a node's log store the log of a group lies.
//!
//! A group has two places there: its own number, and the same with the highest bit set. One holds the log of this node's
//! replica. Where that replica took the place of another one, the other place keeps the old one's log until the new one votes:
//! it may hold the only good copy of an entry (ADR-0022).
//!
//! The row [`StateKey::Replica`] says whose log lies in a place. An old log has a verdict or the mark [`GIVEN_UP`] in that row, so at
//! most one place holds a log that a replica may go on with. The mark is synced before the new log begins.

use std::collections::BTreeSet;
use std::sync::Arc;

use anabranch_storage::{Error as StoreError, GroupLog, Health, LogStore, StateKey};
use anabranch_types::{GroupId, ReplicaId};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::error::Error;

const SECOND: u64 = 1 << 63;
/// Stands behind the id in the row of a log whose replica was replaced.
const GIVEN_UP: u8 = 1;

/// The two places of a group.
fn places(group: GroupId) -> [GroupId; 2] {
    [group, GroupId(group.0 | SECOND)]
}

/// The group whose log lies in a place.
pub(crate) fn group_in(place: GroupId) -> GroupId {
    GroupId(place.0 & !SECOND)
}

/// The groups that the store holds anything of, in order.
pub(crate) fn stored_groups(store: &dyn LogStore) -> BTreeSet<GroupId> {
    store.groups().into_iter().map(group_in).collect()
}

/// What lies in a place.
struct Found {
    place: GroupId,
    log: Arc<dyn GroupLog>,
    whose: Whose,
}

/// A replica and its log.
pub(crate) type Owned = (ReplicaId, Arc<dyn GroupLog>);

enum Whose {
    Nobody,
    Replica(ReplicaId),
    /// A log that no replica goes on with: it was given up, or doesn't say whose it is.
    NoReplica,
    /// There is a verdict about it.
    Quarantined,
}

/// What lies in the two places. Makes nothing in a place that holds nothing, but for the first one.
fn look(group: GroupId, store: &dyn LogStore) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    for place in places(group) {
        if place != group && !store.holds(place) {
            continue;
        }
        let log = store.group(place)?;
        let whose = whose(&*log)?;
        found.push(Found { place, log, whose });
    }
    Ok(found)
}

fn whose(log: &dyn GroupLog) -> Result<Whose, Error> {
    if matches!(log.health(), Health::Quarantined { .. }) {
        return Ok(Whose::Quarantined);
    }
    let replica = |row: &Bytes| Some(ReplicaId(u64::from_le_bytes(row[..].try_into().ok()?)));
    match log.state(StateKey::Replica) {
        Ok(Some(row)) => Ok(replica(&row).map_or(Whose::NoReplica, Whose::Replica)),
        Ok(None) if log.log_state().last.is_some() || log.vote().is_some() => Ok(Whose::NoReplica),
        Ok(None) => Ok(Whose::Nobody),
        Err(StoreError::Quarantined { .. }) => Ok(Whose::Quarantined),
        Err(error) => Err(error.into()),
    }
}

/// The replica of `group` that this store has a sound log of, and that log.
///
/// # Errors
/// [`Error::OutOfService`] if the store has ended.
pub(crate) fn current(group: GroupId, store: &dyn LogStore) -> Result<Option<Owned>, Error> {
    if !places(group).iter().any(|place| store.holds(*place)) {
        return Ok(None);
    }
    let of = |found: Found| match found.whose {
        Whose::Replica(id) => Some((id, found.log)),
        Whose::Nobody | Whose::NoReplica | Whose::Quarantined => None,
    };
    Ok(look(group, store)?.into_iter().find_map(of))
}

/// Every log of `group` in the store: first the log of the current replica, then the old one.
pub(crate) fn logs(group: GroupId, store: &dyn LogStore) -> Vec<Arc<dyn GroupLog>> {
    let held = places(group).into_iter().filter(|place| store.holds(*place));
    let mut logs: Vec<_> = held.filter_map(|place| store.group(place).ok()).collect();
    logs.sort_by_key(|log| !matches!(whose(&**log), Ok(Whose::Replica(_))));
    logs
}

/// The log of `replica`. What other replicas left there is not this one's: it begins beside that. But a log with a verdict may
/// be this replica's own, so it is given back, unless [`begin_anew`] was called for this replica before.
pub(crate) async fn claim(
    group: GroupId,
    replica: ReplicaId,
    store: &Arc<dyn LogStore>,
) -> Result<Arc<dyn GroupLog>, Error> {
    let mut found = look(group, &**store)?;
    let own = |found: &Found| matches!(found.whose, Whose::Replica(id) if id == replica);
    if let Some(at) = found.iter().position(own) {
        return Ok(found.swap_remove(at).log);
    }
    let is_newer = |found: &Found| matches!(found.whose, Whose::Replica(id) if id > replica);
    if found.iter().any(is_newer) {
        // Ids are counted up. The catalog was recovered from an older replica of it, and has forgotten this one.
        return Err(Error::OutOfService("this node holds a newer replica of the group".into()));
    }
    // The verdict is about the replica whose log this was. Which one that was can no longer be read, so only a replica
    // that the catalog made after it may begin beside it.
    if let Some(at) = found.iter().position(|found| matches!(found.whose, Whose::Quarantined)) {
        return Ok(found.swap_remove(at).log);
    }
    begin_anew(group, replica, store).await
}

/// Gives `replica`, which has no log here, a place with an empty one, beside what another replica left.
pub(crate) async fn begin_anew(
    group: GroupId,
    replica: ReplicaId,
    store: &Arc<dyn LogStore>,
) -> Result<Arc<dyn GroupLog>, Error> {
    let found = look(group, &**store)?;
    if let Some(own) = found.iter().find(|f| matches!(f.whose, Whose::Replica(id) if id == replica))
    {
        return Ok(Arc::clone(&own.log));
    }
    let is_free = |place: &GroupId| {
        found.iter().all(|f| f.place != *place || matches!(f.whose, Whose::Nobody))
    };
    let place = match places(group).into_iter().find(is_free) {
        Some(place) => place,
        None => {
            // Both are taken. What votes no more and never did is worth less than what once did.
            let place = found.iter().max_by_key(|found| worth_removing(found));
            let place = place.map_or(group, |found| found.place);
            remove_place(place, store).await?;
            place
        }
    };
    for old in found.iter().filter(|found| found.place != place) {
        if let Whose::Replica(id) = old.whose {
            let given_up = [&id.0.to_le_bytes()[..], &[GIVEN_UP]].concat();
            write_row(&*old.log, given_up.into()).await?;
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

/// The shorter log goes first.
fn worth_removing(found: &Found) -> std::cmp::Reverse<Option<u64>> {
    std::cmp::Reverse(found.log.log_state().last.map(|last| last.index))
}

/// Whether two logs of `group` lie in the store.
pub(crate) fn is_doubled(group: GroupId, store: &dyn LogStore) -> bool {
    places(group).iter().all(|place| store.holds(*place))
}

/// Removes the old log beside the log of `replica`. Returns whether there was one.
pub(crate) async fn remove_old(
    group: GroupId,
    replica: ReplicaId,
    store: &Arc<dyn LogStore>,
) -> Result<bool, Error> {
    if !is_doubled(group, &**store) {
        return Ok(false);
    }
    let found = look(group, &**store)?;
    let own = |found: &Found| matches!(found.whose, Whose::Replica(id) if id == replica);
    let Some(own) = found.iter().find(|found| own(found)) else { return Ok(false) };
    for other in found.iter().filter(|other| other.place != own.place) {
        remove_place(other.place, store).await?;
    }
    Ok(true)
}

/// Forgets what the node holds of `group`.
pub(crate) async fn remove(group: GroupId, store: &Arc<dyn LogStore>) -> Result<(), Error> {
    for place in places(group) {
        if place == group || store.holds(place) {
            remove_place(place, store).await?;
        }
    }
    Ok(())
}

async fn remove_place(place: GroupId, store: &Arc<dyn LogStore>) -> Result<(), Error> {
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
        assert!(matches!(old, Err(Error::OutOfService(_))), "a replica that was given up");
        // Nor is the old one taken for this node's once the new one has a verdict.
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
    async fn a_log_with_a_verdict_is_given_back_until_another_replica_may_begin() {
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
        // Also where the second one is damaged too.
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
