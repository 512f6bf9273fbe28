//! The paths in the text of a Rust file.
//!
//! [`code`] blanks comments, strings and test items; [`uses`] and [`paths`] then find names in what is left.

use std::sync::LazyLock;

use regex_lite::Regex;

fn constant(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant")
}

static NOT_CODE: LazyLock<Regex> = LazyLock::new(|| {
    // Comments, raw strings, strings, characters. A lifetime has no second quote, so it is no character.
    constant(
        r####"(?s)//[^\n]*|/\*.*?\*/|\bb?r##".*?"##|\bb?r#".*?"#|\bb?r"[^"]*"|"(?:\\.|[^"\\])*"|'(?:\\[^']+|\\'|[^'\\])'"####,
    )
});
static TEST_ITEM: LazyLock<Regex> =
    LazyLock::new(|| constant(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*"));
static TEST_MODULE: LazyLock<Regex> = LazyLock::new(|| {
    constant(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;")
});
static USE: LazyLock<Regex> = LazyLock::new(|| constant(r"\buse\s+([^;]+);"));
static PATH: LazyLock<Regex> = LazyLock::new(|| constant(r"(?:^|[^:\w])(\w+(?:::\w+)+)"));

/// A name that `use` brings into a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Use {
    /// The path that is imported, `*` at the end of a glob.
    pub(super) path: Vec<String>,
    /// The name in this file.
    pub(super) name: String,
}

/// Names of the modules that `text` declares for tests in files of their own.
pub(super) fn test_modules(text: &str) -> Vec<String> {
    let text = NOT_CODE.replace_all(text, "");
    TEST_MODULE.captures_iter(&text).map(|found| found[1].to_owned()).collect()
}

/// `text` without comments, strings and items under `#[cfg(test)]`.
pub(super) fn code(text: &str) -> String {
    let mut code = NOT_CODE.replace_all(text, "").into_owned();
    while let Some(attributes) = TEST_ITEM.find(&code) {
        let end = item_end(&code, attributes.end());
        code.replace_range(attributes.start()..end, "");
    }
    code
}

/// The end of the item that begins at `start`: behind its `;` or its closing brace.
fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, character) in code[start..].char_indices() {
        match character {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && matches!(character, ';' | '}') {
            return start + offset + 1;
        }
    }
    code.len()
}

/// Everything that `use` imports in `code`.
pub(super) fn uses(code: &str) -> Vec<Use> {
    let mut uses = Vec::new();
    for found in USE.captures_iter(code) {
        expand(Vec::new(), &found[1], &mut uses);
    }
    uses
}

/// Takes a tree of imports apart: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(prefix: Vec<String>, tree: &str, uses: &mut Vec<Use>) {
    let tree = tree.trim();
    // Behind a trailing comma.
    if tree.is_empty() {
        return;
    }
    if let Some((head, rest)) = tree.split_once('{') {
        let mut path = prefix;
        path.extend(segments(head));
        let inner = rest.trim().trim_end_matches(',').strip_suffix('}').unwrap_or(rest);
        for part in split_outside_braces(inner) {
            expand(path.clone(), part, uses);
        }
        return;
    }
    let (path, renamed) = match tree.split_once(" as ") {
        Some((path, name)) => (path, Some(name.trim().to_owned())),
        None => (tree, None),
    };
    let mut full = prefix;
    full.extend(segments(path));
    // `use a::{self, b}` imports `a`.
    if full.len() > 1 && full.last().is_some_and(|last| last == "self") {
        full.pop();
    }
    let Some(last) = full.last().cloned() else { return };
    uses.push(Use { path: full, name: renamed.unwrap_or(last) });
}

fn segments(path: &str) -> Vec<String> {
    path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn split_outside_braces(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (offset, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..offset]);
                start = offset + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Every path with two segments and more in `code`, those of `use` left out.
pub(super) fn paths(code: &str) -> Vec<Vec<String>> {
    let code = USE.replace_all(code, "");
    PATH.captures_iter(&code).map(|found| segments(&found[1])).collect()
}
