//! What comes before the first request on a port with TLS.

use std::io;
use std::time::Duration;

use anabranch_tls::{ApiTls, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

/// The first byte of every TLS connection: the kind of record that a handshake is.
const HANDSHAKE: u8 = 0x16;
/// What a client is told that speaks HTTP without TLS.
const NOT_PLAIN: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 23\r\n\
                           Connection: close\r\n\r\nthis port speaks HTTPS\n";
/// How long such a client may take to hear it.
const HEARD: Duration = Duration::from_secs(1);

/// Makes the handshake within `limit`. `None` if it came to nothing, or `closing` turned true.
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
        // A client that doesn't hear it in time is left alone.
        let _ = timeout(HEARD, refuse_plain(stream)).await;
        return Ok(None);
    }
    if first[0] != HANDSHAKE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    tls.accept(stream).await.map(Some)
}

/// Answers what looks like HTTP, and takes what the client still sends: a close over unread bytes would take the
/// answer back.
async fn refuse_plain(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(NOT_PLAIN).await?;
    stream.shutdown().await?;
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
