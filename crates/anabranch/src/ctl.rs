//! `anabranch ctl`: what an operator wants to know of a cluster, and has it do.
//!
//! Everything that is only looked at comes from the copy of the catalog that the first node to answer has, so it
//! works while the catalog has no leader.

use std::sync::Arc;

use anabranch_catalog::{Catalog, Command, GroupRef, NodeState, Shard, Stream, StreamStatus};
use anabranch_client::Client;
use anabranch_transport::{Connector, TcpConnector};
use anabranch_types::{GroupId, NodeId, ShardId, StreamName};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Arguments of `anabranch ctl`.
#[derive(Debug, clap::Args)]
pub(crate) struct CtlArgs {
    /// gRPC ports of nodes to ask, `HOST:PORT`; the first that answers is asked. Default: those of ./anabranch-data
    #[arg(long, global = true, value_delimiter = ',', value_name = "HOST:PORT")]
    node: Vec<String>,
    /// Prints JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Nodes, streams, moves and jobs in a few lines
    Status,
    /// Each node, its state, and what it holds
    Nodes,
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
    /// Reshardings that are under way, and replicas that move
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
}

/// Does what `args` say.
///
/// # Errors
/// When no node answers, or the cluster refuses; says why.
pub(crate) async fn run(args: CtlArgs) -> Result<()> {
    let seeds = if args.node.is_empty() { of_data_dir()? } else { args.node };
    let connector: Arc<dyn Connector> = Arc::new(TcpConnector);
    let client = Client::connect(seeds, connector).await;
    let client = client.context("no node answers")?;
    let view = client.view();
    let catalog = view.catalog();
    let said = match args.what {
        What::Status => status(catalog),
        What::Nodes => nodes(catalog),
        What::Shards { stream } => shards(catalog, &stream)?,
        What::Explain { stream, shard } => explain(catalog, &stream, &shard)?,
        What::Jobs => jobs(catalog),
        What::Drain { number } => set_state(&client, number, NodeState::Draining).await?,
        What::Undrain { number } => set_state(&client, number, NodeState::Active).await?,
        What::Remove { number } => {
            client.propose(Command::RemoveNode { node: NodeId(number) }).await?;
            Said::line(format!("node {number} is removed"), json!({ "removed": number }))
        }
        What::TransferLeader { group, to } => transfer(&client, catalog, group, to).await?,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&said.json)?);
    } else {
        said.lines.iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

/// An answer, for people and for programs.
struct Said {
    lines: Vec<String>,
    json: Value,
}

impl Said {
    fn line(line: String, json: Value) -> Self {
        Self { lines: vec![line], json }
    }
}

/// gRPC ports of the cluster of `anabranch dev` in this directory.
fn of_data_dir() -> Result<Vec<String>> {
    let path = "anabranch-data/cluster.json";
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("--node: not given, and there is no {path}"))?;
    let cluster: Value = serde_json::from_str(&text).context(path)?;
    let nodes = cluster["nodes"].as_array().into_iter().flatten();
    Ok(nodes.filter_map(|node| node["grpc"].as_str().map(str::to_owned)).collect())
}

async fn set_state(client: &Client, node: u64, state: NodeState) -> Result<Said> {
    let view = client.propose(Command::SetNodeState { node: NodeId(node), state }).await?;
    let left = held(view.catalog(), NodeId(node)).count();
    let line = match state {
        NodeState::Active => format!("node {node} takes replicas"),
        NodeState::Draining => format!("node {node} is being drained, {left} replicas are left"),
    };
    Ok(Said::line(line, json!({ "node": node, "state": state_text(state), "replicas": left })))
}

/// Asks the node that leads the group to hand it over; it is whichever says so.
async fn transfer(client: &Client, catalog: &Catalog, group: u64, to: u64) -> Result<Said> {
    let found = catalog.groups().find(|found| found.group == GroupId(group));
    let found = found.with_context(|| format!("there is no group {group}"))?;
    if !found.voters().iter().any(|replica| replica.node == NodeId(to)) {
        bail!("node {to} holds no voting replica of group {group}");
    }
    for replica in found.voters().into_iter().filter(|replica| replica.node != NodeId(to)) {
        let handed_over = client.transfer_leader(GroupId(group), replica.node, NodeId(to)).await;
        if handed_over == Ok(true) {
            let line = format!("group {group} is handed over by node {}", replica.node);
            return Ok(Said::line(
                line,
                json!({ "group": group, "from": replica.node.0, "to": to }),
            ));
        }
    }
    bail!("no node could hand group {group} over to node {to}: it may lead already, or lag behind")
}

fn held(catalog: &Catalog, node: NodeId) -> impl Iterator<Item = GroupRef<'_>> {
    catalog.groups().filter(move |group| group.holders().any(|replica| replica.node == node))
}

const fn state_text(state: NodeState) -> &'static str {
    match state {
        NodeState::Active => "ACTIVE",
        NodeState::Draining => "DRAINING",
    }
}

const fn status_text(status: StreamStatus) -> &'static str {
    match status {
        StreamStatus::Creating => "CREATING",
        StreamStatus::Active => "ACTIVE",
        StreamStatus::Updating => "UPDATING",
        StreamStatus::Deleting => "DELETING",
    }
}

fn status(catalog: &Catalog) -> Said {
    let open = catalog.streams.values().flat_map(Stream::open_shards).count();
    let all: usize = catalog.streams.values().map(|stream| stream.shards.len()).sum();
    let moves = catalog.groups().filter(|group| group.moving.is_some()).count();
    let jobs = catalog.streams.values().filter(|stream| stream.job.is_some()).count();
    let voters: Vec<u64> = catalog.replicas.iter().map(|replica| replica.node.0).collect();
    let (nodes, streams) = (catalog.nodes.len(), catalog.streams.len());
    let lines = vec![
        format!("catalog version {}, on nodes {}", catalog.version, numbers(&voters)),
        format!("{nodes} nodes, {streams} streams, {open} open shards of {all}"),
        format!("{jobs} reshardings under way, {moves} replicas on the move"),
    ];
    let json = json!({
        "version": catalog.version, "catalog_nodes": voters, "nodes": nodes, "streams": streams,
        "open_shards": open, "shards": all, "jobs": jobs, "moves": moves,
    });
    Said { lines, json }
}

fn nodes(catalog: &Catalog) -> Said {
    let mut lines = vec![format!(
        "{:>5}  {:<9} {:>8}  {:<7} {:<10} {}",
        "node", "state", "replicas", "catalog", "zone", "gRPC"
    )];
    let mut json = Vec::new();
    for (id, node) in &catalog.nodes {
        let replicas = held(catalog, *id).count();
        let votes = catalog.replicas.iter().any(|replica| replica.node == *id);
        let (state, zone) = (state_text(node.state), &node.zone);
        let catalog = if votes { "yes" } else { "no" };
        let address = &node.grpc_address;
        lines.push(format!("{id:>5}  {state:<9} {replicas:>8}  {catalog:<7} {zone:<10} {address}"));
        json.push(json!({
            "node": id.0, "state": state, "replicas": replicas, "holds_catalog": votes, "zone": zone,
            "grpc": address, "api": node.api_address,
        }));
    }
    Said { lines, json: json.into() }
}

fn find_stream<'a>(catalog: &'a Catalog, name: &StreamName) -> Result<&'a Stream> {
    catalog.streams.get(name).with_context(|| format!("there is no stream {name}"))
}

/// The shards without listed parents, and below each its children. A merged shard is drawn below its first parent
/// and names the other.
fn shards(catalog: &Catalog, name: &StreamName) -> Result<Said> {
    let stream = find_stream(catalog, name)?;
    let status = status_text(stream.status);
    let mut lines = vec![format!("{name}  {status}  {} shards", stream.shards.len())];
    let is_root = |shard: &&Shard| {
        !shard.parents.first().is_some_and(|parent| stream.shards.contains_key(parent))
    };
    for root in stream.shards.values().filter(is_root) {
        draw(stream, root, 1, &mut lines);
    }
    let shard = |shard: &Shard| {
        json!({
            "shard": shard.id.to_string(), "group": shard.group.0, "open": shard.is_open(),
            "parents": shard.parents.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "hash_keys": [shard.range.start().to_string(), shard.range.end().to_string()],
            "nodes": shard.replicas.iter().map(|replica| replica.node.0).collect::<Vec<_>>(),
        })
    };
    let all: Vec<_> = stream.shards.values().map(shard).collect();
    let json = json!({ "stream": name.to_string(), "status": status, "shards": all });
    Ok(Said { lines, json })
}

fn draw(stream: &Stream, shard: &Shard, depth: usize, lines: &mut Vec<String>) {
    let state = if shard.is_open() { "open" } else { "closed" };
    let nodes: Vec<u64> = shard.replicas.iter().map(|replica| replica.node.0).collect();
    let with = match &shard.parents[..] {
        [_, other] => format!("  with {other}"),
        _ => String::new(),
    };
    lines.push(format!(
        "{:indent$}{}  {state:<6}  group {}  on nodes {}{with}",
        "",
        shard.id,
        shard.group,
        numbers(&nodes),
        indent = 2 * depth
    ));
    let children = stream.shards.values().filter(|child| child.parents.first() == Some(&shard.id));
    children.for_each(|child| draw(stream, child, depth + 1, lines));
}

fn explain(catalog: &Catalog, name: &StreamName, text: &str) -> Result<Said> {
    let stream = find_stream(catalog, name)?;
    let id = match text.parse() {
        Ok(number) => ShardId(number),
        Err(_) => text.parse().with_context(|| format!("{text} is no shard"))?,
    };
    let group = catalog.groups().find(|g| g.shard.is_some_and(|(n, _, s)| n == name && s.id == id));
    let group = group.with_context(|| format!("{name} has no shard {id}"))?;
    let mut lines =
        vec![format!("{id}, group {}, {} replicas wanted", group.group, stream.replicas)];
    let mut json = Vec::new();
    for replica in group.holders() {
        let node = catalog.nodes.get(&replica.node);
        let zone = node.map_or("", |node| node.zone.as_str());
        let state = node.map_or("UNKNOWN", |node| state_text(node.state));
        let held = held(catalog, replica.node).count();
        let leaves = group.moving.is_some_and(|moving| moving.from == Some(replica.id));
        let comes = group.moving.is_some_and(|moving| moving.to.id == replica.id);
        let role = if leaves {
            "leaves"
        } else if comes {
            "comes"
        } else {
            "stays"
        };
        lines.push(format!(
            "  node {}  replica {}  {role}; the node is {state}, in zone '{zone}', and holds {held}",
            replica.node, replica.id
        ));
        json.push(json!({
            "node": replica.node.0, "replica": replica.id.0, "role": role, "node_state": state,
            "zone": zone, "node_replicas": held,
        }));
    }
    let zones = |group: &GroupRef<'_>| {
        let zone = |node| catalog.nodes.get(&node).map(|node| node.zone.as_str());
        let mut zones: Vec<_> = group.voters().iter().filter_map(|r| zone(r.node)).collect();
        zones.sort_unstable();
        zones.dedup();
        zones.len()
    };
    let others = catalog.nodes.iter().filter(|(id, node)| {
        node.state == NodeState::Active && group.holders().all(|replica| replica.node != **id)
    });
    let others: Vec<u64> = others.map(|(id, _)| id.0).collect();
    lines.push(match &others[..] {
        [] => "  there is no other node to move to".into(),
        others => format!(
            "  it is in {} zones; nodes {} would do if they held at least two replicas less, or were in \
             another zone",
            zones(&group),
            numbers(others)
        ),
    });
    let json = json!({
        "shard": id.to_string(), "group": group.group.0, "wanted": stream.replicas, "replicas": json,
        "other_nodes": others,
    });
    Ok(Said { lines, json })
}

fn jobs(catalog: &Catalog) -> Said {
    let (mut lines, mut json) = (Vec::new(), Vec::new());
    for (name, stream) in &catalog.streams {
        let Some(job) = &stream.job else { continue };
        let list =
            |ids: Vec<u32>| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let parents = list(job.parents.iter().map(|id| id.0).collect());
        let children = list(job.children.keys().map(|id| id.0).collect());
        lines.push(format!("{name}: job {}, shards {parents} become {children}", job.id));
        json.push(json!({
            "stream": name.to_string(), "job": job.id, "parents": job.parents.iter().map(|id| id.0).collect::<Vec<_>>(),
            "children": job.children.keys().map(|id| id.0).collect::<Vec<_>>(),
            "target_shards": stream.target_shards,
        }));
    }
    for group in catalog.groups() {
        let Some(moving) = group.moving else { continue };
        let from = moving.from.and_then(|from| group.replicas.iter().find(|r| r.id == from));
        let from = from.map(|replica| replica.node.0);
        let away = from.map_or("nowhere".into(), |node| format!("node {node}"));
        lines.push(format!(
            "group {}: a replica from {away} to node {}",
            group.group, moving.to.node
        ));
        json.push(json!({ "group": group.group.0, "from": from, "to": moving.to.node.0 }));
    }
    if lines.is_empty() {
        lines.push("nothing is under way".into());
    }
    Said { lines, json: json.into() }
}

fn numbers(numbers: &[u64]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
