//! Rules about the workspace that no compiler checks.
//!
//! A rule is a pure function from a [`Tree`] (manifests, lint settings, sources and documents, read once) to
//! findings, one sentence each. No rule reads the disk, so each rule has a test on bad input.

mod dependencies;
mod lints;
mod prose;
mod skipped;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use prose::{Place, Prose, groups as prose_groups};
#[cfg(test)]
pub(crate) use tree::Crate;
pub(crate) use tree::{Source, Tree};

/// Every finding about `tree`, in a stable order.
pub(crate) fn findings(tree: &Tree) -> Vec<String> {
    let rules = [
        dependencies::layers,
        dependencies::services_without_storage,
        dependencies::services_without_services,
        dependencies::openraft_in_one_crate,
        dependencies::prometheus_in_one_crate,
        dependencies::versions_in_one_place,
        lints::inherited,
        lints::deterministic_below_layer_two,
        lints::shared_keys_repeated,
        skipped::tests,
    ];
    rules.iter().flat_map(|rule| rule(tree)).chain(prose_findings(tree)).collect()
}

/// Every finding about the prose of `tree`.
pub(crate) fn prose_findings(tree: &Tree) -> Vec<String> {
    let rules = [prose::few_mannered_turns, prose::files_described, prose::comments_narrow];
    rules.iter().flat_map(|rule| rule(tree)).collect()
}
