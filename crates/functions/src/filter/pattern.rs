//! A pattern: rules for fields, as a tree that follows the fields of a record.

use crate::filter::matcher::Matcher;
use crate::filter::value::{Level, Value};

/// The object in a pattern: all fields must match, and of each `$or` one of the alternatives.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pattern {
    fields: Vec<(String, Node)>,
    alternatives: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// Rules for the fields of an object.
    Inner(Pattern),
    /// Rules for a leaf, joined by OR.
    Leaf(Vec<Matcher>),
}

/// Nested objects of a pattern. Records are followed no deeper.
const DEPTH: usize = 64;

impl Pattern {
    /// `Err` says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let value = Value::parse(text.as_bytes()).ok_or("The pattern is not JSON.")?;
        Self::of(value, DEPTH)
    }

    fn of(value: Value<'_>, depth: usize) -> Result<Self, String> {
        if depth == 0 {
            return Err(format!("At most {DEPTH} objects may be nested."));
        }
        let Some(Level::Object(members)) = value.level() else {
            return Err("A pattern must be an object.".into());
        };
        if members.is_empty() {
            return Err("An object must have a rule.".into());
        }
        let mut pattern = Self { fields: Vec::new(), alternatives: Vec::new() };
        for (key, value) in members {
            if key == "$or" {
                pattern.alternatives = alternatives(value, depth)?;
            } else {
                let node = Node::of(&key, value, depth)?;
                pattern.fields.push((key, node));
            }
        }
        Ok(pattern)
    }

    /// Whether one of the outermost keys is `wanted`.
    pub(crate) fn mentions(&self, wanted: &dyn Fn(&str) -> bool) -> bool {
        self.fields.iter().any(|(key, _)| wanted(key))
            || self.alternatives.iter().any(|pattern| pattern.mentions(wanted))
    }

    /// Whether the fields that `find` finds match.
    pub(crate) fn matches<'a>(&self, find: &dyn Fn(&str) -> Option<Value<'a>>) -> bool {
        let alternative = || self.alternatives.iter().any(|pattern| pattern.matches(find));
        self.fields.iter().all(|(key, node)| node.matches(find(key)))
            && (self.alternatives.is_empty() || alternative())
    }

    fn matches_value(&self, value: Option<Value<'_>>) -> bool {
        match value.and_then(Value::level) {
            Some(Level::Object(members)) => self.matches(&|key| members.get(key).copied()),
            Some(Level::Array(elements)) => elements
                .into_iter()
                .any(|element| !element.is_array() && self.matches_value(Some(element))),
            // There is nothing below: only rules that want an absent field hold.
            Some(Level::Text(_) | Level::Number(_) | Level::Boolean(_) | Level::Null) | None => {
                self.matches(&|_| None)
            }
        }
    }
}

impl Node {
    fn of(key: &str, value: Value<'_>, depth: usize) -> Result<Self, String> {
        match value.level() {
            Some(Level::Object(_)) => Pattern::of(value, depth - 1).map(Self::Inner),
            Some(Level::Array(rules)) if !rules.is_empty() => {
                rules.into_iter().map(Matcher::parse).collect::<Result<_, _>>().map(Self::Leaf)
            }
            Some(Level::Array(_)) => Err(format!("The array of {key} must have a rule.")),
            _ => Err(format!("{key} must be an object or an array.")),
        }
    }

    fn matches(&self, value: Option<Value<'_>>) -> bool {
        match self {
            Self::Inner(pattern) => pattern.matches_value(value),
            Self::Leaf(matchers) => matchers.iter().any(|matcher| matcher.matches(value)),
        }
    }
}

fn alternatives(value: Value<'_>, depth: usize) -> Result<Vec<Pattern>, String> {
    match value.level() {
        Some(Level::Array(patterns)) if patterns.len() >= 2 => {
            patterns.into_iter().map(|pattern| Pattern::of(pattern, depth - 1)).collect()
        }
        _ => Err("$or must be an array of two or more objects.".into()),
    }
}
