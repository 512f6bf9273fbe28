//! A proxy in front of every node, with faults for each direction of each pair of hosts. It takes the place of the
//! switch on a machine that gives the harness no network namespaces: all hosts are the loopback interface.
//!
//! ```text
//!   node 2 ──┐   127.x.77.1: what node 1 advertises            127.x.78.1: on what its process listens
//!   clients ─┴──────────────── gate ── Proxy (a thread, seeded) ───┬── node 1
//!                                                       harness ───┘   no faults
//! ```
//!
//! 1. A gate accepts a connection. The process that owns its source port says which host connects ([`Senders`]).
//! 2. While the pair is cut, the connection waits. Then the gate connects to the node.
//! 3. Each direction copies bytes under the rule for it, and copies the end of the bytes like a byte. While a direction
//!    is cut, nothing is read from its sender. So neither end sees a reset, and TCP makes the sender wait.
//!
//! A gate is closed while its node does not listen, so a connection to a node that is down is refused.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};

use crate::links::{Host, Links};

/// An address that a node advertises, and the one on which its process listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    pub(crate) host: Host,
    pub(crate) advertised: SocketAddr,
    pub(crate) listens: SocketAddr,
    /// Whether other nodes connect to it too. Nodes do not use each other's Kinesis API.
    pub(crate) is_for_nodes: bool,
}

/// The proxy. Its thread ends when the value is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    links: Links,
    senders: Senders,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Time between two looks whether a cut is over, or a node listens.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Most bytes that are copied at once.
const PIECE_BYTES: usize = 16 << 10;
/// Pieces of one direction of a connection that wait for their time. The sender waits when there are more.
const QUEUE: usize = 64;

impl Proxy {
    /// Starts a proxy with these gates. `hosts` counts the nodes and, as the last host, the clients.
    ///
    /// # Errors
    /// If an address is taken.
    pub(crate) fn start(gates: Vec<Gate>, hosts: usize, seed: u64) -> Result<Self> {
        for gate in &gates {
            for address in [gate.advertised, gate.listens] {
                std::net::TcpListener::bind(address).with_context(|| address.to_string())?;
            }
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (links, senders) = (Links::new(hosts, seed), Senders::new(Host(hosts - 1)));
        let guards = gates.into_iter().map(|gate| {
            let (links, senders) = (links.clone(), senders.clone());
            Guard { gate, links, senders }
        });
        let guards = guards.collect();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("proxy".into())
            .spawn(move || run(&runtime, guards, stopped))
            .context("thread of the proxy")?;
        Ok(Self { links, senders, stop: Some(stop), thread: Some(thread) })
    }

    /// The rules and counters.
    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    /// The processes of the nodes.
    pub(crate) fn senders(&self) -> &Senders {
        &self.senders
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            let _ended = thread.join();
        }
    }
}

fn run(runtime: &Runtime, guards: Vec<Guard>, stopped: oneshot::Receiver<()>) {
    for guard in guards {
        runtime.spawn(guard.run());
    }
    // The sender is dropped when the lab is over.
    let _over = runtime.block_on(stopped);
}

/// The owner of a gate: opens it, and closes it when the node refuses connections.
#[derive(Clone)]
struct Guard {
    gate: Gate,
    links: Links,
    senders: Senders,
}

impl Guard {
    async fn run(self) {
        loop {
            if TcpStream::connect(self.gate.listens).await.is_err() {
                sleep(LOOK_AGAIN).await;
                continue;
            }
            match TcpListener::bind(self.gate.advertised).await {
                Ok(listener) => self.serve(listener).await,
                Err(error) => {
                    eprintln!("proxy: {}: {error}", self.gate.advertised);
                    sleep(LOOK_AGAIN).await;
                }
            }
        }
    }

    /// Accepts connections until the node refuses one.
    async fn serve(&self, listener: TcpListener) {
        let refused = Arc::new(Notify::new());
        loop {
            let (stream, from) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        eprintln!("proxy: {}: {error}", self.gate.advertised);
                        sleep(LOOK_AGAIN).await;
                        continue;
                    }
                },
                () = refused.notified() => return,
            };
            let (guard, refused) = (self.clone(), Arc::clone(&refused));
            tokio::spawn(async move {
                let sender = guard.sender(from).await;
                if guard.forward(stream, sender).await.is_err() {
                    refused.notify_one();
                }
            });
        }
    }

    /// The host that has made a connection. To find it takes a millisecond, so another thread does it.
    async fn sender(&self, from: SocketAddr) -> Host {
        let (senders, to) = (self.senders.clone(), self.gate.advertised);
        if !self.gate.is_for_nodes {
            return senders.clients;
        }
        spawn_blocking(move || senders.of(from, to)).await.unwrap_or(self.senders.clients)
    }

    /// Forwards one connection until both directions have ended.
    ///
    /// # Errors
    /// If the node refuses the connection.
    async fn forward(&self, client: TcpStream, sender: Host) -> io::Result<()> {
        let there = Way { links: self.links.clone(), from: sender, to: self.gate.host };
        let back = Way { from: there.to, to: there.from, ..there.clone() };
        sleep(there.wait(0).await + back.wait(0).await).await;
        let server = TcpStream::connect(self.gate.listens).await?;
        // A connection that has ended already needs no option.
        let _set = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
        let (client_reads, client_writes) = client.into_split();
        let (server_reads, server_writes) = server.into_split();
        tokio::join!(
            there.copy(client_reads, server_writes),
            back.copy(server_reads, client_writes)
        );
        Ok(())
    }
}

/// One direction of one connection.
#[derive(Clone)]
struct Way {
    links: Links,
    from: Host,
    to: Host,
}

impl Way {
    /// Waits while the direction is cut. Returns the further time until bytes arrive.
    async fn wait(&self, bytes: usize) -> Duration {
        loop {
            match self.links.bytes(self.from, self.to, bytes) {
                Some(wait) => return wait,
                None => sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Copies bytes until they end on either side. Bytes never overtake each other.
    async fn copy(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let (send, mut receive) = mpsc::channel::<(Instant, Vec<u8>)>(QUEUE);
        let reads = async move {
            let mut latest = Instant::now();
            loop {
                let mut piece = vec![0; PIECE_BYTES];
                // A reset ends the bytes too. The receiver sees a connection that is closed.
                let length = from.read(&mut piece).await.unwrap_or_default();
                piece.truncate(length);
                let wait = self.wait(length).await;
                latest = latest.max(Instant::now() + wait);
                if send.send((latest, piece)).await.is_err() || length == 0 {
                    return;
                }
            }
        };
        let writes = async move {
            while let Some((due, piece)) = receive.recv().await {
                if due > Instant::now() {
                    sleep_until(due).await;
                }
                if piece.is_empty() || to.write_all(&piece).await.is_err() {
                    break;
                }
            }
            // The other direction says how the connection ended.
            let _closed = to.shutdown().await;
        };
        tokio::join!(reads, writes);
    }
}

/// Finds the host that has made a connection. Clones know the same processes.
#[derive(Clone, Debug)]
pub(crate) struct Senders {
    processes: Arc<Mutex<BTreeMap<Host, u32>>>,
    /// The host of every process that is no node.
    clients: Host,
}

impl Senders {
    fn new(clients: Host) -> Self {
        Self { processes: Arc::default(), clients }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Host, u32>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the process of a node.
    pub(crate) fn set(&self, host: Host, process: u32) {
        self.lock().insert(host, process);
    }

    /// The host whose process has a connection with these ends.
    fn of(&self, from: SocketAddr, to: SocketAddr) -> Host {
        let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let Some(inode) = inode(&table, from, to) else { return self.clients };
        let socket = format!("socket:[{inode}]");
        let owner = self
            .lock()
            .iter()
            .find(|(_, process)| has_open(**process, &socket))
            .map(|(host, _)| *host);
        owner.unwrap_or(self.clients)
    }
}

/// Inode of the socket with these ends, in the text of `/proc/net/tcp`.
fn inode(table: &str, from: SocketAddr, to: SocketAddr) -> Option<&str> {
    let (from, to) = (in_hex(from)?, in_hex(to)?);
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let is_it = words.next() == Some(&*from) && words.next() == Some(&*to);
        is_it.then(|| words.nth(6)).flatten()
    })
}

/// An address as `/proc/net/tcp` writes it: the bytes of the address as one number of this machine.
fn in_hex(address: SocketAddr) -> Option<String> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port()))
}

/// Whether a process has a file open to which `/proc` gives this name.
fn has_open(process: u32, name: &str) -> bool {
    let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    files.filter_map(|file| fs::read_link(file.path()).ok()).any(|target| target == Path::new(name))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net;

    use super::*;
    use crate::links::Rule;

    /// A proxy with one node, which is this process, and the connection that a client makes to it.
    struct Proxied {
        proxy: Proxy,
        client: net::TcpStream,
        node: net::TcpStream,
    }

    const NODE: Host = Host(0);
    const CLIENTS: Host = Host(1);

    fn cut() -> Rule {
        Rule { cut: true, ..Rule::default() }
    }

    fn free_address() -> SocketAddr {
        net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    fn connect(address: SocketAddr) -> net::TcpStream {
        for _ in 0..500 {
            if let Ok(stream) = net::TcpStream::connect(address) {
                stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
                return stream;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        panic!("the gate stays closed");
    }

    fn proxied() -> Proxied {
        let (advertised, listens) = (free_address(), free_address());
        let gate = Gate { host: NODE, advertised, listens, is_for_nodes: true };
        let proxy = Proxy::start(vec![gate], 2, 1).unwrap();
        assert!(net::TcpStream::connect(gate.advertised).is_err(), "the node does not listen");
        let listener = net::TcpListener::bind(gate.listens).unwrap();
        let mut client = connect(gate.advertised);
        client.write_all(b"hello").unwrap();
        // The guard's own connection comes first, and ends at once.
        let node = loop {
            let (mut stream, _) = listener.accept().unwrap();
            let mut hello = [0; 5];
            if stream.read_exact(&mut hello).is_ok() {
                break stream;
            }
        };
        node.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        Proxied { proxy, client, node }
    }

    #[test]
    fn a_cut_direction_is_silent_and_everything_arrives_after_it() {
        let Proxied { proxy, mut client, mut node } = proxied();
        proxy.links().set(CLIENTS, NODE, cut());
        client.write_all(b"late").unwrap();
        let mut bytes = [0; 4];
        assert!(node.read(&mut bytes).is_err(), "nothing arrives");
        node.write_all(b"back").unwrap();
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"back");
        proxy.links().heal();
        node.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"late");
        assert!(proxy.links().counters(CLIENTS, NODE).cut > 0);
    }

    #[test]
    fn the_end_of_a_connection_is_held_back_too() {
        let Proxied { proxy, client, mut node } = proxied();
        proxy.links().set_both(CLIENTS, NODE, cut());
        drop(client);
        let mut bytes = [0; 4];
        assert!(node.read(&mut bytes).is_err(), "the node sees no end");
        proxy.links().heal();
        assert_eq!(node.read(&mut bytes).unwrap(), 0);
    }

    #[test]
    fn the_process_that_owns_the_port_is_the_sender() {
        let Proxied { proxy, client, .. } = proxied();
        let (from, to) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        assert_eq!(proxy.senders().of(from, to), CLIENTS);
        proxy.senders().set(NODE, std::process::id());
        assert_eq!(proxy.senders().of(from, to), NODE);
    }
}
