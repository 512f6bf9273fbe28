//! Helpers: an authority and its certificates in a temporary directory.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anabranch_tls::issue::{Authority, Issued, Validity};
use anabranch_tls::{KeyFiles, MutualFiles, MutualTls, Role};
use anabranch_types::NodeId;
use tempfile::TempDir;

/// Interval between two looks at files in tests.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

pub(crate) fn node(id: u64) -> Role {
    Role::Node(NodeId(id))
}

pub(crate) fn today() -> Validity {
    Validity::days(1, SystemTime::now())
}

/// An authority, and the folder with the certificates that it has signed, each under a name.
pub(crate) struct Set {
    pub authority: Authority,
    pub dir: TempDir,
}

impl Set {
    pub(crate) fn of(cluster: &str) -> Self {
        let (authority, issued) = Authority::new(cluster, today()).unwrap();
        let set = Self { authority, dir: TempDir::new().unwrap() };
        std::fs::write(set.path("ca.pem"), issued.certificate).unwrap();
        set
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub(crate) fn files(&self, name: &str) -> MutualFiles {
        let own = KeyFiles {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        };
        MutualFiles { own, ca: self.path("ca.pem") }
    }

    pub(crate) fn write(&self, name: &str, issued: &Issued) {
        let files = self.files(name).own;
        std::fs::write(files.certificate, &issued.certificate).unwrap();
        std::fs::write(files.key, &issued.key).unwrap();
    }

    pub(crate) fn issue(&self, name: &str, role: Role, validity: Validity) {
        self.write(name, &self.authority.issue(role, &[], validity).unwrap());
    }

    /// Issues a certificate for `role` and loads it.
    pub(crate) fn member(&self, role: Role) -> MutualTls {
        self.member_until(role, today())
    }

    pub(crate) fn member_until(&self, role: Role, validity: Validity) -> MutualTls {
        let name = role.to_string();
        self.issue(&name, role, validity);
        MutualTls::load(self.files(&name), LOOK).unwrap()
    }
}
