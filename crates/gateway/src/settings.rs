//! Settings of the gateway, with their defaults. They never change while the gateway runs.

use std::fmt;
use std::time::Duration;

use anabranch_types::{AccountId, Region};

/// Settings of one gateway. All gateways of a cluster must have the same account and the same token key.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// Account number in ARNs and messages.
    pub account: AccountId,
    /// Region in ARNs. The gateway serves clients of any region.
    pub region: Region,
    /// Key that seals shard iterators and paging tokens.
    pub token_key: TokenKey,
    /// Which callers are accepted. Default: callers with a valid signature, if policies allow the call.
    pub authentication: Authentication,
    /// Origins whose pages may call from a browser, besides origins of loopback. Example: `https://console.example`.
    /// If signatures are verified, pages of every origin may call, because a page without a key cannot sign. Default:
    /// none.
    pub allowed_origins: Vec<String>,
    /// Whether the limits of the AWS service apply: calls per second of each operation, changes per stream. Default:
    /// no.
    pub service_limits: bool,
    /// Largest body. Default: 16 MiB, which is enough for 10 MiB of data in base64 and 500 keys.
    pub max_body_bytes: usize,
    /// Budget in bytes for bodies and responses in memory: one half for bodies, one half for responses. Pushed events
    /// have another eighth of this number. Beyond the budget, calls are throttled and events wait. A body counts
    /// twice: once for its bytes and once for the decoded batch. A gzip body counts twice its compressed size and
    /// twice its inflated size. So the budget must be at least four times `max_body_bytes`, or the largest bodies
    /// never fit. Default: 512 MiB.
    pub max_in_flight_bytes: usize,
    /// Budget in bytes for heads and bodies of requests whose signature is not verified, on connections that have had
    /// no valid signature yet. Beyond it the oldest of these requests are refused. At least twice `max_body_bytes`.
    /// Default: 64 MiB.
    pub max_unverified_bytes: usize,
    /// Largest number of open connections. Further connections wait in the queue of the listener. Default: 4096.
    pub max_connections: usize,
    /// Time from the first byte of an HTTP/1.1 request to the end of its headers. Default: 10 s.
    pub header_read_timeout: Duration,
    /// Time from the end of the headers to the end of the body. Default: 30 s.
    pub body_read_timeout: Duration,
    /// Longest time in which a client takes no byte of a response. Default: 30 s.
    pub write_timeout: Duration,
    /// Longest time in which a connection has no request. Default: 90 s, above the 60 s of the SDKs.
    pub idle_timeout: Duration,
    /// How long open requests may run after the shutdown signal. Default: 10 s.
    pub shutdown_grace: Duration,
}

impl GatewaySettings {
    /// The defaults, with the token key of the cluster.
    pub fn new(token_key: TokenKey) -> Self {
        Self {
            account: AccountId::default(),
            region: Region::default(),
            token_key,
            authentication: Authentication::Required,
            allowed_origins: Vec::new(),
            service_limits: false,
            max_body_bytes: 16 * 1024 * 1024,
            max_in_flight_bytes: 512 * 1024 * 1024,
            max_unverified_bytes: 64 * 1024 * 1024,
            max_connections: 4096,
            header_read_timeout: Duration::from_secs(10),
            body_read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(90),
            shutdown_grace: Duration::from_secs(10),
        }
    }

    /// Budget in bytes for pushed events in memory.
    pub const fn push_bytes(&self) -> usize {
        self.max_in_flight_bytes / 8
    }
}

/// Which callers are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Any credentials. A signature must be present but is not verified, and no policy is evaluated.
    Any,
    /// Users of the catalog. Signatures are verified, and policies decide.
    Required,
}

/// 256 secret bits that all gateways of a cluster share. `Debug` does not print them, and the type has no equality.
#[derive(Clone, Copy)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// A key of these bytes. They must come from a good random source.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bits.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}
