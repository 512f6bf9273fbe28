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

/// Takes a server that is a node of the cluster, and the one that is wanted, whatever its address: nodes move.
#[derive(Debug)]
pub(crate) struct NodeVerifier {
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) cluster: String,
    /// Any node if `None`.
    pub(crate) node: Option<NodeId>,
}

/// Why the owner of a good certificate isn't who is wanted.
#[derive(Debug, thiserror::Error)]
enum Mistaken {
    #[error(transparent)]
    Nobody(#[from] IdentityError),
    #[error("the server is {found}, wanted is {wanted}")]
    Another { found: Identity, wanted: String },
}

impl NodeVerifier {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Mistaken> {
        let found = Identity::of(certificate)?;
        let fits = match &found.role {
            Role::Node(node) => self.node.is_none_or(|wanted| wanted == *node),
            Role::Operator(_) | Role::Client(_) => false,
        };
        if fits && found.cluster == self.cluster {
            return Ok(());
        }
        let node = self.node.map_or_else(|| "a node".to_owned(), |node| format!("node {}", node.0));
        Err(Mistaken::Another { found, wanted: format!("{node} of cluster {}", self.cluster) })
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
            Err(mistaken) => {
                Err(CertificateError::Other(OtherError(Arc::new(Said(mistaken.to_string()))))
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

/// A reason that is read by people: rustls prints what it wraps in the debug form.
#[derive(thiserror::Error)]
#[error("{0}")]
struct Said(String);

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
