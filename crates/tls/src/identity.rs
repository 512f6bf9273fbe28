//! Reads from a certificate which member of the cluster its owner is.
//!
//! The name is a URI among the certificate's alternative names. A host name would not do, because nodes move between
//! addresses. The caller must have checked before that the certificate is of the trusted authority.

use std::fmt;
use std::str::FromStr;

use anabranch_types::NodeId;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The owner that a certificate names.
///
/// Shape: the only URI of the alternative names with the scheme `anabranch`: `anabranch://CLUSTER/node/ID`,
/// `anabranch://CLUSTER/operator/NAME` or `anabranch://CLUSTER/client/NAME`. For the names see [`is_name`]. Source:
/// ADR-0019.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name of the cluster.
    pub cluster: String,
    /// Role of the owner in the cluster.
    pub role: Role,
}

/// The role of a certificate's owner in its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The node with this id.
    Node(NodeId),
    /// A person or program that administers the cluster.
    Operator(String),
    /// A program that writes and reads records over the native API.
    Client(String),
}

/// Why a certificate names no owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The certificate is malformed.
    #[error("the certificate can't be read")]
    Unreadable,
    /// The certificate has no name with this scheme.
    #[error("the certificate has no name anabranch://CLUSTER/ROLE/NAME")]
    Nameless,
    /// The certificate has more than one such name.
    #[error("the certificate has more than one name anabranch://")]
    Ambiguous,
    /// The name has none of the three forms.
    #[error(
        "{0}: must be anabranch://CLUSTER/node/ID, anabranch://CLUSTER/operator/NAME or anabranch://CLUSTER/client/NAME"
    )]
    Malformed(String),
}

const SCHEME: &str = "anabranch://";

/// Whether a text can be the name of a cluster, an operator or a client in a certificate: 1 to 64 letters, digits,
/// `-`, `_` and `.`. Such a name needs no escaping in a URI.
pub fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

impl Identity {
    /// Reads the owner's name from `certificate`.
    ///
    /// # Errors
    /// [`IdentityError`]. This function does not check the certificate's signature: the caller must have verified
    /// that first.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let (_, certificate) =
            X509Certificate::from_der(certificate).map_err(|_| IdentityError::Unreadable)?;
        let names =
            certificate.subject_alternative_name().map_err(|_| IdentityError::Unreadable)?;
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let mut found = names.filter_map(|name| {
            let GeneralName::URI(uri) = name else { return None };
            uri.starts_with(SCHEME).then_some(*uri)
        });
        let name = found.next().ok_or(IdentityError::Nameless)?;
        if found.next().is_some() {
            return Err(IdentityError::Ambiguous);
        }
        name.parse()
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let malformed = || IdentityError::Malformed(text.to_owned());
        let parts = text.strip_prefix(SCHEME).ok_or_else(malformed)?;
        let [cluster, kind, name] =
            <[&str; 3]>::try_from(parts.split('/').collect::<Vec<_>>()).map_err(|_| malformed())?;
        if !is_name(cluster) || !is_name(name) {
            return Err(malformed());
        }
        let role = match kind {
            "node" => Role::Node(node_id(name).ok_or_else(malformed)?),
            "operator" => Role::Operator(name.to_owned()),
            "client" => Role::Client(name.to_owned()),
            _ => return Err(malformed()),
        };
        Ok(Self { cluster: cluster.to_owned(), role })
    }
}

/// A node id from 1, without leading zeros and without a sign, so each node has exactly one name.
fn node_id(text: &str) -> Option<NodeId> {
    let id: u64 = text.parse().ok()?;
    (id > 0 && id.to_string() == text).then_some(NodeId(id))
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = &self.cluster;
        match &self.role {
            Role::Node(node) => write!(f, "{SCHEME}{cluster}/node/{}", node.0),
            Role::Operator(name) => write!(f, "{SCHEME}{cluster}/operator/{name}"),
            Role::Client(name) => write!(f, "{SCHEME}{cluster}/client/{name}"),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {}", node.0),
            Self::Operator(name) => write!(f, "operator {name}"),
            Self::Client(name) => write!(f, "client {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_parses_from_its_own_text() {
        for role in
            [Role::Node(NodeId(7)), Role::Operator("ops".into()), Role::Client("a-1".into())]
        {
            let identity = Identity { cluster: "prod.eu".into(), role };
            assert_eq!(identity.to_string().parse(), Ok(identity));
        }
    }

    #[test]
    fn a_name_with_another_form_is_refused() {
        for wrong in [
            "",
            "https://c/node/1",
            "anabranch://c/node/0",
            "anabranch://c/node/01",
            "anabranch://c/node/+1",
            "anabranch://c/node/1/2",
            "anabranch://c/node/",
            "anabranch:///node/1",
            "anabranch://c/root/1",
            "anabranch://c/client/a b",
            "anabranch://c/client/..%2fnode",
        ] {
            assert!(wrong.parse::<Identity>().is_err(), "{wrong}");
        }
    }
}
