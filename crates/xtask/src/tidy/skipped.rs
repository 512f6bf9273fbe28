//! No test is switched off.

use crate::tidy::tree::{Source, Tree};

/// Marks that switch a Rust test off. Each is split in two, because the whole mark would make this file a finding.
const RUST: [(&str, &str); 3] = [("#[", "ignore"), (", ", "ignore)]"), ("```", "ignore")];
/// Marks that switch a pytest test off.
const PYTHON: [(&str, &str); 3] = [("mark.", "skip"), ("mark.", "xfail"), ("pytest.", "skip")];

/// A test that does not run proves nothing: repair it or remove it.
pub(super) fn tests(tree: &Tree) -> Vec<String> {
    let rust = tree.crates.iter().flat_map(|member| &member.sources);
    let rust = rust.flat_map(|source| switched_off(source, &RUST));
    let python = tree.python.iter().flat_map(|source| switched_off(source, &PYTHON));
    rust.chain(python).collect()
}

fn switched_off(source: &Source, marks: &[(&str, &str)]) -> Vec<String> {
    let marks: Vec<String> = marks.iter().map(|(start, end)| format!("{start}{end}")).collect();
    (1..)
        .zip(source.text.lines())
        .filter(|(_, line)| marks.iter().any(|mark| line.contains(mark)))
        .map(|(number, line)| format!("{}:{number}: test switched off: {line}", source.path))
        .collect()
}
