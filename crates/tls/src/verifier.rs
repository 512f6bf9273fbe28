//! The client's check of a server certificate on the gRPC port.
//!
//! A certificate is accepted if its chain leads to the cluster's authority, and if it names a node of this cluster
//! (the wanted node, if there is one). Host names and addresses are not compared, because nodes move. An operator's
//! or client's certificate never passes, so its owner cannot pretend to be a node.

use std::fmt;
use std::sync::Arc;

use anabranch_types::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};

use crate::identity::{Identity, IdentityError, Role};

/// Accepts the certificate of a node of the cluster, at whatever address.
#[derive(Debug)]
pub(crate) struct NodeVerifier {
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) cluster: String,
    /// The wanted node; any node if `None`.
    pub(crate) node: Option<NodeId>,
}

/// Why the owner of a valid certificate is not the wanted node.
#[derive(Debug, thiserror::Error)]
enum WrongServer {
    #[error(transparent)]
    Nobody(#[from] IdentityError),
    #[error("the server is {found}, wanted is {wanted}")]
    Another { found: Identity, wanted: String },
}

impl NodeVerifier {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), WrongServer> {
        let found = Identity::of(certificate)?;
        let fits = match &found.role {
            Role::Node(node) => self.node.is_none_or(|wanted| wanted == *node),
            Role::Operator(_) | Role::Client(_) => false,
        };
        if fits && found.cluster == self.cluster {
            return Ok(());
        }
        let node = self.node.map_or_else(|| "a node".to_owned(), |node| format!("node {}", node.0));
        Err(WrongServer::Another { found, wanted: format!("{node} of cluster {}", self.cluster) })
    }
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        match self.check(end_entity) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(wrong) => {
                Err(CertificateError::Other(OtherError(Arc::new(ReadableError(wrong.to_string()))))
                    .into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// An error with a readable `Debug` form, because rustls prints wrapped errors in that form.
#[derive(thiserror::Error)]
#[error("{0}")]
struct ReadableError(String);

impl fmt::Debug for ReadableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
