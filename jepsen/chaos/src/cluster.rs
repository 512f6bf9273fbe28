//! The cluster under test: its settings, its start, its users.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chaos_lab::{Lab, LabSettings, Network, NodeNumber};
use rand::Rng;
use rand::rngs::StdRng;

use crate::admin::{AccessKey, Admin, METRICS_PORT};
use crate::certificates::{CLUSTER, Certificates, Owner, connector};

/// Longest time from the start of a process until it is ready.
pub(crate) const START: Duration = Duration::from_secs(60);

/// The running cluster.
pub(crate) struct Cluster {
    pub(crate) lab: Lab,
    pub(crate) admin: Admin,
    /// Key of the user `root`.
    pub(crate) root: AccessKey,
    pub(crate) template: Template,
}

/// The common part of all nodes' configuration files.
pub(crate) struct Template {
    token_key: String,
    tables: String,
    /// Nodes that found the cluster.
    pub(crate) members: Vec<NodeNumber>,
    /// The certificates of the gRPC ports, if they use mutual TLS.
    pub(crate) certificates: Option<Certificates>,
    /// The network with faults, and that of the harness.
    networks: [Network; 2],
}

impl Template {
    fn draw(
        lab: &Lab,
        keys: &Path,
        members: Vec<NodeNumber>,
        certificates: Option<Certificates>,
        random: &mut StdRng,
    ) -> Self {
        let token_key: [u8; 32] = random.random();
        let token_key = token_key.iter().map(|byte| format!("{byte:02x}")).collect();
        let tables = Variation::draw(random).tables(keys);
        let networks = [lab.network(), lab.management()];
        Self { token_key, tables, members, certificates, networks }
    }

    /// The configuration of a node that founds the cluster with the other members, or joins it.
    pub(crate) fn text(&self, node: NodeNumber, joins: bool) -> String {
        let [network, management] = self.networks;
        let others = self.members.iter().filter(|peer| !joins || **peer != node);
        let nodes: Vec<_> = others
            .map(|peer| match joins {
                true => format!("\"{}\"", network.grpc(*peer)),
                false => format!("{{ node = {peer}, grpc = \"{}\" }}", network.grpc(*peer)),
            })
            .collect();
        let tls = self.certificates.as_ref().map(|certificates| certificates.table(node));
        format!(
            "cluster = \"{CLUSTER}\"\nplain-grpc = {}\ntoken-key = \"{}\"\n\
             listen-metrics = \"{}:{METRICS_PORT}\"\nreplace-after-ms = 600000\n{} = [{}]\n{}{}",
            tls.is_none(),
            self.token_key,
            management.address(node),
            if joins { "join" } else { "nodes" },
            nodes.join(", "),
            self.tables,
            tls.unwrap_or_default(),
        )
    }
}

/// Settings of the cluster that the seed decides, so that runs differ.
struct Variation {
    segment_bytes: u64,
    checkpoint_interval_ms: u64,
    data_key_max_bytes: u64,
}

impl Variation {
    fn draw(random: &mut StdRng) -> Self {
        Self {
            segment_bytes: [1, 2, 16][random.random_range(0..3)] << 20,
            checkpoint_interval_ms: [100, 500, 5000][random.random_range(0..3)],
            data_key_max_bytes: [64 << 10, 1 << 20][random.random_range(0..2)],
        }
    }

    /// The tables of a configuration file.
    fn tables(&self, keys: &Path) -> String {
        format!(
            "[storage]\nsegment-bytes = {}\nballast-bytes = 8388608\ncache-bytes = 8388608\n\
             reclaim-interval-ms = 100\nscrub-period-hours = 1\n\
             [replication]\ncheckpoint-interval-ms = {}\nmaintenance-interval-ms = 100\n\
             [encryption]\nkey-file = \"{}\"\ndata-key-max-bytes = {}\n",
            self.segment_bytes,
            self.checkpoint_interval_ms,
            keys.display(),
            self.data_key_max_bytes,
        )
    }
}

impl Cluster {
    /// Makes the lab, starts `members` nodes in it, and waits until all of them are ready. With `mutual_tls` their gRPC
    /// ports have certificates. The calling thread stays in the network of the harness.
    ///
    /// # Errors
    /// If the machine can't have a lab, or a node does not become ready.
    pub(crate) async fn start(
        settings: &LabSettings,
        members: u8,
        mutual_tls: bool,
        random: &mut StdRng,
    ) -> Result<Self> {
        let mut lab = Lab::create(settings)?;
        lab.enter_management()?;
        let keys = lab.directory().join("keys.toml");
        make_master_key(&settings.binary, &keys)?;
        let members: Vec<_> = (1..=members).map(NodeNumber).collect();
        let certificates = mutual_tls.then(|| make_certificates(&lab, &settings.binary));
        let certificates = certificates.transpose()?;
        let connector = connector(certificates.as_ref(), Owner::Operator)?;
        let template = Template::draw(&lab, &keys, members.clone(), certificates, random);
        for node in lab.numbers().collect::<Vec<_>>() {
            lab.configure(node, &template.text(node, !members.contains(&node)))?;
        }
        for node in &members {
            lab.node(*node).start()?;
        }
        let admin = Admin::new(lab.numbers(), lab.management(), &connector)?;
        for node in &members {
            admin.ready(*node, START).await.with_context(|| last_lines(&mut lab, *node))?;
        }
        let root = admin.create_user("root").await.context("the user root")?;
        Ok(Self { lab, admin, root, template })
    }
}

/// Certificates of all hosts, valid for both addresses of each.
fn make_certificates(lab: &Lab, binary: &Path) -> Result<Certificates> {
    let networks = [lab.network(), lab.management()];
    let hosts = lab.numbers().flat_map(|node| networks.map(|network| network.address(node)));
    let hosts = hosts.map(|address| address.to_string()).collect();
    Certificates::make(lab.directory().join("tls"), binary, lab.numbers().collect(), hosts)
}

fn make_master_key(binary: &Path, file: &Path) -> Result<()> {
    let made = Command::new(binary).args(["ctl", "master-key", "create"]).arg(file).output();
    let made = made.with_context(|| binary.display().to_string())?;
    if !made.status.success() {
        bail!("master key: {}", String::from_utf8_lossy(&made.stderr));
    }
    Ok(())
}

/// The end of a node's output.
pub(crate) fn last_lines(lab: &mut Lab, node: NodeNumber) -> String {
    let text = fs::read(lab.node(node).output_file()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
