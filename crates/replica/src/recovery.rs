//! A group that has lost its majority for good goes on from the log of one replica (ADR-0007).
//!
//! The log is taken over for another replica id. Three things are written, each behind the other in the queue:
//! 1. the vote, for the new id, in a term above any that the log has seen;
//! 2. an entry of that term with the membership: the new id alone;
//! 3. the row `StateKey::Replica` with the new id. From here on the log is the new replica's.
//!
//! After a crash before 3 the log is still the old replica's, with an entry or two more, and taking over begins again: the
//! catalog then has the new id from its own log. What is written is what a leader that votes alone leaves behind when it stops, so openraft opens it as that.
//!
//! Nothing is cut off: everything in the log counts from now on, also what was never committed. Requests between nodes
//! name the receiving replica, so what old replicas say is refused here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anabranch_catalog::{Catalog, Command, Recovered, Replica};
use anabranch_metrics::Registry;
use anabranch_storage::{Completion, Entry, GroupLog, Health, LogStore, StateKey, Vote};
use anabranch_types::{GroupId, LogId, ReplicaId};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::applier::Applier;
use crate::error::Error;
use crate::machine::CatalogMachine;
use crate::metrics::Metrics;
use crate::payload::Payload;
use crate::places;
use crate::progress::Progress;
use crate::raft_types::{Member, Membership};

/// Terms that are left out when a log is taken over.
const LEFT_OUT_TERMS: u64 = 1 << 32;
/// Bytes that one read of the log asks for.
const READ_BYTES: usize = 4 << 20;

/// Has the log that `recovered.from` wrote in `store` go on as that of `recovered.to`. Does nothing if it does already.
pub(crate) async fn take_over_log(
    store: &Arc<dyn LogStore>,
    group: GroupId,
    recovered: Recovered,
    member: Member,
) -> Result<(), Error> {
    match places::current(group, &**store)? {
        Some((id, _)) if id == recovered.to => Ok(()),
        // A later id on the same node is of a catalog that was lost, and recovered from an older replica.
        Some((id, log)) if id >= recovered.from && id < recovered.to => {
            tracing::warn!(%group, from = %recovered.from, to = %recovered.to, "takes a log over");
            take_over(log.as_ref(), recovered.to, member, None).await
        }
        _ => Err(Error::OutOfService(format!(
            "this disk doesn't hold the log of replica {}, from which the group is to be recovered",
            recovered.from
        ))),
    }
}

/// Makes `id` the only voter, behind everything that the log holds; behind that stands `command`, if there is one.
async fn take_over(
    log: &dyn GroupLog,
    id: ReplicaId,
    member: Member,
    command: Option<Payload>,
) -> Result<(), Error> {
    let last = log.log_state().last;
    let seen = log.vote().map_or(0, |vote| vote.term).max(last.map_or(0, |last| last.term));
    // Lost replicas may have led in later terms than this log has seen, and a term has one leader.
    let term = seen + LEFT_OUT_TERMS;
    let voters = vec![BTreeSet::from([id.0])];
    let membership = Membership::new(voters, BTreeMap::from([(id.0, member)]));
    let membership = membership.map_err(|error| Error::OutOfService(error.to_string()))?;
    let payloads = [Payload::Membership(membership)].into_iter().chain(command);
    let entries = (last.map_or(0, |last| last.index + 1)..).zip(payloads);
    let entry = |(index, payload): (u64, Payload)| {
        let log_id = LogId { term, index };
        Entry { log_id, payload: payload.encode() }
    };
    // Committed, as the vote of a leader that has written entries is.
    let vote = Vote { term, replica: id, committed: true };
    let (done, voted) = written();
    log.save_vote(vote, done);
    let (done, appended) = written();
    log.append(entries.map(entry).collect(), done);
    let [voted, appended] = [voted.await, appended.await];
    // The id must not be durable where the entry is not.
    voted.and(appended)?;
    let (done, renamed) = written();
    let row = Bytes::copy_from_slice(&id.0.to_le_bytes());
    log.put_state(vec![(StateKey::Replica, Some(row))], Some(done));
    renamed.await
}

/// What the log store calls once a write is done, and what that tells.
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

/// The replica of the catalog in a log store that no node runs on.
pub struct StoredCatalog {
    log: Arc<dyn GroupLog>,
    /// The replica.
    pub replica: Replica,
    /// The catalog after everything that the log holds, committed or not.
    pub catalog: Catalog,
    /// The last entry.
    pub last: Option<LogId>,
    /// The id that a recovery gave it which did not come to its end.
    begun_as: Option<ReplicaId>,
}

impl StoredCatalog {
    /// Reads what `store` holds.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it holds no replica of the catalog; [`Error::OutOfService`] if it can't be trusted or read,
    /// or if the catalog had given the replica up.
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
        let own = catalog.groups().next().map(|own| own.holders().find(|held| held.id == id));
        // A recovery from this replica that did not come to its end.
        let begun = catalog.recovered.get(&GroupId::CATALOG).filter(|begun| begun.from == id);
        let begun =
            begun.and_then(|begun| catalog.replicas.iter().find(|held| held.id == begun.to));
        let gone = || Error::OutOfService(format!("the catalog had given its replica {id} up"));
        let begun_as = begun.map(|begun| begun.id);
        let own = own.flatten().or_else(|| begun.map(|begun| Replica { id, ..*begun }));
        let replica = own.ok_or_else(gone)?;
        Ok(Self { log, replica, catalog, last, begun_as })
    }

    /// Makes it the only voter of the catalog, under another id, and has the catalog say so. Gives what it is then.
    ///
    /// # Errors
    /// [`Error::OutOfService`] or [`Error::Throttled`] if it can't be written.
    pub async fn recover(self) -> Result<Replica, Error> {
        let Replica { id: from, node } = self.replica;
        let group = GroupId::CATALOG;
        let id = self.begun_as.unwrap_or_else(|| ReplicaId(self.catalog.id_after_recovery(group)));
        let command = anabranch_proto::encode_command(&Command::RecoverGroup { group, from });
        let command = self.begun_as.is_none().then_some(Payload::Command(command));
        take_over(self.log.as_ref(), id, Member { node }, command).await?;
        Ok(Replica { id, node })
    }
}

/// Has `store`, on which no node runs, forget its replica of the catalog. Says whether it held one.
///
/// # Errors
/// [`Error::OutOfService`] if it can't be written.
pub async fn give_up_catalog(store: &Arc<dyn LogStore>) -> Result<bool, Error> {
    let holds = places::stored_groups(&**store).contains(&GroupId::CATALOG);
    if holds {
        places::remove(GroupId::CATALOG, store).await?;
    }
    Ok(holds)
}

/// The catalog after the last entry of its log.
async fn replay(log: &Arc<dyn GroupLog>) -> Result<Catalog, Error> {
    let out_of_service = |error: &dyn std::fmt::Display| Error::OutOfService(error.to_string());
    let first = log.state(StateKey::Founders)?.ok_or_else(|| unreadable("what it began with"))?;
    let first = anabranch_proto::decode_catalog(first).map_err(|error| out_of_service(&error))?;
    let machine = Box::new(CatalogMachine::new(first).0);
    // Of no node: nobody reads them.
    let metrics = Arc::new(Metrics::new(&Registry::default()));
    let applier = Applier::open(Arc::clone(log), machine, Arc::new(Progress::default()), metrics);
    let (mut machine, applied) = applier.map_err(|error| out_of_service(&error))?.into_machine();
    let mut next = applied.map_or(0, |applied| applied.index + 1);
    let end = log.log_state().last.map_or(0, |last| last.index + 1);
    while next < end {
        let entries = log.read(next..end, READ_BYTES).await?;
        next = entries.last().ok_or_else(|| unreadable("its log"))?.log_id.index + 1;
        for entry in entries {
            let payload = Payload::decode(entry.payload).map_err(|error| out_of_service(&error))?;
            if let Payload::Command(command) = payload {
                let applied = machine.apply(entry.log_id.index, command);
                applied.map_err(|error| out_of_service(&error))?;
            }
        }
    }
    anabranch_proto::decode_catalog(machine.encode()).map_err(|error| out_of_service(&error))
}

#[cfg(test)]
mod tests {
    use anabranch_storage::{SimSettings, SimStore};
    use anabranch_types::{Incarnation, NodeId};

    use super::*;

    fn replica(id: u64) -> Replica {
        Replica { id: ReplicaId(id), node: NodeId(id) }
    }

    fn register(node: u64) -> Payload {
        Payload::Command(anabranch_proto::encode_command(&Command::RegisterNode {
            node: NodeId(node),
            incarnation: Incarnation(node),
            starts: 1,
            boot: node,
            grpc_address: format!("127.0.0.1:{node}"),
            api_address: String::new(),
            zone: String::new(),
        }))
    }

    /// What node 2 of three holds, which voted for node 3 in term 7: two registrations.
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
        assert!(
            vote.term > 1 << 32 && vote.replica == recovered.id,
            "no lower term counts any more"
        );
        let written = log.read(3..9, READ_BYTES).await.unwrap();
        assert!(written.iter().all(|entry| entry.log_id.term == vote.term));
        let Ok(Payload::Membership(membership)) = Payload::decode(written[0].payload.clone())
        else {
            panic!("{written:?}");
        };
        assert_eq!(membership.get_joint_config(), &[BTreeSet::from([recovered.id.0])]);

        // Read again, it is what the next start finds.
        let again = StoredCatalog::read(&store).await.unwrap();
        assert_eq!((again.replica, &again.catalog.replicas[..]), (recovered, &[recovered][..]));
        assert_eq!(again.catalog.recovered_as(), Some(recovered.id));
        assert_eq!(again.catalog.nodes.len(), 2);
    }

    #[tokio::test]
    async fn a_recovery_that_was_interrupted_before_the_id_was_written_is_repeated() {
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
    async fn what_is_no_sound_replica_of_the_catalog_is_not_recovered() {
        let empty: Arc<dyn LogStore> = Arc::new(SimStore::new(SimSettings::default()));
        assert!(matches!(StoredCatalog::read(&empty).await, Err(Error::NotFound)));
        assert_eq!(empty.groups(), [], "looking makes nothing");
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
