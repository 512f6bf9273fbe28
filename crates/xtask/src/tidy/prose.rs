//! How comments and documents read.
//!
//! Three rules: a limit on mannered turns (turns of phrase that make a reader go back), a `//!` comment at the top of
//! each longer file, and a limit on the width of a comment line. [`Prose`] holds the counts of one group: a crate
//! with its Rust and Markdown files, the documents outside the crates, or the protocol definitions.
//!
//! Comment lines are lines of which the first characters are `//`. In Markdown every line of text counts, except
//! headings, code fences and what is quoted. The turns are a thermometer: a text without any may still be a riddle.

use std::sync::LazyLock;

use regex_lite::Regex;

use crate::tidy::tree::{Source, Tree};

/// One turn is allowed for each 100 comment lines, rounded up.
const LINES_PER_TURN: usize = 100;
/// Longer files begin with a `//!` comment.
const LONG_FILE_LINES: usize = 60;
/// Characters of a comment line, indentation included.
const COMMENT_WIDTH: usize = 120;

/// The counted turns of phrase, each with a pattern of the text behind the comment mark.
const TURNS: [(&str, &str); 7] = [
    ("who without a noun", r"(?:^|[.;:,(] |\b(?:of|by|for|to|as) )(?:[Ww]ho|[Ww]hoever)\b"),
    ("begins with What", r"(?:^|[.;:] )What\b"),
    ("one that, those that", r"\b(?:[Oo]ne|[Tt]hose) that\b"),
    ("stands, lies", r"\b(?:stands?|lies|lie)\b"),
    ("is none, are none", r"\b(?:is|are) none\b"),
    ("so many, so much, so long", r"\bso (?:many|much|long)\b"),
    ("as far as", r"\bas far as\b"),
];

static PATTERNS: LazyLock<Vec<(&str, Regex)>> = LazyLock::new(|| {
    let compiled = |pattern| Regex::new(pattern).expect("the patterns are constants");
    TURNS.iter().map(|(name, pattern)| (*name, compiled(pattern))).collect()
});

/// Quotations and code in a document. They are not the document's own words.
static QUOTED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#""[^"]*"|`[^`]*`"#).expect("the pattern is a constant"));

/// Counts and places of one group of files.
#[derive(Debug)]
pub(crate) struct Prose {
    /// Name of the package, `documents` or `proto`.
    pub(crate) name: String,
    /// Comment lines, and lines of text in Markdown.
    pub(crate) lines: usize,
    /// Mannered turns.
    pub(crate) turns: Vec<Place>,
    /// Longer files without a `//!` comment.
    pub(crate) undescribed: Vec<Place>,
    /// Comment lines that are too wide.
    pub(crate) wide: Vec<Place>,
}

/// One line of a file that breaks a rule.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) path: String,
    /// From 1.
    pub(crate) line: usize,
    /// The broken rule, and the text.
    pub(crate) reason: String,
}

/// The prose of every group, crates first.
pub(crate) fn groups(tree: &Tree) -> Vec<Prose> {
    let mut groups = Vec::new();
    for member in &tree.crates {
        let mut prose = Prose::new(member.name());
        member.sources.iter().for_each(|source| prose.add_rust(source));
        member.documents.iter().for_each(|source| prose.add_markdown(source));
        groups.push(prose);
    }
    let mut documents = Prose::new("documents");
    tree.documents.iter().for_each(|source| documents.add_markdown(source));
    let mut protos = Prose::new("proto");
    tree.protos.iter().for_each(|source| protos.add_comments(source));
    groups.extend([documents, protos]);
    groups
}

/// Mannered turns are rare: at most one in 100 lines.
pub(super) fn few_mannered_turns(tree: &Tree) -> Vec<String> {
    let many = |prose: &&Prose| prose.turns.len() > prose.lines.div_ceil(LINES_PER_TURN);
    groups(tree).iter().filter(many).map(Prose::turns_in_short).collect()
}

/// A file of more than 60 lines begins with a `//!` comment.
pub(super) fn files_described(tree: &Tree) -> Vec<String> {
    groups(tree).iter().flat_map(|prose| &prose.undescribed).map(Place::in_short).collect()
}

/// A comment line has at most 120 characters.
pub(super) fn comments_narrow(tree: &Tree) -> Vec<String> {
    groups(tree).iter().flat_map(|prose| &prose.wide).map(Place::in_short).collect()
}

impl Prose {
    fn new(name: &str) -> Self {
        let (turns, undescribed, wide) = (Vec::new(), Vec::new(), Vec::new());
        Self { name: name.to_owned(), lines: 0, turns, undescribed, wide }
    }

    fn add_rust(&mut self, source: &Source) {
        let lines = source.text.lines().count();
        let begins = source.text.lines().map(str::trim).find(|line| !line.is_empty());
        if lines > LONG_FILE_LINES && !begins.is_some_and(|line| line.starts_with("//!")) {
            let reason = format!("{lines} lines, and no `//!` comment at the top");
            self.undescribed.push(Place::new(source, 1, reason));
        }
        self.add_comments(source);
    }

    fn add_comments(&mut self, source: &Source) {
        for (number, line) in (1..).zip(source.text.lines()) {
            let text = line.trim();
            if !text.starts_with("//") {
                continue;
            }
            self.add_text(source, number, text.trim_start_matches(['/', '!', ' ']));
            let width = line.trim_end().chars().count();
            if width > COMMENT_WIDTH {
                let reason =
                    format!("a comment line of {width} characters, at most {COMMENT_WIDTH}");
                self.wide.push(Place::new(source, number, reason));
            }
        }
    }

    fn add_markdown(&mut self, source: &Source) {
        let mut is_code = false;
        for (number, line) in (1..).zip(source.text.lines()) {
            let text = line.trim();
            if text.starts_with("```") {
                is_code = !is_code;
            } else if !is_code && !text.is_empty() && !text.starts_with('#') {
                let text = QUOTED.replace_all(text, "");
                let marks =
                    |character: char| " -*>|.".contains(character) || character.is_numeric();
                self.add_text(source, number, text.trim_start_matches(marks));
            }
        }
    }

    fn add_text(&mut self, source: &Source, number: usize, text: &str) {
        self.lines += 1;
        for (turn, _) in PATTERNS.iter().filter(|(_, pattern)| pattern.is_match(text)) {
            self.turns.push(Place::new(source, number, format!("{turn}: {text}")));
        }
    }

    /// Turns in 1,000 lines.
    pub(crate) fn rate(&self) -> f64 {
        1000.0 * self.turns.len() as f64 / self.lines.max(1) as f64
    }

    fn turns_in_short(&self) -> String {
        let Self { name, lines, turns, .. } = self;
        let (count, rate) = (turns.len(), self.rate());
        let first = turns.first().map(Place::in_short).unwrap_or_default();
        format!("{name}: {count} mannered turns in {lines} lines, {rate:.0} in 1,000: {first}")
    }
}

impl Place {
    fn new(source: &Source, line: usize, reason: String) -> Self {
        Self { path: source.path.clone(), line, reason }
    }

    /// As compilers name it: `path:line: reason`.
    pub(crate) fn in_short(&self) -> String {
        format!("{}:{}: {}", self.path, self.line, self.reason)
    }
}
