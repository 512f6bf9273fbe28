//! The allow list: the hosts and networks that this node may reach.
//!
//! An entry is a host name (`api.example.com`), all names below a domain (`*.example.com`), every host (`*`), an
//! address or a network (`10.0.0.0/8`). A server may be reached if an entry names its host, or if a network contains
//! its address.
//!
//! Guarded addresses ([`crate::addresses`]) need an entry that means them: a network with nothing but guarded addresses
//! (`127.0.0.0/8`, `169.254.169.254`), or the name `localhost` for loopback. Neither `*`, nor `0.0.0.0/0`, nor a name
//! that resolves to such an address is enough.

use std::net::IpAddr;

use serde::Deserialize;

use crate::addresses::{canonical, is_guarded, is_guarded_network};
use crate::network::Network;

/// Hosts and networks that may be reached. The default is empty: nothing may be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct AllowList {
    hosts: Vec<HostPattern>,
    networks: Vec<Network>,
    everything: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Any,
    /// In lower case.
    Exactly(String),
    /// Ends of names, in lower case, with the dot: `.example.com`.
    Below(String),
}

/// An entry of the allow list is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "allow: {0:?} must be a host name, *.DOMAIN, *, an address, or a network such as 10.0.0.0/8"
)]
pub struct InvalidEntry(pub String);

impl AllowList {
    /// Checks entries.
    ///
    /// # Errors
    /// [`InvalidEntry`] with the first malformed entry.
    pub fn new<T: AsRef<str>>(entries: impl IntoIterator<Item = T>) -> Result<Self, InvalidEntry> {
        let mut list = Self::default();
        for entry in entries {
            let entry = entry.as_ref();
            if let Some(network) = Network::parse(entry) {
                list.networks.push(network);
            } else {
                let host = HostPattern::parse(entry).ok_or_else(|| InvalidEntry(entry.into()))?;
                list.hosts.push(host);
            }
        }
        Ok(list)
    }

    /// Allows every address, guarded ones too. For a node of a developer.
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Whether a connection to `address` is allowed for a URL with `host`. `host` is a name, or an address as text
    /// without brackets.
    pub fn allows(&self, host: &str, address: IpAddr) -> bool {
        if self.everything {
            return true;
        }
        let address = canonical(address);
        let mut networks = self.networks.iter().filter(|network| network.contains(address));
        if is_guarded(address) {
            return networks.any(is_guarded_network)
                || address.is_loopback() && self.names("localhost") && is_name(host, "localhost");
        }
        networks.next().is_some() || self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    fn names(&self, name: &str) -> bool {
        let exactly = |pattern: &HostPattern| *pattern == HostPattern::Exactly(name.to_owned());
        self.hosts.iter().any(exactly)
    }
}

impl TryFrom<Vec<String>> for AllowList {
    type Error = InvalidEntry;

    fn try_from(entries: Vec<String>) -> Result<Self, InvalidEntry> {
        Self::new(entries)
    }
}

impl HostPattern {
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::Any);
        }
        let entry = entry.to_ascii_lowercase();
        let (below, name) = match entry.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, &*entry),
        };
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        // A name of digits and dots alone is a malformed address.
        let is_address = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if name.len() > 253 || is_address || !name.split('.').all(label) {
            return None;
        }
        Some(if below { Self::Below(format!(".{name}")) } else { Self::Exactly(name.to_owned()) })
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(name) => is_name(host, name),
            // `*.example.com` does not mean example.com itself, as in certificates.
            Self::Below(end) => {
                let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
                host.len() > end.len() && host.ends_with(end.as_str())
            }
        }
    }
}

/// Whether `host` is `name`, which is in lower case. A dot at the end of `host` does not count.
fn is_name(host: &str, name: &str) -> bool {
    host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(entries: &[&str], allowed: &[(&str, &str)], refused: &[(&str, &str)]) {
        let list = AllowList::new(entries).unwrap();
        for (host, address) in allowed {
            assert!(list.allows(host, address.parse().unwrap()), "{host} {address}");
        }
        for (host, address) in refused {
            assert!(!list.allows(host, address.parse().unwrap()), "{host} {address}");
        }
    }

    #[test]
    fn names_are_compared_without_case() {
        check(
            &["api.example.com", "*.Example.net"],
            &[
                ("api.example.com", "192.0.2.1"),
                ("API.example.com.", "10.0.0.1"),
                ("a.b.example.net", "192.0.2.1"),
            ],
            &[
                ("example.com", "192.0.2.1"),
                ("x.api.example.com", "192.0.2.1"),
                ("example.net", "192.0.2.1"),
                ("badexample.net", "192.0.2.1"),
                ("192.0.2.1", "192.0.2.1"),
            ],
        );
    }

    #[test]
    fn a_network_allows_its_addresses_under_every_name() {
        check(
            &["10.0.0.0/8"],
            &[("x.test", "10.1.2.3"), ("10.1.2.3", "10.1.2.3"), ("x.test", "::ffff:10.1.2.3")],
            &[("x.test", "11.0.0.1"), ("x.test", "::ffff:11.0.0.1")],
        );
    }

    #[test]
    fn guarded_addresses_need_an_entry_that_means_them() {
        let metadata = ("metadata.test", "169.254.169.254");
        let mapped = ("metadata.test", "::ffff:169.254.169.254");
        for entries in [&["*"][..], &["0.0.0.0/0", "::/0"], &["metadata.test", "*.test"]] {
            check(entries, &[], &[metadata, mapped, ("metadata.test", "127.0.0.1")]);
        }
        check(&["169.254.0.0/16"], &[metadata, mapped], &[("x.test", "127.0.0.1")]);
        check(&["127.0.0.0/8"], &[("x.test", "127.0.0.1")], &[("x.test", "::1"), metadata]);
    }

    #[test]
    fn the_name_localhost_allows_loopback_for_that_name_alone() {
        check(
            &["localhost"],
            &[("localhost", "127.0.0.1"), ("LOCALHOST", "::1")],
            &[("x.test", "127.0.0.1"), ("localhost", "169.254.169.254")],
        );
    }

    #[test]
    fn an_empty_list_allows_nothing_and_everything_allows_all() {
        check(&[], &[], &[("api.example.com", "192.0.2.1"), ("localhost", "127.0.0.1")]);
        let everything = AllowList::everything();
        assert!(everything.allows("x.test", "169.254.169.254".parse().unwrap()));
    }

    #[test]
    fn malformed_entries_are_refused_with_their_text() {
        for entry in [
            "",
            "*.",
            "a b",
            "http://a.test",
            "a..test",
            "10.0.0.0/33",
            "10.0.0",
            "a.*.test",
            "a:80",
        ] {
            assert_eq!(AllowList::new([entry]), Err(InvalidEntry(entry.into())), "{entry}");
        }
        let text = InvalidEntry("a b".into()).to_string();
        assert!(text.starts_with(r#"allow: "a b" must be a host name"#), "{text}");
    }

    #[test]
    fn the_setting_is_read_as_a_list_of_texts() {
        let list: AllowList = serde_json::from_str(r#"["*.example.com","10.0.0.0/8"]"#).unwrap();
        assert_eq!(list, AllowList::new(["*.example.com", "10.0.0.0/8"]).unwrap());
        assert!(serde_json::from_str::<AllowList>(r#"["a b"]"#).is_err());
    }
}
