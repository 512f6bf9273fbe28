//! Section `[tls]` of a node's configuration.
//!
//! `certificate`, `key` and `ca` together switch on mutual TLS of the gRPC port. The Kinesis API uses the same
//! certificate, unless `api-certificate` and `api-key` name another one or `api` is `plain`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anabranch_tls::{ApiTls, KeyFiles, MutualFiles, MutualTls, RELOAD_INTERVAL, Role, is_name};
use anabranch_types::NodeId;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// TLS of a node's ports. A value of this type has been checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// Mutual TLS of the gRPC port and of connections to other nodes; `None` if they are plain.
    pub(crate) mutual: Option<MutualFiles>,
    /// TLS of the Kinesis API; `None` if it is plain.
    pub(crate) api: Option<KeyFiles>,
}

/// Section `[tls]` as it is written.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawTls {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) api: Option<ApiPort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) api_certificate: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) api_key: Option<PathBuf>,
}

/// Whether the Kinesis API is plain or uses TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ApiPort {
    Plain,
    Tls,
}

impl RawTls {
    /// Checks the section, in a configuration of `cluster`.
    ///
    /// # Errors
    /// Names the key and the rule.
    pub(crate) fn check(self, cluster: &str) -> Result<Tls> {
        let mutual = match (self.certificate, self.key, self.ca) {
            (Some(certificate), Some(key), Some(ca)) => {
                Some(MutualFiles { own: KeyFiles { certificate, key }, ca })
            }
            (None, None, None) => None,
            (None, _, _) => bail!("certificate: is missing, certificate, key and ca go together"),
            (_, None, _) => bail!("key: is missing, certificate, key and ca go together"),
            (_, _, None) => bail!("ca: is missing, certificate, key and ca go together"),
        };
        let own = match (self.api_certificate, self.api_key) {
            (Some(certificate), Some(key)) => Some(KeyFiles { certificate, key }),
            (None, None) => None,
            (None, _) => {
                bail!("api-certificate: is missing, api-certificate and api-key go together")
            }
            (_, None) => bail!("api-key: is missing, api-certificate and api-key go together"),
        };
        if self.api == Some(ApiPort::Plain) {
            ensure!(own.is_none(), "api: is \"plain\", so api-certificate has no use");
            ensure!(mutual.is_some(), "certificate, key and ca: must be given");
        }
        let api = own.or_else(|| mutual.as_ref().map(|files| files.own.clone()));
        ensure!(api.is_some(), "must name certificate, key and ca, or api-certificate and api-key");
        if mutual.is_some() && !is_name(cluster) {
            bail!("the cluster's name must be 1 to 64 letters, digits, '-', '_' and '.'");
        }
        Ok(Tls { mutual, api: api.filter(|_| self.api != Some(ApiPort::Plain)) })
    }
}

impl Tls {
    /// Every file with certificates, each one once.
    pub(crate) fn certificates(&self) -> Vec<PathBuf> {
        let own = self.mutual.iter().map(|files| &files.own).chain(&self.api);
        let authorities = self.mutual.iter().map(|files| &files.ca);
        let files = own.map(|files| &files.certificate).chain(authorities).cloned();
        files.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Reads the certificates of the node `node` of `cluster`. Needs a tokio runtime.
    ///
    /// # Errors
    /// Names the file that cannot be used, or the owner of its certificate if it is not this node.
    pub(crate) fn load(
        self,
        node: NodeId,
        cluster: &str,
    ) -> Result<(Option<MutualTls>, Option<ApiTls>)> {
        let mutual = match self.mutual {
            Some(files) => {
                let certificate = files.own.certificate.clone();
                let mutual = MutualTls::load(files, RELOAD_INTERVAL).context("tls")?;
                let identity = mutual.identity();
                ensure!(
                    identity.cluster == cluster && identity.role == Role::Node(node),
                    "tls: {}: is of {identity}, must be of node {node} of cluster {cluster}",
                    certificate.display(),
                );
                Some(mutual)
            }
            None => None,
        };
        let api = self.api.map(|files| ApiTls::load(files, RELOAD_INTERVAL));
        Ok((mutual, api.transpose().context("tls")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Tls> {
        toml::from_str::<RawTls>(text)?.check("c")
    }

    const MUTUAL: &str = "certificate = 'c'\nkey = 'k'\nca = 'a'\n";
    const API: &str = "api-certificate = 'd'\napi-key = 'l'\n";

    fn keys(certificate: &str, key: &str) -> KeyFiles {
        KeyFiles { certificate: certificate.into(), key: key.into() }
    }

    #[test]
    fn the_api_uses_the_certificate_of_the_node_unless_it_has_its_own() {
        let both = check(MUTUAL).unwrap();
        let mutual = Some(MutualFiles { own: keys("c", "k"), ca: "a".into() });
        assert_eq!(both, Tls { mutual: mutual.clone(), api: Some(keys("c", "k")) });
        let own = check(&format!("{MUTUAL}{API}")).unwrap();
        assert_eq!(own, Tls { mutual: mutual.clone(), api: Some(keys("d", "l")) });
        let alone = check(&format!("{API}api = 'tls'")).unwrap();
        assert_eq!(alone, Tls { mutual: None, api: Some(keys("d", "l")) });
        let plain = check(&format!("{MUTUAL}api = 'plain'")).unwrap();
        assert_eq!(plain, Tls { mutual, api: None });
    }

    #[test]
    fn errors_name_the_key() {
        let error = |text: &str| check(text).unwrap_err().to_string();
        assert!(error("certificate = 'c'\nkey = 'k'").starts_with("ca: is missing"));
        assert!(error("certificate = 'c'\nca = 'a'").starts_with("key: is missing"));
        assert!(error("ca = 'a'").starts_with("certificate: is missing"));
        assert!(error("api-key = 'a'").starts_with("api-certificate: is missing"));
        assert!(
            error(&format!("{MUTUAL}api-certificate = 'a'")).starts_with("api-key: is missing")
        );
        assert!(error(&format!("{MUTUAL}{API}api = 'plain'")).starts_with("api: is \"plain\""));
        assert!(error("api = 'plain'").starts_with("certificate, key and ca:"));
        assert!(error("").starts_with("must name certificate, key and ca"));
        assert!(error("cert = 'c'").contains("unknown field `cert`"));
        let name = toml::from_str::<RawTls>(MUTUAL).unwrap().check("a/b").unwrap_err().to_string();
        assert!(name.starts_with("the cluster's name must be"), "{name}");
    }
}
