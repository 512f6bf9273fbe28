//! The TLS handshake of a connection, and a hint for clients that speak plain HTTP to a TLS port.

use std::io;
use std::time::Duration;

use anabranch_tls::{ApiTls, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

/// First byte of a TLS handshake record. Every TLS connection begins with it.
const HANDSHAKE: u8 = 0x16;
/// Response to a client that speaks HTTP without TLS.
const NOT_PLAIN: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 23\r\n\
                           Connection: close\r\n\r\nthis port speaks HTTPS\n";
/// How long such a client may take to read the response.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Performs the handshake within `limit`. `None` if it fails or if `closing` turns true.
pub(crate) async fn shake_hands(
    tls: &ApiTls,
    stream: TcpStream,
    limit: Duration,
    closing: &mut watch::Receiver<bool>,
) -> Option<Stream> {
    let shaken = tokio::select! {
        shaken = timeout(limit, begin(tls, stream)) => shaken,
        _ = closing.wait_for(|closing| *closing) => return None,
    };
    match shaken {
        Ok(Ok(stream)) => return stream,
        Ok(Err(error)) => tracing::info!(%error, "no TLS connection with a client"),
        Err(_elapsed) => tracing::info!("a TLS handshake took too long"),
    }
    None
}

async fn begin(tls: &ApiTls, stream: TcpStream) -> io::Result<Option<Stream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(None); // closed before it said anything
    }
    if first[0].is_ascii_uppercase() {
        // A client that does not read the response in time is disconnected.
        let _ = timeout(REFUSAL_TIMEOUT, refuse_plain(stream)).await;
        return Ok(None);
    }
    if first[0] != HANDSHAKE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    tls.accept(stream).await.map(Some)
}

/// Sends a plain HTTP response and reads what the client still sends. If the connection were closed while sent bytes
/// are unread, the client might lose the response.
async fn refuse_plain(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(NOT_PLAIN).await?;
    stream.shutdown().await?;
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
