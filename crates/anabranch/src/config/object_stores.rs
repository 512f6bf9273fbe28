//! The object stores that delivery streams put objects into (`[[object-stores]]`).

use std::path::PathBuf;

use anabranch_delivery::stores::{Place, S3Settings, StoreSettings};
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// One store, as the configuration file has it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawObjectStore {
    /// Name, for operators.
    pub(crate) name: String,
    /// Names of buckets; `*` stands for any characters.
    pub(crate) buckets: Vec<String>,
    /// Each bucket is a folder in this one. Then there are no other keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) folder: Option<PathBuf>,
    /// URL of a server that speaks the S3 API. Default: AWS's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// Region in signatures. Default: `us-east-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) access_key_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret_access_key: Option<String>,
    /// Whether the bucket is in the host name of URLs, not in the path. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) host_style: Option<bool>,
    /// Whether the store takes `If-None-Match: *`. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) create_only: Option<bool>,
}

/// Checks the stores of a configuration file.
pub(super) fn check(stores: Vec<RawObjectStore>) -> anyhow::Result<Vec<StoreSettings>> {
    let check = |store: RawObjectStore| {
        let name = store.name.clone();
        store.check().with_context(|| format!("object-stores: {name}"))
    };
    stores.into_iter().map(check).collect()
}

impl RawObjectStore {
    fn check(self) -> anyhow::Result<StoreSettings> {
        if self.buckets.is_empty() {
            bail!("buckets: must name at least one bucket, or \"*\"");
        }
        let has_server = self.endpoint.is_some()
            || self.region.is_some()
            || self.access_key_id.is_some()
            || self.secret_access_key.is_some();
        let place = match (self.folder, has_server) {
            (Some(_), true) => bail!("folder: a folder has no endpoint, region or keys"),
            (Some(folder), false) => Place::Folder(folder),
            (None, _) => Place::S3(S3Settings {
                endpoint: self.endpoint,
                region: self.region.unwrap_or_else(|| "us-east-1".to_owned()),
                access_key_id: self.access_key_id.context("access-key-id: is missing")?,
                secret_access_key: self
                    .secret_access_key
                    .context("secret-access-key: is missing")?,
                path_style: !self.host_style.unwrap_or(false),
                create_only: self.create_only.unwrap_or(true),
            }),
        };
        Ok(StoreSettings { name: self.name, buckets: self.buckets, place })
    }
}
