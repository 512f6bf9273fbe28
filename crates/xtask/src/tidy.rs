//! The rules about the workspace that no compiler checks.
//!
//! A rule is a pure function from a [`Tree`] (every manifest, lint setting and test file, parsed)
//! to sentences about what is wrong; it never touches the disk, so each has a test on bad input.

mod dependencies;
mod lints;
mod skipped;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use tree::Tree;

/// Everything wrong with `tree`, one sentence each, in a stable order.
pub(crate) fn findings(tree: &Tree) -> Vec<String> {
    let rules = [
        dependencies::layers,
        dependencies::services_without_storage,
        dependencies::openraft_in_one_crate,
        dependencies::prometheus_in_one_crate,
        dependencies::versions_in_one_place,
        lints::inherited,
        lints::deterministic_below_layer_two,
        lints::shared_keys_repeated,
        skipped::tests,
    ];
    rules.iter().flat_map(|rule| rule(tree)).collect()
}
