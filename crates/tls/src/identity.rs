use std::fmt;
use std::str::FromStr;

use anabranch_types::NodeId;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Who a certificate says that its owner is.
///
/// Shape: the one URI among the certificate's alternative names whose scheme is `anabranch`:
/// `anabranch://CLUSTER/node/ID`, `anabranch://CLUSTER/operator/NAME` or `anabranch://CLUSTER/client/NAME`; see [`is_name`].
/// Source: ADR-0019.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: String,
    /// What the owner is in it.
    pub role: Role,
}

/// What the owner of a certificate is in its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// This node of it.
    Node(NodeId),
    /// Who looks after it.
    Operator(String),
    /// A program that writes and reads records.
    Client(String),
}

/// Why a certificate says nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It is no certificate, or one that can't be read.
    #[error("the certificate can't be read")]
    Unreadable,
    /// It has no name of this kind.
    #[error("the certificate has no name anabranch://CLUSTER/ROLE/NAME")]
    Nameless,
    /// It has more than one.
    #[error("the certificate has more than one name anabranch://")]
    Ambiguous,
    /// It has one that is none of the three forms.
    #[error(
        "{0}: must be anabranch://CLUSTER/node/ID, anabranch://CLUSTER/operator/NAME or anabranch://CLUSTER/client/NAME"
    )]
    Malformed(String),
}

const SCHEME: &str = "anabranch://";

/// Whether a text can be a cluster's, an operator's or a client's name in a certificate: 1 to 64 letters, digits, `-`, `_`
/// and `.`, so that it stands in a URI as it is.
pub fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

impl Identity {
    /// Who the owner of `certificate` is.
    ///
    /// # Errors
    /// [`IdentityError`]. That the certificate is of the right authority has to be checked before.
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

/// From 1, without leading zeros or a sign: each node has one name.
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
    fn names_read_back_as_they_were_written() {
        for role in
            [Role::Node(NodeId(7)), Role::Operator("ops".into()), Role::Client("a-1".into())]
        {
            let identity = Identity { cluster: "prod.eu".into(), role };
            assert_eq!(identity.to_string().parse(), Ok(identity));
        }
    }

    #[test]
    fn what_is_none_of_the_forms_is_nobody() {
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
