//! Faults: what they are, and what they need. Each kind of fault is a file in `faults/` and a row in [`all`].

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use chaos_lab::NodeNumber;

use crate::faults;
use crate::field::Field;

/// A kind of fault.
///
/// The nemesis calls `start`, waits, and calls `stop`. After `stop` the fault is over: the nodes run, the network
/// forwards. A fault that destroys something on a disk ends only when the cluster has all its copies again.
#[async_trait(?Send)]
pub(crate) trait Fault {
    /// Begins the fault.
    async fn start(&mut self, field: &mut Field) -> Result<Begun>;

    /// Ends the fault. Returns whether it had an effect, where that can be seen.
    async fn stop(&mut self, field: &mut Field) -> Result<Option<bool>>;
}

/// A fault that has begun.
#[derive(Clone, Debug, Default)]
pub(crate) struct Begun {
    /// The nodes with the fault.
    pub(crate) nodes: Vec<NodeNumber>,
    /// The details, for the reader of the report.
    pub(crate) detail: String,
}

impl Begun {
    pub(crate) fn at(
        nodes: impl IntoIterator<Item = NodeNumber>,
        detail: impl Into<String>,
    ) -> Self {
        Self { nodes: nodes.into_iter().collect(), detail: detail.into() }
    }
}

/// The nodes and copies that a fault takes from the cluster while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    /// Nodes go on, perhaps slower, and no copy of a record is gone.
    Disturbs,
    /// At most a minority of the nodes is away.
    Minority,
    /// A majority may be away, but every disk keeps what it synced.
    Majority,
    /// Copies on the disk of one node are gone. No other fault that costs copies or nodes runs meanwhile.
    Copies,
}

/// A row of the list of faults.
pub(crate) struct FaultKind {
    /// Name in `FAULTS` and in the history.
    pub(crate) name: &'static str,
    /// One sentence for `--help` and the report.
    pub(crate) about: &'static str,
    pub(crate) cost: Cost,
    /// Least number of nodes of the cluster.
    pub(crate) least_nodes: u8,
    /// Shortest and longest time between start and stop.
    pub(crate) lasts: (Duration, Duration),
    /// Whether `FAULTS=default` has it.
    pub(crate) in_default: bool,
    /// Whether it needs the switch, a disk that is a file system, or control groups. Only root has them.
    pub(crate) needs_root: bool,
    pub(crate) make: fn() -> Box<dyn Fault>,
}

impl FaultKind {
    /// The same kind, which needs root.
    pub(crate) fn needs_root(self) -> Self {
        Self { needs_root: true, ..self }
    }
}

/// All kinds of faults.
pub(crate) fn all() -> Vec<FaultKind> {
    [
        faults::processes::kinds(),
        faults::network::kinds(),
        faults::clocks::kinds(),
        faults::disks::kinds(),
        faults::losses::kinds(),
        faults::machine::kinds(),
        faults::operations::kinds(),
        faults::certificates::kinds(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The kinds that a list of names selects, separated by commas: `default`, `all`, `none`, or names.
///
/// # Errors
/// Names a fault that does not exist.
pub(crate) fn select(names: &str, nodes: u8) -> Result<Vec<FaultKind>> {
    let mut selected = Vec::new();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        for kind in all() {
            let wanted = match name {
                "default" => kind.in_default && kind.least_nodes <= nodes,
                "all" => kind.least_nodes <= nodes,
                "none" => false,
                name => kind.name == name,
            };
            if wanted && selected.iter().all(|known: &FaultKind| known.name != kind.name) {
                anyhow::ensure!(
                    kind.least_nodes <= nodes,
                    "FAULTS: {name} needs {} nodes (NODES={nodes})",
                    kind.least_nodes
                );
                selected.push(kind);
            }
        }
        let is_group = matches!(name, "default" | "all" | "none");
        let is_known = is_group || selected.iter().any(|kind| kind.name == name);
        anyhow::ensure!(is_known, "FAULTS: there is no fault {name}; --help lists all");
    }
    Ok(selected)
}

/// The kinds that work without root, and the names of the others.
///
/// # Errors
/// If `names`, from which the kinds were selected, names a kind that needs root.
pub(crate) fn without_root(
    kinds: Vec<FaultKind>,
    names: &str,
) -> Result<(Vec<FaultKind>, Vec<&'static str>)> {
    let (left_out, kept): (Vec<_>, Vec<_>) = kinds.into_iter().partition(|kind| kind.needs_root);
    let left_out: Vec<_> = left_out.into_iter().map(|kind| kind.name).collect();
    let named = names.split(',').map(str::trim).find(|name| left_out.contains(name));
    if let Some(name) = named {
        anyhow::bail!("FAULTS: {name} needs root, /dev/net/tun and loop devices");
    }
    Ok((kept, left_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_root_a_named_fault_is_refused_and_a_group_is_smaller() {
        let split = |names| without_root(select(names, 3).unwrap(), names);
        let (kept, left_out) = split("default").unwrap_or_default();
        assert!(kept.iter().any(|kind| kind.name == "kill"));
        assert!(left_out.contains(&"power-loss") && left_out.contains(&"loss"));
        let error = split("kill,disk-hung").map(drop).unwrap_err().to_string();
        assert!(error.starts_with("FAULTS: disk-hung needs root"), "{error}");
        assert!(split("default,kill,delay").is_ok());
    }
}
