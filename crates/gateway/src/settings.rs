use std::fmt;
use std::time::Duration;

use anabranch_types::{AccountId, Region};

/// Settings of one gateway. Every gateway of a cluster has the same account and token key.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// Account in ARNs and messages.
    pub account: AccountId,
    /// Region in ARNs. Clients of any region are served.
    pub region: Region,
    /// Seals shard iterators and paging tokens.
    pub token_key: TokenKey,
    /// Who may call. Default: those whose signatures are right, as far as policies allow it.
    pub authentication: Authentication,
    /// Origins whose pages a browser lets call, beside those of loopback: `https://console.example`. Where signatures are
    /// verified, pages of all origins may: they can't sign. Default: none.
    pub allowed_origins: Vec<String>,
    /// Whether operations may be called, and streams be changed, only as often as the service allows. Default: no.
    pub service_limits: bool,
    /// Largest body. Default: 16 MiB, enough for 10 MiB of data in base64 and 500 keys.
    pub max_body_bytes: usize,
    /// Bytes of bodies and answers in memory at once, half for either, and an eighth of it more for events
    /// that are pushed; beyond it calls are throttled, and events wait. A
    /// body counts twice, and once more twice as it was sent if that was in gzip, so this is at least four times `max_body_bytes`, or the largest are never
    /// taken. Default: 512 MiB.
    pub max_in_flight_bytes: usize,
    /// Bytes of heads and bodies in memory at once that belong to requests whose signature has not been verified, on
    /// connections without a right signature yet. Beyond it the oldest of them are refused.
    /// At least twice `max_body_bytes`. Default: 64 MiB.
    pub max_unverified_bytes: usize,
    /// Open connections; further ones wait in the listener's queue. Default: 4096.
    pub max_connections: usize,
    /// From the first byte of an HTTP/1.1 request to the end of its headers. Default: 10 s.
    pub header_read_timeout: Duration,
    /// From the end of the headers to the end of the body. Default: 30 s.
    pub body_read_timeout: Duration,
    /// How long a client may refuse to take a byte of an answer. Default: 30 s.
    pub write_timeout: Duration,
    /// How long a connection may have no request. Default: 90 s, above the 60 s of the SDKs.
    pub idle_timeout: Duration,
    /// How long open requests may go on after the shutdown signal. Default: 10 s.
    pub shutdown_grace: Duration,
}

impl GatewaySettings {
    /// The defaults, with the cluster's token key.
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

    /// Bytes of events that are pushed in memory at once.
    pub const fn push_bytes(&self) -> usize {
        self.max_in_flight_bytes / 8
    }
}

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Everybody: signatures must be there and are not verified, and no policy is asked.
    Any,
    /// Users of the catalog: signatures are verified, and policies decide.
    Required,
}

/// 256 secret bits that every gateway of a cluster shares. Shows nothing of itself, and is compared with nothing.
#[derive(Clone, Copy)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// The key made of `bytes`, which must come from a good random source.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bits themselves.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}
