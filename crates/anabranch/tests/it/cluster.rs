//! `anabranch server` as real processes on free loopback ports, and their sudden deaths.

use std::fs::{self, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{NewStream, StreamCommand, StreamStatus, samples};
use anabranch_client::{Client, ShardRoute};
use anabranch_proto::v1;
use anabranch_proto::v1::log_service_client::LogServiceClient;
use anabranch_shard::{Page, PageBatch, Position, Record};
use anabranch_smalldisk::SmallDisk;
use anabranch_transport::{Connector, Destination, TcpConnector};
use anabranch_types::{Clock, GroupId, SystemClock, Timestamp};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use rand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;
use tonic::transport::Channel;

use crate::waiting::wait_for;

/// Settings with small segments and short intervals: segments are filled, emptied and used again within seconds.
pub(crate) const BUSY_LOGS: &str = "
[storage]
segment-bytes = 1048576
cache-bytes = 2097152
reclaim-interval-ms = 50
[replication]
checkpoint-interval-ms = 150
maintenance-interval-ms = 50
";

/// Clusters run one after the other: the tests measure times, and a machine may have only two cores.
static ALONE: Mutex<()> = Mutex::const_new(());

const BINARY: &str = env!("CARGO_BIN_EXE_anabranch");
const CALL: Duration = Duration::from_secs(5);
/// How long records are kept in the streams of the tests.
pub(crate) const RETENTION_HOURS: u32 = 24;

/// A cluster of processes. When it is dropped, it kills the processes and removes its directory. If the test failed,
/// it keeps the directory and prints the last log lines of each node.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
    clock_file: PathBuf,
    offset: Duration,
    dir: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// One node: its process, if it runs, and everything that remains when the process is killed.
pub(crate) struct Server {
    pub(crate) id: u64,
    pub(crate) data_dir: PathBuf,
    api: SocketAddr,
    grpc: SocketAddr,
    config: PathBuf,
    log: PathBuf,
    process: Option<Child>,
    pub(crate) channel: Channel,
}

/// A record as a reader receives it.
pub(crate) type Seen = (Position, Timestamp, Record);

impl Cluster {
    /// Starts `nodes` processes and waits until each serves. `settings` are tables of the configuration.
    pub(crate) async fn start(nodes: u64, settings: &str) -> Self {
        Self::start_with(nodes, "", settings, |id, dir| dir.join(format!("node-{id}"))).await
    }

    /// As [`Self::start`], each node on its own disk of `disk_bytes`. `None` if this machine cannot mount disks.
    pub(crate) async fn on_small_disks(
        nodes: u64,
        disk_bytes: u64,
        settings: &str,
    ) -> Option<(Self, Vec<SmallDisk>)> {
        let disks: Vec<_> = (0..nodes).map_while(|_| SmallDisk::mount(disk_bytes)).collect();
        if (disks.len() as u64) < nodes {
            return None;
        }
        let data_dir =
            |id: u64, _: &Path| disks[usize::try_from(id).unwrap() - 1].path().join("data");
        let cluster = Self::start_with(nodes, "", settings, data_dir).await;
        Some((cluster, disks))
    }

    /// As [`Self::start`], with the data of node `id` in `data_dir(id, directory of the cluster)`. `head` has keys of
    /// the configuration that come before its tables.
    pub(crate) async fn start_with(
        nodes: u64,
        head: &str,
        settings: &str,
        data_dir: impl Fn(u64, &Path) -> PathBuf,
    ) -> Self {
        let alone = ALONE.lock().await;
        let dir = tempfile::Builder::new().prefix("anabranch-it-").tempdir().unwrap();
        let clock_file = dir.path().join("clock-offset");
        let ports: Vec<_> = (0..2 * nodes).map(|_| free_port()).collect();
        let peers: Vec<_> = (1..).zip(ports.chunks(2)).map(|(id, ports)| (id, ports[1])).collect();
        let servers = (1..).zip(ports.chunks(2)).map(|(id, ports)| {
            let data_dir = data_dir(id, dir.path());
            let server = Server::new(id, dir.path(), data_dir, ports[0], ports[1]);
            let nodes =
                peers.iter().map(|(id, grpc)| format!("[[nodes]]\nnode = {id}\ngrpc = '{grpc}'\n"));
            server.configure(&clock_file, head, &(nodes.collect::<String>() + settings));
            server
        });
        let nodes = servers.collect();
        let mut cluster = Self { nodes, clock_file, offset: Duration::ZERO, dir, _alone: alone };
        cluster.start_all();
        cluster.all_ready().await;
        cluster
    }

    /// Starts a node that joins, and waits until it serves.
    pub(crate) async fn join(&mut self, id: u64, head: &str, settings: &str) {
        let data_dir = self.dir.path().join(format!("node-{id}"));
        let mut server = Server::new(id, self.dir.path(), data_dir, free_port(), free_port());
        let living = self.nodes.iter().filter(|node| node.process.is_some());
        let join: Vec<_> = living.map(|node| format!("'{}'", node.grpc)).collect();
        let head = format!("{head}join = [{}]\n", join.join(", "));
        server.configure(&self.clock_file, &head, settings);
        server.start();
        server.ready().await;
        self.nodes.push(server);
    }

    pub(crate) fn start_all(&mut self) {
        self.nodes.iter_mut().for_each(Server::start);
    }

    /// Sends SIGKILL to every node, with as little time between them as possible.
    pub(crate) fn kill_all(&mut self) {
        self.nodes.iter_mut().for_each(Server::signal_kill);
        self.nodes.iter_mut().for_each(Server::kill);
    }

    pub(crate) async fn all_ready(&mut self) {
        for node in &mut self.nodes {
            node.ready().await;
        }
    }

    /// A client of the cluster.
    pub(crate) async fn client(&self) -> Client {
        let seeds = self.nodes.iter().map(|node| node.grpc.to_string()).collect();
        Client::connect(seeds, connector()).await.unwrap()
    }

    /// Creates a stream and waits until it is active. Returns the routes to its shards.
    pub(crate) async fn create_stream(&self, client: &Client, shards: u32) -> Vec<Arc<ShardRoute>> {
        self.create_stream_named(client, "it", shards).await
    }

    /// As [`Self::create_stream`], with a name.
    pub(crate) async fn create_stream_named(
        &self,
        client: &Client,
        name: &str,
        shards: u32,
    ) -> Vec<Arc<ShardRoute>> {
        let new = NewStream {
            retention_hours: RETENTION_HOURS,
            now: self.now(),
            ..samples::new_stream(name, shards)
        };
        let name = new.name.clone();
        client.propose(StreamCommand::Create(new).into()).await.unwrap();
        wait_for("the stream is active", async || {
            let view = client.view();
            let stream = view.stream(&name).ok_or("no stream")?;
            if stream.stream.status != StreamStatus::Active {
                return Err("being created");
            }
            Ok(stream
                .stream
                .shards
                .keys()
                .map(|id| Arc::clone(stream.shard(*id).unwrap()))
                .collect())
        })
        .await
    }

    /// The time on the clocks of the nodes.
    pub(crate) fn now(&self) -> Timestamp {
        SystemClock.now().plus(self.offset)
    }

    /// Sets the clock of every node forward, and waits until each node has noticed. A call under way at that moment
    /// may be stamped with either time.
    pub(crate) async fn advance(&mut self, hours: u64) {
        self.offset += Duration::from_secs(hours * 3600);
        let fresh = self.clock_file.with_extension("new");
        fs::write(&fresh, self.offset.as_secs().to_string()).unwrap();
        fs::rename(&fresh, &self.clock_file).unwrap();
        let now = self.now().as_millis();
        for node in &self.nodes {
            wait_for(format!("node {} notices the time", node.id), async || {
                let time = node.report().await["time_millis"].as_u64();
                if time >= Some(now) { Ok(()) } else { Err(format!("{time:?}")) }
            })
            .await;
        }
    }

    /// Every record that the leader of `group` returns: all acknowledged records.
    pub(crate) async fn read_leader(&self, group: GroupId) -> Vec<Seen> {
        wait_for(format!("a leader of group {group}"), async || {
            let mut last = String::new();
            for node in self.nodes.iter().filter(|node| node.process.is_some()) {
                match node.read(group, true).await {
                    Ok(records) => return Ok(records),
                    Err(status) => last = status.to_string(),
                }
            }
            Err(last)
        })
        .await
    }

    /// Waits until every replica of `group` returns the same records as its leader. Until then, the records of a
    /// replica must be equal to those of the leader wherever both have a record.
    pub(crate) async fn replicas_are_equal(&self, group: GroupId) -> Vec<Seen> {
        let records = self.read_leader(group).await;
        for node in &self.nodes {
            wait_for(format!("node {} shows all of group {group}", node.id), async || {
                let own = node.read(group, false).await.map_err(|status| status.to_string())?;
                let (have, of) = (own.len(), records.len());
                let (own_from, from) = (own.first().map(|r| r.0), records.first().map(|r| r.0));
                let common = own_from.max(from);
                let theirs = records.iter().skip_while(|record| Some(record.0) < common);
                let differs = own
                    .iter()
                    .skip_while(|record| Some(record.0) < common)
                    .zip(theirs)
                    .find(|(a, b)| a != b);
                assert!(
                    differs.is_none(),
                    "node {} of group {group} differs from its leader: {differs:?}",
                    node.id
                );
                if own == records {
                    return Ok(());
                }
                Err(format!("{have} records from {own_from:?}, of {of} from {from:?}"))
            })
            .await;
        }
        records
    }

    /// Waits until every replica of `group` has applied everything and has a checkpoint at its last entry. A trim
    /// goes only to a checkpoint, so without one the newest records could not be trimmed before more arrive.
    pub(crate) async fn checkpoints_cover_all(&self, group: GroupId) {
        for node in &self.nodes {
            wait_for(format!("a checkpoint ends group {group} on node {}", node.id), async || {
                let report = node.report_of(group).await;
                let checkpoint = report["checkpoint"].as_u64().map_or(0, |index| index + 1);
                let applied = report["applied"].as_u64().unwrap_or_default();
                let covers = checkpoint > 0 && checkpoint == applied;
                if covers { Ok(()) } else { Err(format!("ends at {checkpoint} of {applied}")) }
            })
            .await;
        }
    }

    /// Waits until every replica of `group` has the same trim horizon, above 0, and has purged up to it.
    pub(crate) async fn replicas_trim_alike(&self, group: GroupId) {
        wait_for(format!("all replicas trim group {group} alike"), async || {
            let mut horizons = Vec::new();
            for node in &self.nodes {
                let report = node.report_of(group).await;
                let horizon = report["trim_horizon"].as_u64().unwrap_or_default();
                let purged = report["purged"].as_u64().map_or(0, |purged| purged + 1);
                horizons.extend([horizon, purged]);
            }
            let alike = horizons[0] > 0 && horizons.iter().all(|horizon| *horizon == horizons[0]);
            if alike { Ok(()) } else { Err(format!("horizon and purge of each: {horizons:?}")) }
        })
        .await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_all();
        if !std::thread::panicking() {
            return;
        }
        for node in &self.nodes {
            let text = node.log_text();
            let tail: Vec<_> = text.lines().rev().take(40).collect();
            println!("--- node {} said last:", node.id);
            tail.iter().rev().for_each(|line| println!("{line}"));
        }
        self.dir.disable_cleanup(true);
        println!("kept: {}", self.dir.path().display());
    }
}

impl Server {
    fn new(id: u64, dir: &Path, data_dir: PathBuf, api: SocketAddr, grpc: SocketAddr) -> Self {
        Self {
            id,
            data_dir,
            api,
            grpc,
            config: dir.join(format!("node-{id}.toml")),
            log: dir.join(format!("node-{id}.log")),
            process: None,
            channel: anabranch_transport::channel(&connector(), Destination::any(grpc.to_string())),
        }
    }

    /// Writes the configuration file.
    fn configure(&self, clock_file: &Path, head: &str, tables: &str) {
        let own = format!(
            "node = {}\ncluster = 'it'\nlisten-api = '{}'\nlisten-grpc = '{}'\ndata-dir = '{}'\n\
             token-key = '{}'\nauthentication = 'any'\nclock-offset-file = '{}'\n",
            self.id,
            self.api,
            self.grpc,
            self.data_dir.display(),
            "5e".repeat(32),
            clock_file.display(),
        );
        fs::write(&self.config, own + head + tables).unwrap();
    }

    pub(crate) fn start(&mut self) {
        assert!(self.process.is_none(), "node {} runs", self.id);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["server", "--config"]).arg(&self.config);
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
    }

    /// Sends SIGKILL, and returns when the process is dead.
    pub(crate) fn kill(&mut self) {
        self.signal_kill();
        if let Some(mut process) = self.process.take() {
            process.wait().unwrap();
        }
    }

    fn signal_kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill().unwrap();
        }
    }

    /// Sends SIGTERM, and returns when the process has ended with success.
    pub(crate) async fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
        let status = wait_for(format!("node {} ends", self.id), async || {
            process.try_wait().unwrap().ok_or("it runs")
        })
        .await;
        assert!(status.success(), "node {}: {status}", self.id);
    }

    /// Waits until the process has ended by itself; returns its exit status.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        wait_for(format!("node {} ends", self.id), async || {
            process.try_wait().unwrap().ok_or("it runs")
        })
        .await
    }

    /// The output of `anabranch ctl` against this node, or its error text.
    pub(crate) fn ctl(&self, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(BINARY);
        command.args(["ctl", "--node", &self.grpc.to_string()]).args(args);
        let output = command.env("NO_COLOR", "1").stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        match output.status.success() {
            true => Ok(text(output.stdout)),
            false => Err(text(output.stderr)),
        }
    }

    /// The HTTP status of a GET.
    pub(crate) async fn get(&self, path: &str) -> Result<u16, String> {
        Ok(get(self.api, path).await?.0)
    }

    /// Waits until the node answers 200 on `/readyz`.
    pub(crate) async fn ready(&mut self) {
        let process = self.process.as_mut().expect("was started");
        let (id, api) = (self.id, self.api);
        wait_for(format!("node {id} is ready"), async || {
            if let Some(status) = process.try_wait().unwrap() {
                panic!("node {id} ended: {status}");
            }
            match get(api, "/readyz").await? {
                (200, _) => Ok(()),
                (status, _) => Err(format!("/readyz: {status}")),
            }
        })
        .await;
    }

    /// Whether the node answers 200 on `/readyz`.
    pub(crate) async fn is_ready(&self) -> bool {
        matches!(get(self.api, "/readyz").await, Ok((200, _)))
    }

    /// The answer to `GET /cluster`, or the reason why the node gives no answer.
    pub(crate) async fn try_report(&self) -> Result<Value, String> {
        let (_, body) = get(self.api, "/cluster").await?;
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }

    /// The answer to `GET /cluster`, as soon as the node gives one.
    pub(crate) async fn report(&self) -> Value {
        wait_for(format!("report of node {}", self.id), async || self.try_report().await).await
    }

    /// The part of the node's report about one shard.
    pub(crate) async fn report_of(&self, group: GroupId) -> Value {
        shard_of(&self.report().await, group)
    }

    /// Every record that the node's replica of `group` returns, or the refusal.
    pub(crate) async fn read(
        &self,
        group: GroupId,
        leader_only: bool,
    ) -> Result<Vec<Seen>, tonic::Status> {
        let mut client =
            LogServiceClient::new(self.channel.clone()).max_decoding_message_size(64 << 20);
        let (mut from, mut records) = (Position::default(), Vec::new());
        loop {
            let mut request = tonic::Request::new(v1::ReadRequest {
                group: group.0,
                from: Some(from.into()),
                max_records: 0,
                max_bytes: 0,
                leader_only,
                wait_millis: 0,
            });
            request.set_timeout(CALL);
            let page = page(client.read(request).await?.into_inner());
            records.extend(page.records());
            if page.batches.is_empty() {
                return Ok(records);
            }
            from = page.next;
        }
    }

    /// Everything that the process printed, since the first start of the node.
    pub(crate) fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Segment files of the log, oldest first.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.data_dir.join("segments")).unwrap();
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
        paths.sort_unstable();
        paths
    }

    /// Resident set of the process now, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let process = self.process.as_ref().expect("runs");
        let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }
}

/// Copies a directory, as a backup does.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "{status}");
}

/// The part of a report about `group`; null if the report has no such group.
pub(crate) fn shard_of(report: &Value, group: GroupId) -> Value {
    let mut shards = report["shards"].as_array().into_iter().flatten();
    shards.find(|shard| shard["group"] == group.0).cloned().unwrap_or_default()
}

fn page(message: v1::ReadResponse) -> Page {
    let batch = |batch: v1::PageBatch| PageBatch {
        log_index: batch.log_index,
        arrival: Timestamp::from_millis(batch.arrival_millis),
        first: u16::try_from(batch.first).unwrap(),
        records: batch.records,
        batch: batch.batch,
        encrypted: batch.encrypted,
    };
    Page {
        batches: message.batches.into_iter().map(batch).collect(),
        next: message.next.unwrap().try_into().unwrap(),
        behind: Duration::from_millis(message.behind_millis),
    }
}

fn connector() -> Arc<dyn Connector> {
    Arc::new(TcpConnector)
}

async fn get(address: SocketAddr, path: &str) -> Result<(u16, Bytes), String> {
    let client = legacy::Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let uri = format!("http://{address}{path}").parse().unwrap();
    let answer = timeout(CALL, client.get(uri)).await.map_err(|error| error.to_string())?;
    let answer = answer.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
    Ok((status, body.to_bytes()))
}

/// A port that stays free while its node is dead: below the ports that the system gives to connections.
fn free_port() -> SocketAddr {
    let free = || {
        let address = SocketAddr::from(([127, 0, 0, 1], rand::rng().random_range(12_000..32_000)));
        TcpListener::bind(address).is_ok().then_some(address)
    };
    std::iter::repeat_with(free).take(1000).flatten().next().expect("a free port")
}
