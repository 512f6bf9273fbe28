//! Rules about dependencies between crates, and about their versions.
//!
//! Each crate has a layer (`[package.metadata] layer`). Dependencies point to the same or a lower layer:
//!
//! ```text
//! 5 anabranch (the program)        2 storage, transport, tls, encryption, proto
//! 4 gateway, client                1 access, catalog, shard (deterministic)
//! 3 node, replica                  0 types
//! ```
//!
//! Crates of the layer "tests" may be dev-dependencies of any crate. No crate depends on a crate of the layer
//! "tools".

use std::collections::BTreeMap;

use toml::Value;

use crate::tidy::tree::{Crate, Dependency, Layer, Tree};

/// Every crate has a layer, and depends only on crates of the same or a lower layer.
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

/// Why a crate of layer `from` must not depend on a crate of layer `to`; `None` if it may.
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

/// No crate of layer 4 depends on storage: services reach records only through the cluster.
pub(super) fn services_without_storage(tree: &Tree) -> Vec<String> {
    let services = tree.crates.iter().filter(|member| member.layer() == Some(Layer::Numbered(4)));
    naming(services, "anabranch-storage", "a service doesn't name storage")
}

/// Only one crate depends on openraft, so only that crate changes with a new version of it or another consensus
/// library.
pub(super) fn openraft_in_one_crate(tree: &Tree) -> Vec<String> {
    let others = tree.crates.iter().filter(|member| member.name() != "anabranch-replica");
    naming(others, "openraft", "only anabranch-replica does")
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

/// All versions and paths are in `[workspace.dependencies]` of the root, and nowhere else.
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
