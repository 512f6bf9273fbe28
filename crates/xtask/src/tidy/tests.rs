//! Every rule on bad input.

use super::tree::{Crate, Source};
use super::*;

/// A crate whose manifest ends in `rest`; nothing else is wrong with it.
fn member(name: &str, layer: &str, rest: &str) -> Crate {
    let manifest = format!(
        "[package]\nname = \"{name}\"\n[package.metadata]\nlayer = {layer}\n[lints]\nworkspace = true\n{rest}"
    );
    Crate { manifest: manifest.parse().unwrap(), clippy: None, sources: Vec::new() }
}

fn tree(crates: impl Into<Vec<Crate>>) -> Tree {
    Tree { crates: crates.into(), ..Tree::default() }
}

fn depends(on: &str) -> String {
    format!("[dependencies]\n{on}.workspace = true\n")
}

#[track_caller]
fn check(tree: &Tree, expected: &[&str]) {
    assert_eq!(findings(tree), expected);
}

#[test]
fn a_crate_says_its_layer() {
    let nowhere = "none of 0 to 5, \"tests\", \"tools\"";
    for layer in ["6", "\"cellar\"", "true"] {
        let expected = format!("a: [package.metadata] layer is {nowhere}");
        check(&tree([member("a", layer, "")]), &[expected.as_str()]);
    }
}

#[test]
fn dependencies_point_down_or_sideways() {
    let stack = |of: &str, on: &str| tree([member("a", of, &depends("b")), member("b", on, "")]);
    check(&stack("3", "2"), &[]);
    check(&stack("3", "3"), &[]);
    check(&stack("2", "3"), &["a names b: layer 2 stands below layer 3"]);
    check(&stack("5", "\"tests\""), &["a names b: helpers of tests belong in dev-dependencies"]);
    check(&stack("\"tests\"", "5"), &[]);
    check(&stack("5", "\"tools\""), &["a names b: nothing depends on a tool"]);
}

#[test]
fn a_dependency_can_not_hide() {
    let upward = ["a names b: layer 2 stands below layer 3"];
    for rest in [
        "[build-dependencies]\nb.workspace = true",
        "[dev-dependencies]\nb.workspace = true",
        "[target.'cfg(unix)'.dependencies]\nb.workspace = true",
        "[dependencies]\nother = { package = \"b\", workspace = true }",
    ] {
        check(&tree([member("a", "2", rest), member("b", "3", "")]), &upward);
    }
}

#[test]
fn tests_may_use_their_helpers() {
    let rest = "[dev-dependencies]\nb.workspace = true";
    check(&tree([member("a", "2", rest), member("b", "\"tests\"", "")]), &[]);
}

#[test]
fn a_service_does_not_name_storage() {
    let storage = || member("anabranch-storage", "2", "");
    let names = depends("anabranch-storage");
    check(&tree([member("node", "3", &names), storage()]), &[]);
    check(
        &tree([member("gateway", "4", &names), storage()]),
        &["gateway names anabranch-storage: a service doesn't name storage"],
    );
}

#[test]
fn one_crate_names_openraft() {
    check(&tree([member("anabranch-replica", "3", &depends("openraft"))]), &[]);
    check(
        &tree([member("a", "3", &depends("openraft"))]),
        &["a names openraft: only anabranch-replica does"],
    );
}

#[test]
fn one_crate_names_prometheus() {
    check(&tree([member("anabranch-metrics", "0", &depends("prometheus"))]), &[]);
    check(
        &tree([member("a", "3", &depends("prometheus"))]),
        &["a names prometheus: only anabranch-metrics does"],
    );
}

#[test]
fn versions_stand_in_the_root_manifest() {
    for rest in ["b = \"1\"", "b = { path = \"../b\" }", "b = { workspace = false }"] {
        let tree = tree([member("a", "3", &format!("[dependencies]\n{rest}"))]);
        check(&tree, &["a: b doesn't say `workspace = true`"]);
    }
}

#[test]
fn lints_are_inherited() {
    let mut own = member("a", "3", "");
    own.manifest.remove("lints");
    check(&tree([own]), &["a: [lints] doesn't say `workspace = true`"]);
}

#[test]
fn the_rules_layers_ban_clocks_and_files() {
    let mut machine = member("a", "1", "");
    let banned = ["std::time::SystemTime::now", "std::time::Instant::now"];
    let banned = banned.map(|path| format!("{{ path = \"{path}\" }}")).join(", ");
    machine.clippy = Some(format!("disallowed-methods = [{banned}]").parse().unwrap());
    check(
        &tree([machine]),
        &[
            "a: its clippy.toml doesn't ban std::thread::sleep",
            "a: its clippy.toml doesn't ban std::fs::File::open",
        ],
    );
}

#[test]
fn a_crates_clippy_settings_repeat_the_shared_ones() {
    let mut own = member("a", "3", "");
    own.clippy = Some("allow-unwrap-in-tests = false".parse().unwrap());
    let mut tree = tree([own]);
    tree.clippy = "allow-unwrap-in-tests = true".parse().unwrap();
    let expected = "a: its clippy.toml doesn't repeat `allow-unwrap-in-tests = true` of the root's";
    check(&tree, &[expected]);
}

#[test]
fn no_test_is_switched_off() {
    let off = |text: &str| Source { path: "it.rs".into(), text: format!("fn a() {{}}\n{text}") };
    for mark in [["#[", "ignore]"], ["#[cfg_attr(x, ", "ignore)]"], ["/// ```", "ignore"]] {
        let mut own = member("a", "3", "");
        let line = mark.concat();
        own.sources.push(off(&line));
        check(&tree([own]), &[format!("it.rs:2: test switched off: {line}").as_str()]);
    }
    let line = ["@pytest.mark.", "skip"].concat();
    let tree = Tree { python: vec![off(&line)], ..Tree::default() };
    check(&tree, &[format!("it.rs:2: test switched off: {line}").as_str()]);
}
