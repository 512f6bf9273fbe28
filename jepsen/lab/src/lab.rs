//! The whole laboratory: nodes, clients' namespaces, the switch, and the network of the harness.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::leftovers;
use crate::namespace::Namespace;
use crate::node::{Node, NodeNumber, Parts};
use crate::shim::Shim;
use crate::switch::{Host, Links, Switch};

/// Namespaces for clients. Each can be cut off from nodes as a host of its own.
pub const CLIENTS: usize = 3;
/// Address of the harness in its own network.
pub const MANAGEMENT_HOST: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 254);

/// Settings of a lab.
#[derive(Clone, Debug)]
pub struct LabSettings {
    /// Number of hosts for nodes, from 1 to 9. No process is started yet.
    pub nodes: u8,
    /// Seed of the switch.
    pub seed: u64,
    /// The program `anabranch`.
    pub binary: PathBuf,
    /// Variables of the environment of each node's process.
    pub environment: Vec<(String, String)>,
}

/// A laboratory. Everything that it made is removed when it is dropped.
#[derive(Debug)]
pub struct Lab {
    nodes: Vec<Node>,
    switch: Switch,
    clients: Vec<Namespace>,
    management: Namespace,
    directory: Directory,
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
    /// If the machine lacks rights or devices: see [`Self::obstacle`].
    pub fn create(settings: &LabSettings) -> Result<Self> {
        if !(1..=9).contains(&settings.nodes) {
            bail!("nodes: must be between 1 and 9, not {}", settings.nodes);
        }
        if let Some(obstacle) = Self::obstacle() {
            bail!("no lab: {obstacle}");
        }
        leftovers::remove();
        let directory = Directory(leftovers::directory());
        fs::create_dir_all(&directory.0)?;
        let library = Shim::compile(&directory.0)?;
        let prefix = leftovers::prefix();
        let management = Namespace::create(format!("{prefix}-mg"))?;
        for command in ["link add br0 type bridge", "link set br0 up"] {
            management.ip(command)?;
        }
        management.ip(&format!("addr add {MANAGEMENT_HOST}/24 dev br0"))?;
        let clients = (1..=CLIENTS).map(|client| Namespace::create(format!("{prefix}-c{client}")));
        let clients = clients.collect::<Result<Vec<_>>>()?;
        let numbers = (1..=settings.nodes).map(NodeNumber);
        let hosts = numbers.clone().map(|node| Namespace::create(format!("{prefix}-n{node}")));
        let hosts = hosts.collect::<Result<Vec<_>>>()?;
        let all: Vec<&Namespace> = hosts.iter().chain(&clients).collect();
        let switch = Switch::start(&all, settings.seed)?;
        for (host, node) in hosts.iter().zip(numbers.clone()) {
            host.ip(&format!("addr add {}/24 dev eth0", Node::address(node)))?;
            join_management(host, &management, node)?;
        }
        for (client, number) in clients.iter().zip(1..) {
            client.ip(&format!("addr add {}/24 dev eth0", client_address(number)))?;
        }
        let nodes = hosts.into_iter().zip(numbers).map(|(namespace, number)| {
            Node::create(Parts {
                number,
                directory: directory.0.join(format!("node-{number}")),
                binary: settings.binary.clone(),
                environment: settings.environment.clone(),
                namespace,
                library: library.clone(),
                group_name: format!("{prefix}-n{number}"),
            })
        });
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        Ok(Self { nodes, switch, clients, management, directory })
    }

    /// The lab's folder.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory.0
    }

    /// The network with faults.
    #[must_use]
    pub fn links(&self) -> &Links {
        self.switch.links()
    }

    /// The host of a node in the switch.
    #[must_use]
    pub fn host_of_node(node: NodeNumber) -> Host {
        Host(usize::from(node.0) - 1)
    }

    /// The host of a client in the switch; clients count from 0.
    #[must_use]
    pub fn host_of_client(&self, client: usize) -> Host {
        Host(self.nodes.len() + client)
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

    /// Namespaces of the clients.
    #[must_use]
    pub fn clients(&self) -> &[Namespace] {
        &self.clients
    }

    /// Namespace of the harness, in which every node answers at its management address.
    #[must_use]
    pub fn management(&self) -> &Namespace {
        &self.management
    }

    /// Writes the configuration of a node. `cluster` has all keys but those of addresses and paths, then the tables.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn configure(&mut self, node: NodeNumber, cluster: &str) -> Result<()> {
        self.node(node).configure(cluster)
    }
}

/// Address of a client in the network with faults; clients count from 1 here.
fn client_address(client: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 100 + client)
}

/// Joins a node with the network of the harness.
fn join_management(host: &Namespace, management: &Namespace, node: NodeNumber) -> Result<()> {
    let peer = management.name();
    host.ip(&format!("link add mgmt0 type veth peer name m{node} netns {peer}"))?;
    management.ip(&format!("link set m{node} master br0 up"))?;
    host.ip(&format!("addr add {}/24 dev mgmt0", Node::management_address(node)))?;
    host.ip("link set mgmt0 up").context("network of the harness").map(drop)
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("lab: {}: {error}", self.0.display());
        }
    }
}
