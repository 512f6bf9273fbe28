//! Recovers a group that has lost its majority for good: the group goes on from the log of one replica (ADR-0007).
//!
//! The log gets a new owner: a new replica id, which is the only voter. Three writes go into the queue, in this
//! order:
//! 1. The vote, for the new id, in a term far above every term that the log has seen.
//! 2. An entry of that term with the membership: the new id alone.
//! 3. The row [`StateKey::Replica`] with the new id. From here on the log belongs to the new replica.
//!
//! After a crash before write 3 the log still belongs to the old replica and has one or two entries more. The
//! recovery is then started again. For the catalog, that second recovery reads the new id from the log. The three
//! writes are the same as what a leader that is the only voter leaves behind when it stops, so openraft opens the
//! log like that.
//!
//! This never happens: an entry is truncated. Every entry of the log counts from now on, even if it was never
//! committed. And old replicas have no influence: requests between nodes name the receiving replica, so requests to
//! the old id are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anabranch_catalog::{Catalog, Command, GroupCommand, Recovered, Replica};
use anabranch_metrics::Registry;
use anabranch_storage::{Completion, Entry, GroupLog, Health, LogStore, StateKey, Vote};
use anabranch_types::{GroupId, LogId, ReplicaId};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::applier::Applier;
use crate::error::Error;
use crate::machine::{CatalogMachine, Encoded};
use crate::metrics::Metrics;
use crate::payload::Payload;
use crate::places;
use crate::progress::Progress;
use crate::raft_types::{Member, Membership};

/// Number of terms that are skipped when a log gets a new owner.
const SKIPPED_TERMS: u64 = 1 << 32;
/// Bytes that one read of the log requests.
const READ_BYTES: usize = 4 << 20;

/// Makes the log of replica `recovered.from` in `store` the log of replica `recovered.to`. Does nothing if that is
/// done.
pub(crate) async fn take_over_log(
    store: &Arc<dyn LogStore>,
    group: GroupId,
    recovered: Recovered,
    member: Member,
) -> Result<(), Error> {
    match places::current(group, &**store)? {
        Some((id, _)) if id == recovered.to => Ok(()),
        // An id between the two was given by a catalog that was lost. The catalog was then recovered from an older
        // replica.
        Some((id, log)) if id >= recovered.from && id < recovered.to => {
            tracing::warn!(%group, from = %recovered.from, to = %recovered.to, "a replica takes over a log");
            take_over(log.as_ref(), recovered.to, member, None).await
        }
        _ => Err(Error::OutOfService(format!(
            "this disk doesn't hold the log of replica {}, from which the group is to be recovered",
            recovered.from
        ))),
    }
}

/// Makes `id` the only voter, by an entry after the last entry of the log. `command`, if there is one, comes after
/// that entry.
async fn take_over(
    log: &dyn GroupLog,
    id: ReplicaId,
    member: Member,
    command: Option<Payload>,
) -> Result<(), Error> {
    let last = log.log_state().last;
    let seen = log.vote().map_or(0, |vote| vote.term).max(last.map_or(0, |last| last.term));
    // A term has only one leader, and lost replicas may have led in later terms than this log has seen.
    let term = seen + SKIPPED_TERMS;
    let voters = vec![BTreeSet::from([id.0])];
    let membership = Membership::new(voters, BTreeMap::from([(id.0, member)]));
    let membership = membership.map_err(|error| Error::OutOfService(error.to_string()))?;
    let payloads = [Payload::Membership(membership)].into_iter().chain(command);
    let entries = (last.map_or(0, |last| last.index + 1)..).zip(payloads);
    let entry = |(index, payload): (u64, Payload)| {
        let log_id = LogId { term, index };
        Entry { log_id, payload: payload.encode() }
    };
    // The vote is marked as committed, like the vote of a leader that has written entries.
    let vote = Vote { term, replica: id, committed: true };
    let (done, voted) = written();
    log.save_vote(vote, done);
    let (done, appended) = written();
    log.append(entries.map(entry).collect(), done);
    let [voted, appended] = [voted.await, appended.await];
    // The new id must not become durable without the entry. So both writes must succeed first.
    voted.and(appended)?;
    let (done, renamed) = written();
    let row = Bytes::copy_from_slice(&id.0.to_le_bytes());
    log.put_state(vec![(StateKey::Replica, Some(row))], Some(done));
    renamed.await
}

/// A completion for one write of the log store, and a future that returns the result of that write.
fn written() -> (Completion, impl Future<Output = Result<(), Error>>) {
    let (done, written) = oneshot::channel::<Result<(), anabranch_storage::Error>>();
    let told = async {
        let result = written.await;
        let result = result.map_err(|_| Error::OutOfService("the log store is gone".into()))?;
        result.map_err(Error::from)
    };
    (Box::new(move |result| drop(done.send(result))), told)
}

fn unreadable(what: &str) -> Error {
    Error::OutOfService(format!("{what} can't be read"))
}

/// The replica of the catalog in a log store that no running node uses.
pub struct StoredCatalog {
    log: Arc<dyn GroupLog>,
    /// Id and node of the replica.
    pub replica: Replica,
    /// The catalog after all entries of the log, committed or not.
    pub catalog: Catalog,
    /// Last entry of the log.
    pub last: Option<LogId>,
    /// The new id of this replica, from an earlier recovery that was interrupted.
    begun_as: Option<ReplicaId>,
}

impl StoredCatalog {
    /// Reads the replica of the catalog from `store`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if `store` holds no replica of the catalog. [`Error::OutOfService`] if the replica can't
    /// be trusted or read, or if the catalog had removed it.
    pub async fn read(store: &Arc<dyn LogStore>) -> Result<Self, Error> {
        let Some((id, log)) = places::current(GroupId::CATALOG, &**store)? else {
            let verdict = |log: &Arc<dyn GroupLog>| match log.health() {
                Health::Healthy => None,
                Health::Quarantined { reason } => Some(reason),
            };
            let reason = places::logs(GroupId::CATALOG, &**store).iter().find_map(verdict);
            return Err(reason.map_or(Error::NotFound, Error::OutOfService));
        };
        let (catalog, last) = (replay(&log).await?, log.log_state().last);
        let own = catalog.own_group().holders().find(|held| held.id == id);
        // An earlier recovery from this replica may have been interrupted.
        let begun = catalog.recovered.get(&GroupId::CATALOG).filter(|begun| begun.from == id);
        let begun =
            begun.and_then(|begun| catalog.replicas.iter().find(|held| held.id == begun.to));
        let gone = || Error::OutOfService(format!("the catalog has removed its replica {id}"));
        let begun_as = begun.map(|begun| begun.id);
        let own = own.or_else(|| begun.map(|begun| Replica { id, ..*begun }));
        let replica = own.ok_or_else(gone)?;
        Ok(Self { log, replica, catalog, last, begun_as })
    }

    /// Makes this replica the only voter of the catalog, under a new id, and records that in the catalog. Returns
    /// the new replica.
    ///
    /// # Errors
    /// [`Error::OutOfService`] or [`Error::Throttled`] if the log can't be written.
    pub async fn recover(self) -> Result<Replica, Error> {
        let Replica { id: from, node } = self.replica;
        let group = GroupId::CATALOG;
        let id = self.begun_as.unwrap_or_else(|| ReplicaId(self.catalog.id_after_recovery(group)));
        let command =
            anabranch_proto::encode_command(&Command::Group(GroupCommand::Recover { group, from }));
        let command = self.begun_as.is_none().then_some(Payload::Command(command));
        take_over(self.log.as_ref(), id, Member { node }, command).await?;
        Ok(Replica { id, node })
    }
}

/// Deletes the replica of the catalog from `store`, which no running node uses. Returns whether there was one.
///
/// # Errors
/// [`Error::OutOfService`] if `store` can't be written.
pub async fn give_up_catalog(store: &Arc<dyn LogStore>) -> Result<bool, Error> {
    let holds = places::stored_groups(&**store).contains(&GroupId::CATALOG);
    if holds {
        places::remove(GroupId::CATALOG, store).await?;
    }
    Ok(holds)
}

/// The catalog after the last entry of the log. Begins with the newest checkpoint, or with the first catalog.
async fn replay(log: &Arc<dyn GroupLog>) -> Result<Catalog, Error> {
    let out_of_service = |error: &dyn std::fmt::Display| Error::OutOfService(error.to_string());
    let first = log.state(StateKey::Founders)?.ok_or_else(|| unreadable("the first catalog"))?;
    let first = anabranch_proto::decode_catalog(first).map_err(|error| out_of_service(&error))?;
    let machine = Box::new(CatalogMachine::new(first).0);
    // This replay runs outside of a node, so nothing reads its metrics.
    let metrics = Arc::new(Metrics::new(&Registry::default()));
    let progress = Arc::new(Progress::default());
    let applier = Applier::open(Arc::clone(log), None, machine, progress, metrics).await;
    let (mut machine, applied) = applier.map_err(|error| out_of_service(&error))?.into_machine();
    let mut next = applied.map_or(0, |applied| applied.index + 1);
    let end = log.log_state().last.map_or(0, |last| last.index + 1);
    while next < end {
        let entries = log.read(next..end, READ_BYTES).await?;
        next = entries.last().ok_or_else(|| unreadable("the log of the catalog"))?.log_id.index + 1;
        for entry in entries {
            let payload = Payload::decode(entry.payload).map_err(|error| out_of_service(&error))?;
            if let Payload::Command(command) = payload {
                let applied = machine.apply(entry.log_id.index, command);
                applied.map_err(|error| out_of_service(&error))?;
            }
        }
    }
    let Encoded::Row(catalog) = machine.encode() else {
        return Err(unreadable("the state of the catalog"));
    };
    anabranch_proto::decode_catalog(catalog).map_err(|error| out_of_service(&error))
}

#[cfg(test)]
mod tests {
    use anabranch_catalog::{NodeCommand, NodeRegistration, samples};
    use anabranch_storage::{SimSettings, SimStore};
    use anabranch_types::NodeId;

    use super::*;

    fn replica(id: u64) -> Replica {
        Replica { id: ReplicaId(id), node: NodeId(id) }
    }

    fn register(node: u64) -> Payload {
        let registration =
            NodeRegistration { starts: 1, boot: node, ..samples::registration(node) };
        let command = Command::Node(NodeCommand::Register(registration));
        Payload::Command(anabranch_proto::encode_command(&command))
    }

    /// The log store of node 2 of three. The node voted for node 3 in term 7, and its log holds two registrations.
    async fn stored() -> Arc<dyn LogStore> {
        let store: Arc<dyn LogStore> = Arc::new(SimStore::new(SimSettings::default()));
        let log = store.group(GroupId::CATALOG).unwrap();
        let first = Catalog::bootstrap(&[1, 2, 3].map(replica));
        let id = Bytes::copy_from_slice(&2u64.to_le_bytes());
        let rows = vec![
            (StateKey::Founders, Some(anabranch_proto::encode_catalog(&first))),
            (StateKey::Replica, Some(id)),
        ];
        log.put_state(rows, None);
        let (done, voted) = written();
        log.save_vote(Vote { term: 7, replica: ReplicaId(3), committed: false }, done);
        voted.await.unwrap();
        let payloads = [Payload::Blank, register(1), register(2)];
        let entries = (0..).zip(payloads).map(|(index, payload)| Entry {
            log_id: LogId { term: 4, index },
            payload: payload.encode(),
        });
        let (done, appended) = written();
        log.append(entries.collect(), done);
        appended.await.unwrap();
        store
    }

    #[tokio::test]
    async fn a_stored_replica_of_the_catalog_becomes_its_only_voter_under_another_id() {
        let store = stored().await;
        let found = StoredCatalog::read(&store).await.unwrap();
        assert_eq!((found.replica, found.catalog.nodes.len()), (replica(2), 2));
        let recovered = found.recover().await.unwrap();
        assert_eq!(recovered.node, NodeId(2));

        let log = store.group(GroupId::CATALOG).unwrap();
        let current = places::current(GroupId::CATALOG, &*store).unwrap();
        assert_eq!(current.map(|(id, _)| id), Some(recovered.id));
        let vote = log.vote().unwrap();
        assert!(vote.term > 1 << 32 && vote.replica == recovered.id, "no lower term counts");
        let written = log.read(3..9, READ_BYTES).await.unwrap();
        assert!(written.iter().all(|entry| entry.log_id.term == vote.term));
        let Ok(Payload::Membership(membership)) = Payload::decode(written[0].payload.clone())
        else {
            panic!("{written:?}");
        };
        assert_eq!(membership.get_joint_config(), &[BTreeSet::from([recovered.id.0])]);

        // The next start finds the same.
        let again = StoredCatalog::read(&store).await.unwrap();
        assert_eq!((again.replica, &again.catalog.replicas[..]), (recovered, &[recovered][..]));
        assert_eq!(again.catalog.recovered_as(), Some(recovered.id));
        assert_eq!(again.catalog.nodes.len(), 2);
    }

    #[tokio::test]
    async fn an_interrupted_recovery_is_done_again_with_the_same_id() {
        let store = stored().await;
        let log = store.group(GroupId::CATALOG).unwrap();
        let recovered = StoredCatalog::read(&store).await.unwrap().recover().await.unwrap();
        let old = Bytes::copy_from_slice(&2u64.to_le_bytes());
        log.put_state(vec![(StateKey::Replica, Some(old))], None);
        let found = StoredCatalog::read(&store).await.unwrap();
        assert_eq!(found.replica, replica(2));
        assert_eq!(found.recover().await.unwrap(), recovered);
        let again = StoredCatalog::read(&store).await.unwrap();
        assert_eq!((again.replica, &again.catalog.replicas[..]), (recovered, &[recovered][..]));
    }

    #[tokio::test]
    async fn a_missing_or_quarantined_replica_of_the_catalog_is_not_recovered() {
        let empty: Arc<dyn LogStore> = Arc::new(SimStore::new(SimSettings::default()));
        assert!(matches!(StoredCatalog::read(&empty).await, Err(Error::NotFound)));
        assert_eq!(empty.groups(), [], "reading creates no log");
        let store = stored().await;
        assert_eq!(give_up_catalog(&store).await, Ok(true));
        assert!(matches!(StoredCatalog::read(&store).await, Err(Error::NotFound)));
        assert_eq!(give_up_catalog(&store).await, Ok(false));
        let sim = SimStore::new(SimSettings::default());
        sim.quarantine(GroupId::CATALOG, "byte 17");
        let store: Arc<dyn LogStore> = Arc::new(sim);
        store.group(GroupId::CATALOG).unwrap();
        assert!(matches!(StoredCatalog::read(&store).await, Err(Error::OutOfService(_))));
    }
}
