use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::sign::SingleCertAndKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::error::Error;
use crate::files::{KeyFiles, provider, unusable};
use crate::reloading::Reloading;
use crate::stream::Stream;

/// TLS 1.2 and 1.3 for an HTTP port whose clients show no certificate. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiTls(Reloading<ServerConfig>);

/// Application protocols of the port, preferred one first. A client that offers none may speak either.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

impl ApiTls {
    /// Reads the certificate and key at `files`. Checks every `every` whether they have changed, and then reads them
    /// again. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Error`], which names the file.
    pub fn load(files: KeyFiles, every: Duration) -> Result<Self, Error> {
        Reloading::new(files.paths(), every, move || config(&files)).map(Self)
    }

    /// Makes the handshake with a client. There is no time limit here: the caller sets one.
    ///
    /// # Errors
    /// The reason why the handshake failed. The client has been told.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        let stream = TlsAcceptor::from(self.0.current()).accept(stream).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

fn config(files: &KeyFiles) -> Result<ServerConfig, Error> {
    let own = Arc::new(SingleCertAndKey::from(files.read()?));
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&files.certificate, error.to_string()))?;
    let mut config = config.with_no_client_auth().with_cert_resolver(own);
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}
