//! `anabranch dev`: one node in this process, or several as child processes on loopback.
//!
//! Order: the folder is locked ([`FolderLock`]), then certificates and configurations are written, then nodes start. So
//! a second `dev` on a folder in use changes nothing that the running nodes need.

use std::fs::{File, OpenOptions, TryLockError};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anabranch_encryption::KeyFile;
use anabranch_storage::SegmentStore;
use anyhow::{Context, bail};
use clap::Args;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use crate::cluster_file::{self, NodeEntry, PidFile};
use crate::config::{
    Limits, NodeConfig, RawAuthentication, RawEncryption, RawNodeConfig, RawPeer, new_token_key,
};
use crate::ctl::certs;
use crate::privacy;
use crate::running::{self, Addresses};
use crate::tls_config::RawTls;

/// `anabranch dev`
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Where the Kinesis API listens; with several nodes each takes the next port. Port 0 takes free ones
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4567", value_parser = listen_address)]
    listen: SocketAddr,
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = "./anabranch-data")]
    data_dir: PathBuf,
    /// How many nodes; more than one run as child processes, really replicated
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Whose limits hold
    #[arg(long, value_enum, value_name = "WHOSE", default_value_t = Limits::Unlimited)]
    limits: Limits,
    /// HTTPS, and mutual TLS of the gRPC ports, with certificates that are made in DATA-DIR/tls
    #[arg(long)]
    tls: bool,
    /// Lets the pages of this origin call, beside those of loopback: `https://console.example`. May be given repeatedly
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// For tests: a file with the whole seconds by which the nodes' clocks are ahead of the machine's (may be negative)
    #[arg(long, value_name = "FILE")]
    clock_offset_file: Option<PathBuf>,
}

const CONFIG: &str = "node.toml";
/// The master key of Kinesis itself in an account of AWS; consoles and examples name it.
const DEFAULT_MASTER_KEY: &str = "alias/aws/kinesis";
const CLUSTER: &str = "dev";

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(args: DevArgs) -> anyhow::Result<()> {
    crate::init_logging();
    privacy::keep();
    privacy::make_dir(&args.data_dir)?;
    let data_dir = std::path::absolute(&args.data_dir)?;
    let _locked = FolderLock::take(&data_dir)?;
    println!("any credentials are accepted; data in {}", data_dir.display());
    let tls_dir = args.tls.then(|| data_dir.join("tls"));
    if let Some(dir) = &tls_dir {
        make_certificates(dir, &args)?;
        println!("clients are to trust {}", dir.join("ca.pem").display());
    }
    if args.nodes == 1 {
        one(args, &data_dir, tls_dir).await
    } else {
        several(args, &data_dir, tls_dir).await
    }
}

/// The right to change what is in the folder of a cluster, for as long as this process runs.
struct FolderLock(#[expect(dead_code, reason = "dropping the file ends the lock")] File);

impl FolderLock {
    const NAME: &str = "dev.lock";

    /// Refuses a folder on which another `dev` runs, or a node that outlived its `dev`.
    fn take(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(Self::NAME);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("data-dir {}: in use by another `anabranch dev`", dir.display())
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| path.display().to_string());
            }
        }
        for entry in std::fs::read_dir(dir)? {
            SegmentStore::check_free(entry?.path()).context("a node still runs: stop it first")?;
        }
        Ok(Self(file))
    }
}

/// The address that a text means: of a name, the first in IPv4, or else the first.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let resolved = text.to_socket_addrs().map_err(|error| format!("must be HOST:PORT: {error}"))?;
    let addresses: Vec<SocketAddr> = resolved.collect();
    let preferred = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    preferred.copied().ok_or_else(|| "the host has no address".to_owned())
}

/// Everything in this process.
async fn one(args: DevArgs, dir: &Path, tls_dir: Option<PathBuf>) -> anyhow::Result<()> {
    let node_dir = dir.join("node-1");
    let nodes = [reserve(&args, 0)?];
    let config_file = write_configs(dir, &nodes, &args, tls_dir.as_deref())?.remove(0);
    let mut config = NodeConfig::read(&config_file, Vec::new())?;
    config.listen_api = args.listen.to_string();
    let pid_file = PidFile::write(&node_dir)?;
    let mut command = vec![
        std::env::current_exe()?.display().to_string(),
        "dev".into(),
        "--data-dir".into(),
        dir.display().to_string(),
    ];
    if args.limits == Limits::Aws {
        command.extend(["--limits".into(), "aws".into()]);
    }
    if args.tls {
        command.push("--tls".into());
    }
    for origin in &args.allow_origin {
        command.extend(["--allow-origin".into(), origin.clone()]);
    }
    if let Some(file) = clock_offset_file(&args)? {
        command.extend(["--clock-offset-file".into(), file.display().to_string()]);
    }
    let dir = dir.to_owned();
    let result = running::run(config, move |Addresses { api, grpc, .. }| {
        let command = [command, vec!["--listen".into(), api.to_string()]].concat();
        let (api, grpc) = (api.to_string(), grpc.to_string());
        let pid = std::process::id();
        let entry = NodeEntry { id: 1, pid, api: api.clone(), grpc, data_dir: node_dir, command };
        cluster_file::write(&dir, tls_dir.as_deref(), &[entry])?;
        println!("ready: Kinesis API on {}://{api}", scheme(args.tls));
        Ok(())
    })
    .await;
    drop(pid_file);
    result
}

/// A child process for each node.
async fn several(args: DevArgs, dir: &Path, tls_dir: Option<PathBuf>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let reserved =
        (0..args.nodes).map(|i| reserve(&args, i)).collect::<anyhow::Result<Vec<_>>>()?;
    let configs = write_configs(dir, &reserved, &args, tls_dir.as_deref())?;
    let mut children = Vec::new();
    let outcome = tokio::select! {
        started = start_all(dir, tls_dir.as_deref(), &configs, &mut children) => started,
        _ = terminate.recv() => Err(anyhow::anyhow!("stopped before it was ready")),
        _ = interrupt.recv() => Err(anyhow::anyhow!("stopped before it was ready")),
    };
    if let Ok(entries) = &outcome {
        let scheme = scheme(args.tls);
        let apis: Vec<_> =
            entries.iter().map(|entry| format!("{scheme}://{}", entry.api)).collect();
        println!("ready: {} nodes, Kinesis API on {}", entries.len(), apis.join(" "));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    stop_all(dir, &configs, children).await?;
    outcome.map(drop)
}

async fn start_all(
    dir: &Path,
    tls_dir: Option<&Path>,
    configs: &[PathBuf],
    children: &mut Vec<Child>,
) -> anyhow::Result<Vec<NodeEntry>> {
    let exe = std::env::current_exe()?.display().to_string();
    let mut entries = Vec::new();
    for config_file in configs {
        let command = vec![
            exe.clone(),
            "server".into(),
            "--config".into(),
            config_file.display().to_string(),
        ];
        let child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start a node")?;
        let config = NodeConfig::read(config_file, Vec::new())?;
        entries.push(NodeEntry {
            id: config.node.0,
            pid: child.id().unwrap_or_default(),
            api: config.listen_api,
            grpc: config.listen_grpc,
            data_dir: config.data_dir,
            command,
        });
        children.push(child);
    }
    for child in children {
        wait_ready(child).await?;
    }
    cluster_file::write(dir, tls_dir, &entries)?;
    Ok(entries)
}

/// Waits for the line in which a node says that it serves, and goes on reading what it prints.
async fn wait_ready(child: &mut Child) -> anyhow::Result<()> {
    const LIMIT: Duration = Duration::from_secs(60);
    let output = child.stdout.take().context("a node's output was taken")?;
    let mut lines = BufReader::new(output).lines();
    let ready = async {
        while let Some(line) = lines.next_line().await? {
            if line.starts_with("ready") {
                return Ok(());
            }
        }
        bail!("a node ended before it was ready")
    };
    timeout(LIMIT, ready).await.context("a node was not ready within a minute")??;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(())
}

/// SIGTERM to every node, those included that somebody started again; then waits for all.
async fn stop_all(dir: &Path, configs: &[PathBuf], mut children: Vec<Child>) -> anyhow::Result<()> {
    const LIMIT: Duration = Duration::from_secs(20);
    let node_dirs: Vec<_> = configs.iter().filter_map(|config| config.parent()).collect();
    let pids = || -> Vec<i32> {
        let running = node_dirs.iter().zip(configs);
        running
            .filter_map(|(dir, config)| PidFile::running(dir, &config.display().to_string()))
            .collect()
    };
    let own = children.iter().filter_map(Child::id).filter_map(|pid| i32::try_from(pid).ok());
    let mut told: Vec<i32> = own.chain(pids()).collect();
    told.sort_unstable();
    told.dedup();
    for pid in told {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _is_gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
    let deadline = Instant::now() + LIMIT;
    let mut failed = Vec::new();
    for child in &mut children {
        match timeout(deadline.saturating_duration_since(Instant::now()), child.wait()).await {
            Ok(Ok(status)) if status.success() || status.code().is_none() => {}
            Ok(Ok(status)) => failed.push(format!("a node ended with {status}")),
            Ok(Err(error)) => failed.push(error.to_string()),
            Err(_) => {
                child.kill().await?;
                failed.push("a node had to be killed".to_owned());
            }
        }
    }
    while !pids().is_empty() && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
    }
    tracing::info!(dir = %dir.display(), "stopped");
    if failed.is_empty() { Ok(()) } else { bail!(failed.join("; ")) }
}

/// Absolute, as nodes that are started again may have another working directory.
fn clock_offset_file(args: &DevArgs) -> anyhow::Result<Option<PathBuf>> {
    let file = args.clock_offset_file.as_deref().map(std::path::absolute);
    file.transpose().context("clock-offset-file")
}

const fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// Makes the certificates of all nodes, an operator and a client, anew at each start; the authority stays, so whoever
/// trusts it goes on.
fn make_certificates(dir: &Path, args: &DevArgs) -> anyhow::Result<()> {
    let listen = args.listen.ip().to_string();
    let certs = certs::Args {
        dir: dir.to_owned(),
        cluster: Some(CLUSTER.into()),
        nodes: (1..=args.nodes.into()).collect(),
        hosts: ["localhost", "127.0.0.1", "::1", &listen].map(str::to_owned).to_vec(),
        operators: vec!["operator".into()],
        clients: vec!["client".into()],
        days: 365,
        renew: true,
    };
    certs::make(&certs).context("tls").map(drop)
}

/// Where free ports are looked for: below those that the kernel gives to connections (Linux: from 32,768), or one of these
/// might take the port before its node does.
const FREE_PORTS: std::ops::Range<u16> = 10_000..32_000;
const ATTEMPTS: usize = 1000;

/// Addresses of the i-th node.
struct Reserved {
    api: SocketAddr,
    grpc: SocketAddr,
}

/// The port that was asked for, or a free one; and a free one for gRPC, on loopback unless it speaks TLS: all nodes are on
/// this machine. A free port may be taken by somebody else before the node binds it; it then says so and ends.
fn reserve(args: &DevArgs, i: u16) -> anyhow::Result<Reserved> {
    let (host, ports) = (args.listen.ip(), 2 * args.nodes);
    let is_open = !host.is_loopback() && !args.tls;
    let grpc_host = if is_open { Ipv4Addr::LOCALHOST.into() } else { host };
    let api = match args.listen.port() {
        0 => free_port(host, 2 * i, ports)?,
        port => port.checked_add(i).context("listen: no port is left for every node")?,
    };
    let grpc = free_port(grpc_host, 2 * i + 1, ports)?;
    Ok(Reserved { api: SocketAddr::new(host, api), grpc: SocketAddr::new(grpc_host, grpc) })
}

/// Free port `number` of `count`, each another one.
fn free_port(host: IpAddr, number: u16, count: u16) -> anyhow::Result<u16> {
    let any = || rand::random_range(FREE_PORTS) / count * count + number;
    let free = |port: &u16| TcpListener::bind((host, *port)).is_ok();
    std::iter::repeat_with(any).take(ATTEMPTS).find(free).context("find a free port")
}

/// The file of master keys of the cluster in `dir`; made with the key that clients take by default.
fn master_keys(dir: &Path) -> anyhow::Result<PathBuf> {
    let file = dir.join("keys.toml");
    if !file.exists() {
        KeyFile::create(&file, vec![DEFAULT_MASTER_KEY.to_owned()])?;
    }
    Ok(file)
}

/// Writes each node's configuration; what must stay the same over restarts is kept from the file that
/// is there.
fn write_configs(
    dir: &Path,
    nodes: &[Reserved],
    args: &DevArgs,
    tls_dir: Option<&Path>,
) -> anyhow::Result<Vec<PathBuf>> {
    let clock_offset_file = clock_offset_file(args)?;
    let files: Vec<PathBuf> =
        (1..=nodes.len()).map(|id| dir.join(format!("node-{id}")).join(CONFIG)).collect();
    let known: Vec<RawNodeConfig> = files
        .iter()
        .filter_map(|file| toml::from_str(&std::fs::read_to_string(file).ok()?).ok())
        .collect();
    if let Some(first) = known.first()
        && first.nodes.len() != nodes.len()
    {
        bail!(
            "nodes: {} was made with {} nodes, asked for are {}",
            dir.display(),
            first.nodes.len(),
            nodes.len()
        );
    }
    let token_key = known.first().map_or_else(new_token_key, |known| known.token_key.clone());
    let encryption = RawEncryption::of_file(master_keys(dir)?);
    let peers: Vec<RawPeer> = (1..)
        .zip(nodes)
        .map(|(node, reserved)| RawPeer { node, grpc: reserved.grpc.to_string() })
        .collect();
    for ((id, file), reserved) in (1..).zip(&files).zip(nodes) {
        let node_dir = file.parent().context("a file in a folder")?;
        std::fs::create_dir_all(node_dir)?;
        let raw = RawNodeConfig {
            node: id,
            cluster: CLUSTER.into(),
            listen_api: reserved.api.to_string(),
            listen_grpc: reserved.grpc.to_string(),
            listen_metrics: None,
            advertise_grpc: None,
            plain_grpc: false,
            data_dir: node_dir.to_owned(),
            zone: String::new(),
            replicas: 3,
            limits: args.limits,
            tip_wait_ms: crate::config::fifty_ms(),
            // On loopback, for whoever tries it out.
            authentication: RawAuthentication::Any,
            allow_origins: args.allow_origin.clone(),
            account: None,
            region: None,
            token_key: token_key.clone(),
            nodes: peers.clone(),
            join: Vec::new(),
            replace_after_ms: crate::config::fifteen_minutes_ms(),
            storage: anabranch_storage::StorageSettings::default(),
            replication: crate::config::RawReplicaSettings::default(),
            encryption: Some(encryption.clone()),
            tls: tls_dir.map(|dir| RawTls {
                certificate: Some(dir.join(format!("node-{id}.pem"))),
                key: Some(dir.join(format!("node-{id}.key"))),
                ca: Some(dir.join("ca.pem")),
                ..RawTls::default()
            }),
            clock_offset_file: clock_offset_file.clone(),
        };
        cluster_file::replace(file, &toml::to_string(&raw)?)?;
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use anabranch_storage::StorageSettings;

    use super::*;

    fn refusal(dir: &Path) -> String {
        match FolderLock::take(dir) {
            Ok(_) => String::new(),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn a_folder_is_locked_once_and_not_while_a_node_runs_on_it() {
        let dir = tempfile::tempdir().unwrap();
        let locked = FolderLock::take(dir.path()).unwrap();
        assert!(refusal(dir.path()).contains("in use by another `anabranch dev`"));
        drop(locked);
        assert_eq!(refusal(dir.path()), "");
        let node = dir.path().join("node-1");
        let store = SegmentStore::open(&node, StorageSettings::default()).unwrap();
        let text = refusal(dir.path());
        assert!(text.contains("a node still runs") && text.contains("node-1"), "{text}");
        drop(store);
        assert_eq!(refusal(dir.path()), "");
    }

    #[test]
    fn listen_takes_names_and_addresses() {
        assert_eq!(listen_address("127.0.0.1:0").unwrap().port(), 0);
        let local = listen_address("localhost:4567").unwrap();
        assert!(local.ip().is_loopback() && local.port() == 4567);
        for wrong in ["localhost", "4567", ":::", "127.0.0.1:99999"] {
            assert!(listen_address(wrong).unwrap_err().contains("must be HOST:PORT"), "{wrong}");
        }
    }
}
