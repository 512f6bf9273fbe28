//! Handshakes of mutual TLS: which certificates either end accepts, and who the peer is.

use std::io;
use std::time::{Duration, SystemTime};

use anabranch_tls::issue::Validity;
use anabranch_tls::{MutualTls, Peer, Role};
use anabranch_types::NodeId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::set::{Set, node};

/// Connects `client` to `server`. Returns the peer that the server sees, and whether the client got a byte from
/// `node`.
async fn meet(
    server: &MutualTls,
    client: &MutualTls,
    node: Option<u64>,
) -> (io::Result<Peer>, io::Result<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = async {
        let (stream, peer) = server.accept(listener.accept().await?.0).await?;
        let mut stream = stream;
        stream.write_all(b"!").await?;
        stream.flush().await?;
        let _client_is_done = stream.read(&mut [0]).await;
        Ok(peer)
    };
    let answered = async {
        let stream = TcpStream::connect(address).await?;
        let mut stream = client.connect(stream, node.map(NodeId)).await?;
        stream.read_exact(&mut [0]).await?;
        Ok(())
    };
    tokio::join!(accepted, answered)
}

fn peer_name(peer: io::Result<Peer>) -> String {
    match peer.unwrap() {
        Peer::Certified(identity) => identity.to_string(),
        Peer::Nobody(error) => error.to_string(),
        Peer::Anybody => "anybody".to_owned(),
    }
}

#[tokio::test]
async fn a_server_knows_each_member_by_its_certificate() {
    let set = Set::of("c");
    let server = set.member(node(1));
    for (role, name) in [
        (node(2), "anabranch://c/node/2"),
        (Role::Operator("ops".into()), "anabranch://c/operator/ops"),
        (Role::Client("app".into()), "anabranch://c/client/app"),
    ] {
        let (peer, answered) = meet(&server, &set.member(role), Some(1)).await;
        assert_eq!(peer_name(peer), name);
        answered.unwrap();
        assert!(set.member(node(1)).identity().to_string().ends_with("c/node/1"));
    }
}

#[tokio::test]
async fn a_client_refuses_another_node_than_the_wanted_one() {
    let set = Set::of("c");
    let (server, client) = (set.member(node(1)), set.member(node(3)));
    meet(&server, &client, None).await.1.unwrap();
    let error = meet(&server, &client, Some(2)).await.1.unwrap_err().to_string();
    assert!(
        error.contains("the server is anabranch://c/node/1, wanted is node 2 of cluster c"),
        "{error}"
    );
}

#[tokio::test]
async fn a_client_refuses_a_server_with_the_certificate_of_an_operator_or_client() {
    let set = Set::of("c");
    for role in [Role::Operator("ops".into()), Role::Client("app".into())] {
        let (_, answered) = meet(&set.member(role), &set.member(node(1)), None).await;
        answered.unwrap_err();
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_by_both_ends() {
    let (set, foreign) = (Set::of("c"), Set::of("c"));
    let (server, client) = (set.member(node(1)), set.member(node(2)));
    let intruder = foreign.member(node(2));
    // It trusts our server's certificate, but shows a certificate of its own authority.
    std::fs::copy(set.path("ca.pem"), foreign.path("ca.pem")).unwrap();
    let deceived = foreign.member(node(2));
    let (peer, answered) = meet(&server, &deceived, None).await;
    peer.unwrap_err();
    answered.unwrap_err();
    meet(&intruder, &client, None).await.1.unwrap_err();
}

#[tokio::test]
async fn a_client_refuses_a_node_of_another_cluster_with_the_same_authority() {
    let set = Set::of("c");
    let other = Set::of("d");
    // Both clusters have the same authority.
    let theirs = other.authority.issue(node(1), &[], crate::set::today()).unwrap();
    set.write("theirs", &theirs);
    std::fs::copy(other.path("ca.pem"), set.path("ca.pem")).unwrap();
    let theirs = MutualTls::load(set.files("theirs"), crate::set::LOOK).unwrap();
    let client = set.member(node(2));
    let error = meet(&theirs, &client, None).await.1.unwrap_err().to_string();
    assert!(error.contains("wanted is a node of cluster c"), "{error}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_both_ends() {
    let set = Set::of("c");
    let hours = |hours: u64| SystemTime::now() - Duration::from_secs(hours * 3600);
    let expired = Validity { from: hours(3), until: hours(1) };
    let (fresh, late) = (set.member(node(1)), set.member_until(node(2), expired));
    let (peer, answered) = meet(&fresh, &late, Some(1)).await;
    peer.unwrap_err();
    answered.unwrap_err();
    let error = meet(&late, &fresh, Some(2)).await.1.unwrap_err().to_string();
    assert!(error.contains("expired"), "{error}");
}
