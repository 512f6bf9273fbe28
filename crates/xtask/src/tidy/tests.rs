//! Every rule of `tidy` on bad input.

use super::prose::{comments_narrow, few_mannered_turns, files_described, groups};
use super::tree::Crate;
use super::*;

/// A crate whose manifest ends in `rest`. Without `rest` it has no findings.
fn member(name: &str, layer: &str, rest: &str) -> Crate {
    let manifest = format!(
        "[package]\nname = \"{name}\"\n[package.metadata]\nlayer = {layer}\n[lints]\nworkspace = true\n{rest}"
    );
    Crate {
        manifest: manifest.parse().unwrap(),
        clippy: None,
        sources: Vec::new(),
        documents: Vec::new(),
    }
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
    for layer in ["7", "\"cellar\"", "true"] {
        let expected = "a: [package.metadata] layer must be 0 to 6, \"tests\" or \"tools\"";
        check(&tree([member("a", layer, "")]), &[expected]);
    }
}

#[test]
fn dependencies_must_point_to_the_same_or_a_lower_layer() {
    let stack = |of: &str, on: &str| tree([member("a", of, &depends("b")), member("b", on, "")]);
    check(&stack("3", "2"), &[]);
    check(&stack("3", "3"), &[]);
    check(&stack("2", "3"), &["a names b: layer 2 is below layer 3"]);
    check(&stack("5", "\"tests\""), &["a names b: helpers of tests belong in dev-dependencies"]);
    check(&stack("\"tests\"", "5"), &[]);
    check(&stack("5", "\"tools\""), &["a names b: nothing depends on a tool"]);
}

#[test]
fn a_dependency_cannot_hide() {
    let upward = ["a names b: layer 2 is below layer 3"];
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
fn helpers_of_tests_may_be_dev_dependencies() {
    let rest = "[dev-dependencies]\nb.workspace = true";
    check(&tree([member("a", "2", rest), member("b", "\"tests\"", "")]), &[]);
}

#[test]
fn a_service_and_the_platform_do_not_name_storage() {
    let storage = || member("anabranch-storage", "2", "");
    let names = depends("anabranch-storage");
    check(&tree([member("node", "3", &names), storage()]), &[]);
    check(&tree([member("program", "6", &names), storage()]), &[]);
    for (name, layer) in [("gateway", "4"), ("kinesis", "5")] {
        let expected = format!(
            "{name} names anabranch-storage: a crate of layer 4 or 5 does not name storage"
        );
        check(&tree([member(name, layer, &names), storage()]), &[expected.as_str()]);
    }
}

#[test]
fn a_service_names_no_other_service() {
    let services = |rest: &str| tree([member("kinesis", "5", ""), member("firehose", "5", rest)]);
    check(&services(""), &[]);
    let expected = ["firehose names kinesis: a service names no other service"];
    check(&services(&depends("kinesis")), &expected);
    check(&services("[dev-dependencies]\nkinesis.workspace = true"), &expected);
}

#[test]
fn the_gateway_names_no_service() {
    let gateway = member("gateway", "4", &depends("kinesis"));
    let expected = ["gateway names kinesis: layer 4 is below layer 5"];
    check(&tree([gateway, member("kinesis", "5", "")]), &expected);
}

#[test]
fn only_one_crate_may_depend_on_openraft() {
    check(&tree([member("anabranch-replica", "3", &depends("openraft"))]), &[]);
    check(
        &tree([member("a", "3", &depends("openraft"))]),
        &["a names openraft: only anabranch-replica does"],
    );
}

#[test]
fn one_crate_names_prometheus() {
    check(&tree([member("anabranch-metrics", "2", &depends("prometheus"))]), &[]);
    check(
        &tree([member("a", "3", &depends("prometheus"))]),
        &["a names prometheus: only anabranch-metrics does"],
    );
}

#[test]
fn versions_are_in_the_root_manifest() {
    for rest in ["b = \"1\"", "b = { path = \"../b\" }", "b = { workspace = false }"] {
        let tree = tree([member("a", "3", &format!("[dependencies]\n{rest}"))]);
        check(&tree, &["a: b does not say `workspace = true`"]);
    }
}

#[test]
fn lints_must_be_inherited() {
    let mut own = member("a", "3", "");
    own.manifest.remove("lints");
    check(&tree([own]), &["a: [lints] does not say `workspace = true`"]);
}

#[test]
fn layers_0_and_1_must_ban_clocks_and_files() {
    let mut machine = member("a", "1", "");
    let banned = ["std::time::SystemTime::now", "std::time::Instant::now"];
    let banned = banned.map(|path| format!("{{ path = \"{path}\" }}")).join(", ");
    machine.clippy = Some(format!("disallowed-methods = [{banned}]").parse().unwrap());
    check(
        &tree([machine]),
        &[
            "a: its clippy.toml does not ban std::thread::sleep",
            "a: its clippy.toml does not ban std::fs::File::open",
        ],
    );
}

#[test]
fn the_clippy_settings_of_a_crate_must_repeat_the_shared_ones() {
    let mut own = member("a", "3", "");
    own.clippy = Some("allow-unwrap-in-tests = false".parse().unwrap());
    let mut tree = tree([own]);
    tree.clippy = "allow-unwrap-in-tests = true".parse().unwrap();
    let expected =
        "a: its clippy.toml does not repeat `allow-unwrap-in-tests = true` of the root's";
    check(&tree, &[expected]);
}

#[test]
fn a_test_that_is_switched_off_is_found() {
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

/// Text of a comment line with a turn of phrase, in halves: whole, this file would be counted.
fn turn() -> String {
    ["// The one ", "that is counted."].concat()
}

fn with_source(text: impl Into<String>) -> Tree {
    let mut own = member("a", "3", "");
    own.sources.push(Source { path: "it.rs".into(), text: text.into() });
    tree([own])
}

#[test]
fn mannered_turns_are_at_most_one_in_a_hundred_comment_lines() {
    let text = |plain: usize, turns: usize| {
        let plain = "    /// Plain.\n".repeat(plain);
        format!("{plain}fn a() {{}}\n{}", format!("{}\n", turn()).repeat(turns))
    };
    let none: [String; 0] = [];
    assert_eq!(few_mannered_turns(&with_source(text(0, 1))), none);
    assert_eq!(few_mannered_turns(&with_source(text(99, 2))), none);
    let expected = format!(
        "a: 2 mannered turns in 100 lines, 20 in 1,000: it.rs:100: one that, those that: {}",
        turn().trim_start_matches("// ")
    );
    assert_eq!(few_mannered_turns(&with_source(text(98, 2))), [expected]);
}

#[test]
fn every_turn_of_phrase_is_found_and_plain_words_are_not() {
    let count = |line: &str| {
        let groups = groups(&with_source(format!("//! {line}")));
        groups[0].turns.len()
    };
    for halves in [
        ["Who", "ever calls waits."],
        ["It is asked of wh", "o leads."],
        ["Done, wh", "o calls goes on."],
        ["Wh", "at is gone."],
        ["It ends. Wh", "at is left."],
        ["Tho", "se that wait."],
        ["The file li", "es here."],
        ["There is no", "ne."],
        ["It goes as fa", "r as it can."],
        ["Waits so lo", "ng."],
    ] {
        assert_eq!(count(&halves.concat()), 1, "{halves:?}");
    }
    for plain in
        ["The caller who waits", "what it does", "relies on it", "standing", "none is left"]
    {
        assert_eq!(count(plain), 0, "{plain}");
    }
}

#[test]
fn documents_count_outside_code_headings_and_quotes() {
    let line = turn().trim_start_matches("// ").to_owned();
    let text = format!(
        "# {line}\n\n- {line}\n| {line} |\n```text\n{line}\n```\nNot `{line}`, not \"{line}\".\nPlain.\n"
    );
    let source = || vec![Source { path: "README.md".into(), text: text.clone() }];
    let found = groups(&Tree { documents: source(), ..Tree::default() });
    assert_eq!((found[0].name.as_str(), found[0].lines), ("documents", 4));
    assert_eq!(found[0].turns.iter().map(|place| place.line).collect::<Vec<_>>(), [3, 4]);
    let mut own = member("a", "3", "");
    own.documents = source();
    assert_eq!(groups(&tree([own]))[0].turns.len(), 2);
}

#[test]
fn comments_of_protocol_definitions_count() {
    let proto = Source { path: "a.proto".into(), text: format!("{}\nmessage A {{}}\n", turn()) };
    let found = groups(&Tree { protos: vec![proto], ..Tree::default() });
    assert_eq!((found[1].name.as_str(), found[1].lines, found[1].turns.len()), ("proto", 1, 1));
}

#[test]
fn a_file_of_more_than_sixty_lines_begins_with_a_comment() {
    let code = |lines: usize| "fn a() {}\n".repeat(lines);
    let none: [String; 0] = [];
    assert_eq!(files_described(&with_source(code(60))), none);
    assert_eq!(files_described(&with_source(format!("//! A file.\n{}", code(60)))), none);
    let expected = ["it.rs:1: 61 lines, and no `//!` comment at the top"];
    assert_eq!(files_described(&with_source(code(61))), expected);
    let too_late = format!("use a;\n//! A file.\n{}", code(60));
    assert_eq!(files_described(&with_source(too_late)).len(), 1);
}

#[test]
fn a_comment_line_has_at_most_120_characters() {
    let comment = |width: usize| format!("    // {}\n", "ä".repeat(width - 7));
    let none: [String; 0] = [];
    assert_eq!(comments_narrow(&with_source(comment(120))), none);
    let expected = ["it.rs:1: a comment line of 121 characters, at most 120"];
    assert_eq!(comments_narrow(&with_source(comment(121))), expected);
    let code = format!("fn {}() {{}}\n", "a".repeat(200));
    assert_eq!(comments_narrow(&with_source(code)), none);
}
