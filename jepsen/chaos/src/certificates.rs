//! The certificates of a cluster whose gRPC ports use mutual TLS, as an operator keeps them on the hosts.
//!
//! ```text
//! authority-1/      what `anabranch ctl certs` made: the authority, and a certificate for each owner
//! authority-2/      the same from the next authority
//! in-use/node-1/    the three files that one owner reads: ca.pem, own.pem, own.key
//! in-use/operator/
//! in-use/client/
//! ```
//!
//! Each owner has a `ca` file of its own, as it has on a host of its own. A file in use is replaced by a rename, so no
//! process ever reads half of a file.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anabranch_tls::{KeyFiles, MutualFiles, MutualTls, RELOAD_INTERVAL};
use anabranch_transport::{Connector, TcpConnector, TlsConnector};
use anyhow::{Context, Result, ensure};
use chaos_lab::NodeNumber;

/// Name of the cluster under test.
pub(crate) const CLUSTER: &str = "chaos";

/// An owner of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Node(NodeNumber),
    /// The harness, when it calls AdminService or reads a replica.
    Operator,
    /// The native clients of the workloads.
    Client,
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(number) => write!(formatter, "node-{number}"),
            Self::Operator => formatter.write_str("operator"),
            Self::Client => formatter.write_str("client"),
        }
    }
}

/// An authority, with a certificate for every owner: a folder that `anabranch ctl certs` made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority(PathBuf);

impl Authority {
    fn certificate(&self) -> PathBuf {
        self.0.join("ca.pem")
    }

    /// The files of an owner who has a certificate of this authority and trusts no other one.
    pub(crate) fn files(&self, owner: Owner) -> MutualFiles {
        let path = |end| self.0.join(format!("{owner}.{end}"));
        MutualFiles {
            own: KeyFiles { certificate: path("pem"), key: path("key") },
            ca: self.certificate(),
        }
    }
}

/// All certificates of a run. Clones use the same files.
#[derive(Clone, Debug)]
pub(crate) struct Certificates(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    /// The program `anabranch`.
    binary: PathBuf,
    nodes: Vec<NodeNumber>,
    /// Addresses of the nodes, for their certificates.
    hosts: Vec<String>,
}

impl Certificates {
    /// Makes the first authority in a new folder, and gives every owner a certificate of it.
    ///
    /// # Errors
    /// If `anabranch ctl certs` fails, or a file can't be written.
    pub(crate) fn make(
        directory: PathBuf,
        binary: &Path,
        nodes: Vec<NodeNumber>,
        hosts: Vec<String>,
    ) -> Result<Self> {
        let binary = binary.to_owned();
        let certificates = Self(Arc::new(Inner { directory, binary, nodes, hosts }));
        let first = certificates.next_authority()?;
        for owner in certificates.owners() {
            fs::create_dir_all(certificates.folder(owner))?;
            certificates.give(owner, &first)?;
        }
        certificates.trust(&[&first])?;
        Ok(certificates)
    }

    fn owners(&self) -> impl Iterator<Item = Owner> + use<> {
        let nodes = self.0.nodes.clone().into_iter().map(Owner::Node);
        nodes.chain([Owner::Operator, Owner::Client])
    }

    fn folder(&self, owner: Owner) -> PathBuf {
        self.0.directory.join("in-use").join(owner.to_string())
    }

    fn authority(&self, number: usize) -> Authority {
        Authority(self.0.directory.join(format!("authority-{number}")))
    }

    fn count(&self) -> usize {
        (1..).take_while(|number| self.authority(*number).0.exists()).count()
    }

    /// The authority that was made last.
    pub(crate) fn newest_authority(&self) -> Authority {
        self.authority(self.count())
    }

    /// Makes another authority, with a certificate for every owner. Nobody uses it yet.
    ///
    /// # Errors
    /// The output of `anabranch ctl certs`, if it fails.
    pub(crate) fn next_authority(&self) -> Result<Authority> {
        let next = self.authority(self.count() + 1);
        let nodes: Vec<_> = self.0.nodes.iter().map(ToString::to_string).collect();
        let made = Command::new(&self.0.binary)
            .args(["ctl", "certs"])
            .arg(&next.0)
            .args(["--cluster", CLUSTER, "--nodes", &nodes.join(",")])
            .args(["--hosts", &self.0.hosts.join(",")])
            .output()
            .with_context(|| self.0.binary.display().to_string())?;
        let output = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success(), "certificates: {}", output.trim());
        Ok(next)
    }

    /// Makes every owner trust exactly these authorities.
    ///
    /// # Errors
    /// If a file can't be written.
    pub(crate) fn trust(&self, authorities: &[&Authority]) -> Result<()> {
        let mut all = String::new();
        for authority in authorities {
            all += &fs::read_to_string(authority.certificate())?;
        }
        self.owners().try_for_each(|owner| replace(&self.files(owner).ca, all.as_bytes()))
    }

    /// Replaces an owner's certificate and key by those of an authority.
    ///
    /// # Errors
    /// If a file can't be written.
    pub(crate) fn give(&self, owner: Owner, authority: &Authority) -> Result<()> {
        let (from, to) = (authority.files(owner).own, self.files(owner).own);
        replace(&to.certificate, &fs::read(from.certificate)?)?;
        replace(&to.key, &fs::read(from.key)?)
    }

    /// The files that an owner reads.
    pub(crate) fn files(&self, owner: Owner) -> MutualFiles {
        let folder = self.folder(owner);
        MutualFiles {
            own: KeyFiles { certificate: folder.join("own.pem"), key: folder.join("own.key") },
            ca: folder.join("ca.pem"),
        }
    }

    /// The table `[tls]` of a node's configuration. The Kinesis API stays plain.
    pub(crate) fn table(&self, node: NodeNumber) -> String {
        let MutualFiles { own: KeyFiles { certificate, key }, ca } = self.files(Owner::Node(node));
        format!(
            "[tls]\napi = \"plain\"\ncertificate = \"{}\"\nkey = \"{}\"\nca = \"{}\"\n",
            certificate.display(),
            key.display(),
            ca.display(),
        )
    }
}

/// Replaces a file, whole or not at all.
fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let fresh = path.with_added_extension("new");
    fs::write(&fresh, content)
        .and_then(|()| fs::rename(&fresh, path))
        .with_context(|| path.display().to_string())
}

/// How an owner connects to gRPC ports: with mutual TLS if the run has certificates. Needs a tokio runtime.
///
/// # Errors
/// Names the file that can't be used.
pub(crate) fn connector(
    certificates: Option<&Certificates>,
    owner: Owner,
) -> Result<Arc<dyn Connector>> {
    match certificates {
        Some(certificates) => tls(certificates.files(owner)),
        None => Ok(Arc::new(TcpConnector)),
    }
}

/// Connections with mutual TLS and these files. Needs a tokio runtime.
///
/// # Errors
/// Names the file that can't be used.
pub(crate) fn tls(files: MutualFiles) -> Result<Arc<dyn Connector>> {
    Ok(Arc::new(TlsConnector::new(MutualTls::load(files, RELOAD_INTERVAL)?)))
}
