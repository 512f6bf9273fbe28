//! `anabranch ctl`: what an operator wants to know of a cluster, and has it do.
//!
//! Speaks `AdminService` (`proto/anabranch/admin/v1/admin.proto`) with the first node that takes a connection, and
//! knows nothing else of the cluster. Each answer becomes lines for people and JSON for programs in the modules
//! below, without I/O; `docs/ctl.md` says what the JSON holds.

use std::sync::Arc;
use std::time::Duration;

use anabranch_proto::admin as pb;
use anabranch_proto::admin::admin_service_client::AdminServiceClient;
use anabranch_transport::{Connector, Destination};
use anabranch_types::StreamName;
use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::reach;
use crate::tls_args::TlsArgs;

pub(crate) mod certs;
mod cluster;
mod groups;
mod jobs;
mod master_keys;
mod recover;
mod shards;
mod users;

use master_keys::MasterKeys;

/// Arguments of `anabranch ctl`.
#[derive(Debug, clap::Args)]
pub(crate) struct CtlArgs {
    /// gRPC ports of nodes to ask, `HOST:PORT`; the first that answers is asked. Default: those of ./anabranch-data
    #[arg(long, global = true, value_delimiter = ',', value_name = "HOST:PORT")]
    node: Vec<String>,
    /// Prints JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(subcommand)]
    what: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Makes an authority and certificates for TLS, or adds some; asks no node
    Certs(certs::Args),
    #[command(flatten)]
    Asked(What),
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Nodes, streams, moves and jobs in a few lines
    Status,
    /// Each node, its state, and what it holds and leads
    Nodes,
    /// Groups: who leads, and how far behind each replica is
    Groups {
        /// Only those of this stream's shards
        #[arg(long)]
        stream: Option<StreamName>,
        /// Only those with a replica on this node
        #[arg(long, value_name = "NODE")]
        on: Option<u64>,
    },
    /// One group, its replicas and what is under way
    Group {
        /// Number of the group; 0 is the catalog
        group: u64,
    },
    /// The shards of a stream as a tree: who came from whom
    Shards {
        /// The stream
        stream: StreamName,
    },
    /// Why the replicas of a shard are where they are
    Explain {
        /// The stream
        stream: StreamName,
        /// Number of the shard, or its id
        shard: String,
    },
    /// Splits and merges that are under way, replicas that move, and how far each is
    Jobs,
    /// Empties a node: its replicas move to others, and it gets no new ones
    Drain {
        /// Number of the node
        #[arg(value_name = "NODE")]
        number: u64,
    },
    /// Uses a drained node again
    Undrain {
        /// Number of the node
        #[arg(value_name = "NODE")]
        number: u64,
    },
    /// Forgets a node that holds nothing any more
    Remove {
        /// Number of the node
        #[arg(value_name = "NODE")]
        number: u64,
    },
    /// Has another node lead a group
    TransferLeader {
        /// Number of the group; 0 is the catalog
        group: u64,
        /// Number of the node that is to lead it
        to: u64,
    },
    /// Last resort: has a group that lost its majority for good go on from one replica; what only the others had is lost
    Recover(recover::Args),
    /// Evens out leaders and replicas once, also while balancing is paused
    Rebalance,
    /// Moves nothing any more only for evenness
    PauseBalancing,
    /// Evens out again as ever
    ResumeBalancing,
    /// Users: who may sign requests
    #[command(subcommand)]
    User(users::UserCommand),
    /// Access keys of users, and temporary credentials
    #[command(subcommand)]
    Key(users::KeyCommand),
    /// Policies of users: what they may do
    #[command(subcommand)]
    Policy(users::PolicyCommand),
    /// Master keys for encryption at rest, in a file of a node; no node is asked
    #[command(subcommand)]
    MasterKey(MasterKeys),
}

/// Does what `args` say.
///
/// # Errors
/// When no node answers, or the cluster refuses; says why.
pub(crate) async fn run(args: CtlArgs) -> Result<()> {
    let said = match args.what {
        Command::Certs(args) => certs::said(&certs::make(&args)?),
        Command::Asked(What::MasterKey(what)) => master_keys::run(what)?,
        Command::Asked(What::Recover(what)) if what.is_of_catalog() => {
            recover::catalog(&what).await?
        }
        Command::Asked(what) => {
            let (seeds, tls) = match args.node {
                node if node.is_empty() => of_data_dir(args.tls)?,
                node => (node, args.tls),
            };
            let (mut admin, node) = connect(&seeds, &tls).await?;
            match say(&mut admin, what).await {
                Ok(said) => said,
                Err(error) => return Err(reach::wrong_port(&node).await.unwrap_or(error)),
            }
        }
    };
    print(&said, args.json)
}

fn print(said: &Said, as_json: bool) -> Result<()> {
    if as_json {
        println!("{}", serde_json::to_string_pretty(&said.json)?);
    } else {
        said.lines.iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

/// An answer, for people and for programs.
#[derive(Debug)]
struct Said {
    lines: Vec<String>,
    json: Value,
}

impl Said {
    fn line(line: impl Into<String>, json: Value) -> Self {
        Self { lines: vec![line.into()], json }
    }
}

type Admin = AdminServiceClient<Channel>;

/// Longer than a node looks for the catalog's leader.
const DEADLINE: Duration = Duration::from_secs(30);
/// A page of ten thousand shards has two megabytes; this is far more.
const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// Groups of one page.
const GROUPS: u32 = 1_000;
/// Shards of one page.
const SHARDS: u32 = 10_000;

/// gRPC ports of the cluster of `anabranch dev` in this directory, and its certificates if none are named.
pub(crate) fn of_data_dir(tls: TlsArgs) -> Result<(Vec<String>, TlsArgs)> {
    let path = "anabranch-data/cluster.json";
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("--node: not given, and there is no {path}"))?;
    let cluster: Value = serde_json::from_str(&text).context(path)?;
    let nodes = cluster["nodes"].as_array().into_iter().flatten();
    let nodes = nodes.filter_map(|node| node["grpc"].as_str().map(str::to_owned)).collect();
    match cluster["tls_dir"].as_str() {
        Some(dir) if tls.is_plain() => Ok((nodes, TlsArgs::in_dir(dir.as_ref()))),
        Some(_) | None => Ok((nodes, tls)),
    }
}

/// A connection to the first of the nodes that takes one, and which node that is.
async fn connect(seeds: &[String], tls: &TlsArgs) -> Result<(Admin, String)> {
    let connector: Arc<dyn Connector> = tls.connector("operator")?;
    let node = reach::first(&connector, seeds).await?;
    let channel = anabranch_transport::channel(&connector, Destination::any(&node));
    let admin = AdminServiceClient::new(channel);
    Ok((admin.max_decoding_message_size(MAX_MESSAGE_BYTES), node))
}

async fn say(admin: &mut Admin, what: What) -> Result<Said> {
    Ok(match what {
        What::MasterKey(what) => master_keys::run(what)?,
        What::Status => {
            cluster::status(&answer(admin.status(request(pb::StatusRequest {})).await)?)
        }
        What::Nodes => {
            cluster::nodes(&answer(admin.list_nodes(request(pb::ListNodesRequest {})).await)?)
        }
        What::Groups { stream, on } => groups::list(&all_groups(admin, stream, on).await?),
        What::Group { group } => {
            let asked = request(pb::DescribeGroupRequest { group });
            let described = answer(admin.describe_group(asked).await)?.group;
            groups::describe(&described.context("an answer without a group")?)
        }
        What::Shards { stream } => {
            let (status, shards) = all_shards(admin, &stream).await?;
            shards::tree(&stream, &status, &shards)
        }
        What::Explain { stream, shard } => {
            let asked = request(pb::ExplainShardRequest { stream: stream.to_string(), shard });
            shards::explain(&answer(admin.explain_shard(asked).await)?)
        }
        What::Jobs => jobs::list(&answer(admin.list_jobs(request(pb::ListJobsRequest {})).await)?),
        What::Drain { number } => set_state(admin, number, pb::NodeState::Draining).await?,
        What::Undrain { number } => set_state(admin, number, pb::NodeState::Active).await?,
        What::Remove { number } => {
            let asked = request(pb::RemoveNodeRequest { node: number });
            answer(admin.remove_node(asked).await)?;
            Said::line(format!("node {number} is removed"), json!({ "removed": number }))
        }
        What::TransferLeader { group, to } => {
            let asked = request(pb::TransferLeaderRequest { group, to_node: to });
            let answer = answer(admin.transfer_leader(asked).await)?;
            cluster::transferred(group, answer.from_node, to)
        }
        What::Recover(what) => recover::group(admin, &what).await?,
        What::Rebalance => {
            let asked = request(pb::RebalanceRequest {});
            cluster::rebalancing(answer(admin.rebalance(asked).await)?.rebalance)
        }
        What::PauseBalancing => set_balancing(admin, true).await?,
        What::ResumeBalancing => set_balancing(admin, false).await?,
        What::User(command) => users::user(admin, command).await?,
        What::Key(command) => users::key(admin, command).await?,
        What::Policy(command) => users::policy(admin, command).await?,
    })
}

async fn set_state(admin: &mut Admin, node: u64, state: pb::NodeState) -> Result<Said> {
    let asked = request(pb::SetNodeStateRequest { node, state: state.into() });
    let left = answer(admin.set_node_state(asked).await)?.replicas;
    Ok(cluster::state_set(node, state, left))
}

async fn set_balancing(admin: &mut Admin, paused: bool) -> Result<Said> {
    let asked = request(pb::SetBalancingRequest { paused });
    answer(admin.set_balancing(asked).await)?;
    Ok(cluster::balancing_set(paused))
}

async fn all_groups(
    admin: &mut Admin,
    stream: Option<StreamName>,
    on: Option<u64>,
) -> Result<Vec<pb::Group>> {
    let stream = stream.map(|name| name.to_string()).unwrap_or_default();
    let (mut groups, mut next) = (Vec::new(), Some(0));
    while let Some(start_group) = next {
        let (stream, node) = (stream.clone(), on.unwrap_or_default());
        let asked = pb::ListGroupsRequest { stream, node, start_group, limit: GROUPS };
        let page = answer(admin.list_groups(request(asked)).await)?;
        groups.extend(page.groups);
        next = page.next_group;
    }
    Ok(groups)
}

async fn all_shards(admin: &mut Admin, name: &StreamName) -> Result<(String, Vec<pb::Shard>)> {
    let (mut shards, mut start_shard) = (Vec::new(), 0);
    loop {
        let stream = name.to_string();
        let asked = pb::ListShardsRequest { stream, start_shard, limit: SHARDS };
        let page = answer(admin.list_shards(request(asked)).await)?;
        shards.extend(page.shards);
        match page.next_shard {
            Some(next) => start_shard = next,
            None => return Ok((page.status, shards)),
        }
    }
}

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

fn answer<T>(answered: Result<Response<T>, Status>) -> Result<T> {
    answered.map(Response::into_inner).map_err(|status| match status.message() {
        "" => anyhow!("{}", status.code()),
        message => match innermost(&status) {
            Some(cause) => anyhow!("{message}: {cause}"),
            None => anyhow!("{message}"),
        },
    })
}

/// Why a connection broke, TLS or not; a refusal by the node has no such cause.
fn innermost(status: &Status) -> Option<String> {
    let mut cause = std::error::Error::source(status)?;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Some(cause.to_string())
}

/// The name of an enum's value as JSON has it, without its prefix; UNKNOWN for the value that says nothing.
fn word<'a>(name: &'a str, prefix: &str) -> &'a str {
    match name.strip_prefix(prefix).unwrap_or(name) {
        "UNSPECIFIED" => "UNKNOWN",
        word => word,
    }
}

/// As in a sentence: `CATCHING_UP` is "catching up".
fn spoken(word: &str) -> String {
    word.to_lowercase().replace('_', " ")
}

fn numbers(numbers: &[u64]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A number, or what stands for one that isn't known.
fn known(number: Option<u64>) -> String {
    number.map_or_else(|| "?".into(), |number| number.to_string())
}

/// A node's number, where 0 means none.
fn some_node(node: u64) -> Option<u64> {
    (node != 0).then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_enums_lose_their_prefix() {
        let prefix = "NODE_STATE_";
        assert_eq!(word(pb::NodeState::Draining.as_str_name(), prefix), "DRAINING");
        assert_eq!(word(pb::NodeState::Unspecified.as_str_name(), prefix), "UNKNOWN");
        assert_eq!(spoken("CATCHING_UP"), "catching up");
    }

    #[test]
    fn a_refusal_is_said_as_the_node_says_it() {
        let refused: Result<Response<()>, _> = Err(Status::not_found("node 9 is not known"));
        assert_eq!(answer(refused).unwrap_err().to_string(), "node 9 is not known");
        let wordless: Result<Response<()>, _> = Err(Status::new(tonic::Code::Unavailable, ""));
        assert!(!answer(wordless).unwrap_err().to_string().is_empty());
    }
}
