//! Other logs, driven by the same generator with the same records: NATS JetStream, Apache Kafka and etcd.
//!
//! Each speaks just enough of its protocol to write, from calls that were serialised ahead. Nothing is sent again: a
//! call that fails is counted, its connection is thrown away, and the next call opens another.
//! Invariant: a record counts as written only when the server acknowledged it.

mod etcd;
mod kafka;
mod nats;

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{sleep, timeout};

use crate::options::{Api, Target};
use crate::payload::Shape;

/// How long a connection rests after a call that failed, so that a dead server is not asked in a loop.
const PAUSE: Duration = Duration::from_millis(20);

/// A connection to a peer and what went wrong on it.
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

/// A connection for each of `--connections`, all of them open.
///
/// # Errors
/// When one can't be opened: a load on fewer connections is not the one that was asked for.
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
    /// One call; says how many of its records were refused.
    ///
    /// # Errors
    /// When the call as a whole was not acknowledged.
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
