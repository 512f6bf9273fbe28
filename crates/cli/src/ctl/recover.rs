//! `anabranch ctl recover`: a last resort for a group that has lost its majority for good.
//!
//! The cluster recovers the group of a shard or of tables, and is asked over gRPC as for any other change. A catalog
//! without a majority cannot be asked: its replica in a data directory is made the only voter there, while no node runs
//! on the directory. Without `--accept-loss` nothing is changed, and the error says what would be lost.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anabranch_proto::admin as pb;
use anabranch_replica::{Error, StoredCatalog, give_up_catalog};
use anabranch_storage::{LogStore, SegmentStore, StorageSettings};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;

use crate::ctl::admin::{Admin, request, response};
use crate::ctl::output::Output;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Number of the group, or `catalog`
    #[arg(value_name = "GROUP")]
    what: What,
    /// Of a group: node with the replica to keep
    #[arg(long, value_name = "NODE")]
    from: Option<u64>,
    /// Of the catalog: data directory with the replica to keep; no node may run on it
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Of the catalog: removes the replica from the directory, as the catalog is recovered from another node's
    #[arg(long)]
    give_up: bool,
    /// Recovers. Without this option, the command only says what would be lost
    #[arg(long)]
    accept_loss: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Catalog,
    Group(u64),
}

impl FromStr for What {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "catalog" | "0" => Ok(Self::Catalog),
            number => match number.parse() {
                Ok(number) => Ok(Self::Group(number)),
                Err(_) => Err("must be the number of a group, or `catalog`"),
            },
        }
    }
}

impl Args {
    pub(super) fn is_of_catalog(&self) -> bool {
        self.what == What::Catalog
    }
}

/// Asks the cluster to recover the group of a shard or of tables.
pub(super) async fn group(admin: &mut Admin, args: &Args) -> Result<Output> {
    let (What::Group(group), None, false) = (args.what, &args.data_dir, args.give_up) else {
        bail!("--data-dir and --give-up are for `recover catalog`");
    };
    let from_node = args.from.context("--from: missing, the node whose replica is kept")?;
    let asked = pb::RecoverGroupRequest { group, from_node, accept_loss: args.accept_loss };
    let response = match response(admin.recover_group(request(asked)).await) {
        Err(error) if !args.accept_loss => bail!("{error} (--accept-loss)"),
        answered => answered?,
    };
    let line = format!("group {group} goes on from node {from_node}; {}", response.loss);
    let json = json!({ "group": group, "from": from_node, "loss": response.loss });
    Ok(Output::line(line, json))
}

/// Makes the replica of the catalog in a data directory the only voter, or removes it from the directory.
pub(super) async fn catalog(args: &Args) -> Result<Output> {
    if args.from.is_some() {
        bail!(
            "--from is for other groups: the catalog is recovered in the data directory of a node that is stopped"
        );
    }
    let dir = args.data_dir.as_ref();
    let dir = dir.context("--data-dir: missing, that of a node that is stopped")?;
    let store = open(dir).await?;
    let output = match args.give_up {
        true => give_up(dir, &store, args.accept_loss).await,
        false => recover(dir, &store, args.accept_loss).await,
    };
    store.close().await;
    output
}

async fn recover(dir: &Path, store: &Arc<dyn LogStore>, accept_loss: bool) -> Result<Output> {
    let stored = StoredCatalog::read(store).await.map_err(|error| explained(dir, &error))?;
    let (node, was) = (stored.replica.node.0, stored.replica.id.0);
    let (version, streams) = (stored.catalog.version, stored.catalog.streams.len());
    let (last, term) = stored.last.map_or((0, 0), |last| (last.index, last.term));
    let extent = format!(
        "the replica of node {node} has version {version} of the catalog, {streams} streams, and entries up to {last} \
         of term {term}"
    );
    if !accept_loss {
        bail!(
            "{extent}. Every later change that only the other replicas have would be lost. Stop all other nodes first; \
             where their data is kept, have them give their replicas of the catalog up (--give-up). \
             Nothing was done: the loss has to be accepted (--accept-loss)"
        );
    }
    let replica = stored.recover().await?.id.0;
    let line = format!(
        "{extent}. It is the only voter now, as replica {replica} in place of {was}. Start node {node} first"
    );
    let json = json!({
        "node": node, "replica": replica, "was": was, "version": version, "streams": streams, "last": last, "term": term,
    });
    Ok(Output::line(line, json))
}

async fn give_up(dir: &Path, store: &Arc<dyn LogStore>, accept_loss: bool) -> Result<Output> {
    if !accept_loss {
        bail!(
            "the replica of the catalog in {} would be removed; replicas of shards would stay. \
             Nothing was done: the loss has to be accepted (--accept-loss)",
            dir.display()
        );
    }
    let removed = give_up_catalog(store).await?;
    let line = match removed {
        true => "the replica of the catalog is removed",
        false => "there is no replica of the catalog",
    };
    Ok(Output::line(line, json!({ "removed": removed })))
}

fn explained(dir: &Path, error: &Error) -> anyhow::Error {
    let dir = dir.display();
    if *error == Error::NotFound {
        return anyhow!("{dir} holds no replica of the catalog");
    }
    anyhow!("{dir}: {error}")
}

/// Opens the log store of a node and takes its lock. It never makes a new store in a directory without one.
async fn open(dir: &Path) -> Result<Arc<dyn LogStore>> {
    if !dir.join("format").exists() {
        bail!("{} is no data directory of a node", dir.display());
    }
    SegmentStore::check_free(dir)?;
    let (settings, dir) = (settings(dir)?, dir.to_owned());
    let opened = tokio::task::spawn_blocking(move || SegmentStore::open(dir, settings)).await?;
    Ok(opened?)
}

/// The segment size is the one of the existing segments. No ballast file is made.
fn settings(dir: &Path) -> Result<StorageSettings> {
    let settings = StorageSettings { ballast_bytes: 0, ..StorageSettings::default() };
    let segments = dir.join("segments");
    let files = std::fs::read_dir(&segments).with_context(|| segments.display().to_string())?;
    let sizes: std::io::Result<Vec<u64>> = files.map(|file| Ok(file?.metadata()?.len())).collect();
    let sized = |segment_bytes| StorageSettings { segment_bytes, ..settings.clone() };
    let fitting = sizes?.into_iter().map(sized).filter(|settings| settings.check().is_ok());
    Ok(fitting.max_by_key(|settings| settings.segment_bytes).unwrap_or(settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_a_number_or_the_catalog() {
        assert_eq!("catalog".parse(), Ok(What::Catalog));
        assert_eq!("0".parse(), Ok(What::Catalog));
        assert_eq!("17".parse(), Ok(What::Group(17)));
        assert!("all".parse::<What>().is_err());
    }

    #[tokio::test]
    async fn a_directory_without_a_replica_of_the_catalog_is_refused_and_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let args = |data_dir: &Path| Args {
            what: What::Catalog,
            from: None,
            data_dir: Some(data_dir.to_owned()),
            give_up: false,
            accept_loss: true,
        };
        let empty = dir.path().join("empty");
        let output = catalog(&args(&empty)).await.unwrap_err().to_string();
        assert!(output.contains("is no data directory of a node"), "{output}");
        assert!(!empty.exists());
        let node = dir.path().join("node");
        let settings = StorageSettings {
            segment_bytes: 64 << 10,
            ballast_bytes: 0,
            ..StorageSettings::default()
        };
        let store: Arc<dyn LogStore> = SegmentStore::open(&node, settings).unwrap();
        let output = catalog(&args(&node)).await.unwrap_err().to_string();
        assert!(output.contains("in use"), "{output}");
        store.close().await;
        let output = catalog(&args(&node)).await.unwrap_err().to_string();
        assert!(output.contains("holds no replica of the catalog"), "{output}");
    }
}
