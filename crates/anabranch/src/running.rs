//! A node and its gateway in this process, from the configuration to a clean end.
//!
//! Order of a start: bind both ports, open the log store, start the node, start the jobs and the gateway; `ready` is
//! called when the node serves. Order of an end: jobs go to other nodes, the node transfers leadership to other nodes,
//! the gateway stops accepting requests and finishes the open ones, the node stops and closes its store. If the log
//! store fails, the process ends at once with an exit code of its own; nothing waits for a disk that hangs.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anabranch_access::ClusterKey;
use anabranch_catalog::ShardRef;
use anabranch_client::{Client, Tables};
use anabranch_cloudwatch::{CloudWatch, Sts};
use anabranch_consumers::{ConsumerGroups, admin_service, group_service};
use anabranch_delivery::{Delivery, ObjectStores};
use anabranch_dynamodb::DynamoDb;
use anabranch_encryption::{KeyFile, KeyProvider, Keyring, Kms, MeasuredProvider, Unprovided};
use anabranch_firehose::Firehose;
use anabranch_functions::{Definitions, Functions, HttpInvoker, function_service};
use anabranch_gateway::{Gateway, GatewaySettings, Platform};
use anabranch_jobs::{Jobs, Work, job_service};
use anabranch_kinesis::{Kinesis, KinesisSettings};
use anabranch_metrics::Registry;
use anabranch_node::{DiskFailure, Node, NodeParts, NodeSettings, bind};
use anabranch_outbound::{Client as OutboundClient, Deadlines};
use anabranch_storage::{LogStore, SegmentStore, Stats};
use anabranch_tls::remind;
use anabranch_transport::{ClockReport, Connector, Listener, TcpConnector, TlsConnector};
use anabranch_types::{Clock, SystemClock};
use anyhow::Context;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock_offset::OffsetClock;
use crate::config::{KeyHolder, Limits, NodeConfig};
use crate::job_member::JobMember;
use crate::metrics_server::{self, Sources};

/// Addresses of a running node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) api: SocketAddr,
    pub(crate) grpc: SocketAddr,
    /// Address of the listener for metrics, if there is one.
    pub(crate) metrics: Option<SocketAddr>,
}

/// The ports of a node, bound.
struct Listeners {
    api: TcpListener,
    grpc: TcpListener,
    metrics: Option<TcpListener>,
}

/// Runs the node until SIGTERM or SIGINT. Then it transfers the leadership of its groups to other nodes and ends in
/// order. A second signal ends the process at once. `ready` is called once the node serves.
pub(crate) async fn run(
    config: NodeConfig,
    ready: impl FnOnce(Addresses) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    stop_on_broken_invariants();
    let mut signals = StopSignals::listen()?;
    let (api, api_address) = bind(&config.listen_api).await?;
    let (grpc, grpc_address) = bind(&config.listen_grpc).await?;
    let (metrics, metrics_address) = match &config.listen_metrics {
        Some(address) => bind(address).await.map(|(metrics, at)| (Some(metrics), Some(at)))?,
        None => (None, None),
    };
    let addresses = Addresses { api: api_address, grpc: grpc_address, metrics: metrics_address };
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let running = start(config, addresses, Listeners { api, grpc, metrics }, stopped);
    tokio::pin!(running);
    let (node, jobs, served) = tokio::select! {
        started = &mut running => started?,
        () = signals.next() => return Ok(()),
    };
    let settled = async {
        node.ready().await;
        ready(addresses)
    };
    tokio::select! {
        announced = async { announced_then_forever(settled).await } => announced?,
        failure = node.failed() => end_with_failed_disk(&failure),
        () = node.superseded() => end_superseded(),
        () = signals.next() => {}
    }
    tracing::info!("stopping");
    let stopping = async {
        let ending = jobs.stop().await;
        node.leave().await;
        drop(ending);
        stop.send_replace(true);
        let result = served.await.context("gateway")?;
        tokio::select! {
            () = node.stop() => {}
            () = node.stalled() => end_with_stalled_disk(),
        }
        result.context("gateway")
    };
    tokio::select! {
        stopped = stopping => stopped,
        failure = node.failed() => end_with_failed_disk(&failure),
        () = signals.again() => {
            tracing::warn!("ends at once");
            std::process::exit(1)
        }
    }
}

/// Folder in the data directory for what waits to be delivered. It has no files with names.
const SPOOL: &str = "spool";
/// Exit code of a process whose log store has failed: EX_IOERR of sysexits.h.
const DISK_FAILED: i32 = 74;

/// Ends the process at once, or starts it again in place if a restart repairs the store. It waits for no thread: a
/// thread inside a call to a disk that hangs never returns.
fn end_with_failed_disk(failure: &DiskFailure) -> ! {
    let reason = &failure.reason;
    if failure.heals_by_restart {
        eprintln!("anabranch: this process starts again in place: {reason}");
        let program = std::env::current_exe().unwrap_or_else(|_| "anabranch".into());
        let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).exec();
        eprintln!("anabranch: it could not: {error}");
    }
    eprintln!(
        "anabranch: the log store has failed, this node ends with code {DISK_FAILED}: {reason}"
    );
    std::process::exit(DISK_FAILED)
}

/// Exit code of a process whose catalog was recovered from another node: EX_TEMPFAIL of sysexits.h.
const SUPERSEDED: i32 = 75;

/// Ends a process whose catalog is no longer valid. It transfers no leadership: the groups that it leads belong to
/// that catalog.
fn end_superseded() -> ! {
    eprintln!(
        "anabranch: the catalog was recovered from another node, this node ends with code {SUPERSEDED}: start it again"
    );
    std::process::exit(SUPERSEDED)
}

/// Ends a process that was asked to stop while its disk makes no progress. For the next start this is a crash, and it
/// recovers from that.
fn end_with_stalled_disk() -> ! {
    eprintln!(
        "anabranch: the disk makes no progress, this node ends with code {DISK_FAILED} without closing its log store"
    );
    std::process::exit(DISK_FAILED)
}

/// The signals that ask a process to stop.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Returns at the second request to stop. Signals within a second of the first one are the same request: a
    /// terminal signals every process of a group, and the process that started this one signals it as well.
    async fn again(&mut self) {
        const SAME: Duration = Duration::from_secs(1);
        let first = Instant::now();
        loop {
            self.next().await;
            if first.elapsed() > SAME {
                return;
            }
        }
    }
}

/// Returns only if `settled` fails.
async fn announced_then_forever(
    settled: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    settled.await?;
    std::future::pending().await
}

type Served = tokio::task::JoinHandle<std::io::Result<()>>;

async fn start(
    config: NodeConfig,
    addresses: Addresses,
    listeners: Listeners,
    mut stopped: tokio::sync::watch::Receiver<bool>,
) -> anyhow::Result<(Node, Jobs, Served)> {
    let Listeners { api, grpc, metrics } = listeners;
    let registry = Registry::default();
    let (dir, storage) = (config.data_dir.clone(), config.storage.clone());
    let spool_folder = config.data_dir.join(SPOOL);
    let measured = registry.clone();
    let open = move || SegmentStore::open_measured(dir, storage, &measured);
    let store: Arc<dyn LogStore> = tokio::task::spawn_blocking(open).await??;
    let clock: Arc<dyn Clock> = match config.clock_offset_file {
        Some(file) => Arc::new(OffsetClock::new(file)),
        None => Arc::new(SystemClock),
    };
    let certificates = config.tls.certificates();
    let (mutual, api_tls) = config.tls.load(config.node, &config.cluster)?;
    let (connector, grpc): (Arc<dyn Connector>, Listener) = match mutual {
        Some(tls) => (Arc::new(TlsConnector::new(tls.clone())), Listener::mutual(grpc, tls)),
        None => (Arc::new(TcpConnector), grpc.into()),
    };
    let settings = NodeSettings {
        node: config.node,
        cluster: config.cluster,
        zone: config.zone,
        grpc_address: config.advertise_grpc.unwrap_or_else(|| addresses.grpc.to_string()),
        api_address: addresses.api.to_string(),
        initial_nodes: config.nodes,
        join: config.join,
        replace_after: config.replace_after,
        account: config.account.clone(),
        cluster_key: ClusterKey::new(*config.token_key.bytes()),
        replicas: config.replication,
    };
    let boot = rand::random();
    // gRPC is served before the jobs begin.
    let (late_jobs, late_functions) = (Arc::new(OnceLock::new()), Arc::new(OnceLock::new()));
    let (served_jobs, served_functions) = (Arc::clone(&late_jobs), Arc::clone(&late_functions));
    let late_groups = Arc::new(OnceLock::new());
    let served_groups = Arc::clone(&late_groups);
    let stored = Arc::clone(&store);
    let provider = MeasuredProvider::new(key_provider(&config.key_holder)?, &registry);
    let keyring = Keyring::new(Arc::new(provider), config.encryption);
    let parts = NodeParts {
        store,
        connector: Arc::clone(&connector),
        clock,
        keyring,
        registry: registry.clone(),
        add_services: Box::new(move |routes| {
            routes.add_service(group_service(Arc::clone(&served_groups), Arc::clone(&served_jobs)));
            routes.add_service(admin_service(served_groups, Arc::clone(&served_jobs)));
            routes.add_service(job_service(served_jobs));
            routes.add_service(function_service(served_functions));
        }),
    };
    let node = Node::start(settings, grpc, boot, parts).await?;
    let client = Client::local(Arc::new(crate::local_node::InProcess(node.clone())), connector);
    let mut settings = GatewaySettings::new(config.token_key);
    settings.account = config.account;
    settings.region = config.region;
    settings.authentication = config.authentication;
    settings.allowed_origins = config.allow_origins;
    settings.service_limits = config.limits == Limits::Aws;
    settings.max_connections = raise_descriptor_limit();
    let (readiness, currency, report) = (node.clone(), node.clone(), node.clone());
    let kinesis = KinesisSettings {
        default_replicas: config.replicas,
        tip_wait: config.tip_wait,
        ..KinesisSettings::default()
    };
    let platform = Platform::new(Arc::new(client), settings, node.clock(), registry.clone());
    let kinesis = Kinesis::new(&platform, kinesis);
    let dynamodb = DynamoDb::new(&platform, config.replicas);
    let tables = Tables::new(Arc::clone(&platform.cluster), config.replicas);
    late_functions.get_or_init(|| Definitions::new(tables.clone(), node.clock()));
    let invoker = HttpInvoker::new(OutboundClient::new(config.outbound, Deadlines::default()));
    let functions = Functions::new(
        Arc::clone(&platform.cluster),
        Arc::new(invoker),
        node.clock(),
        platform.settings.account.clone(),
        platform.settings.region.clone(),
    );
    let stores = ObjectStores::new(config.object_stores);
    let firehose = Firehose::new(&platform, tables.clone(), stores.clone());
    let delivery = Delivery::new(
        Arc::clone(&platform.cluster),
        stores,
        node.clock(),
        config.replicas,
        spool_folder,
        &registry,
    );
    let groups = ConsumerGroups::new(tables.clone(), node.clock(), node.id());
    let groups = late_groups.get_or_init(|| groups).clone();
    let works: Vec<Arc<dyn Work>> = vec![Arc::new(functions), Arc::new(groups), Arc::new(delivery)];
    let member = Arc::new(JobMember(node.clone()));
    let jobs = Jobs::start(works, member, tables, node.clock());
    let jobs = late_jobs.get_or_init(|| jobs).clone();
    let cloudwatch = CloudWatch::new(&platform, &registry);
    let sts = Sts::new(&platform);
    let mut gateway = Gateway::new(platform)
        .with_service(kinesis)
        .with_service(dynamodb)
        .with_service(firehose)
        .with_service(cloudwatch)
        .with_service(sts)
        .with_readiness(move || readiness.is_ready())
        .with_currency_check(move || currency.is_current())
        .with_report(move || cluster_report(&report, &stored.stats()));
    if let Some(tls) = api_tls {
        gateway = gateway.with_tls(tls);
    }
    let observed = node.clone();
    let sources = Sources { registry, readiness: Box::new(move || observed.is_ready()) };
    let served = tokio::spawn(async move {
        let shutdown = async move { drop(stopped.wait_for(|stop| *stop).await) };
        tokio::select! {
            served = gateway.serve(api, shutdown) => served,
            never = remind(certificates) => match never {},
            never = serve_metrics(metrics, sources) => match never {},
        }
    });
    Ok((node, jobs, served))
}

async fn serve_metrics(listener: Option<TcpListener>, sources: Sources) -> Infallible {
    match listener {
        Some(listener) => metrics_server::serve(listener, sources).await,
        None => std::future::pending().await,
    }
}

fn key_provider(holder: &KeyHolder) -> anyhow::Result<Arc<dyn KeyProvider>> {
    Ok(match holder {
        KeyHolder::None => Arc::new(Unprovided),
        KeyHolder::File(file) => Arc::new(KeyFile::open(file)?),
        KeyHolder::Kms { endpoint, region } => Arc::new(Kms::new(endpoint, region)?),
    })
}

/// The body of `GET /cluster`: the nodes, the leader of each shard, the state of this node's replicas, and the
/// figures of its log store, as this node knows them.
fn cluster_report(node: &Node, stored: &Stats) -> String {
    let catalog = node.catalog();
    let catalog = catalog.borrow();
    let nodes = catalog.nodes.iter().map(|(id, node)| {
        json!({ "id": id.0, "api": node.api_address, "grpc": node.grpc_address, "zone": node.zone })
    });
    let shards = catalog.groups().filter_map(|group| {
        let ShardRef { name, shard, .. } = group.shard()?;
        let status = node.shard(group.group).map(|replica| replica.status());
        Some(json!({
            "stream": name.as_str(),
            "shard": shard.id.to_string(),
            "group": group.group.0,
            "leader": status.as_ref().and_then(|status| status.leader).map(|leader| leader.0),
            "replicas": group.replicas.iter().map(|r| json!({ "id": r.id.0, "node": r.node.0 })).collect::<Vec<_>>(),
            "replica": status.as_ref().map(|status| status.replica.0),
            "term": status.as_ref().map(|status| status.term),
            "voters": status.as_ref().map(|status| status.voters.iter().map(|voter| voter.0).collect::<Vec<_>>()),
            "applied": status.as_ref().map(|status| status.applied),
            "checkpoint": status.as_ref().and_then(|status| status.checkpoint),
            "trim_horizon": status.as_ref().map(|status| status.trim_horizon),
            "purged": status.as_ref().and_then(|status| status.purged).map(|purged| purged.index),
            "quarantined": status.as_ref().and_then(|status| status.quarantined.clone()),
        }))
    });
    let encrypted =
        catalog.streams.iter().filter(|(_, stream)| !stream.encryption.data_keys.is_empty());
    let data_keys = encrypted.map(|(name, stream)| {
        let numbers: Vec<_> = stream.encryption.data_keys.keys().collect();
        (name.to_string(), json!(numbers))
    });
    let data_keys: serde_json::Map<_, _> = data_keys.collect();
    let report = json!({
        "node": node.id().0,
        "time_millis": node.clock().now().as_millis(),
        "clocks": clocks(&node.clocks()),
        "version": catalog.version,
        "nodes": nodes.collect::<Vec<_>>(),
        "catalog": node.catalog_replica().map(|replica| {
            let status = replica.status();
            json!({
                "leader": status.leader.map(|leader| leader.0),
                "replica": status.replica.0,
                "term": status.term,
                "voters": status.voters.iter().map(|voter| voter.0).collect::<Vec<_>>(),
                "applied": status.applied,
            })
        }),
        "shards": shards.collect::<Vec<_>>(),
        "data_keys": data_keys,
        "storage": {
            "segments_live": stored.segments_live,
            "segments_free": stored.segments_free,
            "segments_reclaimed": stored.segments_reclaimed,
            "live_bytes": stored.live_bytes,
            "cache_bytes": stored.cache_bytes,
            "queued_bytes": stored.queued_bytes,
            "quarantined_groups": stored.quarantined_groups,
            "disk": stored.disk.to_string(),
            "available_bytes": stored.available_bytes,
            "ballast_bytes": stored.ballast_bytes,
            "sync_micros": micros(stored.sync_time),
            "longest_sync_micros": micros(stored.longest_sync),
            "writing_for_micros": micros(stored.writing_for),
        },
    });
    report.to_string()
}

/// Whether a majority agrees on the time, and how far each node's clock is ahead of the agreed time.
fn clocks(report: &ClockReport) -> serde_json::Value {
    let ahead = report.ahead_millis.iter().map(|(node, ahead)| {
        json!({ "node": node.0, "ahead_millis": ahead, "wrong": report.far.contains(node) })
    });
    json!({ "agreed": report.is_agreed, "nodes": ahead.collect::<Vec<_>>() })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Makes a panic in replicated code end the process: an invariant is broken there. The other replicas go on, while a
/// node with a dead group inside would go on answering. A panic in a service ends only its request.
fn stop_on_broken_invariants() {
    const REPLICATED: [&str; 8] = [
        "crates/catalog/",
        "crates/shard/",
        "crates/table/",
        "crates/storage/",
        "crates/transport/",
        "crates/replica/",
        "crates/node/",
        "openraft",
    ];
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        let file = panic.location().map_or("", std::panic::Location::file);
        if REPLICATED.iter().any(|part| file.contains(part)) {
            std::process::abort();
        }
    }));
}

/// Raises the limit of open files to the hard limit, and returns how many connections fit beside the files of the
/// log.
fn raise_descriptor_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const OWN_FILES: u64 = 1024;
    const MOST_CONNECTIONS: u64 = 65_536;
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "limit of open files stays as it is");
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(MOST_CONNECTIONS);
    let connections = files.saturating_sub(OWN_FILES).clamp(64, MOST_CONNECTIONS);
    usize::try_from(connections).unwrap_or(4096)
}
