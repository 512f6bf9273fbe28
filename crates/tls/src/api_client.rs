use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::Error;
use crate::files::{provider, read_roots, unusable};
use crate::stream::ClientStream;

/// A TLS client of an HTTP port. It shows no certificate. The server's certificate must be of a trusted authority and
/// must be valid for the host that the client wants. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiClient(Arc<ClientConfig>);

impl ApiClient {
    /// Trusts the authorities in the PEM file `ca`, and offers only `protocol`: `h2` or `http/1.1`.
    ///
    /// # Errors
    /// [`Error`], which names the file.
    pub fn load(ca: &Path, protocol: &str) -> Result<Self, Error> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(ca, error.to_string()))?;
        let mut config = config.with_root_certificates(read_roots(ca)?).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// Makes the handshake with `host`, which is a name or an IP address (IPv6 without brackets).
    ///
    /// # Errors
    /// The reason why the handshake failed.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<ClientStream> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await
    }
}
