//! Workloads: what clients do while faults happen. Each workload is a file in `workloads/` and a row in [`all`].

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use async_trait::async_trait;
use chaos_checkers::history::{Create, Status, StreamName};
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep};

use crate::admin::Admin;
use crate::scene::Scene;
use crate::session::Session;
use crate::workloads;

/// A workload.
#[async_trait]
pub(crate) trait Workload: Send + Sync {
    /// Makes what the clients need. No fault happens yet.
    async fn prepare(&self, scene: &Scene, admin: &Admin) -> Result<()>;

    /// The clients. Each runs in the network with faults until [`Scene::goes_on`] is false.
    fn clients(&self, scene: &Scene, admin: &Admin) -> Vec<BoxFuture<'static, ()>>;

    /// After the last heal, while the clients go on: waits until the workload works again, and records how long it
    /// took.
    async fn recover(&self, _scene: &Scene, _healed: Instant) {}

    /// Reads what the workload left, after the clients have stopped.
    async fn read_at_end(&self, _scene: &Scene) {}

    /// Streams whose shards are read to the end after the last heal, through every gateway and on every replica.
    fn streams(&self) -> Vec<StreamName>;
}

/// A row of the list of workloads.
pub(crate) struct WorkloadKind {
    /// Name in `WORKLOADS`.
    pub(crate) name: &'static str,
    /// One sentence for `--help` and the report.
    pub(crate) about: &'static str,
    pub(crate) make: fn() -> Arc<dyn Workload>,
}

/// All workloads.
pub(crate) fn all() -> Vec<WorkloadKind> {
    vec![
        WorkloadKind {
            name: "records",
            about: "producers and readers of streams whose shards are split and merged",
            make: || Arc::new(workloads::records::Records),
        },
        WorkloadKind {
            name: "consumers",
            about: "consumers that keep checkpoints, die, and go on; parents before children",
            make: || Arc::new(workloads::consumers::Consumers),
        },
        WorkloadKind {
            name: "catalog",
            about: "tags and policies as registers, streams and consumers as sets: linearizable",
            make: || Arc::new(workloads::catalog::CatalogWork),
        },
        WorkloadKind {
            name: "retries",
            about: "SDK retries with the same invocation id (no copies) and without (copies are counted)",
            make: || Arc::new(workloads::retries::Retries),
        },
        WorkloadKind {
            name: "push",
            about: "subscribers of SubscribeToShard",
            make: || Arc::new(workloads::push::Push),
        },
        WorkloadKind {
            name: "retention",
            about: "the clocks of all nodes move days ahead, and records are trimmed while readers read",
            make: || Arc::new(workloads::retention::RetentionWork),
        },
        WorkloadKind {
            name: "encrypted",
            about: "an encrypted stream whose data keys change all the time",
            make: || Arc::new(workloads::encrypted::Encrypted),
        },
        WorkloadKind {
            name: "access",
            about: "users, keys and policies: nothing is allowed after its removal was acknowledged",
            make: || Arc::new(workloads::access::Access::default()),
        },
        WorkloadKind {
            name: "tables",
            about: "items of tables as registers with conditional writes, and transactions: linearizable",
            make: || Arc::new(workloads::tables::TablesWork::default()),
        },
        WorkloadKind {
            name: "leases",
            about: "leases of KCL workers and of members of a group, who pause too long: fenced checkpoints",
            make: || Arc::new(workloads::leases::Leases::default()),
        },
    ]
}

/// The workloads that a list of names selects, separated by commas: `default`, `all`, or names.
///
/// # Errors
/// Names a workload that does not exist.
pub(crate) fn select(names: &str) -> Result<Vec<WorkloadKind>> {
    let mut selected: Vec<WorkloadKind> = Vec::new();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let found =
            all().into_iter().filter(|kind| matches!(name, "default" | "all") || kind.name == name);
        let found: Vec<_> = found.collect();
        ensure!(!found.is_empty(), "WORKLOADS: there is no workload {name}; --help lists all");
        for kind in found {
            if selected.iter().all(|known| known.name != kind.name) {
                selected.push(kind);
            }
        }
    }
    ensure!(!selected.is_empty(), "WORKLOADS: names no workload");
    Ok(selected)
}

/// Longest time until a stream is ACTIVE, without faults.
const ACTIVE: Duration = Duration::from_secs(30);
/// Retention of streams in which nothing is to be trimmed, in hours: the longest that the service has.
pub(crate) const LONG_RETENTION: u64 = 8760;

/// Creates a stream and waits until it is ACTIVE.
pub(crate) async fn create_stream(
    session: &mut Session,
    stream: &StreamName,
    shards: u32,
) -> Result<()> {
    let create = Create { stream: stream.clone(), shards, retention_hours: None };
    session.create(create).await.map_err(|failure| anyhow!("{stream}: {}", failure.reason()))?;
    active(session, stream).await
}

/// Creates a stream whose records outlive every jump of the clocks.
pub(crate) async fn create_lasting_stream(
    session: &mut Session,
    stream: &StreamName,
    shards: u32,
) -> Result<()> {
    create_stream(session, stream, shards).await?;
    let set = chaos_checkers::history::Retention { stream: stream.clone(), hours: LONG_RETENTION };
    let raised = session.retention(set, true).await;
    raised.map_err(|failure| anyhow!("{stream}: {}", failure.reason()))?;
    active(session, stream).await
}

/// Waits until a stream is ACTIVE.
pub(crate) async fn active(session: &mut Session, stream: &StreamName) -> Result<()> {
    let deadline = Instant::now() + ACTIVE;
    loop {
        let last = match session.describe(stream).await {
            Ok(status) if status.status == Status::Active => return Ok(()),
            Ok(status) => format!("{:?}", status.status),
            Err(failure) => failure.reason().to_owned(),
        };
        ensure!(Instant::now() < deadline, "{stream} is not ACTIVE after {ACTIVE:?}: {last}");
        sleep(Duration::from_millis(100)).await;
    }
}
