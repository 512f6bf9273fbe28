//! The configuration file as it is written, with its defaults. Nothing is checked here beyond names and types of
//! keys.

use std::path::PathBuf;

use anabranch_gateway::Authentication;
use anabranch_storage::StorageSettings;
use serde::{Deserialize, Serialize};

use crate::config::encryption::RawEncryption;
use crate::config::object_stores::RawObjectStore;
use crate::config::replication::RawReplicaSettings;
use crate::config::tls::RawTls;

/// The content of a configuration file, before it is checked.
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
    /// A plain port beyond loopback needs an explicit `true`.
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
    /// Calls without a signature need an explicit `any`.
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
    #[serde(default)]
    pub(crate) outbound: RawOutbound,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) object_stores: Vec<RawObjectStore>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clock_offset_file: Option<PathBuf>,
}

/// Which limits hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Limits {
    /// Only the limits of memory and disk
    #[default]
    Unlimited,
    /// The limits of the public service: for each shard, and for how often operations may be called
    Aws,
}

/// [`Authentication`] as a configuration file names it.
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

/// A node in the list of first nodes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawPeer {
    pub(crate) node: u64,
    pub(crate) grpc: String,
}

/// What the node may reach outside of the cluster.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawOutbound {
    /// Hosts and networks; nothing by default.
    #[serde(default)]
    pub(crate) allow: Vec<String>,
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
