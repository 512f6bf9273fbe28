//! Reads certificates, keys and authorities from PEM files.
//!
//! Errors always name the file. A private key stays inside of the value that signs with it: no error and no log
//! contains it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::error::Error;

/// Files with a certificate and its private key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFiles {
    /// File with the certificate. It may continue with the intermediate certificates, up to the authority's.
    pub certificate: PathBuf,
    /// File with the private key.
    pub key: PathBuf,
}

/// Files that one end of a mutual TLS connection needs, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MutualFiles {
    /// The own certificate and key.
    pub own: KeyFiles,
    /// File with the trusted authorities. It may hold several, for example while a new authority replaces an old one.
    pub ca: PathBuf,
}

impl KeyFiles {
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        vec![self.certificate.clone(), self.key.clone()]
    }

    /// Reads both files and checks that key and certificate belong together.
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

/// Reads the authorities in a file.
pub(crate) fn read_roots(ca: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| unusable(ca, error.to_string()))?;
    }
    Ok(roots)
}

/// The implementation of cryptography that all TLS of the program uses.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

pub(crate) fn unusable(path: &Path, reason: impl Into<String>) -> Error {
    Error::Unusable { path: path.to_owned(), reason: reason.into() }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Read { path: path.to_owned(), error })
}

/// Reads the certificates in a file. A file without a certificate is an error.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(unusable(path, "holds no certificate in PEM")),
    }
}
