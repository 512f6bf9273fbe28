use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Context;

use crate::dev::args::DevArgs;

/// Free ports are searched in this range. It is below the ports that the kernel gives to connections (Linux: from
/// 32,768), as a connection could otherwise take the port before its node does.
const FREE_PORTS: std::ops::Range<u16> = 10_000..32_000;
const ATTEMPTS: usize = 1000;

/// Addresses of one node.
pub(super) struct Reserved {
    pub(super) api: SocketAddr,
    pub(super) grpc: SocketAddr,
}

/// Chooses the ports of node `i` (from 0). The port of the Kinesis API is the requested one or a free one. The gRPC
/// port is always a free one. It is on loopback unless the ports use TLS: all nodes are on this machine. Another
/// process can still take a free port before the node binds it; the node then names the port and ends.
pub(super) fn reserve(args: &DevArgs, i: u16) -> anyhow::Result<Reserved> {
    let (host, ports) = (args.listen.ip(), 2 * args.nodes);
    let is_open = !host.is_loopback() && !args.tls;
    let grpc_host = if is_open { Ipv4Addr::LOCALHOST.into() } else { host };
    let api = match args.listen.port() {
        0 => free_port(host, 2 * i, ports)?,
        port => port.checked_add(i).context("listen: no port is left for every node")?,
    };
    let grpc = free_port(grpc_host, 2 * i + 1, ports)?;
    Ok(Reserved { api: SocketAddr::new(host, api), grpc: SocketAddr::new(grpc_host, grpc) })
}

/// A free port. Calls with different `number` (below `count`) never return the same port.
fn free_port(host: IpAddr, number: u16, count: u16) -> anyhow::Result<u16> {
    let any = || rand::random_range(FREE_PORTS) / count * count + number;
    let free = |port: &u16| TcpListener::bind((host, *port)).is_ok();
    std::iter::repeat_with(any).take(ATTEMPTS).find(free).context("find a free port")
}
