use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anabranch_encryption::EncryptionSettings;
use anabranch_gateway::{Authentication, TokenKey};
use anabranch_node::Peer;
use anabranch_replica::ReplicaSettings;
use anabranch_storage::StorageSettings;
use anabranch_transport::TransportSettings;
use anabranch_types::{AccountId, NodeId, Region};
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::tls_config::{RawTls, Tls};

/// A node's configuration. A value of this type has been checked.
#[derive(Clone, Debug)]
pub(crate) struct NodeConfig {
    /// This node's id; from 1.
    pub(crate) node: NodeId,
    /// The cluster's name; the same on every node.
    pub(crate) cluster: String,
    /// `host:port` of the Kinesis API.
    pub(crate) listen_api: String,
    /// `host:port` of the gRPC API, which other nodes use too.
    pub(crate) listen_grpc: String,
    /// `host:port` for metrics and health checks in plain HTTP. Default: none; where any credentials are accepted, the
    /// Kinesis API's port has them.
    pub(crate) listen_metrics: Option<String>,
    /// `host:port` at which other nodes and clients reach `listen_grpc`. Default: the address that is listened on.
    pub(crate) advertise_grpc: Option<String>,
    /// Whether the gRPC port is plain where others than this machine reach it: then anybody there is a node and an operator.
    pub(crate) plain_grpc: bool,
    /// Where everything is kept.
    pub(crate) data_dir: PathBuf,
    /// Failure zone; empty if there are none.
    pub(crate) zone: String,
    /// Replicas of each shard of a new stream. Default: 3.
    pub(crate) replicas: u32,
    /// Whose limits hold. Default: none but those of memory and disk.
    pub(crate) limits: Limits,
    /// How long GetRecords waits for records at the tip of a shard. Default: 50 ms.
    pub(crate) tip_wait: Duration,
    /// Who may call the Kinesis API. Default: users whose signatures are right.
    pub(crate) authentication: Authentication,
    /// Origins whose pages may call without a signature, beside those of loopback.
    pub(crate) allow_origins: Vec<String>,
    /// Account in ARNs.
    pub(crate) account: AccountId,
    /// Region in ARNs.
    pub(crate) region: Region,
    /// Seals iterators, paging tokens and the secrets of access keys; the same on every node.
    pub(crate) token_key: TokenKey,
    /// The nodes that the cluster begins with, this one included; none for a node that joins.
    pub(crate) nodes: Vec<Peer>,
    /// `host:port` of gRPC ports of nodes of the cluster that this one joins.
    pub(crate) join: Vec<String>,
    /// How long a node is silent before its replicas are made anew elsewhere. Default: 15 minutes.
    pub(crate) replace_after: Duration,
    /// Settings of the log store.
    pub(crate) storage: StorageSettings,
    /// Settings of the replicas.
    pub(crate) replication: ReplicaSettings,
    /// Who holds the master keys of encrypted streams. Default: nobody, and no stream can be encrypted.
    pub(crate) key_holder: KeyHolder,
    /// How data keys are used.
    pub(crate) encryption: EncryptionSettings,
    /// Which ports speak TLS. Default: none.
    pub(crate) tls: Tls,
    /// For tests: a file with the whole seconds by which this node's clock is ahead (`clock_offset.rs`). Default: none.
    pub(crate) clock_offset_file: Option<PathBuf>,
}

/// What a configuration file says, before it is checked.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawNodeConfig {
    pub(crate) node: u64,
    pub(crate) cluster: String,
    pub(crate) listen_api: String,
    pub(crate) listen_grpc: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listen_metrics: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advertise_grpc: Option<String>,
    /// Nothing is open unless the file says so in so many words.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) plain_grpc: bool,
    pub(crate) data_dir: PathBuf,
    #[serde(default)]
    pub(crate) zone: String,
    #[serde(default = "three")]
    pub(crate) replicas: u32,
    #[serde(default)]
    pub(crate) limits: Limits,
    #[serde(default = "fifty_ms")]
    pub(crate) tip_wait_ms: u64,
    /// Nothing is open unless the file says so in so many words.
    #[serde(default)]
    pub(crate) authentication: RawAuthentication,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) allow_origins: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    /// 64 hex digits.
    pub(crate) token_key: String,
    #[serde(default)]
    pub(crate) nodes: Vec<RawPeer>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) join: Vec<String>,
    #[serde(default = "fifteen_minutes_ms")]
    pub(crate) replace_after_ms: u64,
    #[serde(default, skip_serializing)]
    pub(crate) storage: StorageSettings,
    #[serde(default, skip_serializing)]
    pub(crate) replication: RawReplicaSettings,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) encryption: Option<RawEncryption>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<RawTls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clock_offset_file: Option<PathBuf>,
}

/// Whose limits hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Limits {
    /// None but those of memory and disk
    #[default]
    Unlimited,
    /// Those of the public service: of each shard, and of how often operations may be called
    Aws,
}

/// What a configuration file says of [`Authentication`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RawAuthentication {
    #[default]
    Required,
    Any,
}

impl From<RawAuthentication> for Authentication {
    fn from(raw: RawAuthentication) -> Self {
        match raw {
            RawAuthentication::Required => Self::Required,
            RawAuthentication::Any => Self::Any,
        }
    }
}

/// What a configuration file says of the replicas: [`ReplicaSettings`], which says what each key is.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawReplicaSettings {
    heartbeat_interval_ms: u64,
    election_timeout_ms: u64,
    leader_lease_ms: u64,
    election_stagger_ms: u64,
    checkpoint_interval_ms: u64,
    maintenance_interval_ms: u64,
    append_deadline_ms: u64,
    append_bytes_in_flight: usize,
    hand_over_limit_ms: u64,
    catch_up_bytes_per_second: u64,
    max_clock_skew_ms: u64,
}

impl Default for RawReplicaSettings {
    fn default() -> Self {
        let checked = ReplicaSettings::default();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            heartbeat_interval_ms: millis(checked.heartbeat_interval),
            election_timeout_ms: millis(checked.election_timeout),
            leader_lease_ms: millis(checked.leader_lease),
            election_stagger_ms: millis(checked.election_stagger),
            checkpoint_interval_ms: millis(checked.checkpoint_interval),
            maintenance_interval_ms: millis(checked.maintenance_interval),
            append_deadline_ms: millis(checked.append_deadline),
            append_bytes_in_flight: checked.append_bytes_in_flight,
            hand_over_limit_ms: millis(checked.hand_over_limit),
            catch_up_bytes_per_second: checked.catch_up_bytes_per_second,
            max_clock_skew_ms: millis(checked.max_clock_skew),
        }
    }
}

impl TryFrom<RawReplicaSettings> for ReplicaSettings {
    type Error = anyhow::Error;

    fn try_from(raw: RawReplicaSettings) -> anyhow::Result<Self> {
        let silence = TransportSettings::new(NodeId(1), 0, String::new()).silence;
        let settings = Self {
            heartbeat_interval: Duration::from_millis(raw.heartbeat_interval_ms),
            election_timeout: Duration::from_millis(raw.election_timeout_ms),
            leader_lease: Duration::from_millis(raw.leader_lease_ms),
            election_stagger: Duration::from_millis(raw.election_stagger_ms),
            checkpoint_interval: Duration::from_millis(raw.checkpoint_interval_ms),
            maintenance_interval: Duration::from_millis(raw.maintenance_interval_ms),
            append_deadline: Duration::from_millis(raw.append_deadline_ms),
            append_bytes_in_flight: raw.append_bytes_in_flight,
            hand_over_limit: Duration::from_millis(raw.hand_over_limit_ms),
            catch_up_bytes_per_second: raw.catch_up_bytes_per_second,
            max_clock_skew: Duration::from_millis(raw.max_clock_skew_ms),
            ..Self::default()
        };
        let rules = [
            ("heartbeat-interval-ms: must be above 0", !settings.heartbeat_interval.is_zero()),
            (
                "election-timeout-ms: must be above heartbeat-interval-ms",
                settings.election_timeout > settings.heartbeat_interval,
            ),
            (
                "leader-lease-ms: must be below the silence limit of 1000, or two leaders could answer",
                settings.leader_lease < silence,
            ),
            ("maintenance-interval-ms: must be above 0", !settings.maintenance_interval.is_zero()),
            ("append-deadline-ms: must be above 0", !settings.append_deadline.is_zero()),
            (
                "append-bytes-in-flight: must be 12582912 to 1073741824, so that the largest batch fits",
                (12 << 20..=1 << 30).contains(&settings.append_bytes_in_flight),
            ),
            ("catch-up-bytes-per-second: must be above 0", settings.catch_up_bytes_per_second > 0),
            (
                "max-clock-skew-ms: must be 100 to 60000",
                (100..=60_000).contains(&raw.max_clock_skew_ms),
            ),
        ];
        match rules.into_iter().find(|(_, kept)| !kept) {
            Some((rule, _)) => bail!(rule),
            None => Ok(settings),
        }
    }
}

/// What a configuration file says of encryption at rest.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawEncryption {
    /// A file that `anabranch ctl master-key` made.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
    /// Base URL of a service with the API of AWS KMS.
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_key_cache_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_key_max_age_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_key_max_bytes: Option<u64>,
}

/// Who holds master keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyHolder {
    /// Nobody.
    None,
    /// A file of this node.
    File(PathBuf),
    /// A service with the API of AWS KMS.
    Kms {
        /// Its base URL.
        endpoint: String,
        /// The region in signatures.
        region: String,
    },
}

impl RawEncryption {
    /// Master keys in a file, and defaults.
    pub(crate) fn of_file(key_file: PathBuf) -> Self {
        Self { key_file: Some(key_file), ..Self::default() }
    }

    fn check(self) -> anyhow::Result<(KeyHolder, EncryptionSettings)> {
        let holder = match (self.key_file, self.kms_endpoint) {
            (Some(_), Some(_)) => bail!("kms-endpoint: there is a key-file already"),
            (Some(file), None) => KeyHolder::File(file),
            (None, Some(endpoint)) => {
                let region = self.kms_region.clone().unwrap_or_else(|| "us-east-1".to_owned());
                KeyHolder::Kms { endpoint, region }
            }
            (None, None) => KeyHolder::None,
        };
        if self.kms_region.is_some() && !matches!(holder, KeyHolder::Kms { .. }) {
            bail!("kms-region: there is no kms-endpoint");
        }
        let defaults = EncryptionSettings::default();
        let seconds =
            |given: Option<u64>, default: Duration| given.map_or(default, Duration::from_secs);
        let settings = EncryptionSettings {
            cache: seconds(self.data_key_cache_seconds, defaults.cache),
            max_age: seconds(self.data_key_max_age_seconds, defaults.max_age),
            max_bytes: self.data_key_max_bytes.unwrap_or(defaults.max_bytes),
        };
        if settings.max_age.is_zero() || settings.max_bytes == 0 {
            bail!("data-key-max-age-seconds, data-key-max-bytes: must be above 0");
        }
        Ok((holder, settings))
    }
}

/// A node of the list.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawPeer {
    pub(crate) node: u64,
    pub(crate) grpc: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

const fn three() -> u32 {
    3
}

/// The default of `tip-wait-ms`.
pub(crate) const fn fifty_ms() -> u64 {
    50
}

/// The default of `replace-after-ms`.
pub(crate) const fn fifteen_minutes_ms() -> u64 {
    15 * 60 * 1000
}

/// What the catalog writes has to fit into a segment: were it refused, the cluster couldn't go on. A call of records that
/// doesn't fit is refused by itself.
const LEAST_SEGMENT_BYTES: u64 = 1 << 20;

impl NodeConfig {
    /// Reads and checks the file at `path`. Nodes of `join` come before those that it says to join.
    pub(crate) fn read(path: &std::path::Path, join: Vec<String>) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        let mut raw: RawNodeConfig =
            toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
        raw.join.splice(0..0, join);
        Self::check(raw).with_context(|| format!("{}", path.display()))
    }

    fn check(raw: RawNodeConfig) -> anyhow::Result<Self> {
        if raw.node == 0 {
            bail!("node: must be 1 or more");
        }
        if raw.cluster.is_empty() {
            bail!("cluster: must not be empty");
        }
        if !(1..=7).contains(&raw.replicas) {
            bail!("replicas: must be 1 to 7");
        }
        if raw.storage.segment_bytes < LEAST_SEGMENT_BYTES {
            bail!("storage: segment-bytes: must be at least 1 MiB");
        }
        match (raw.nodes.is_empty(), raw.join.is_empty()) {
            (true, false) => {}
            (false, false) => bail!("join: a node that joins has no list of first nodes (nodes)"),
            _ if raw.nodes.iter().any(|peer| peer.node == raw.node) => {}
            _ => bail!("nodes: must contain node {}", raw.node),
        }
        if !raw.allow_origins.is_empty() && raw.authentication == RawAuthentication::Required {
            bail!(
                "allow-origins: has a use with authentication = \"any\" only; pages of all origins may sign"
            );
        }
        let mut ids: Vec<_> = raw.nodes.iter().map(|peer| peer.node).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != raw.nodes.len() {
            bail!("nodes: names a node twice");
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
            token_key: token_key(&raw.token_key)?,
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

/// Longer than a second, and clients would take the call for one that hangs.
fn tip_wait(millis: u64) -> anyhow::Result<Duration> {
    anyhow::ensure!(millis <= 1_000, "tip-wait-ms: must be at most 1000");
    Ok(Duration::from_millis(millis))
}

/// Whoever reaches a plain gRPC port is a node and an operator, so one beyond loopback must be asked for by name.
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

fn token_key(hex: &str) -> anyhow::Result<TokenKey> {
    let digit = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(text, 16).ok()
    };
    let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(digit).collect();
    let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
    Ok(TokenKey::new(bytes.context("token-key: must be 64 hex digits")?))
}

/// A fresh token key, as a configuration file carries it.
pub(crate) fn new_token_key() -> String {
    rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect()
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
    fn a_plain_grpc_port_beyond_loopback_is_asked_for_by_name() {
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
    fn master_keys_have_one_holder() {
        let holder = |text: &str| {
            let raw: RawEncryption = toml::from_str(text).unwrap();
            raw.check().map(|(holder, _)| holder).map_err(|error| error.to_string())
        };
        assert_eq!(holder(""), Ok(KeyHolder::None));
        assert_eq!(holder("key-file = 'k'"), Ok(KeyHolder::File("k".into())));
        let both = holder("key-file = 'k'\nkms-endpoint = 'http://h'").unwrap_err();
        assert!(both.starts_with("kms-endpoint: "), "{both}");
        assert!(holder("kms-region = 'r'").unwrap_err().starts_with("kms-region: "));
        assert!(holder("data-key-max-bytes = 0").unwrap_err().starts_with("data-key-max-age"));
    }

    #[test]
    fn replicas_are_set_key_by_key_and_keep_their_defaults() {
        let raw: RawReplicaSettings = toml::from_str("checkpoint-interval-ms = 250").unwrap();
        let expected = ReplicaSettings {
            checkpoint_interval: Duration::from_millis(250),
            ..ReplicaSettings::default()
        };
        assert_eq!(ReplicaSettings::try_from(raw).unwrap(), expected);
        assert!(toml::from_str::<RawReplicaSettings>("checkpoint-interval = 1").is_err());
    }

    #[test]
    fn what_is_written_reads_back() {
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
