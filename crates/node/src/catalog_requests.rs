//! Finds the catalog's leader and asks it: to apply a command, or for the newest version.
//!
//! Order of events: this node's own replica is asked first. If it does not lead, the node that it names is asked,
//! then all others, again and again until one of them leads or the time is over.
//!
//! A node that hangs must not hold a caller (ADR-0026). So silent nodes are not asked (`remote.rs`), a request for
//! the newest version waits for one second, and a command goes only to a node that has just answered such a request
//! as the leader.
//!
//! Invariant: every command that comes to the catalog from outside or from this node is a [`Propose`], and a policy
//! in it has been parsed. The catalog can't parse policies itself: replicas of two versions of this program might not
//! agree on what a policy is.

use std::sync::Arc;
use std::time::Duration;

use anabranch_access::policy::{Kind, Policy};
use anabranch_catalog::{Command, Outcome, ResourceCommand, UserCommand};
use anabranch_replica::{CatalogReplica, Error};
use anabranch_transport::was_not_sent;
use anabranch_types::NodeId;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use crate::node::Node;
use crate::node_request::NodeRequest;
use crate::remote::Remotes;

const DEADLINE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(50);
/// How long one node may take to answer whether it leads.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

/// A request that only the catalog's leader can answer. A node that receives one does not pass it on.
pub(crate) trait CatalogRequest: NodeRequest<Error = Error> {
    /// Whether the request may be sent again if its outcome is unknown.
    fn is_idempotent(&self) -> bool;
}

/// Has the catalog apply a command.
pub(crate) struct Propose<'a>(&'a Command);

/// Asks for the newest version.
pub(crate) struct NewestVersion;

impl<'a> Propose<'a> {
    /// A command that has passed every check that does not need the catalog.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a policy that can't be parsed: gateways could only deny by it.
    pub(crate) fn new(command: &'a Command) -> Result<Self, Error> {
        if let Some((document, kind)) = policy(command) {
            let parsed = Policy::parse_new(document, kind);
            parsed.map_err(|error| Error::Invalid(format!("policy: {error}")))?;
        }
        Ok(Self(command))
    }
}

/// The policy in a command.
fn policy(command: &Command) -> Option<(&str, Kind)> {
    if let Command::Limited { command, .. } = command {
        return policy(command);
    }
    if let Command::User(UserCommand::PutPolicy { document, .. }) = command {
        return Some((document, Kind::Identity));
    }
    if let Command::Resource(ResourceCommand::SetPolicy { policy: Some(document), .. }) = command {
        return Some((document, Kind::Resource));
    }
    None
}

impl Node {
    /// Has the catalog apply `command`, here or on the node that leads it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a policy that can't be parsed.
    /// [`Error::NotLeader`] if no leader was found in time: nothing was done.
    /// [`Error::Unknown`] if the command may have been applied or not.
    pub async fn propose(&self, command: &Command) -> Result<Outcome, Error> {
        ask_leader(self, Propose::new(command)?).await
    }

    /// The newest version of the catalog. Every change that was acknowledged before this call is in it.
    ///
    /// # Errors
    /// [`Error::NotLeader`] if no leader was found in time.
    pub async fn newest_catalog_version(&self) -> Result<u64, Error> {
        ask_leader(self, NewestVersion).await
    }
}

/// Asks the leader, and searches until there is one. A request that may be repeated is sent again after an unknown
/// outcome: a leader that is cut off never sends its response.
pub(crate) async fn ask_leader<R: CatalogRequest>(
    node: &Node,
    request: R,
) -> Result<R::Response, Error> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let hint = match request.here(node).await {
            Err(Error::NotLeader { leader }) => leader,
            Err(Error::NotFound | Error::OutOfService(_)) => None,
            Err(Error::Unknown(_)) if request.is_idempotent() && Instant::now() < deadline => None,
            decided => return decided,
        };
        let others = node.peers().others().into_iter().filter(|other| Some(*other) != hint);
        // If this node's replica votes alone, no other node can lead this catalog. Another node that says it leads
        // has a catalog that the cluster gave up when it was recovered from here.
        let others = others.filter(|_| !votes_alone(node));
        for other in hint.into_iter().chain(others).filter(|other| *other != node.id()) {
            match node.ask(other, &request).await {
                Err(Error::NotLeader { .. }) => {}
                Err(Error::Unknown(_)) if request.is_idempotent() && Instant::now() < deadline => {}
                decided => return decided,
            }
        }
        if Instant::now() > deadline {
            return Err(Error::NotLeader { leader: None });
        }
        sleep(RETRY).await;
    }
}

fn votes_alone(node: &Node) -> bool {
    let status = node.catalog_replica().map(|replica| replica.status());
    status.is_some_and(|status| status.voters == [status.replica])
}

/// Proposes one step of a duty. A step that fails is proposed again in a later round, if it is still due then.
pub(crate) async fn step(node: &Node, command: Command) {
    match node.propose(&command).await {
        Ok(Outcome::Done { .. }) => {}
        Ok(Outcome::Refused(refusal)) => tracing::info!(%refusal, "step"),
        Err(error) => tracing::info!(%error, "step"),
    }
}

fn own_replica(node: &Node) -> Result<Arc<CatalogReplica>, Error> {
    node.catalog_replica().ok_or(Error::NotFound)
}

impl CatalogRequest for Propose<'_> {
    fn is_idempotent(&self) -> bool {
        self.0.is_idempotent()
    }
}

impl NodeRequest for Propose<'_> {
    type Response = Outcome;
    type Error = Error;

    async fn here(&self, node: &Node) -> Result<Outcome, Error> {
        own_replica(node)?.propose(self.0).await
    }

    async fn there(&self, remotes: &Remotes, to: NodeId) -> Result<Outcome, Error> {
        // A command must not be sent twice, so it goes only to a node that answers.
        NewestVersion.there(remotes, to).await?;
        match remotes.propose(to, anabranch_proto::encode_command(self.0)).await {
            Ok(outcome) => {
                let outcome = anabranch_proto::decode_outcome(outcome);
                outcome.map_err(|error| Error::Unknown(error.to_string()))
            }
            // The node refused the command before it did anything, or the command was never sent.
            Err(status) if status.code() == Code::FailedPrecondition || was_not_sent(&status) => {
                Err(Error::NotLeader { leader: None })
            }
            Err(status) => Err(Error::Unknown(status.to_string())),
        }
    }
}

impl CatalogRequest for NewestVersion {
    fn is_idempotent(&self) -> bool {
        true
    }
}

impl NodeRequest for NewestVersion {
    type Response = u64;
    type Error = Error;

    async fn here(&self, node: &Node) -> Result<u64, Error> {
        own_replica(node)?.newest_version().await
    }

    async fn there(&self, remotes: &Remotes, to: NodeId) -> Result<u64, Error> {
        // The request changes nothing: after any failure another node may be asked.
        let not_leader = || Error::NotLeader { leader: None };
        let answer = timeout(ANSWER_PATIENCE, remotes.newest(to)).await;
        answer.map_err(|_elapsed| not_leader())?.map_err(|_status| not_leader())
    }
}
