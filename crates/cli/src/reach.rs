//! Finds a node that answers, and explains the common mistakes: nothing listens at the address, or the address is
//! that of the Kinesis API, while these commands need the gRPC port.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anabranch_transport::{Connector, Destination};
use anyhow::{Context, Result, anyhow, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::TlsArgs;
use crate::cluster_file::ClusterFile;

/// How long a port may take to answer a request of HTTP/1.1.
const PATIENCE: Duration = Duration::from_secs(1);

/// The gRPC ports to ask, and the TLS arguments. If no port is `named`, they are those of the cluster of `anabranch
/// dev` in this directory, with the certificates of that cluster unless `tls` names some.
///
/// # Errors
/// When no port is named and there is no readable `cluster.json`.
pub(crate) fn nodes(named: Vec<String>, tls: TlsArgs) -> Result<(Vec<String>, TlsArgs)> {
    if !named.is_empty() {
        return Ok((named, tls));
    }
    let path = ClusterFile::path(Path::new("anabranch-data"));
    let missing = || format!("--node: not given, and there is no {}", path.display());
    let text = std::fs::read_to_string(&path).with_context(missing)?;
    let cluster = ClusterFile::parse(&text).with_context(|| path.display().to_string())?;
    let nodes = cluster.nodes.into_iter().map(|node| node.grpc).collect();
    match cluster.tls_dir {
        Some(dir) if tls.is_plain() => Ok((nodes, TlsArgs::in_dir(&dir))),
        Some(_) | None => Ok((nodes, tls)),
    }
}

/// The first of the nodes that accepts a connection.
///
/// # Errors
/// When no node accepts one; the error has the reason of the last.
pub(crate) async fn first(connector: &Arc<dyn Connector>, nodes: &[String]) -> Result<String> {
    let mut reason = "there is no address".to_owned();
    for node in nodes {
        match connector.connect(Destination::any(node)).await {
            Ok(_) => return Ok(node.clone()),
            Err(error) => reason = error.to_string(),
        }
    }
    bail!("no node answers at {}: {reason}", nodes.join(", "))
}

/// An explanation, if `node` is the address of a Kinesis API.
pub(crate) async fn wrong_port(node: &str) -> Option<anyhow::Error> {
    let beginning = timeout(PATIENCE, greet(node)).await.ok()?.ok()?;
    // A gRPC port answers in HTTP/2, or does not answer.
    (beginning == *b"HTTP/1.1").then(|| {
        anyhow!(
            "{node} is the port of a Kinesis API: give the gRPC port of the node (listen-grpc in its \
             configuration, grpc in cluster.json)"
        )
    })
}

/// As [`wrong_port`], for use beside a call without a response yet. It asks after a moment, and never returns if the
/// port is not that of a Kinesis API.
pub(crate) async fn wrong_port_at_last(node: &str) -> anyhow::Error {
    sleep(PATIENCE).await;
    match wrong_port(node).await {
        Some(mistake) => mistake,
        None => std::future::pending().await,
    }
}

/// The first eight bytes of the response to a request of HTTP/1.1.
async fn greet(node: &str) -> io::Result<[u8; 8]> {
    let mut stream = TcpStream::connect(node).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {node}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut beginning = [0; 8];
    stream.read_exact(&mut beginning).await?;
    Ok(beginning)
}

#[cfg(test)]
mod tests {
    use anabranch_transport::TcpConnector;
    use tokio::net::TcpListener;

    use super::*;

    /// A port that sends `answer` to the first connection.
    async fn answers(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer).await.unwrap();
            let _gone = stream.read_to_end(&mut Vec::new()).await;
        });
        address
    }

    #[tokio::test]
    async fn only_the_port_of_a_kinesis_api_is_explained() {
        let api = answers(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let mistake = wrong_port(&api).await.unwrap().to_string();
        assert!(mistake.starts_with(&format!("{api} is the port of a Kinesis API")), "{mistake}");
        let settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00";
        assert!(wrong_port(&answers(settings).await).await.is_none());
        assert!(wrong_port(&answers(b"").await).await.is_none());
    }

    #[tokio::test]
    async fn an_error_names_the_port_on_which_nothing_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap().to_string();
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().to_string()
        };
        let connector: Arc<dyn Connector> = Arc::new(TcpConnector);
        let error = first(&connector, std::slice::from_ref(&closed)).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("no node answers at {closed}")), "{error}");
        assert_eq!(first(&connector, &[closed, open.clone()]).await.unwrap(), open);
    }
}
