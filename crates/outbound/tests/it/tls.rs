//! TLS: the certificate must be of a trusted authority and for the host of the URL.

use std::sync::Arc;

use anabranch_outbound::{AllowList, Client, Deadlines, Error, SystemResolver};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::server::{ping, text};

/// A server with a certificate for `name`, and the port and the certificate.
async fn serve(name: &str) -> (u16, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([name.to_owned()]).unwrap();
    let certificate = cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut read = Vec::new();
            while !read.ends_with(b"ping") && stream.read_buf(&mut read).await.unwrap() > 0 {}
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npong").await.unwrap();
            let _client_may_be_gone = stream.shutdown().await;
        }
    });
    (port, certificate)
}

async fn call(port: u16, roots: RootCertStore) -> Result<String, Error> {
    let resolver = Arc::new(SystemResolver);
    let allow = AllowList::new(["localhost"]).unwrap();
    let client = Client::with_roots(allow, Deadlines::default(), resolver, roots);
    let url = format!("https://localhost:{port}/");
    client.post(ping(&url)).await.map(|response| text(&response).to_owned())
}

#[tokio::test]
async fn a_trusted_certificate_for_the_host_is_accepted_and_no_other() {
    let (port, certificate) = serve("localhost").await;
    let mut trusting = RootCertStore::empty();
    trusting.add(certificate).unwrap();
    assert_eq!(call(port, trusting).await, Ok("pong".into()));
    let untrusted = call(port, RootCertStore::empty()).await.unwrap_err();
    assert!(matches!(untrusted, Error::Connect(_)), "{untrusted:?}");

    let (port, certificate) = serve("other.test").await;
    let mut trusting = RootCertStore::empty();
    trusting.add(certificate).unwrap();
    let other = call(port, trusting).await.unwrap_err();
    assert!(matches!(other, Error::Connect(_)), "{other:?}");
}
