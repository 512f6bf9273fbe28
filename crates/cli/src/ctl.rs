//! `anabranch ctl`: shows an operator the state of a cluster, and changes it.
//!
//! The commands call `AdminService` (`proto/anabranch/admin/v1/admin.proto`) on the first node that accepts a
//! connection, and know nothing else of the cluster. The modules below turn each response into lines for people and
//! JSON for programs, without I/O; `docs/ctl.md` describes the JSON. `certs`, `master-key` and `recover catalog` work
//! on local files.

mod admin;
pub mod certs;
mod cluster;
mod consumer_groups;
mod functions;
mod groups;
mod jobs;
mod master_keys;
mod output;
mod recover;
mod shards;
mod tables;
mod users;

use anabranch_proto::admin as pb;
use anabranch_proto::job::ListServiceJobsRequest;
use anabranch_types::StreamName;
use anyhow::{Context, Result};
use serde_json::json;

use crate::ctl::admin::{Admin, Services, request, response};
use crate::ctl::master_keys::MasterKeys;
use crate::ctl::output::Output;
use crate::{TlsArgs, reach};

/// Arguments of `anabranch ctl`.
#[derive(Debug, clap::Args)]
pub struct CtlArgs {
    /// gRPC ports of nodes, `HOST:PORT`; the first that answers is asked. Default: those of ./anabranch-data
    #[arg(long, global = true, value_delimiter = ',', value_name = "HOST:PORT")]
    node: Vec<String>,
    /// Prints JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Makes an authority and certificates for TLS, or adds certificates; asks no node
    Certs(certs::Args),
    #[command(flatten)]
    Cluster(ClusterCommand),
    /// Master keys for encryption at rest, in a file of a node; no node is asked
    #[command(subcommand)]
    MasterKey(MasterKeys),
}

#[derive(Debug, clap::Subcommand)]
enum ClusterCommand {
    /// Nodes, streams, moves and jobs in a few lines
    Status,
    /// Each node, its state, its replicas and leaders
    Nodes,
    /// Groups: the leader, and how far behind each replica is
    Groups {
        /// Only groups of this stream's shards
        #[arg(long)]
        stream: Option<StreamName>,
        /// Only groups with a replica on this node
        #[arg(long, value_name = "NODE")]
        on: Option<u64>,
    },
    /// One group, its replicas and the work under way
    Group {
        /// Number of the group; 0 is the catalog
        group: u64,
    },
    /// The shards of a stream as a tree, children below their parents
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
    /// Splits and merges that are under way, replicas that move, and the jobs of services: how far each is
    Jobs,
    /// Tables of DynamoDB clients and rows of services: sizes, and reads and writes of a second
    Tables,
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
    /// Removes a node without replicas from the cluster
    Remove {
        /// Number of the node
        #[arg(value_name = "NODE")]
        number: u64,
    },
    /// Transfers the leadership of a group to another node
    TransferLeader {
        /// Number of the group; 0 is the catalog
        group: u64,
        /// Number of the new leader's node
        to: u64,
    },
    /// Last resort: makes a group that lost its majority for good go on from one replica; entries that only the
    /// others had are lost
    Recover(recover::Args),
    /// Balances leaders and replicas once, also while balancing is paused
    Rebalance,
    /// Pauses balancing: nothing is moved only to balance the nodes
    PauseBalancing,
    /// Resumes balancing
    ResumeBalancing,
    /// Groups of programs that read a stream together
    #[command(subcommand)]
    ConsumerGroup(consumer_groups::ConsumerGroupCommand),
    /// Functions that mappings invoke
    #[command(subcommand)]
    Function(functions::FunctionCommand),
    /// Mappings, which invoke functions with the records of streams
    #[command(subcommand)]
    Mapping(functions::MappingCommand),
    /// Users that may sign requests
    #[command(subcommand)]
    User(users::UserCommand),
    /// Access keys of users, and temporary credentials
    #[command(subcommand)]
    Key(users::KeyCommand),
    /// Policies of users, which say what a user may do
    #[command(subcommand)]
    Policy(users::PolicyCommand),
}

/// Runs the command of `args`, and prints its output.
///
/// # Errors
/// When no node answers or the cluster refuses; the error has the reason.
pub async fn run(args: CtlArgs) -> Result<()> {
    let output = match args.command {
        Command::Certs(args) => certs::output(&certs::make(&args)?),
        Command::MasterKey(command) => master_keys::run(command)?,
        Command::Cluster(ClusterCommand::Recover(args)) if args.is_of_catalog() => {
            recover::catalog(&args).await?
        }
        Command::Cluster(command) => {
            let (seeds, tls) = reach::nodes(args.node, args.tls)?;
            let (services, node) = admin::connect(&seeds, &tls).await?;
            match call(services, command).await {
                Ok(output) => output,
                Err(error) => return Err(reach::wrong_port(&node).await.unwrap_or(error)),
            }
        }
    };
    output.print(args.json)
}

/// Groups of one page of a listing.
const GROUPS: u32 = 1_000;
/// Shards of one page of a listing.
const SHARDS: u32 = 10_000;

async fn call(services: Services, command: ClusterCommand) -> Result<Output> {
    let Services { mut admin, mut jobs, mut functions, mut consumer_groups } = services;
    let admin = &mut admin;
    Ok(match command {
        ClusterCommand::Status => {
            cluster::status(&response(admin.status(request(pb::StatusRequest {})).await)?)
        }
        ClusterCommand::Nodes => {
            cluster::nodes(&response(admin.list_nodes(request(pb::ListNodesRequest {})).await)?)
        }
        ClusterCommand::Groups { stream, on } => {
            groups::list(&all_groups(admin, stream, on).await?)
        }
        ClusterCommand::Group { group } => {
            let asked = request(pb::DescribeGroupRequest { group });
            let described = response(admin.describe_group(asked).await)?.group;
            groups::describe(&described.context("a response without a group")?)
        }
        ClusterCommand::Shards { stream } => {
            let (status, shards) = all_shards(admin, &stream).await?;
            shards::tree(&stream, &status, &shards)
        }
        ClusterCommand::Explain { stream, shard } => {
            let asked = request(pb::ExplainShardRequest { stream: stream.to_string(), shard });
            shards::explain(&response(admin.explain_shard(asked).await)?)
        }
        ClusterCommand::Jobs => {
            let listed = response(admin.list_jobs(request(pb::ListJobsRequest {})).await)?;
            let of_services = request(ListServiceJobsRequest {});
            let of_services = response(jobs.list_service_jobs(of_services).await)?;
            jobs::list(&listed, &of_services.jobs)
        }
        ClusterCommand::Tables => tables::sampled(admin).await?,
        ClusterCommand::Drain { number } => {
            set_state(admin, number, pb::NodeState::Draining).await?
        }
        ClusterCommand::Undrain { number } => {
            set_state(admin, number, pb::NodeState::Active).await?
        }
        ClusterCommand::Remove { number } => {
            let asked = request(pb::RemoveNodeRequest { node: number });
            response(admin.remove_node(asked).await)?;
            Output::line(format!("node {number} is removed"), json!({ "removed": number }))
        }
        ClusterCommand::TransferLeader { group, to } => {
            let asked = request(pb::TransferLeaderRequest { group, to_node: to });
            let response = response(admin.transfer_leader(asked).await)?;
            cluster::transferred(group, response.from_node, to)
        }
        ClusterCommand::Recover(args) => recover::group(admin, &args).await?,
        ClusterCommand::Rebalance => {
            let asked = request(pb::RebalanceRequest {});
            cluster::rebalancing(response(admin.rebalance(asked).await)?.rebalance)
        }
        ClusterCommand::PauseBalancing => set_balancing(admin, true).await?,
        ClusterCommand::ResumeBalancing => set_balancing(admin, false).await?,
        ClusterCommand::ConsumerGroup(command) => {
            consumer_groups::run(&mut consumer_groups, command).await?
        }
        ClusterCommand::Function(command) => functions::function(&mut functions, command).await?,
        ClusterCommand::Mapping(command) => functions::mapping(&mut functions, command).await?,
        ClusterCommand::User(command) => users::user(admin, command).await?,
        ClusterCommand::Key(command) => users::key(admin, command).await?,
        ClusterCommand::Policy(command) => users::policy(admin, command).await?,
    })
}

async fn set_state(admin: &mut Admin, node: u64, state: pb::NodeState) -> Result<Output> {
    let asked = request(pb::SetNodeStateRequest { node, state: state.into() });
    let left = response(admin.set_node_state(asked).await)?.replicas;
    Ok(cluster::state_set(node, state, left))
}

async fn set_balancing(admin: &mut Admin, paused: bool) -> Result<Output> {
    let asked = request(pb::SetBalancingRequest { paused });
    response(admin.set_balancing(asked).await)?;
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
        let page = response(admin.list_groups(request(asked)).await)?;
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
        let page = response(admin.list_shards(request(asked)).await)?;
        shards.extend(page.shards);
        match page.next_shard {
            Some(next) => start_shard = next,
            None => return Ok((page.status, shards)),
        }
    }
}
