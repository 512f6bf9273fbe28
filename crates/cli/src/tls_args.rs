//! The TLS arguments of all programs.
//!
//! The gRPC ports of a cluster with TLS need three files: the authority, a certificate and its key. `--tls-dir` names
//! a directory that `ctl certs` made and that has all three; `--ca`, `--certificate` and `--key` name them one by
//! one. HTTPS ports of the Kinesis API need only the authority.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch_tls::{ApiClient, KeyFiles, MutualFiles, MutualTls, RELOAD_INTERVAL};
use anabranch_transport::{Connector, TcpConnector, TlsConnector};
use anyhow::{Result, bail};

/// The authority to trust and the certificate to show; plain connections if nothing is given.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// Directory made by `ctl certs`: in place of the three other options
    #[arg(id = "tls-dir", long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Authority of the nodes' certificates, PEM
    #[arg(id = "tls-ca", long = "ca", global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Certificate to show to the nodes, PEM
    #[arg(id = "tls-certificate", long = "certificate", global = true, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Key of the certificate, PEM
    #[arg(id = "tls-key", long = "key", global = true, value_name = "FILE")]
    key: Option<PathBuf>,
}

const TWICE: &str = "--tls-dir: stands for --ca, --certificate and --key";

impl TlsArgs {
    /// Whether no option is given.
    pub(crate) fn is_plain(&self) -> bool {
        self.dir.is_none() && self.ca.is_none() && self.certificate.is_none() && self.key.is_none()
    }

    /// A directory made by `ctl certs`, as `--tls-dir` gives it.
    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self { dir: Some(dir.to_owned()), ..Self::default() }
    }

    /// How to connect to gRPC ports. With `--tls-dir`, the certificate `name` of the directory is shown to the node.
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// Names the file that is missing or cannot be used.
    pub fn connector(&self, name: &str) -> Result<Arc<dyn Connector>> {
        let Self { dir, ca, certificate, key } = self.clone();
        let files = match (dir, ca, certificate, key) {
            (None, None, None, None) => return Ok(Arc::new(TcpConnector)),
            (Some(dir), None, None, None) => MutualFiles {
                own: KeyFiles {
                    certificate: dir.join(format!("{name}.pem")),
                    key: dir.join(format!("{name}.key")),
                },
                ca: dir.join("ca.pem"),
            },
            (None, Some(ca), Some(certificate), Some(key)) => {
                MutualFiles { own: KeyFiles { certificate, key }, ca }
            }
            (Some(_), ..) => bail!(TWICE),
            (None, ..) => bail!("--ca, --certificate and --key go together"),
        };
        Ok(Arc::new(TlsConnector::new(MutualTls::load(files, RELOAD_INTERVAL)?)))
    }

    /// How to connect to HTTPS ports. No certificate is shown to them; only the authority is used. `protocol` is the
    /// name for ALPN.
    ///
    /// # Errors
    /// Names the file that is missing or cannot be used.
    pub fn api_client(&self, protocol: &str) -> Result<ApiClient> {
        let ca = match (&self.dir, &self.ca) {
            (Some(dir), None) => dir.join("ca.pem"),
            (None, Some(ca)) => ca.clone(),
            (None, None) => bail!("https:// needs --ca or --tls-dir"),
            (Some(_), Some(_)) => bail!(TWICE),
        };
        Ok(ApiClient::load(&ca, protocol)?)
    }
}
