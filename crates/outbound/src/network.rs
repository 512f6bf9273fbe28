//! A network: an address and the number of its leading bits that count, as in `10.0.0.0/8`.

use std::net::IpAddr;

/// A network. An address without a number of bits is a network of that address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    /// At most 32 for IPv4 and 128 for IPv6.
    bits: u8,
}

impl Network {
    /// `bits` must fit the kind of address.
    pub(crate) const fn new(address: IpAddr, bits: u8) -> Self {
        Self { address, bits }
    }

    /// Parses `10.0.0.0/8`, `fd00::/8` or an address alone. `None` if `text` is neither, or if the address has bits
    /// behind the counted ones.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse::<IpAddr>().ok()?.to_canonical();
        let width = width(address);
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= width)?,
            None => width,
        };
        let network = Self { address, bits };
        (number(address) & !network.mask() == 0).then_some(network)
    }

    /// Whether `address`, which is not IPv4-mapped, is in this network.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && (number(address) ^ number(self.address)) & self.mask() == 0
    }

    /// Whether every address of `other` is in this network.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.bits <= other.bits && self.contains(other.address)
    }

    /// Ones at the counted bits. The bits of an address are at the top of the number.
    fn mask(&self) -> u128 {
        u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0)
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The address as a number, with its first bit at the top.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(network: &str, inside: &[&str], outside: &[&str]) {
        let network = Network::parse(network).unwrap();
        inside.iter().for_each(|a| assert!(network.contains(a.parse().unwrap()), "{a}"));
        outside.iter().for_each(|a| assert!(!network.contains(a.parse().unwrap()), "{a}"));
    }

    #[test]
    fn a_network_contains_the_addresses_with_its_first_bits() {
        check("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"], &["11.0.0.0", "9.9.9.9", "a00::"]);
        check("10.1.2.3", &["10.1.2.3"], &["10.1.2.2", "10.1.2.4"]);
        check("0.0.0.0/0", &["1.2.3.4", "255.255.255.255"], &["::1"]);
        check("fd00::/8", &["fd12::1"], &["fe00::", "10.0.0.1"]);
        check("::/0", &["::1", "ffff::"], &["1.2.3.4"]);
    }

    #[test]
    fn malformed_networks_are_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0.1/8", "fd00::/129", "10.0.0/8", "a/8", "10.0.0.0/"]
        {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
