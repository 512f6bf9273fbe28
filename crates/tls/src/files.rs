use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::error::Error;

/// A certificate with its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFiles {
    /// The certificate, then those between it and the authority's, if there are any.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What one end of a mutual connection needs, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MutualFiles {
    /// What it shows.
    pub own: KeyFiles,
    /// The authorities whose certificates it takes; several while one follows another.
    pub ca: PathBuf,
}

impl KeyFiles {
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        vec![self.certificate.clone(), self.key.clone()]
    }

    /// Reads both and checks that they belong together.
    pub(crate) fn read(&self) -> Result<CertifiedKey, Error> {
        let chain = certificates(&self.certificate)?;
        let key = read(&self.key)?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|_| unusable(&self.key, "holds no private key in PEM"))?;
        CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            unusable(&self.key, format!("goes not with {}: {error}", self.certificate.display()))
        })
    }
}

impl MutualFiles {
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        [self.own.paths(), vec![self.ca.clone()]].concat()
    }
}

/// The authorities in a file.
pub(crate) fn read_roots(ca: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| unusable(ca, error.to_string()))?;
    }
    Ok(roots)
}

/// The one implementation of cryptography that TLS uses here.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

pub(crate) fn unusable(path: &Path, reason: impl Into<String>) -> Error {
    Error::Unusable { path: path.to_owned(), reason: reason.into() }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Read { path: path.to_owned(), error })
}

/// The certificates in a file; there is one at least.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(unusable(path, "holds no certificate in PEM")),
    }
}
