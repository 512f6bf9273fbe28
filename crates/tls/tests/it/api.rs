use std::io;

use anabranch_tls::{ApiClient, ApiTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::set::{LOOK, Set, node, today};

/// A server with a certificate for 127.0.0.1.
fn port(set: &Set) -> ApiTls {
    let hosts = ["127.0.0.1".to_owned()];
    set.write("api", &set.authority.issue(node(1), &hosts, today()).unwrap());
    ApiTls::load(set.files("api").own, LOOK).unwrap()
}

/// The protocol that client and server agree on. The client wants a certificate for `host`.
async fn agree(port: &ApiTls, client: &ApiClient, host: &str) -> io::Result<Option<Vec<u8>>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = async {
        let mut stream = port.accept(listener.accept().await?.0).await?;
        stream.write_all(b"!").await?;
        stream.flush().await
    };
    let answered = async {
        let mut stream = client.connect(host, TcpStream::connect(address).await?).await?;
        stream.read_exact(&mut [0]).await?;
        Ok(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
    };
    let (_, answered) = tokio::join!(accepted, answered);
    answered
}

#[tokio::test]
async fn a_client_gets_its_protocol_and_checks_the_host_name() {
    let set = Set::of("c");
    let port = port(&set);
    for protocol in ["h2", "http/1.1"] {
        let client = ApiClient::load(&set.path("ca.pem"), protocol).unwrap();
        let agreed = agree(&port, &client, "127.0.0.1").await.unwrap();
        assert_eq!(agreed.as_deref(), Some(protocol.as_bytes()));
        let error = agree(&port, &client, "example.com").await.unwrap_err().to_string();
        assert!(error.contains("not valid for name"), "{error}");
    }
}

#[tokio::test]
async fn a_client_trusts_only_the_authorities_in_its_file() {
    let (set, other) = (Set::of("c"), Set::of("c"));
    let client = ApiClient::load(&other.path("ca.pem"), "h2").unwrap();
    let error = agree(&port(&set), &client, "127.0.0.1").await.unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
    let missing = ApiClient::load(&set.path("none.pem"), "h2").unwrap_err().to_string();
    assert!(missing.contains("none.pem: No such file"), "{missing}");
}
