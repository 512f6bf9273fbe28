//! The output of a command: lines for people and JSON for programs, and the words in them.

use anyhow::Result;
use serde_json::Value;

/// The output of one command.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) lines: Vec<String>,
    pub(super) json: Value,
}

impl Output {
    pub(super) fn line(line: impl Into<String>, json: Value) -> Self {
        Self { lines: vec![line.into()], json }
    }

    /// Prints the output.
    pub(super) fn print(&self, as_json: bool) -> Result<()> {
        if as_json {
            println!("{}", serde_json::to_string_pretty(&self.json)?);
        } else {
            self.lines.iter().for_each(|line| println!("{line}"));
        }
        Ok(())
    }
}

/// The name of an enum's value without its prefix, as JSON has it; UNKNOWN for the unspecified value.
pub(super) fn word<'a>(name: &'a str, prefix: &str) -> &'a str {
    match name.strip_prefix(prefix).unwrap_or(name) {
        "UNSPECIFIED" => "UNKNOWN",
        word => word,
    }
}

/// A word as in a sentence: `CATCHING_UP` is "catching up".
pub(super) fn spoken(word: &str) -> String {
    word.to_lowercase().replace('_', " ")
}

pub(super) fn numbers(numbers: &[u64]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A number, or `?` if it is not known.
pub(super) fn known(number: Option<u64>) -> String {
    number.map_or_else(|| "?".into(), |number| number.to_string())
}

/// Number of a node; in messages 0 means no node.
pub(super) fn some_node(node: u64) -> Option<u64> {
    (node != 0).then_some(node)
}

#[cfg(test)]
mod tests {
    use anabranch_proto::admin as pb;

    use super::*;

    #[test]
    fn values_of_enums_lose_their_prefix() {
        let prefix = "NODE_STATE_";
        assert_eq!(word(pb::NodeState::Draining.as_str_name(), prefix), "DRAINING");
        assert_eq!(word(pb::NodeState::Unspecified.as_str_name(), prefix), "UNKNOWN");
        assert_eq!(spoken("CATCHING_UP"), "catching up");
    }
}
