use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// Trusts the authorities in `roots`.
pub(crate) fn trusting(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has what the default versions need")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

pub(crate) fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}
