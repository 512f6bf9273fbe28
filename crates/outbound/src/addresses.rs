//! Addresses that are reached only if the allow list names them: they belong to the machine itself or to its host.
//!
//! Source: the IANA registries of special-purpose addresses, and the manuals of cloud providers for their metadata
//! services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::network::Network;

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Network {
    Network::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits)
}

const fn v6(first: u16, last: u16, bits: u8) -> Network {
    Network::new(IpAddr::V6(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last)), bits)
}

/// Loopback, unspecified, link-local, multicast and metadata networks.
const GUARDED: [Network; 12] = [
    v4(127, 0, 0, 0, 8),
    v4(0, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16), // link-local; metadata of AWS, Azure, Google and others
    v4(224, 0, 0, 0, 3),    // multicast, reserved, broadcast
    v4(100, 100, 100, 200, 32), // metadata of Alibaba
    v4(168, 63, 129, 16, 32), // host of Azure
    v4(192, 0, 0, 192, 32), // metadata of Oracle
    v6(0, 0, 128),
    v6(0, 1, 128),
    v6(0xfe80, 0, 10),
    v6(0xff00, 0, 8),
    Network::new(IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), 128), // AWS
];

/// Whether `address` is reached only if the allow list names it.
pub(crate) fn is_guarded(address: IpAddr) -> bool {
    let address = canonical(address);
    let within = |address| GUARDED.iter().any(|network| network.contains(address));
    within(address) || embedded(address).is_some_and(|inner| within(IpAddr::V4(inner)))
}

/// Whether all addresses of `network` are guarded. Such a network in the allow list names guarded addresses.
pub(crate) fn is_guarded_network(network: &Network) -> bool {
    GUARDED.iter().any(|guarded| guarded.covers(network))
}

/// The IPv4 address of an IPv4-mapped IPv6 address; every other address as it is.
pub(crate) fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The IPv4 address to which a gateway of the network translates `address`: NAT64 and 6to4.
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let octets = address.octets();
    let four =
        |at: usize| Some(Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]));
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => four(12),
        [0x2002, ..] => four(2),
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => four(12),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_machine_and_its_host_are_guarded() {
        for address in [
            "127.0.0.1",
            "127.8.9.10",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::1",
            "::127.0.0.1",
        ] {
            assert!(is_guarded(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn other_addresses_are_not_guarded() {
        for address in [
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "8.8.8.8",
            "100.100.100.201",
            "fd00::1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "fec0::1",
        ] {
            assert!(!is_guarded(address.parse().unwrap()), "{address}");
        }
    }
}
