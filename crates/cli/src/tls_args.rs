//! How the tools connect to ports with TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch_tls::{ApiClient, KeyFiles, MutualFiles, MutualTls, RELOAD_INTERVAL};
use anabranch_transport::{Connector, TcpConnector, TlsConnector};
use anyhow::{Result, bail};

/// Whom to trust and with which certificate; plain without.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// Directory as `ctl certs` makes it: in place of the three others
    #[arg(id = "tls-dir", long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Authority whose certificates the nodes show, PEM
    #[arg(id = "tls-ca", long = "ca", global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Certificate to show, PEM
    #[arg(id = "tls-certificate", long = "certificate", global = true, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Its key, PEM
    #[arg(id = "tls-key", long = "key", global = true, value_name = "FILE")]
    key: Option<PathBuf>,
}

const TWICE: &str = "--tls-dir: stands for --ca, --certificate and --key";

impl TlsArgs {
    /// Whether none is named.
    pub(crate) fn is_plain(&self) -> bool {
        self.dir.is_none() && self.ca.is_none() && self.certificate.is_none() && self.key.is_none()
    }

    /// The certificate `name` of the directory `dir`.
    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self { dir: Some(dir.to_owned()), ..Self::default() }
    }

    /// How to connect to gRPC ports; of a directory the certificate `name` is shown. Needs a tokio runtime.
    ///
    /// # Errors
    /// Says which file is missing or can't be used.
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

    /// How to connect to HTTPS ports, which are shown no certificate: the authority alone counts.
    ///
    /// # Errors
    /// Says which file is missing or can't be used.
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
