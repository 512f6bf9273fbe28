//! openraft's own suite for log stores, on both log stores. The suite needs a state machine too. The tests give it a
//! state machine that keeps its snapshot in memory.

use std::io;
use std::sync::{Arc, Mutex};

use anabranch_replica::suite::{LogAdapter, Outcome, TypeConfig};
use anabranch_storage::{LogStore, SegmentStore, SimSettings, SimStore, StorageSettings};
use anabranch_types::GroupId;
use bytes::Bytes;
use futures::stream::{Stream, StreamExt};
use openraft::entry::RaftEntry as _;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{OptionalSend, StorageError};

#[derive(Clone, Default)]
struct Machine {
    applied: Option<LogIdOf<TypeConfig>>,
    membership: StoredMembershipOf<TypeConfig>,
    snapshot: Arc<Mutex<Option<SnapshotOf<TypeConfig, Bytes>>>>, // shared with builders
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, Bytes>, io::Error> {
        let (last_log_id, last_membership) = (self.applied, self.membership.clone());
        let meta = SnapshotMetaOf::<TypeConfig> { last_log_id, last_membership };
        let snapshot = SnapshotOf::<TypeConfig, Bytes> { meta, snapshot: Bytes::new() };
        *self.snapshot.lock().unwrap() = Some(snapshot.clone());
        Ok(snapshot)
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<TypeConfig>>, StoredMembershipOf<TypeConfig>), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            self.applied = Some(entry.log_id());
            if let Some(membership) = entry.get_membership() {
                self.membership = StoredMembershipOf::<TypeConfig>::new(self.applied, membership);
            }
            if let Some(responder) = responder {
                responder.send(Outcome::None);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: Bytes,
    ) -> Result<(), io::Error> {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        let snapshot = SnapshotOf::<TypeConfig, Bytes> { meta: meta.clone(), snapshot };
        *self.snapshot.lock().unwrap() = Some(snapshot);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, Bytes>>, io::Error> {
        Ok(self.snapshot.lock().unwrap().clone())
    }
}

/// Keeps what a store needs as long as the store is being tested.
type Guard = (Arc<dyn LogStore>, Option<tempfile::TempDir>);

fn adapter(
    store: Arc<dyn LogStore>,
    dir: Option<tempfile::TempDir>,
) -> (Guard, LogAdapter, Machine) {
    let log = store.group(GroupId(1)).unwrap();
    ((store, dir), LogAdapter::new(log), Machine::default())
}

struct Simulated;

impl StoreBuilder<TypeConfig, LogAdapter, Machine, Guard> for Simulated {
    async fn build(&self) -> Result<(Guard, LogAdapter, Machine), StorageError<TypeConfig>> {
        Ok(adapter(Arc::new(SimStore::new(SimSettings::default())), None))
    }
}

struct OnDisk;

impl StoreBuilder<TypeConfig, LogAdapter, Machine, Guard> for OnDisk {
    async fn build(&self) -> Result<(Guard, LogAdapter, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let settings = StorageSettings {
            segment_bytes: 256 << 10,
            ballast_bytes: 256 << 10,
            ..StorageSettings::default()
        };
        let store = SegmentStore::open(dir.path(), settings).unwrap();
        Ok(adapter(store, Some(dir)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulated_store_passes_openrafts_suite() {
    Suite::test_all(Simulated).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_segment_store_passes_openrafts_suite() {
    Suite::test_all(OnDisk).await.unwrap();
}
