//! Which crate may depend on which: the layers of `ARCHITECTURE.md`, and four rules beside them.

use std::collections::BTreeMap;

use toml::Value;

use crate::tidy::tree::{Crate, Dependency, Layer, Tree};

/// The layer of the crates that serve one API each.
const SERVICES: i64 = 5;
/// The layer of the gateway and of the engines that services use.
const PLATFORM: i64 = 4;

/// Every crate has a layer, and its dependencies are in the same layer or a lower one. Helpers of tests are only for
/// tests, and no crate depends on a tool. So the gateway (layer 4) names no service (layer 5).
pub(super) fn layers(tree: &Tree) -> Vec<String> {
    let layers: BTreeMap<&str, Option<Layer>> =
        tree.crates.iter().map(|member| (member.name(), member.layer())).collect();
    let mut findings = Vec::new();
    for member in &tree.crates {
        let Some(layer) = member.layer() else {
            findings.push(format!(
                "{}: [package.metadata] layer must be 0 to 6, \"tests\" or \"tools\"",
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

/// Why a crate of layer `from` cannot depend on a crate of layer `to`; `None` if it may.
fn refused(from: Layer, to: Layer, dev: bool) -> Option<String> {
    match (from, to) {
        (_, Layer::Tools) => Some("nothing depends on a tool".into()),
        (Layer::Numbered(_), Layer::Tests) if !dev => {
            Some("helpers of tests belong in dev-dependencies".into())
        }
        (Layer::Numbered(from), Layer::Numbered(to)) if from < to => {
            Some(format!("layer {from} is below layer {to}"))
        }
        (Layer::Numbered(_) | Layer::Tests | Layer::Tools, Layer::Numbered(_) | Layer::Tests) => {
            None
        }
    }
}

/// A service uses the cluster through the platform: it never opens a log store. The same holds for the platform.
pub(super) fn services_without_storage(tree: &Tree) -> Vec<String> {
    let served =
        |member: &&Crate| matches!(member.layer(), Some(Layer::Numbered(PLATFORM | SERVICES)));
    let reason = "a crate of layer 4 or 5 does not name storage";
    naming(tree.crates.iter().filter(served), "anabranch-storage", reason)
}

/// Services meet only in streams and tables of the cluster. Code that two services need belongs below layer 5.
pub(super) fn services_without_services(tree: &Tree) -> Vec<String> {
    let services: Vec<&Crate> = tree
        .crates
        .iter()
        .filter(|member| member.layer() == Some(Layer::Numbered(SERVICES)))
        .collect();
    let mut findings = Vec::new();
    for service in &services {
        let reason = "a service names no other service";
        findings.extend(naming(services.iter().copied(), service.name(), reason));
    }
    findings
}

/// A change of the consensus library concerns a single crate.
pub(super) fn openraft_in_one_crate(tree: &Tree) -> Vec<String> {
    let others = tree.crates.iter().filter(|member| member.name() != "anabranch-replica");
    naming(others, "openraft", "only anabranch-replica does")
}

/// Only one crate has to change when the library for metrics changes (ADR-0029).
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

/// Versions and paths are in one place: the root's `[workspace.dependencies]`.
pub(super) fn versions_in_one_place(tree: &Tree) -> Vec<String> {
    let inherits = |dependency: &Dependency<'_>| {
        dependency.value.get("workspace").and_then(Value::as_bool) == Some(true)
    };
    let mut findings = Vec::new();
    for member in &tree.crates {
        for dependency in member.dependencies().iter().filter(|found| !inherits(found)) {
            findings.push(format!(
                "{}: {} does not say `workspace = true`",
                member.name(),
                dependency.package
            ));
        }
    }
    findings
}
