//! The authority of the cluster's certificates changes while clients work, as docs/tls.md says.
//!
//! ```text
//! certificates   old, old, old    one by one: new, old, old    new, new, new    new, new, new
//! trusted        old, then both   both                         both             new
//! ```
//!
//! Then a node is killed and started again. All its connections are made anew, and only the new authority counts.

use std::time::{Duration, Instant};

use anabranch_proto::admin::StatusRequest;
use anabranch_tls::{MutualFiles, RELOAD_INTERVAL};
use anabranch_transport::Destination;
use anabranch_types::NodeId;
use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use chaos_lab::{Network, NodeNumber};
use tokio::time::sleep;

use crate::admin::Admin;
use crate::certificates::{Authority, Certificates, Owner, tls};
use crate::fault::{Begun, Cost, Fault, FaultKind};
use crate::faults::seconds;
use crate::field::Field;
use crate::nemesis::wait;

/// Name of the fault. A run that has it has mutual TLS.
pub(crate) const NAME: &str = "certificates";

/// Time after which every process uses new files: two looks at them, and a second for a slow machine.
const RELOADED: Duration = Duration::from_secs(RELOAD_INTERVAL.as_secs() * 2 + 1);
/// Longest time until a node shows a certificate of the new authority.
const SHOWN: Duration = Duration::from_secs(15);
/// Time between two nodes whose certificates are replaced.
const NEXT_NODE: Duration = Duration::from_millis(500);

/// The kinds of this family.
pub(crate) fn kinds() -> Vec<FaultKind> {
    vec![FaultKind {
        name: NAME,
        about: "the authority of all certificates is replaced, and a node is killed (gRPC with TLS)",
        cost: Cost::Minority,
        least_nodes: 3,
        lasts: seconds(0, 1),
        in_default: true,
        needs_root: false,
        make: || Box::new(ChangedAuthority { authorities: None }),
    }]
}

struct ChangedAuthority {
    /// The old one and the new one, once only the new one is trusted.
    authorities: Option<[Authority; 2]>,
}

#[async_trait(?Send)]
impl Fault for ChangedAuthority {
    async fn start(&mut self, field: &mut Field) -> Result<Begun> {
        let certificates = of(field)?;
        let old = certificates.newest_authority();
        let new = certificates.next_authority()?;
        certificates.trust(&[&old, &new])?;
        wait(field, RELOADED).await;
        for node in field.lab.numbers() {
            certificates.give(Owner::Node(node), &new)?;
            wait(field, NEXT_NODE).await;
        }
        certificates.give(Owner::Operator, &new)?;
        certificates.give(Owner::Client, &new)?;
        wait(field, RELOADED).await;
        for node in field.members.clone() {
            shows(node, field.lab.management(), &new).await?;
        }
        certificates.trust(&[&new])?;
        wait(field, RELOADED).await;
        self.authorities = Some([old, new]);
        Ok(Begun::at(field.members.clone(), "a new authority; the old one is not trusted"))
    }

    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>> {
        let Some([old, new]) = &self.authorities else { return Ok(Some(false)) };
        let node = field.pick()?;
        field.goes_away(node);
        field.lab.node(node).kill()?;
        field.comes_back(node).await?;
        shows(node, field.lab.management(), new).await?;
        refuses(node, field.lab.management(), [old, new]).await?;
        Ok(Some(true))
    }
}

fn of(field: &Field) -> Result<Certificates> {
    field.scene.certificates.clone().context("the cluster has no certificates")
}

/// Waits until a node shows a certificate of an authority on a new connection.
async fn shows(node: NodeNumber, network: Network, authority: &Authority) -> Result<()> {
    let connector = tls(authority.files(Owner::Operator))?;
    let address = network.grpc(node).to_string();
    let deadline = Instant::now() + SHOWN;
    loop {
        let to = Destination::node(NodeId(u64::from(node.0)), &*address);
        match connector.connect(to).await {
            Ok(_connection) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                bail!("node {node} shows no certificate of the new authority: {error}")
            }
            Err(_) => sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Checks that a node refuses a caller whose certificate is of the old authority.
async fn refuses(node: NodeNumber, network: Network, [old, new]: [&Authority; 2]) -> Result<()> {
    let files =
        MutualFiles { own: old.files(Owner::Operator).own, ca: new.files(Owner::Operator).ca };
    let admin = Admin::new([node].into_iter(), network, &tls(files)?)?;
    match admin.of(node)?.status(StatusRequest {}).await {
        Ok(_) => bail!("node {node} accepts a certificate of the authority that was removed"),
        Err(_refused) => Ok(()),
    }
}
