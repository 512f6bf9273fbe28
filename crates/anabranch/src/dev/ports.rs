use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Context;

use crate::dev::args::DevArgs;

/// Where free ports are looked for: below those that the kernel gives to connections (Linux: from 32,768), or one of these
/// might take the port before its node does.
const FREE_PORTS: std::ops::Range<u16> = 10_000..32_000;
const ATTEMPTS: usize = 1000;

/// Addresses of the i-th node.
pub(super) struct Reserved {
    pub(super) api: SocketAddr,
    pub(super) grpc: SocketAddr,
}

/// The port that was asked for, or a free one; and a free one for gRPC, on loopback unless it speaks TLS: all nodes are on
/// this machine. A free port may be taken by somebody else before the node binds it; it then says so and ends.
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

/// Free port `number` of `count`, each another one.
fn free_port(host: IpAddr, number: u16, count: u16) -> anyhow::Result<u16> {
    let any = || rand::random_range(FREE_PORTS) / count * count + number;
    let free = |port: &u16| TcpListener::bind((host, *port)).is_ok();
    std::iter::repeat_with(any).take(ATTEMPTS).find(free).context("find a free port")
}
