//! Rules about lint settings: each crate takes the workspace's lints and repeats the shared keys of `clippy.toml`,
//! and the crates of layers 0 and 1 ban clocks and files.

use toml::{Table, Value};

use crate::tidy::tree::{Layer, Tree};

/// Calls that would make a state machine differ between replicas. Layers 0 and 1 must ban them.
const NONDETERMINISTIC: [&str; 4] = [
    "std::time::SystemTime::now",
    "std::time::Instant::now",
    "std::thread::sleep",
    "std::fs::File::open",
];

/// Every crate inherits the lints of the workspace.
pub(super) fn inherited(tree: &Tree) -> Vec<String> {
    let inherits = |manifest: &Table| {
        manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(Value::as_bool)
            == Some(true)
    };
    tree.crates
        .iter()
        .filter(|member| !inherits(&member.manifest))
        .map(|member| format!("{}: [lints] does not say `workspace = true`", member.name()))
        .collect()
}

/// Crates of layers 0 and 1 ban clocks, sleeping and files in their `clippy.toml`.
pub(super) fn deterministic_below_layer_two(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for member in &tree.crates {
        if !matches!(member.layer(), Some(Layer::Numbered(0 | 1))) {
            continue;
        }
        let banned = banned_methods(member.clippy.as_ref());
        for path in NONDETERMINISTIC.iter().filter(|path| !banned.contains(*path)) {
            findings.push(format!("{}: its clippy.toml does not ban {path}", member.name()));
        }
    }
    findings
}

fn banned_methods(clippy: Option<&Table>) -> Vec<&str> {
    let methods = clippy.and_then(|table| table.get("disallowed-methods"));
    let methods = methods.and_then(Value::as_array).into_iter().flatten();
    methods.filter_map(|method| method.get("path").and_then(Value::as_str)).collect()
}

/// A crate's own `clippy.toml` repeats the keys of the root's, because it replaces that file.
pub(super) fn shared_keys_repeated(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for member in &tree.crates {
        let Some(own) = &member.clippy else { continue };
        for (key, value) in &tree.clippy {
            if own.get(key) != Some(value) {
                findings.push(format!(
                    "{}: its clippy.toml does not repeat `{key} = {value}` of the root's",
                    member.name()
                ));
            }
        }
    }
    findings
}
