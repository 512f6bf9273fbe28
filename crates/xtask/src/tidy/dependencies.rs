//! Who may name whom.

use std::collections::BTreeMap;

use toml::Value;

use crate::tidy::tree::{Crate, Dependency, Layer, Tree};

/// Every crate has a layer, and its dependencies stand in the same or a lower one. Helpers of tests
/// are for tests; tools are for nobody.
pub(super) fn layers(tree: &Tree) -> Vec<String> {
    let layers: BTreeMap<&str, Option<Layer>> =
        tree.crates.iter().map(|member| (member.name(), member.layer())).collect();
    let mut findings = Vec::new();
    for member in &tree.crates {
        let Some(layer) = member.layer() else {
            findings.push(format!(
                "{}: [package.metadata] layer is none of 0 to 5, \"tests\", \"tools\"",
                member.name()
            ));
            continue;
        };
        for dependency in member.dependencies() {
            if let Some(Some(target)) = layers.get(dependency.package)
                && let Some(reason) = refused(layer, *target, dependency.dev)
            {
                findings.push(format!("{} names {}: {reason}", member.name(), dependency.package));
            }
        }
    }
    findings
}

/// Why a crate of layer `from` can't depend on one of layer `to`.
fn refused(from: Layer, to: Layer, dev: bool) -> Option<String> {
    match (from, to) {
        (_, Layer::Tools) => Some("nothing depends on a tool".into()),
        (Layer::Numbered(_), Layer::Tests) if !dev => {
            Some("helpers of tests belong in dev-dependencies".into())
        }
        (Layer::Numbered(from), Layer::Numbered(to)) if from < to => {
            Some(format!("layer {from} stands below layer {to}"))
        }
        (Layer::Numbered(_) | Layer::Tests | Layer::Tools, Layer::Numbered(_) | Layer::Tests) => {
            None
        }
    }
}

/// A service speaks to the cluster, never to a disk.
pub(super) fn services_without_storage(tree: &Tree) -> Vec<String> {
    let services = tree.crates.iter().filter(|member| member.layer() == Some(Layer::Numbered(4)));
    naming(services, "anabranch-storage", "a service doesn't name storage")
}

/// A new version of the consensus library, or another library, is the matter of one crate.
pub(super) fn openraft_in_one_crate(tree: &Tree) -> Vec<String> {
    let others = tree.crates.iter().filter(|member| member.name() != "anabranch-replica");
    naming(others, "openraft", "only anabranch-replica does")
}

/// A better library for metrics is the matter of one crate (ADR-0029).
pub(super) fn prometheus_in_one_crate(tree: &Tree) -> Vec<String> {
    let others = tree.crates.iter().filter(|member| member.name() != "anabranch-metrics");
    naming(others, "prometheus", "only anabranch-metrics does")
}

fn naming<'a>(
    members: impl Iterator<Item = &'a Crate>,
    package: &str,
    reason: &str,
) -> Vec<String> {
    members
        .filter(|member| member.dependencies().iter().any(|found| found.package == package))
        .map(|member| format!("{} names {package}: {reason}", member.name()))
        .collect()
}

/// The root's `[workspace.dependencies]` alone says versions and paths.
pub(super) fn versions_in_one_place(tree: &Tree) -> Vec<String> {
    let inherits = |dependency: &Dependency<'_>| {
        dependency.value.get("workspace").and_then(Value::as_bool) == Some(true)
    };
    let mut findings = Vec::new();
    for member in &tree.crates {
        for dependency in member.dependencies().iter().filter(|found| !inherits(found)) {
            findings.push(format!(
                "{}: {} doesn't say `workspace = true`",
                member.name(),
                dependency.package
            ));
        }
    }
    findings
}
