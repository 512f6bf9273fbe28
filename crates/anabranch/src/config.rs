//! The configuration of a node: a TOML file with keys in kebab-case.
//!
//! The file is parsed into [`RawNodeConfig`], which refuses unknown keys. [`NodeConfig::read`] checks it and makes a
//! [`NodeConfig`]; an error names the key and the rule. Sections are in the modules below: `[replication]`,
//! `[encryption]` and `[tls]`. `anabranch dev` writes such files too, from the same types.
//!
//! Nothing is open by default: without an explicit setting every call needs a signature, and a plain gRPC port is
//! only on loopback.

mod encryption;
mod file;
mod object_stores;
mod replication;
mod tls;
mod token_key;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anabranch_delivery::stores::StoreSettings;
use anabranch_encryption::EncryptionSettings;
use anabranch_gateway::{Authentication, TokenKey};
use anabranch_node::Peer;
use anabranch_outbound::AllowList;
use anabranch_replica::ReplicaSettings;
use anabranch_storage::StorageSettings;
use anabranch_types::{AccountId, NodeId, Region};
use anyhow::{Context, bail, ensure};

pub(crate) use encryption::{KeyHolder, RawEncryption};
pub(crate) use file::{
    Limits, RawAuthentication, RawNodeConfig, RawOutbound, RawPeer, fifteen_minutes_ms, fifty_ms,
};
pub(crate) use object_stores::RawObjectStore;
pub(crate) use replication::RawReplicaSettings;
pub(crate) use tls::{RawTls, Tls};
pub(crate) use token_key::new_token_key;

/// Configuration of a node. A value of this type has been checked.
#[derive(Clone, Debug)]
pub(crate) struct NodeConfig {
    /// Id of this node; from 1.
    pub(crate) node: NodeId,
    /// Name of the cluster; the same on every node.
    pub(crate) cluster: String,
    /// `host:port` of the Kinesis API.
    pub(crate) listen_api: String,
    /// `host:port` of the gRPC API, which other nodes use too.
    pub(crate) listen_grpc: String,
    /// `host:port` for metrics and health checks in plain HTTP. Default: none. Where any credentials are accepted, the
    /// port of the Kinesis API serves them too.
    pub(crate) listen_metrics: Option<String>,
    /// `host:port` under which other nodes and clients reach `listen_grpc`. Default: the address of `listen_grpc`.
    pub(crate) advertise_grpc: Option<String>,
    /// Whether the gRPC port may be plain on an address beyond loopback. Every program that reaches such a port is a
    /// node and an operator.
    pub(crate) plain_grpc: bool,
    /// Data directory.
    pub(crate) data_dir: PathBuf,
    /// Failure zone; empty if the cluster has no zones.
    pub(crate) zone: String,
    /// Replicas of each shard of a new stream. Default: 3.
    pub(crate) replicas: u32,
    /// Which limits hold. Default: only the limits of memory and disk.
    pub(crate) limits: Limits,
    /// How long GetRecords waits for records at the tip of a shard. Default: 50 ms.
    pub(crate) tip_wait: Duration,
    /// Which callers the Kinesis API admits. Default: users with valid signatures.
    pub(crate) authentication: Authentication,
    /// Origins of pages that may call without a signature, in addition to those of loopback.
    pub(crate) allow_origins: Vec<String>,
    /// Hosts and networks that services may reach. Default: none.
    pub(crate) outbound: AllowList,
    /// Where the buckets of delivery streams are. Default: nowhere.
    pub(crate) object_stores: Vec<StoreSettings>,
    /// Account in ARNs.
    pub(crate) account: AccountId,
    /// Region in ARNs.
    pub(crate) region: Region,
    /// Seals iterators, paging tokens and the secrets of access keys; the same on every node.
    pub(crate) token_key: TokenKey,
    /// The nodes that the cluster begins with, this node included; empty for a node that joins.
    pub(crate) nodes: Vec<Peer>,
    /// `host:port` of gRPC ports of a cluster that this node joins.
    pub(crate) join: Vec<String>,
    /// How long a node is silent before its replicas are replaced on other nodes. Default: 15 minutes.
    pub(crate) replace_after: Duration,
    /// Settings of the log store.
    pub(crate) storage: StorageSettings,
    /// Settings of the replicas.
    pub(crate) replication: ReplicaSettings,
    /// Where the master keys of encrypted streams are. Default: nowhere, and no stream can be encrypted.
    pub(crate) key_holder: KeyHolder,
    /// How long and for how many bytes a data key is used.
    pub(crate) encryption: EncryptionSettings,
    /// TLS of both ports. Default: both ports are plain.
    pub(crate) tls: Tls,
    /// For tests: a file with the number of whole seconds by which this node's clock is ahead (`clock_offset.rs`).
    /// Default: no such file.
    pub(crate) clock_offset_file: Option<PathBuf>,
}

/// An entry of the catalog must fit into a segment: if the store refused it, the cluster could not go on. A call with
/// too many records for a segment is refused alone.
const LEAST_SEGMENT_BYTES: u64 = 1 << 20;

impl NodeConfig {
    /// Reads and checks the file at `path`. The addresses in `join` come before the ones in the file.
    pub(crate) fn read(path: &Path, join: Vec<String>) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        let mut raw: RawNodeConfig =
            toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
        raw.join.splice(0..0, join);
        Self::check(raw).with_context(|| format!("{}", path.display()))
    }

    fn check(raw: RawNodeConfig) -> anyhow::Result<Self> {
        check_numbers(&raw)?;
        check_members(&raw)?;
        if !raw.allow_origins.is_empty() && raw.authentication == RawAuthentication::Required {
            bail!(
                "allow-origins: has a use with authentication = \"any\" only; pages of all origins may sign"
            );
        }
        let (key_holder, encryption) =
            raw.encryption.unwrap_or_default().check().context("encryption")?;
        let peer = |peer: RawPeer| Peer { node: NodeId(peer.node), grpc_address: peer.grpc };
        let tls = raw.tls.map(|tls| tls.check(&raw.cluster)).transpose().context("tls")?;
        let tls = tls.unwrap_or_default();
        check_grpc(&raw.listen_grpc, raw.plain_grpc, tls.mutual.is_some())?;
        Ok(Self {
            node: NodeId(raw.node),
            tls,
            plain_grpc: raw.plain_grpc,
            cluster: raw.cluster,
            listen_api: raw.listen_api,
            listen_grpc: raw.listen_grpc,
            listen_metrics: raw.listen_metrics,
            advertise_grpc: raw.advertise_grpc,
            data_dir: raw.data_dir,
            zone: raw.zone,
            replicas: raw.replicas,
            tip_wait: tip_wait(raw.tip_wait_ms)?,
            authentication: raw.authentication.into(),
            allow_origins: raw.allow_origins,
            outbound: AllowList::new(&raw.outbound.allow).context("outbound")?,
            object_stores: object_stores::check(raw.object_stores)?,
            account: raw
                .account
                .map(|a| a.parse())
                .transpose()
                .context("account")?
                .unwrap_or_default(),
            region: raw
                .region
                .map(|r| r.parse())
                .transpose()
                .context("region")?
                .unwrap_or_default(),
            token_key: token_key::parse(&raw.token_key)?,
            nodes: raw.nodes.into_iter().map(peer).collect(),
            join: raw.join,
            replace_after: Duration::from_millis(raw.replace_after_ms),
            storage: raw.storage,
            replication: ReplicaSettings {
                service_limits: raw.limits == Limits::Aws,
                ..raw.replication.try_into().context("replication")?
            },
            limits: raw.limits,
            key_holder,
            encryption,
            clock_offset_file: raw.clock_offset_file,
        })
    }
}

fn check_numbers(raw: &RawNodeConfig) -> anyhow::Result<()> {
    ensure!(raw.node != 0, "node: must be 1 or more");
    ensure!(!raw.cluster.is_empty(), "cluster: must not be empty");
    ensure!((1..=7).contains(&raw.replicas), "replicas: must be 1 to 7");
    ensure!(
        raw.storage.segment_bytes >= LEAST_SEGMENT_BYTES,
        "storage: segment-bytes: must be at least 1 MiB"
    );
    Ok(())
}

/// A node either begins a cluster with a list of nodes, itself among them, or joins a cluster.
fn check_members(raw: &RawNodeConfig) -> anyhow::Result<()> {
    match (raw.nodes.is_empty(), raw.join.is_empty()) {
        (true, false) => {}
        (false, false) => bail!("join: a node that joins has no list of first nodes (nodes)"),
        _ if raw.nodes.iter().any(|peer| peer.node == raw.node) => {}
        _ => bail!("nodes: must contain node {}", raw.node),
    }
    let mut ids: Vec<_> = raw.nodes.iter().map(|peer| peer.node).collect();
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == raw.nodes.len(), "nodes: names a node twice");
    Ok(())
}

/// Clients would take a call that waits longer than a second for a call that hangs.
fn tip_wait(millis: u64) -> anyhow::Result<Duration> {
    ensure!(millis <= 1_000, "tip-wait-ms: must be at most 1000");
    Ok(Duration::from_millis(millis))
}

/// Every program that reaches a plain gRPC port is a node and an operator. So a plain port beyond loopback must be
/// asked for explicitly.
fn check_grpc(address: &str, is_plain_wanted: bool, is_mutual: bool) -> anyhow::Result<()> {
    match (is_mutual, is_plain_wanted) {
        (true, true) => {
            bail!("plain-grpc: is true, but [tls] names a certificate for the gRPC port")
        }
        (false, false) if !is_loopback(address) => bail!(
            "plain-grpc: {address} (listen-grpc) is beyond loopback and has no TLS, so whoever reaches it is a node and \
             an operator. Name a certificate in [tls] (docs/tls.md), or set plain-grpc = true in a network that you trust"
        ),
        (true, false) | (false, true | false) => Ok(()),
    }
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(change: impl Fn(&mut RawNodeConfig)) -> anyhow::Result<NodeConfig> {
        let mut raw = RawNodeConfig {
            node: 1,
            cluster: "c".into(),
            listen_api: "127.0.0.1:0".into(),
            listen_grpc: "127.0.0.1:0".into(),
            listen_metrics: None,
            advertise_grpc: None,
            plain_grpc: false,
            data_dir: "d".into(),
            zone: String::new(),
            replicas: 3,
            limits: Limits::default(),
            tip_wait_ms: fifty_ms(),
            authentication: RawAuthentication::default(),
            allow_origins: Vec::new(),
            account: None,
            region: None,
            token_key: new_token_key(),
            nodes: vec![RawPeer { node: 1, grpc: "127.0.0.1:1".into() }],
            join: Vec::new(),
            replace_after_ms: fifteen_minutes_ms(),
            storage: StorageSettings::default(),
            replication: RawReplicaSettings::default(),
            encryption: None,
            tls: None,
            outbound: RawOutbound::default(),
            object_stores: Vec::new(),
            clock_offset_file: None,
        };
        change(&mut raw);
        NodeConfig::check(raw)
    }

    #[test]
    fn errors_name_the_key_and_the_rule() {
        assert!(parse(|_| ()).is_ok());
        let error = |change: fn(&mut RawNodeConfig)| format!("{:#}", parse(change).unwrap_err());
        assert_eq!(error(|raw| raw.node = 0), "node: must be 1 or more");
        let too_long = error(|raw| raw.tip_wait_ms = 1_001);
        assert_eq!(too_long, "tip-wait-ms: must be at most 1000");
        assert_eq!(error(|raw| raw.nodes.clear()), "nodes: must contain node 1");
        assert!(error(|raw| raw.join.push("h:1".into())).starts_with("join: "));
        let joins = |raw: &mut RawNodeConfig| {
            raw.nodes.clear();
            raw.join.push("h:1".into());
        };
        assert!(parse(joins).is_ok());
        assert_eq!(error(|raw| raw.token_key = "12".into()), "token-key: must be 64 hex digits");
        let half = RawTls { ca: Some("a".into()), ..RawTls::default() };
        let half = parse(move |raw| raw.tls = Some(half.clone()));
        assert!(format!("{:#}", half.unwrap_err()).starts_with("tls: certificate: is missing"));
        assert!(error(|raw| raw.account = Some("1".into())).starts_with("account: "));
        assert!(
            error(|raw| raw.outbound.allow.push("a b".into())).starts_with("outbound: allow: ")
        );
        assert!(
            error(|raw| raw.allow_origins.push("https://a".into())).starts_with("allow-origins: ")
        );
        assert_eq!(error(|raw| raw.replicas = 0), "replicas: must be 1 to 7");
        assert_eq!(
            error(|raw| raw.storage.segment_bytes = 512 << 10),
            "storage: segment-bytes: must be at least 1 MiB"
        );
        assert_eq!(
            error(|raw| raw.replication.election_timeout_ms = 1000),
            "replication: election-timeout-ms: must be above heartbeat-interval-ms"
        );
        assert!(
            error(|raw| raw.replication.leader_lease_ms = 1000)
                .starts_with("replication: leader-lease-ms: must be below the silence limit")
        );
    }

    #[test]
    fn a_plain_grpc_port_beyond_loopback_needs_an_explicit_setting() {
        let at = |address: &'static str, plain_grpc: bool, tls: bool| {
            let parsed = parse(move |raw| {
                raw.listen_grpc = address.into();
                raw.plain_grpc = plain_grpc;
                raw.tls = tls.then(|| RawTls {
                    certificate: Some("c".into()),
                    key: Some("k".into()),
                    ca: Some("a".into()),
                    ..RawTls::default()
                });
            });
            parsed.map(|config| config.plain_grpc).map_err(|error| format!("{error:#}"))
        };
        for local in ["127.0.0.1:0", "127.1.2.3:4568", "[::1]:4568", "localhost:4568"] {
            assert_eq!(at(local, false, false), Ok(false), "{local}");
        }
        for open in
            ["0.0.0.0:4568", "[::]:4568", "10.0.0.1:4568", "node-1.example:4568", "10.0.0.1"]
        {
            let error = at(open, false, false).unwrap_err();
            assert!(
                error.starts_with(&format!("plain-grpc: {open} (listen-grpc) is beyond")),
                "{error}"
            );
            assert_eq!(at(open, true, false), Ok(true));
            assert_eq!(at(open, false, true), Ok(false));
            assert!(
                at(open, true, true).unwrap_err().starts_with("plain-grpc: is true, but [tls]")
            );
        }
    }

    #[test]
    fn a_written_configuration_reads_back() {
        let text = format!(
            "node = 2\ncluster = 'c'\nlisten-api = 'a'\nlisten-grpc = '[::1]:1'\ndata-dir = 'd'\n\
             token-key = '{}'\n[[nodes]]\nnode = 2\ngrpc = 'g'\n",
            new_token_key()
        );
        let raw: RawNodeConfig = toml::from_str(&text).unwrap();
        let again: RawNodeConfig = toml::from_str(&toml::to_string(&raw).unwrap()).unwrap();
        assert_eq!(NodeConfig::check(again).unwrap().node, NodeId(2));
        let authentication = |line: &str| {
            let raw: Result<RawNodeConfig, _> = toml::from_str(&format!("{line}\n{text}"));
            raw.map(|raw| NodeConfig::check(raw).unwrap().authentication).ok()
        };
        assert_eq!(
            authentication(""),
            Some(Authentication::Required),
            "nothing is open by default"
        );
        assert_eq!(authentication("authentication = 'any'"), Some(Authentication::Any));
        assert_eq!(authentication("authentication = 'none'"), None);
        assert!(toml::from_str::<RawNodeConfig>("nonsense = 1").is_err());
    }
}
