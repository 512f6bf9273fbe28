use std::net::IpAddr;
use std::time::Duration;

/// Why a request got no usable response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The URL is not `http://` or `https://` with a host, or it has a user name in it.
    #[error("the URL must be http:// or https:// and a host")]
    Url,
    /// The allow list does not contain the host, or not the address of the host. Nothing was sent.
    #[error("outbound.allow does not allow {host} ({})", addresses_text(.addresses))]
    NotAllowed {
        /// Host of the URL.
        host: String,
        /// Addresses of the host.
        addresses: Vec<IpAddr>,
    },
    /// There was no connection: the name does not resolve, nothing listens, or the TLS handshake failed. Nothing was
    /// sent.
    #[error("no connection: {0}")]
    Connect(String),
    /// The response was not complete in time. The server may have performed the request.
    #[error("no response within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The response has more bytes than allowed. The server has performed the request.
    #[error("the response has more than {limit} bytes")]
    TooLarge {
        /// Bytes that were allowed.
        limit: usize,
    },
    /// The connection broke before the end of the response. The server may have performed the request.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The server answered with another status than 2xx.
    #[error("the server answered with status {0}")]
    Status(u16),
}

impl Error {
    /// Whether the server certainly did not get the request.
    pub const fn is_unsent(&self) -> bool {
        match self {
            Self::Url | Self::NotAllowed { .. } | Self::Connect(_) => true,
            Self::Timeout(_) | Self::TooLarge { .. } | Self::Broken(_) | Self::Status(_) => false,
        }
    }
}

fn addresses_text(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
