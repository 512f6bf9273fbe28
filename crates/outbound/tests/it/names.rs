//! Names, and the addresses behind them.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anabranch_outbound::{AllowList, Client, Deadlines, Error, Resolve};
use futures::FutureExt;
use futures::future::BoxFuture;
use rustls::RootCertStore;

use crate::server::{Server, client, ping};

const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Resolves every name to the next of its lists of addresses, and to the last one for ever.
struct Rebinding {
    lists: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Rebinding {
    fn new(lists: &[&[&str]]) -> Arc<Self> {
        let list = |list: &&[&str]| list.iter().map(|a| a.parse().unwrap()).collect();
        Arc::new(Self { lists: lists.iter().map(list).collect(), asked: AtomicUsize::new(0) })
    }
}

impl Resolve for Rebinding {
    fn resolve(&self, _host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst).min(self.lists.len() - 1);
        let found = self.lists[asked].clone();
        async { Ok(found) }.boxed()
    }
}

fn resolving(allow: &[&str], resolver: Arc<Rebinding>) -> Client {
    let allow = AllowList::new(allow).unwrap();
    Client::with_roots(allow, Deadlines::default(), resolver, RootCertStore::empty())
}

fn not_allowed(host: &str, addresses: &[&str]) -> Error {
    let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
    Error::NotAllowed { host: host.into(), addresses }
}

#[tokio::test]
async fn loopback_is_refused_unless_it_is_listed() {
    let server = Server::answering(OK).await;
    for allow in [&[][..], &["*"], &["0.0.0.0/0"]] {
        let error =
            client(AllowList::new(allow).unwrap()).post(ping(&server.url())).await.unwrap_err();
        assert_eq!(error, not_allowed("127.0.0.1", &["127.0.0.1"]));
        assert!(error.is_unsent());
    }
    assert_eq!(server.connections(), 0);
    let listed = client(AllowList::new(["127.0.0.1"]).unwrap());
    listed.post(ping(&server.url())).await.unwrap();
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_ipv4_mapped_address_is_checked_as_ipv4() {
    let server = Server::answering(OK).await;
    let url = format!("http://[::ffff:127.0.0.1]:{}/", server.address.port());
    let error = client(AllowList::new(["*", "::/0"]).unwrap()).post(ping(&url)).await;
    assert_eq!(error.unwrap_err(), not_allowed("::ffff:127.0.0.1", &["127.0.0.1"]));
    assert_eq!(server.connections(), 0);
    // The connection goes to the IPv4 address, where the server listens.
    client(AllowList::new(["127.0.0.0/8"]).unwrap()).post(ping(&url)).await.unwrap();
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_allowed_name_that_resolves_to_loopback_is_refused() {
    let server = Server::answering(OK).await;
    let url = format!("http://api.example.com:{}/", server.address.port());
    let resolver = Rebinding::new(&[&["127.0.0.1"]]);
    let error = resolving(&["*.example.com"], resolver).post(ping(&url)).await.unwrap_err();
    assert_eq!(error, not_allowed("api.example.com", &["127.0.0.1"]));
    assert_eq!(error.to_string(), "outbound.allow does not allow api.example.com (127.0.0.1)");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_is_resolved_once_and_the_checked_address_is_connected() {
    let server = Server::answering(OK).await;
    let url = format!("http://api.example.com:{}/", server.address.port());
    // A second resolution for the connection would lead to the metadata address.
    let resolver = Rebinding::new(&[&["127.0.0.1"], &["169.254.169.254"]]);
    let client = resolving(&["127.0.0.1"], Arc::clone(&resolver));
    client.post(ping(&url)).await.unwrap();
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 1);
    assert_eq!(server.connections(), 1);
    // The next connection resolves again, and is checked again.
    let error = client.post(ping(&url)).await.unwrap_err();
    assert_eq!(error, not_allowed("api.example.com", &["169.254.169.254"]));
}

#[tokio::test]
async fn of_several_addresses_only_the_allowed_ones_are_tried() {
    let server = Server::answering(OK).await;
    let url = format!("http://api.example.com:{}/", server.address.port());
    let resolver = Rebinding::new(&[&["169.254.169.254", "::ffff:127.0.0.1"]]);
    resolving(&["127.0.0.1"], resolver).post(ping(&url)).await.unwrap();
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_name_without_an_address_is_no_connection() {
    let error = resolving(&["*"], Rebinding::new(&[&[]])).post(ping("http://a.test/")).await;
    assert_eq!(error.unwrap_err(), Error::Connect("a.test has no address".into()));
}
