//! Ways to connect to nodes, for programs outside of the cluster.

use std::path::PathBuf;
use std::sync::Arc;

use anabranch_tls::{KeyFiles, MutualFiles, MutualTls, RELOAD_INTERVAL};
use anabranch_transport::{Connector, TcpConnector, TlsConnector};

use crate::error::Error;

/// Connections over TCP, to a cluster without TLS.
pub fn tcp() -> Arc<dyn Connector> {
    Arc::new(TcpConnector)
}

/// Connections over mutual TLS. `ca` is the certificate of the cluster's authority; `certificate` and `key` are of a
/// client (`anabranch ctl certs --client NAME`). All are PEM files. New files are used within seconds. Needs a tokio
/// runtime.
///
/// # Errors
/// [`Error::Invalid`] names the file that is missing or cannot be used.
pub fn tls(ca: PathBuf, certificate: PathBuf, key: PathBuf) -> Result<Arc<dyn Connector>, Error> {
    let files = MutualFiles { own: KeyFiles { certificate, key }, ca };
    let tls = MutualTls::load(files, RELOAD_INTERVAL);
    let tls = tls.map_err(|error| Error::Invalid(error.to_string()))?;
    Ok(Arc::new(TlsConnector::new(tls)))
}
