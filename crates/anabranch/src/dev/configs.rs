//! The configuration files that `anabranch dev` writes at each start, one for each node.

use std::path::{Path, PathBuf};

use anabranch_cli::replace_file;
use anabranch_encryption::KeyFile;
use anabranch_storage::StorageSettings;
use anyhow::{Context, bail};

use crate::config::{
    RawAuthentication, RawEncryption, RawNodeConfig, RawObjectStore, RawOutbound, RawPeer,
    RawReplicaSettings, RawTls, fifteen_minutes_ms, fifty_ms, new_token_key,
};
use crate::dev::args::DevArgs;
use crate::dev::ports::Reserved;

const CONFIG: &str = "node.toml";
/// The folder with the buckets of delivery streams.
const BUCKETS: &str = "buckets";
/// Every host, this machine too.
const ANY_HOST: [&str; 4] = ["*", "localhost", "127.0.0.0/8", "::1"];
/// The alias that AWS gives to the own master key of Kinesis. Consoles and examples name it.
const DEFAULT_MASTER_KEY: &str = "alias/aws/kinesis";
pub(super) const CLUSTER: &str = "dev";

/// The file of master keys of the cluster in `dir`. A new file has one key, under the alias that clients use by
/// default.
fn master_keys(dir: &Path) -> anyhow::Result<PathBuf> {
    let file = dir.join("keys.toml");
    if !file.exists() {
        KeyFile::create(&file, vec![DEFAULT_MASTER_KEY.to_owned()])?;
    }
    Ok(file)
}

/// Writes the configuration of each node, and returns the files, ordered by node. The token key of an existing file
/// is kept: iterators and sealed secrets must stay valid over restarts.
pub(super) fn write(
    dir: &Path,
    nodes: &[Reserved],
    args: &DevArgs,
    tls_dir: Option<&Path>,
) -> anyhow::Result<Vec<PathBuf>> {
    let clock_offset_file = args.clock_offset_file()?;
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
            tip_wait_ms: fifty_ms(),
            // The cluster is for trying out, and no signature is needed.
            authentication: RawAuthentication::Any,
            allow_origins: args.allow_origin.clone(),
            account: None,
            region: None,
            token_key: token_key.clone(),
            nodes: peers.clone(),
            join: Vec::new(),
            replace_after_ms: fifteen_minutes_ms(),
            storage: StorageSettings::default(),
            replication: RawReplicaSettings::default(),
            encryption: Some(encryption.clone()),
            tls: tls_dir.map(|dir| RawTls {
                certificate: Some(dir.join(format!("node-{id}.pem"))),
                key: Some(dir.join(format!("node-{id}.key"))),
                ca: Some(dir.join("ca.pem")),
                ..RawTls::default()
            }),
            // A developer's functions are on this machine.
            outbound: RawOutbound { allow: ANY_HOST.map(Into::into).to_vec() },
            // Any bucket is a folder, made when it is needed.
            object_stores: vec![RawObjectStore {
                name: "folders".into(),
                buckets: vec!["*".into()],
                folder: Some(dir.join(BUCKETS)),
                ..RawObjectStore::default()
            }],
            clock_offset_file: clock_offset_file.clone(),
        };
        replace_file(file, &toml::to_string(&raw)?, 0o600)?;
    }
    Ok(files)
}
