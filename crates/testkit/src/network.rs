//! Connections in memory, which a test can cut between any two nodes.
//!
//! A cut holds bytes back, it does not break connections: that is what a network does that drops packets.
//! [`Network::disconnect`] breaks them, as the death of a process does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anabranch_transport::{Connector, Destination, Io};
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::{mpsc, watch};

/// The network between the nodes of a test. Cheap to clone.
#[derive(Clone)]
pub struct Network {
    inner: Arc<Inner>,
}

struct Inner {
    listeners: Mutex<BTreeMap<u64, mpsc::UnboundedSender<DuplexStream>>>,
    cuts: watch::Sender<BTreeSet<(u64, u64)>>,
    lives: watch::Sender<BTreeMap<u64, u64>>,
    /// Bytes that arrived since the start, by sender and receiver.
    carried: Mutex<BTreeMap<(u64, u64), Arc<AtomicU64>>>,
}

const PIPE_BYTES: usize = 1 << 20;

impl Network {
    /// A network in which every node reaches every other one.
    pub fn new() -> Self {
        let inner = Inner {
            listeners: Mutex::default(),
            cuts: watch::channel(BTreeSet::new()).0,
            lives: watch::channel(BTreeMap::new()).0,
            carried: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The connections that are made to `node` from now on. An earlier receiver for this node gets no more.
    pub fn listen(&self, node: u64) -> mpsc::UnboundedReceiver<DuplexStream> {
        let (accepted, listener) = mpsc::unbounded_channel();
        self.listeners().insert(node, accepted);
        listener
    }

    /// Breaks every connection of `node`, as the death of its process does.
    pub fn disconnect(&self, node: u64) {
        self.listeners().remove(&node);
        self.inner.lives.send_modify(|lives| *lives.entry(node).or_default() += 1);
    }

    /// The address of `node`.
    pub fn address(node: u64) -> String {
        format!("node-{node}")
    }

    /// Connector with which `node` connects to others.
    pub fn connector(&self, node: u64) -> Arc<dyn Connector> {
        Arc::new(From { network: self.clone(), node })
    }

    /// Holds back every byte between the two nodes in both directions, until [`Self::heal`].
    pub fn cut(&self, a: u64, b: u64) {
        self.inner.cuts.send_modify(|cuts| {
            cuts.extend([(a, b), (b, a)]);
        });
    }

    /// Cuts `node` off from all others of `nodes`.
    pub fn isolate(&self, node: u64, nodes: impl IntoIterator<Item = u64>) {
        nodes.into_iter().filter(|other| *other != node).for_each(|other| self.cut(node, other));
    }

    /// Ends all cuts. Bytes that were held back arrive.
    pub fn heal(&self) {
        self.inner.cuts.send_modify(BTreeSet::clear);
    }

    /// Bytes that `to` received from `from` since the start, over all connections between them.
    pub fn bytes_carried(&self, from: u64, to: u64) -> u64 {
        self.carried(from, to).load(Ordering::Relaxed)
    }

    fn carried(&self, from: u64, to: u64) -> Arc<AtomicU64> {
        let mut carried = self.inner.carried.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(carried.entry((from, to)).or_default())
    }

    fn listeners(&self) -> MutexGuard<'_, BTreeMap<u64, mpsc::UnboundedSender<DuplexStream>>> {
        self.inner.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self, from: u64, to: u64) -> io::Result<DuplexStream> {
        if self.inner.cuts.borrow().contains(&(from, to)) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let (near, near_wire) = duplex(PIPE_BYTES);
        let (far_wire, far) = duplex(PIPE_BYTES);
        let listener =
            self.listeners().get(&to).cloned().ok_or(io::ErrorKind::ConnectionRefused)?;
        listener.send(far).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        let (near_read, near_write) = split(near_wire);
        let (far_read, far_write) = split(far_wire);
        let cuts = || self.inner.cuts.subscribe();
        let carried = |from, to| self.carried(from, to);
        let there = pump(near_read, far_write, cuts(), (from, to), carried(from, to));
        let back = pump(far_read, near_write, cuts(), (to, from), carried(to, from));
        let mut lives = self.inner.lives.subscribe();
        let begun = lives.borrow().clone();
        tokio::spawn(async move {
            let life = |lives: &BTreeMap<u64, u64>, node| lives.get(&node).copied();
            let over = lives.wait_for(|now| {
                [from, to].iter().any(|node| life(now, *node) != life(&begun, *node))
            });
            tokio::select! {
                _ = over => {}
                _ = async { tokio::join!(there, back) } => {}
            }
        });
        Ok(near)
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

/// Moves bytes in one direction. Moves none while that direction is cut.
async fn pump(
    mut from: tokio::io::ReadHalf<DuplexStream>,
    mut to: tokio::io::WriteHalf<DuplexStream>,
    mut cuts: watch::Receiver<BTreeSet<(u64, u64)>>,
    way: (u64, u64),
    carried: Arc<AtomicU64>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        let open = cuts.wait_for(|cuts| !cuts.contains(&way)).await.is_ok();
        if !open || to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
        carried.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    let _peer_is_gone = to.shutdown().await;
}

struct From {
    network: Network,
    node: u64,
}

impl Connector for From {
    fn connect(&self, to: Destination) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let to = to.address.strip_prefix("node-").and_then(|to| to.parse().ok());
        let stream = match to {
            Some(to) => self.network.connect(self.node, to),
            None => Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        Box::pin(async move { stream.map(|stream| Box::new(stream) as Box<dyn Io>) })
    }
}
