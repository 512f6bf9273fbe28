//! Mutual TLS 1.3 between the members of a cluster.
//!
//! ```text
//! accept:   any certificate of the authority    the result says who the client is; services decide what it may do
//! connect:  a certificate of the authority that names a node of this cluster, and the wanted node if one is given
//! ```
//!
//! The files are checked for changes all the time, and each new connection uses the newest certificates. Therefore no
//! session is resumed: a resumed session would skip the check of the certificate. The identity of this process never
//! changes while the process runs: a certificate of another owner is refused.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anabranch_types::NodeId;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::error::Error;
use crate::files::{MutualFiles, provider, read_roots, unusable};
use crate::identity::{Identity, IdentityError};
use crate::reloading::Reloading;
use crate::stream::{ClientStream, Stream};
use crate::verifier::NodeVerifier;

/// Mutual TLS 1.3 for both ends of a connection. Cheap to clone.
///
/// Every connection makes a full handshake, so each new connection uses the newest certificates.
#[derive(Clone, Debug)]
pub struct MutualTls {
    identity: Arc<Identity>,
    current: Reloading<Ends>,
}

/// Configuration from one reading of the files.
#[derive(Debug)]
struct Ends {
    server: Arc<ServerConfig>,
    own: Arc<SingleCertAndKey>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

/// The client of an accepted connection.
#[derive(Clone, Debug)]
pub enum Peer {
    /// Unknown: the port is without TLS.
    Anybody,
    /// The owner of a certificate of the trusted authority.
    Certified(Arc<Identity>),
    /// The certificate is of the trusted authority, but does not name its owner.
    Nobody(IdentityError),
}

/// Application protocol: gRPC is HTTP/2.
const PROTOCOL: &[u8] = b"h2";

impl MutualTls {
    /// Reads the certificates at `files`. Checks every `every` whether they have changed, and then reads them again.
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Error`], which names the file. A later certificate of another owner is refused and logged.
    pub fn load(files: MutualFiles, every: Duration) -> Result<Self, Error> {
        let identity = Arc::new(ends(&files)?.0);
        let (owner, paths) = (Arc::clone(&identity), files.paths());
        let current = Reloading::new(paths, every, move || ends_of(&files, &owner))?;
        Ok(Self { identity, current })
    }

    /// The owner that this side's certificate names.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Makes the handshake with a client, which must show a certificate of the authority. There is no time limit
    /// here: the caller sets one.
    ///
    /// # Errors
    /// The reason why the handshake failed. The client has been told.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(Stream, Peer)> {
        let config = Arc::clone(&self.current.current().server);
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let peer = match shown.map_or(Err(IdentityError::Nameless), Identity::of) {
            Ok(identity) => Peer::Certified(Arc::new(identity)),
            Err(error) => Peer::Nobody(error),
        };
        Ok((Stream::Tls(Box::new(stream)), peer))
    }

    /// Makes the handshake with a server. It must be a node of this cluster, and the node `node` if one is given.
    ///
    /// # Errors
    /// The reason why the handshake failed. If the server refuses this side's certificate, only the next read shows it:
    /// in TLS 1.3 the client finishes its handshake before the server has checked that certificate.
    pub async fn connect(
        &self,
        stream: TcpStream,
        node: Option<NodeId>,
    ) -> io::Result<ClientStream> {
        let config = self.client(node).map_err(io::Error::other)?;
        let name = ServerName::try_from("node.anabranch").map_err(io::Error::other)?;
        TlsConnector::from(config).connect(name, stream).await
    }

    fn client(&self, node: Option<NodeId>) -> Result<Arc<ClientConfig>, rustls::Error> {
        let current = self.current.current();
        let verifier = NodeVerifier {
            roots: Arc::clone(&current.roots),
            provider: Arc::clone(&current.provider),
            cluster: self.identity.cluster.clone(),
            node,
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&current.provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::clone(&current.own) as _);
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false; // the server's name is a placeholder
        Ok(Arc::new(config))
    }
}

/// Reads the files. The certificate must name `owner`, because a running process never becomes another member.
fn ends_of(files: &MutualFiles, owner: &Identity) -> Result<Ends, Error> {
    let (found, ends) = ends(files)?;
    if found == *owner {
        return Ok(ends);
    }
    Err(unusable(&files.own.certificate, format!("is of {found}, was of {owner}")))
}

fn ends(files: &MutualFiles) -> Result<(Identity, Ends), Error> {
    let certificate = &files.own.certificate;
    let own = files.own.read()?;
    let shown = own.end_entity_cert().map_err(|error| unusable(certificate, error.to_string()))?;
    let identity = Identity::of(shown).map_err(|error| unusable(certificate, error.to_string()))?;
    let (roots, own, provider) =
        (Arc::new(read_roots(&files.ca)?), Arc::new(SingleCertAndKey::from(own)), provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
    let clients = clients.build().map_err(|error| unusable(&files.ca, error.to_string()))?;
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable(certificate, error.to_string()))?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::clone(&own) as _);
    server.alpn_protocols = vec![PROTOCOL.to_vec()];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok((identity, Ends { server: Arc::new(server), own, roots, provider }))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::files::KeyFiles;
    use crate::identity::Role;
    use crate::issue::{Authority, Validity};

    #[test]
    fn a_certificate_of_another_owner_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name| dir.path().join(name);
        let today = Validity::days(1, SystemTime::now());
        let (authority, ca) = Authority::new("c", today).unwrap();
        let owner = |node| Identity { cluster: "c".into(), role: Role::Node(NodeId(node)) };
        let issued = authority.issue(owner(2).role, &[], today).unwrap();
        std::fs::write(path("ca"), ca.certificate).unwrap();
        std::fs::write(path("certificate"), issued.certificate).unwrap();
        std::fs::write(path("key"), issued.key).unwrap();
        let own = KeyFiles { certificate: path("certificate"), key: path("key") };
        let files = MutualFiles { own, ca: path("ca") };
        assert!(ends_of(&files, &owner(2)).is_ok());
        let error = ends_of(&files, &owner(1)).unwrap_err().to_string();
        assert!(
            error.ends_with("is of anabranch://c/node/2, was of anabranch://c/node/1"),
            "{error}"
        );
    }
}
