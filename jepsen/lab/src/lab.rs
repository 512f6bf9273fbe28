//! The whole laboratory: nodes, clients, what joins them, and the network of the harness.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::disk::Disk;
use crate::leftovers;
use crate::links::{Host, Links};
use crate::namespace::Namespace;
use crate::network::Network;
use crate::node::{Node, NodeNumber, NodeWiring, Parts, Place};
use crate::proxy::{Gate, Proxy};
use crate::shim::Shim;
use crate::switch::Switch;

/// Threads of clients. With a switch, each has a namespace, and can be cut off from nodes as a host of its own.
const CLIENTS: usize = 3;
/// Last byte of the harness's address in its own network.
const HARNESS: u8 = 254;
/// Last byte of the first client's address in the network with faults.
const FIRST_CLIENT: u8 = 101;

/// Settings of a lab.
#[derive(Clone, Debug)]
pub struct LabSettings {
    /// Number of hosts for nodes, from 1 to 9. No process is started yet.
    pub nodes: u8,
    /// Seed of the switch or the proxy.
    pub seed: u64,
    /// The program `anabranch`.
    pub binary: PathBuf,
    /// Variables of the environment of each node's process.
    pub environment: Vec<(String, String)>,
    /// Whether the nodes are processes on loopback addresses, behind a proxy, with folders for disks. That needs no
    /// rights. The proxy cuts, delays and throttles connections, and does nothing to single packets.
    pub loopback: bool,
}

/// A laboratory. Everything that it made is removed when it is dropped.
#[derive(Debug)]
pub struct Lab {
    nodes: Vec<Node>,
    wiring: Wiring,
    network: Network,
    management: Network,
    directory: Directory,
}

/// What joins the hosts.
#[derive(Debug)]
enum Wiring {
    /// Every host is a network namespace.
    Switch { switch: Switch, clients: Vec<Namespace>, management: Namespace },
    /// All hosts are the loopback interface. The clients are one host.
    Proxy(Proxy),
}

/// The place of a client's thread.
#[derive(Clone, Debug)]
pub struct ClientPlace(Option<String>);

impl ClientPlace {
    /// Moves the calling thread to the place. Sockets that the thread opens later belong to it.
    ///
    /// # Errors
    /// If this process may not.
    pub fn enter(&self) -> Result<()> {
        self.0.as_deref().map_or(Ok(()), Namespace::enter_path)
    }
}

/// The lab's folder, removed when it is dropped.
#[derive(Debug)]
struct Directory(PathBuf);

impl Lab {
    /// Why this machine can't have a lab, if it can't: rights and devices that are missing.
    #[must_use]
    pub fn obstacle() -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("this process is not root".to_owned());
        }
        let missing = ["/dev/net/tun", "/dev/loop-control"]
            .into_iter()
            .find(|path| !Path::new(path).exists());
        missing.map(|path| format!("{path} is missing"))
    }

    /// Makes a lab, after it removed what dead labs left. No node runs yet.
    ///
    /// # Errors
    /// If the machine lacks rights or devices (see [`Self::obstacle`]), or loopback addresses are taken.
    pub fn create(settings: &LabSettings) -> Result<Self> {
        if !(1..=9).contains(&settings.nodes) {
            bail!("nodes: must be between 1 and 9, not {}", settings.nodes);
        }
        if settings.loopback { Self::on_loopback(settings) } else { Self::in_namespaces(settings) }
    }

    fn in_namespaces(settings: &LabSettings) -> Result<Self> {
        if let Some(obstacle) = Self::obstacle() {
            bail!("no lab: {obstacle}");
        }
        leftovers::remove();
        let (network, management) = (Network::new([10, 77, 0]), Network::new([10, 78, 0]));
        let (directory, prefix) = (Directory::create()?, leftovers::prefix());
        let harness = Namespace::create(format!("{prefix}-mg"))?;
        for command in ["link add br0 type bridge", "link set br0 up"] {
            harness.ip(command)?;
        }
        harness.ip(&format!("addr add {}/24 dev br0", management.host(HARNESS)))?;
        let clients = (1..=CLIENTS).map(|client| Namespace::create(format!("{prefix}-c{client}")));
        let clients = clients.collect::<Result<Vec<_>>>()?;
        let numbers = || (1..=settings.nodes).map(NodeNumber);
        let hosts = numbers().map(|node| Namespace::create(format!("{prefix}-n{node}")));
        let hosts = hosts.collect::<Result<Vec<_>>>()?;
        let all: Vec<&Namespace> = hosts.iter().chain(&clients).collect();
        let switch = Switch::start(&all, settings.seed)?;
        for (host, node) in hosts.iter().zip(numbers()) {
            host.ip(&format!("addr add {}/24 dev eth0", network.address(node)))?;
            join_management(host, &harness, node, management)?;
        }
        for (client, last) in clients.iter().zip(FIRST_CLIENT..) {
            client.ip(&format!("addr add {}/24 dev eth0", network.host(last)))?;
        }
        let places = hosts.into_iter().map(|namespace| {
            let wiring = NodeWiring::Switch(namespace);
            Place { wiring, network, management }
        });
        let nodes = make_nodes(settings, &directory, Disk::image_in, places)?;
        let wiring = Wiring::Switch { switch, clients, management: harness };
        Ok(Self { nodes, wiring, network, management, directory })
    }

    fn on_loopback(settings: &LabSettings) -> Result<Self> {
        leftovers::remove_folders();
        // Harnesses that run at the same time use different addresses.
        let block = 64 + (std::process::id() % 128).to_le_bytes()[0];
        let (network, management) =
            (Network::new([127, block, 77]), Network::new([127, block, 78]));
        let directory = Directory::create()?;
        let numbers = || (1..=settings.nodes).map(NodeNumber);
        let gates = numbers().flat_map(|node| {
            let host = Self::host_of_node(node);
            let gate = |advertised, listens, is_for_nodes| Gate {
                host,
                advertised,
                listens,
                is_for_nodes,
            };
            [
                gate(network.api(node), management.api(node), false),
                gate(network.grpc(node), management.grpc(node), true),
            ]
        });
        let hosts = usize::from(settings.nodes) + 1;
        let proxy = Proxy::start(gates.collect(), hosts, settings.seed)?;
        let places = numbers().map(|_node| {
            let wiring = NodeWiring::Proxy(proxy.senders().clone());
            Place { wiring, network, management }
        });
        let nodes = make_nodes(settings, &directory, Disk::folder_in, places)?;
        Ok(Self { nodes, wiring: Wiring::Proxy(proxy), network, management, directory })
    }

    /// The lab's folder.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory.0
    }

    /// The network with faults.
    #[must_use]
    pub fn links(&self) -> &Links {
        match &self.wiring {
            Wiring::Switch { switch, .. } => switch.links(),
            Wiring::Proxy(proxy) => proxy.links(),
        }
    }

    /// The addresses of the nodes in the network with faults.
    #[must_use]
    pub fn network(&self) -> Network {
        self.network
    }

    /// The addresses of the nodes in the network of the harness, which has no faults.
    #[must_use]
    pub fn management(&self) -> Network {
        self.management
    }

    /// The host of a node.
    #[must_use]
    pub fn host_of_node(node: NodeNumber) -> Host {
        Host(usize::from(node.0) - 1)
    }

    /// The hosts of the clients.
    pub fn hosts_of_clients(&self) -> impl Iterator<Item = Host> + use<> {
        let count = match &self.wiring {
            Wiring::Switch { clients, .. } => clients.len(),
            Wiring::Proxy(_) => 1,
        };
        (self.nodes.len()..self.nodes.len() + count).map(Host)
    }

    /// Numbers of all nodes, with or without a process.
    pub fn numbers(&self) -> impl Iterator<Item = NodeNumber> + use<> {
        (1..=u8::try_from(self.nodes.len()).unwrap_or(u8::MAX)).map(NodeNumber)
    }

    /// A node.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn node(&mut self, node: NodeNumber) -> &mut Node {
        let index = usize::from(node.0) - 1;
        self.nodes.get_mut(index).expect("the lab made the number")
    }

    /// All nodes.
    pub fn nodes(&mut self) -> impl Iterator<Item = &mut Node> {
        self.nodes.iter_mut()
    }

    /// Places for the threads of the clients, from which they reach the nodes only through the network with faults.
    #[must_use]
    pub fn clients(&self) -> Vec<ClientPlace> {
        match &self.wiring {
            Wiring::Switch { clients, .. } => {
                clients.iter().map(|client| ClientPlace(Some(client.path()))).collect()
            }
            Wiring::Proxy(_) => vec![ClientPlace(None); CLIENTS],
        }
    }

    /// Moves the calling thread into the network of the harness.
    ///
    /// # Errors
    /// If this process may not.
    pub fn enter_management(&self) -> Result<()> {
        match &self.wiring {
            Wiring::Switch { management, .. } => management.enter(),
            Wiring::Proxy(_) => Ok(()),
        }
    }

    /// Writes the configuration of a node. `cluster` has all keys but those of addresses and paths, then the tables.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn configure(&mut self, node: NodeNumber, cluster: &str) -> Result<()> {
        self.node(node).configure(cluster)
    }
}

/// Makes the nodes with the numbers from 1, one at each place.
fn make_nodes(
    settings: &LabSettings,
    directory: &Directory,
    make_disk: fn(&Path) -> Result<Disk>,
    places: impl Iterator<Item = Place>,
) -> Result<Vec<Node>> {
    let library = Shim::compile(&directory.0)?;
    let nodes = (1..).map(NodeNumber).zip(places).map(|(number, place)| {
        let directory = directory.0.join(format!("node-{number}"));
        fs::create_dir_all(&directory)?;
        Node::create(Parts {
            number,
            disk: make_disk(&directory)?,
            directory,
            binary: settings.binary.clone(),
            environment: settings.environment.clone(),
            place,
            library: library.clone(),
            group_name: format!("{}-n{number}", leftovers::prefix()),
        })
    });
    nodes.collect()
}

/// Joins a node with the network of the harness.
fn join_management(
    host: &Namespace,
    harness: &Namespace,
    node: NodeNumber,
    management: Network,
) -> Result<()> {
    let peer = harness.name();
    host.ip(&format!("link add mgmt0 type veth peer name m{node} netns {peer}"))?;
    harness.ip(&format!("link set m{node} master br0 up"))?;
    host.ip(&format!("addr add {}/24 dev mgmt0", management.address(node)))?;
    host.ip("link set mgmt0 up").context("network of the harness").map(drop)
}

impl Directory {
    fn create() -> Result<Self> {
        let directory = Self(leftovers::directory());
        fs::create_dir_all(&directory.0)?;
        Ok(directory)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("lab: {}: {error}", self.0.display());
        }
    }
}
