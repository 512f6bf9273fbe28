//! Other logs, driven by the same generator with the same records: NATS JetStream, Apache Kafka and etcd.
//!
//! Each module implements as much of a protocol as a put needs, with calls that are serialised before the
//! measurement. There are no retries: a failed call is counted, its connection is closed, and the next call opens a
//! new one. Invariant: a record counts as written only when the server acknowledged it.

mod etcd;
mod kafka;
mod nats;

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{sleep, timeout};

use crate::options::{Api, Target};
use crate::payload::Shape;

/// Pause of a connection after a failed call, so that a dead server is not called in a tight loop.
const PAUSE: Duration = Duration::from_millis(20);

/// A connection to a peer, and the number of its failed calls.
#[derive(Debug)]
pub(crate) struct Peer {
    session: Session,
    limit: Duration,
    /// Calls that failed so far.
    pub(crate) errors: u64,
}

#[derive(Debug)]
enum Session {
    Nats(nats::Session),
    Kafka(kafka::Session),
    Etcd(etcd::Session),
}

/// One open connection for each of `--connections`.
///
/// # Errors
/// When one cannot be opened: a load over fewer connections would be another load.
pub(crate) async fn connect(target: &Target, shape: Shape) -> Result<Vec<Peer>> {
    let sessions: Vec<Session> = match target.api {
        Api::Nats => nats::sessions(target, shape)?.into_iter().map(Session::Nats).collect(),
        Api::Kafka => kafka::sessions(target, shape)?.into_iter().map(Session::Kafka).collect(),
        Api::Etcd => etcd::sessions(target, shape)?.into_iter().map(Session::Etcd).collect(),
        Api::Kinesis | Api::Grpc => Vec::new(),
    };
    let limit = target.timeout;
    let mut peers = Vec::new();
    for session in sessions {
        let mut peer = Peer { session, limit, errors: 0 };
        timeout(limit, peer.session.open()).await.context("connecting took too long")??;
        peers.push(peer);
    }
    Ok(peers)
}

impl Peer {
    /// Sends one call; returns the number of its refused records.
    ///
    /// # Errors
    /// When the whole call was not acknowledged.
    pub(crate) async fn send(&mut self) -> Result<u64> {
        let answer = timeout(self.limit, self.session.call()).await;
        let answer = answer.context("no answer in time").flatten();
        if answer.is_err() {
            self.errors += 1;
            self.session.close();
            sleep(PAUSE).await;
        }
        answer
    }
}

impl Session {
    async fn open(&mut self) -> Result<()> {
        match self {
            Self::Nats(session) => session.open().await,
            Self::Kafka(session) => session.open().await,
            Self::Etcd(session) => session.open().await,
        }
    }

    async fn call(&mut self) -> Result<u64> {
        match self {
            Self::Nats(session) => session.call().await,
            Self::Kafka(session) => session.call().await,
            Self::Etcd(session) => session.call().await,
        }
    }

    fn close(&mut self) {
        match self {
            Self::Nats(session) => session.close(),
            Self::Kafka(session) => session.close(),
            Self::Etcd(session) => session.close(),
        }
    }
}
