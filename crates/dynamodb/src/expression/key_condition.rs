//! Conditions on a key: the hash key equals a value, and the range key is in a range. `KeyConditionExpression`, and
//! `KeyConditions` of the older style.

use super::condition::{Comparator, Condition, Operand};
use super::path::Path;
use super::placeholders::Placeholders;
use crate::error::Error;
use crate::key;
use crate::table::{KeyAttribute, KeySchema};
use crate::value::Value;

/// A condition on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCondition {
    /// The value of the hash key.
    pub hash: Value,
    /// The condition on the range key.
    pub range: Option<RangeCondition>,
}

/// A condition on a range key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeCondition {
    /// A comparison with a value. Never [`Comparator::NotEqual`].
    Compare(Comparator, Value),
    /// From the first value to the second, both inclusive.
    Between(Value, Value),
    /// Begins with a string or with bytes.
    BeginsWith(Value),
}

/// The name of the member in messages.
const MEMBER: &str = "KeyConditionExpression";

impl KeyCondition {
    /// Parses the condition and checks it against the key.
    ///
    /// # Errors
    /// [`Error::Validation`] with the text of AWS.
    pub fn parse(
        text: &str,
        key: &KeySchema,
        placeholders: &mut Placeholders,
    ) -> Result<Self, Error> {
        Self::of(Condition::parse(MEMBER, text, placeholders)?, key)
    }

    /// The condition on a key that a general condition states.
    ///
    /// # Errors
    /// [`Error::Validation`] if it states anything else.
    pub fn of(condition: Condition, key: &KeySchema) -> Result<Self, Error> {
        let mut parts = Vec::new();
        flatten(condition, &mut parts)?;
        let (mut hash, mut range) = (None, None);
        for part in parts {
            let (name, condition) = about(part)?;
            let (attribute, place) = if name == key.hash.name {
                (&key.hash, &mut hash)
            } else if let Some(attribute) = key.range.as_ref().filter(|range| range.name == name) {
                (attribute, &mut range)
            } else {
                return Err(missed(key, hash.is_none()));
            };
            check_type(attribute, &condition)?;
            if place.replace(condition).is_some() {
                return Err(Error::Validation(
                    "KeyConditionExpressions must only contain one condition per key".to_owned(),
                ));
            }
        }
        match hash {
            Some(RangeCondition::Compare(Comparator::Equal, hash)) => Ok(Self { hash, range }),
            Some(_) => Err(Error::Validation("Query key condition not supported".to_owned())),
            None => Err(missed(key, true)),
        }
    }

    /// The keys of the rows that meet the condition: lowest key, and the first key behind them.
    ///
    /// # Errors
    /// If a value cannot be a key.
    pub fn rows(&self) -> Result<(Vec<u8>, Option<Vec<u8>>), Error> {
        let all = key::prefix(&self.hash)?;
        let beginning = |value: &Value| {
            let mut key = all.clone();
            key::append(value, &mut key)?;
            Ok::<_, Error>(key)
        };
        let (start, end) = match &self.range {
            None => (all.clone(), key::after(&all)),
            Some(RangeCondition::Compare(comparator, value)) => {
                let value = beginning(value)?;
                match comparator {
                    Comparator::Less => (all.clone(), Some(value)),
                    Comparator::LessOrEqual => (all.clone(), key::after(&value)),
                    Comparator::GreaterOrEqual => (value, key::after(&all)),
                    Comparator::Greater => (key::after(&value).unwrap_or(value), key::after(&all)),
                    Comparator::Equal | Comparator::NotEqual => (value.clone(), key::after(&value)),
                }
            }
            Some(RangeCondition::Between(low, high)) => {
                (beginning(low)?, key::after(&beginning(high)?))
            }
            Some(RangeCondition::BeginsWith(value)) => {
                let mut key = all;
                key::append_beginning(value, &mut key)?;
                (key.clone(), key::after(&key))
            }
        };
        Ok((start, end))
    }
}

/// The parts that `AND` joins.
fn flatten(condition: Condition, parts: &mut Vec<Condition>) -> Result<(), Error> {
    match condition {
        Condition::All(conditions) => {
            conditions.into_iter().try_for_each(|condition| flatten(condition, parts))
        }
        Condition::Any(_) => Err(invalid("Invalid operator used in KeyConditionExpression: OR")),
        Condition::Not(_) => Err(invalid("Invalid operator used in KeyConditionExpression: NOT")),
        Condition::Compare(..)
        | Condition::Between(..)
        | Condition::In(..)
        | Condition::Exists(_)
        | Condition::HasType(..)
        | Condition::BeginsWith(..)
        | Condition::Contains(..) => {
            parts.push(condition);
            Ok(())
        }
    }
}

/// The attribute that a part is about, and its condition.
fn about(part: Condition) -> Result<(String, RangeCondition), Error> {
    if let Some(operator) = refused_operator(&part) {
        return Err(invalid(&format!("Invalid operator used in {MEMBER}: {operator}")));
    }
    let (operand, condition) = match part {
        Condition::Compare(comparator, operand, Operand::Value(value)) => {
            (operand, RangeCondition::Compare(comparator, value))
        }
        Condition::Compare(comparator, Operand::Value(value), operand) => {
            (operand, RangeCondition::Compare(mirrored(comparator), value))
        }
        Condition::Between(operand, Operand::Value(low), Operand::Value(high)) => {
            (operand, RangeCondition::Between(low, high))
        }
        Condition::BeginsWith(operand, Operand::Value(value)) => {
            (operand, RangeCondition::BeginsWith(value))
        }
        Condition::All(_)
        | Condition::Any(_)
        | Condition::Not(_)
        | Condition::Compare(..)
        | Condition::Between(..)
        | Condition::In(..)
        | Condition::Exists(_)
        | Condition::HasType(..)
        | Condition::BeginsWith(..)
        | Condition::Contains(..) => {
            return Err(invalid(&format!(
                "Invalid condition in {MEMBER}: Multiple attribute names used in one condition"
            )));
        }
    };
    match operand {
        Operand::Path(Path { attribute, steps }) if steps.is_empty() => Ok((attribute, condition)),
        Operand::Path(_) => Err(invalid(&format!(
            "Invalid {MEMBER}: KeyConditionExpressions cannot have conditions on nested attributes"
        ))),
        Operand::Size(_) => Err(invalid(&format!("Invalid operator used in {MEMBER}: size"))),
        Operand::Value(_) => {
            Err(invalid(&format!("Invalid condition in {MEMBER}: No key attribute specified")))
        }
    }
}

/// The operator of a part, if no condition on a key may have it.
const fn refused_operator(part: &Condition) -> Option<&'static str> {
    match part {
        Condition::Compare(Comparator::NotEqual, ..) => Some("<>"),
        Condition::In(..) => Some("IN"),
        Condition::Exists(_) => Some("attribute_exists"),
        Condition::HasType(..) => Some("attribute_type"),
        Condition::Contains(..) => Some("contains"),
        Condition::All(_)
        | Condition::Any(_)
        | Condition::Not(_)
        | Condition::Compare(..)
        | Condition::Between(..)
        | Condition::BeginsWith(..) => None,
    }
}

/// The comparison with its sides exchanged.
const fn mirrored(comparator: Comparator) -> Comparator {
    match comparator {
        Comparator::Less => Comparator::Greater,
        Comparator::LessOrEqual => Comparator::GreaterOrEqual,
        Comparator::Greater => Comparator::Less,
        Comparator::GreaterOrEqual => Comparator::LessOrEqual,
        Comparator::Equal | Comparator::NotEqual => comparator,
    }
}

fn check_type(attribute: &KeyAttribute, condition: &RangeCondition) -> Result<(), Error> {
    let values = match condition {
        RangeCondition::Compare(_, value) | RangeCondition::BeginsWith(value) => [value, value],
        RangeCondition::Between(low, high) => [low, high],
    };
    let kind = attribute.kind.kind();
    if values.iter().any(|value| value.kind() != kind) {
        return Err(Error::parameters("Condition parameter type does not match schema type"));
    }
    if let Some(empty) = values.into_iter().find_map(Value::empty_name) {
        return Err(Error::Validation(format!(
            "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an \
             empty {empty} value. Key: {}",
            attribute.name
        )));
    }
    Ok(())
}

fn missed(key: &KeySchema, is_hash: bool) -> Error {
    let range = key.range.as_ref().filter(|_| !is_hash);
    let name = &range.unwrap_or(&key.hash).name;
    match (is_hash, range) {
        (false, None) => invalid("Query key condition not supported"),
        _ => invalid(&format!("Query condition missed key schema element: {name}")),
    }
}

fn invalid(text: &str) -> Error {
    Error::Validation(text.to_owned())
}
