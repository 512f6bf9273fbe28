//! Updates: `UpdateExpression`, and `AttributeUpdates` of the older style.
//!
//! ```text
//! update = { SET set { , set } | REMOVE path { , path } | ADD path :value { , … } | DELETE path :value { , … } }
//! set    = path "=" term [ ( + | - ) term ]
//! term   = path | :value | if_not_exists ( path , term ) | list_append ( term , term )
//! ```
//!
//! All terms read the item as it was before the update. No two paths of an update are related, so the order of the
//! actions does not matter, with one exception: positions in a list are those before the update. For this, values are
//! set in ascending order of the paths, then values are removed in descending order.

use std::collections::BTreeSet;

use super::lexer::Kind as TokenKind;
use super::parser::Parser;
use super::path::{Path, Step, check_distinct};
use super::placeholders::Placeholders;
use crate::error::Error;
use crate::item::{MAX_ITEM_BYTES, UPDATED_ITEM_TOO_LARGE};
use crate::number::Number;
use crate::table::KeySchema;
use crate::value::{Attributes, Kind, Value};

/// Changes of an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Path and change, in the order of the request.
    pub actions: Vec<(Path, Action)>,
    /// Whether the update comes from `AttributeUpdates`, whose error for a wrong type has another text.
    pub is_legacy: bool,
}

/// The change of the value at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Set the value.
    Set(Sum),
    /// Remove the value, if there is one.
    Remove,
    /// Add a number to a number, members to a set, or members to a list (in the older style only).
    Add(Value),
    /// Remove members from a set.
    Delete(Value),
}

/// A term, perhaps with another one added or subtracted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sum {
    /// One term.
    Term(Term),
    /// Sum of two numbers.
    Plus(Term, Term),
    /// Difference of two numbers.
    Minus(Term, Term),
}

/// A value that an update computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// The value at a path.
    Path(Path),
    /// A value of the request.
    Value(Value),
    /// The value at the path if there is one, or else the term.
    IfNotExists(Path, Box<Self>),
    /// The members of two lists.
    ListAppend(Box<Self>, Box<Self>),
}

const MEMBER: &str = "UpdateExpression";
const NOT_FOUND: &str =
    "The provided expression refers to an attribute that does not exist in the item";
const WRONG_TYPE: &str = "An operand in the update expression has an incorrect data type";
const WRONG_LEGACY_TYPE: &str = "Type mismatch for attribute to update";
const WRONG_PATH: &str =
    "The document path provided in the update expression is invalid for update";

impl Update {
    /// Parses an update.
    ///
    /// # Errors
    /// [`Error::Validation`] with the text of AWS.
    pub fn parse(text: &str, placeholders: &mut Placeholders) -> Result<Self, Error> {
        let mut parser = Parser::new(MEMBER, text, placeholders)?;
        let mut update = Self::default();
        let mut seen = BTreeSet::new();
        while parser.token().kind != TokenKind::End {
            let sections = ["SET", "REMOVE", "ADD", "DELETE"];
            let section = sections.into_iter().find(|section| parser.take_keyword(section));
            let section = section.ok_or_else(|| parser.syntax_error())?;
            if !seen.insert(section) {
                return Err(parser.fault(format_args!(
                    "The \"{section}\" section can only be used once in an update expression;"
                )));
            }
            loop {
                update.actions.push(action(&mut parser, section)?);
                if !parser.take(",") {
                    break;
                }
            }
        }
        check_distinct(update.paths()).map_err(|text| parser.fault(text))?;
        Ok(update)
    }

    /// The paths that change.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.actions.iter().map(|(path, _)| path)
    }

    /// Checks that no attribute of the key changes.
    ///
    /// # Errors
    /// [`Error::Validation`].
    pub fn check_key(&self, key: &KeySchema) -> Result<(), Error> {
        match self.paths().find(|path| key.has(&path.attribute)) {
            Some(path) => Err(Error::parameters(format_args!(
                "Cannot update attribute {}. This attribute is part of the key",
                path.attribute
            ))),
            None => Ok(()),
        }
    }

    /// The item after the update.
    ///
    /// # Errors
    /// [`Error::Validation`] if a value has a wrong type or is missing.
    pub fn apply(&self, item: &Attributes) -> Result<Attributes, Error> {
        let (mut puts, mut removes, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (path, action) in &self.actions {
            let value = action.value(path, item).map_err(|error| self.worded(error))?;
            let Some(value) = value else {
                removes.push(path);
                continue;
            };
            // All these values will be in the item. An update that copies a large value a thousand times stops early.
            bytes += value.size();
            if bytes > MAX_ITEM_BYTES {
                return Err(invalid(UPDATED_ITEM_TOO_LARGE));
            }
            puts.push((path, value));
        }
        puts.sort_by_key(|(path, _)| *path);
        removes.sort_by(|one, other| other.cmp(one));
        let mut new = item.clone();
        for (path, value) in puts {
            put(&mut new, path, value)?;
        }
        for path in removes {
            remove(&mut new, path)?;
        }
        Ok(new)
    }

    fn worded(&self, error: Error) -> Error {
        let is_type = matches!(&error, Error::Validation(text) if text == WRONG_TYPE);
        if self.is_legacy && is_type { invalid(WRONG_LEGACY_TYPE) } else { error }
    }
}

impl Action {
    /// The value at the path after the change. `None`: the path has no value then.
    fn value(&self, path: &Path, item: &Attributes) -> Result<Option<Value>, Error> {
        let old = path.find(item);
        match (self, old) {
            (Self::Set(sum), _) => sum.value(item).map(Some),
            (Self::Remove, _) | (Self::Delete(_), None) => Ok(None),
            (Self::Add(value), None) => Ok(Some(value.clone())),
            (Self::Add(value), Some(old)) => added(old, value).map(Some),
            (Self::Delete(value), Some(old)) => without(old, value),
        }
    }
}

impl Sum {
    fn value(&self, item: &Attributes) -> Result<Value, Error> {
        let number = |term: &Term| {
            let Value::N(number) = term.value(item)? else { return Err(invalid(WRONG_TYPE)) };
            Ok(number)
        };
        match self {
            Self::Term(term) => term.value(item),
            Self::Plus(one, other) => Ok(Value::N(Number::plus(number(one)?, number(other)?)?)),
            Self::Minus(one, other) => Ok(Value::N(Number::minus(number(one)?, number(other)?)?)),
        }
    }
}

impl Term {
    fn value(&self, item: &Attributes) -> Result<Value, Error> {
        match self {
            Self::Path(path) => path.find(item).cloned().ok_or_else(|| invalid(NOT_FOUND)),
            Self::Value(value) => Ok(value.clone()),
            Self::IfNotExists(path, other) => {
                path.find(item).map_or_else(|| other.value(item), |value| Ok(value.clone()))
            }
            Self::ListAppend(one, other) => match (one.value(item)?, other.value(item)?) {
                (Value::L(mut members), Value::L(more)) => {
                    members.extend(more);
                    let list = Value::L(members);
                    let fits = list.size() <= MAX_ITEM_BYTES;
                    if fits { Ok(list) } else { Err(invalid(UPDATED_ITEM_TOO_LARGE)) }
                }
                _ => Err(invalid(WRONG_TYPE)),
            },
        }
    }
}

/// The sum of two numbers, or the members of two sets or lists.
fn added(old: &Value, value: &Value) -> Result<Value, Error> {
    Ok(match (old, value) {
        (Value::N(old), Value::N(number)) => Value::N(old.plus(*number)?),
        (Value::Ss(old), Value::Ss(members)) => Value::Ss(old | members),
        (Value::Ns(old), Value::Ns(members)) => Value::Ns(old | members),
        (Value::Bs(old), Value::Bs(members)) => Value::Bs(old | members),
        (Value::L(old), Value::L(members)) => Value::L([old.as_slice(), members].concat()),
        _ => return Err(invalid(WRONG_TYPE)),
    })
}

/// A set without some members. A set without members does not exist.
fn without(old: &Value, value: &Value) -> Result<Option<Value>, Error> {
    Ok(match (old, value) {
        (Value::Ss(old), Value::Ss(members)) => not_empty(old - members).map(Value::Ss),
        (Value::Ns(old), Value::Ns(members)) => not_empty(old - members).map(Value::Ns),
        (Value::Bs(old), Value::Bs(members)) => not_empty(old - members).map(Value::Bs),
        _ => return Err(invalid(WRONG_TYPE)),
    })
}

fn not_empty<T>(set: BTreeSet<T>) -> Option<BTreeSet<T>> {
    (!set.is_empty()).then_some(set)
}

/// Puts a value. The container of the value must exist. A position behind a list means its end.
fn put(item: &mut Attributes, path: &Path, value: Value) -> Result<(), Error> {
    let Some((last, steps)) = path.steps.split_last() else {
        item.insert(path.attribute.clone(), value);
        return Ok(());
    };
    match (container(item, path, steps), last) {
        (Some(Value::M(members)), Step::Member(name)) => {
            members.insert(name.clone(), value);
        }
        (Some(Value::L(members)), Step::Index(index)) => match members.get_mut(*index) {
            Some(member) => *member = value,
            None => members.push(value),
        },
        _ => return Err(invalid(WRONG_PATH)),
    }
    Ok(())
}

/// Removes a value, if there is one. Its container must exist.
fn remove(item: &mut Attributes, path: &Path) -> Result<(), Error> {
    let Some((last, steps)) = path.steps.split_last() else {
        item.remove(&path.attribute);
        return Ok(());
    };
    match (container(item, path, steps), last) {
        (Some(Value::M(members)), Step::Member(name)) => {
            members.remove(name);
        }
        (Some(Value::L(members)), Step::Index(index)) => {
            if *index < members.len() {
                members.remove(*index);
            }
        }
        _ => return Err(invalid(WRONG_PATH)),
    }
    Ok(())
}

fn container<'i>(item: &'i mut Attributes, path: &Path, steps: &[Step]) -> Option<&'i mut Value> {
    let attribute = item.get_mut(&path.attribute)?;
    steps.iter().try_fold(attribute, |value, step| match (value, step) {
        (Value::M(members), Step::Member(name)) => members.get_mut(name),
        (Value::L(members), Step::Index(index)) => members.get_mut(*index),
        _ => None,
    })
}

fn action(parser: &mut Parser<'_, '_>, section: &'static str) -> Result<(Path, Action), Error> {
    let path = Path::parse(parser)?;
    let action = match section {
        "SET" => {
            parser.expect("=")?;
            Action::Set(sum(parser)?)
        }
        "REMOVE" => Action::Remove,
        "ADD" => {
            let value = parser.value()?;
            let allowed = [Kind::N, Kind::Ss, Kind::Ns, Kind::Bs];
            Action::Add(operand_of(parser, section, &allowed, value)?)
        }
        _ => {
            let value = parser.value()?;
            Action::Delete(operand_of(parser, section, &[Kind::Ss, Kind::Ns, Kind::Bs], value)?)
        }
    };
    Ok((path, action))
}

fn operand_of(
    parser: &Parser<'_, '_>,
    section: &str,
    allowed: &[Kind],
    value: Value,
) -> Result<Value, Error> {
    if allowed.contains(&value.kind()) {
        return Ok(value);
    }
    Err(parser.fault(format_args!(
        "Incorrect operand type for operator or function; operator: {section}, operand type: {}, typeSet: \
         ALLOWED_FOR_{section}_OPERAND",
        value.kind().long_name()
    )))
}

fn sum(parser: &mut Parser<'_, '_>) -> Result<Sum, Error> {
    let first = term(parser, 0)?;
    let (symbol, join): (_, fn(Term, Term) -> Sum) = if parser.take("+") {
        ("+", Sum::Plus)
    } else if parser.take("-") {
        ("-", Sum::Minus)
    } else {
        return Ok(Sum::Term(first));
    };
    let second = term(parser, 0)?;
    for term in [&first, &second] {
        let wrong = match term {
            Term::Value(value) if value.kind() != Kind::N => value.kind().name(),
            Term::ListAppend(..) => "L",
            Term::Value(_) | Term::Path(_) | Term::IfNotExists(..) => continue,
        };
        return Err(wrong_type(parser, symbol, wrong));
    }
    Ok(join(first, second))
}

fn term(parser: &mut Parser<'_, '_>, depth: usize) -> Result<Term, Error> {
    parser.check_depth(depth)?;
    let token = parser.token();
    if token.kind == TokenKind::ValuePlaceholder {
        return Ok(Term::Value(parser.value()?));
    }
    if parser.take("(") {
        let inner = term(parser, depth + 1)?;
        parser.expect(")")?;
        return Ok(inner);
    }
    if token.kind != TokenKind::Word || !parser.peek(1).is("(") {
        return Ok(Term::Path(Path::parse(parser)?));
    }
    parser.advance();
    parser.advance();
    let first = match token.text {
        "if_not_exists" | "list_append" => term(parser, depth + 1)?,
        "attribute_exists"
        | "attribute_not_exists"
        | "attribute_type"
        | "begins_with"
        | "contains"
        | "size" => {
            return Err(parser.fault(format_args!(
                "The function is not allowed in an update expression; function: {}",
                token.text
            )));
        }
        name => return Err(parser.fault(format_args!("Invalid function name; function: {name}"))),
    };
    let mut rest = Vec::new();
    while parser.take(",") {
        rest.push(term(parser, depth + 1)?);
    }
    parser.expect(")")?;
    let count = rest.len() + 1;
    let (Some(second), 2) = (rest.pop(), count) else {
        return Err(parser.fault(format_args!(
            "Incorrect number of operands for operator or function; operator or function: {}, number of operands: \
             {count}",
            token.text
        )));
    };
    if token.text == "list_append" {
        for term in [&first, &second] {
            if let Term::Value(value) = term
                && value.kind() != Kind::L
            {
                return Err(wrong_type(parser, "list_append", value.kind().name()));
            }
        }
        return Ok(Term::ListAppend(Box::new(first), Box::new(second)));
    }
    match first {
        Term::Path(path) => Ok(Term::IfNotExists(path, Box::new(second))),
        Term::Value(_) | Term::IfNotExists(..) | Term::ListAppend(..) => Err(parser.fault(
            "Operator or function requires a document path; operator or function: if_not_exists",
        )),
    }
}

fn wrong_type(parser: &Parser<'_, '_>, operator: &str, kind: &str) -> Error {
    parser.fault(format_args!(
        "Incorrect operand type for operator or function; operator or function: {operator}, operand type: {kind}"
    ))
}

fn invalid(text: &str) -> Error {
    Error::Validation(text.to_owned())
}
