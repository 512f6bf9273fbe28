//! Document paths such as `a.b[3]`: parsing, reading, printing, and paths that get in each other's way.

use std::fmt;

use super::lexer::Kind;
use super::parser::Parser;
use crate::error::Error;
use crate::value::{Attributes, Value};

/// The path from an item to a value in it. The order is that of the positions in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// The attribute of the item.
    pub attribute: String,
    /// The steps from there.
    pub steps: Vec<Step>,
}

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The member of a map.
    Member(String),
    /// The member of a list, counted from 0.
    Index(usize),
}

/// How two paths get in each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    /// One path is the beginning of the other.
    Overlap,
    /// One path takes a value for a map, and the other takes the value for a list.
    Conflict,
}

impl Path {
    /// The path of a whole attribute.
    pub const fn attribute(name: String) -> Self {
        Self { attribute: name, steps: Vec::new() }
    }

    /// The value at the path.
    pub fn find<'i>(&self, item: &'i Attributes) -> Option<&'i Value> {
        let attribute = item.get(&self.attribute)?;
        self.steps.iter().try_fold(attribute, |value, step| match (value, step) {
            (Value::M(members), Step::Member(name)) => members.get(name),
            (Value::L(members), Step::Index(index)) => members.get(*index),
            _ => None,
        })
    }

    /// Whether the two paths get in each other's way.
    pub fn clash(&self, other: &Self) -> Option<Clash> {
        if self.attribute != other.attribute {
            return None;
        }
        for (one, other) in self.steps.iter().zip(&other.steps) {
            match (one, other) {
                (Step::Member(_), Step::Index(_)) | (Step::Index(_), Step::Member(_)) => {
                    return Some(Clash::Conflict);
                }
                (one, other) if one != other => return None,
                _ => {}
            }
        }
        Some(Clash::Overlap)
    }

    /// Parses a path.
    pub(crate) fn parse(parser: &mut Parser<'_, '_>) -> Result<Self, Error> {
        let attribute = name(parser)?;
        let mut steps = Vec::new();
        loop {
            if parser.take(".") {
                steps.push(Step::Member(name(parser)?));
            } else if parser.take("[") {
                let index = parser.token();
                let position = match (index.kind, index.text.parse()) {
                    (Kind::Digits, Ok(position)) => position,
                    _ => return Err(parser.syntax_error()),
                };
                parser.advance();
                parser.expect("]")?;
                steps.push(Step::Index(position));
            } else {
                return Ok(Self { attribute, steps });
            }
            parser.check_depth(steps.len())?;
        }
    }
}

fn name(parser: &mut Parser<'_, '_>) -> Result<String, Error> {
    let token = parser.token();
    match token.kind {
        Kind::Word => {
            parser.check_not_reserved(token.text)?;
            parser.advance();
            Ok(token.text.to_owned())
        }
        Kind::NamePlaceholder => {
            let name = parser.placeholders.name(token.text).ok_or_else(|| {
                parser.fault(format_args!(
                    "An expression attribute name used in the document path is not defined; attribute name: {}",
                    token.text
                ))
            })?;
            parser.advance();
            Ok(name)
        }
        Kind::ValuePlaceholder | Kind::Digits | Kind::Symbol | Kind::Unknown | Kind::End => {
            Err(parser.syntax_error())
        }
    }
}

/// The form in which AWS prints a path in messages: `[a, b, [3]]`.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.attribute)?;
        for step in &self.steps {
            match step {
                Step::Member(name) => write!(f, ", {name}")?,
                Step::Index(index) => write!(f, ", [{index}]")?,
            }
        }
        f.write_str("]")
    }
}

/// Checks that no two paths get in each other's way.
///
/// # Errors
/// The text for the client, without its beginning.
pub(crate) fn check_distinct<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Result<(), String> {
    let paths: Vec<_> = paths.into_iter().collect();
    for (at, one) in paths.iter().enumerate() {
        for other in &paths[at + 1..] {
            let how = match one.clash(other) {
                Some(Clash::Overlap) => "overlap",
                Some(Clash::Conflict) => "conflict",
                None => continue,
            };
            return Err(format!(
                "Two document paths {how} with each other; must remove or rewrite one of these paths; path one: \
                 {one}, path two: {other}"
            ));
        }
    }
    Ok(())
}
