//! Parameters of the older style, which most calls of KCL use: `Expected`, `AttributeUpdates`, `KeyConditions`,
//! `QueryFilter`, `ScanFilter`, `ConditionalOperator`, `AttributesToGet`. They become conditions and updates as
//! expressions do. A request has one style or the other.
//!
//! Source: "Legacy conditional parameters" of the DynamoDB Developer Guide.

use anabranch_aws::wire::{Flag, Member as _, Required, Structure, Text};
use serde::Deserialize;

use crate::error::Error;
use crate::expression::condition::{Comparator, Operand};
use crate::expression::update::{Action, Sum, Term};
use crate::expression::{Condition, Path, Update};
use crate::value::json::{Entries, SentValue, Sequence};
use crate::value::{Kind, Value};

/// `ExpectedAttributeValue` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ExpectedValue<'a> {
    value: Option<SentValue>,
    exists: Option<Flag>,
    #[serde(borrow)]
    comparison_operator: Option<Text<'a>>,
    attribute_value_list: Option<Sequence<SentValue>>,
}

/// `Condition` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SentCondition<'a> {
    #[serde(borrow, default)]
    comparison_operator: Required<Text<'a>>,
    attribute_value_list: Option<Sequence<SentValue>>,
}

/// `AttributeValueUpdate` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AttributeUpdate<'a> {
    value: Option<SentValue>,
    #[serde(borrow)]
    action: Option<Text<'a>>,
}

pub(crate) type Expected<'a> = Entries<Structure<ExpectedValue<'a>>>;
pub(crate) type Conditions<'a> = Entries<Structure<SentCondition<'a>>>;
pub(crate) type AttributeUpdates<'a> = Entries<Structure<AttributeUpdate<'a>>>;

/// The comparison operators, in the order in which AWS lists them.
const OPERATORS: [&str; 13] = [
    "IN",
    "NULL",
    "BETWEEN",
    "LT",
    "NOT_CONTAINS",
    "EQ",
    "GT",
    "NOT_NULL",
    "NE",
    "LE",
    "BEGINS_WITH",
    "GE",
    "CONTAINS",
];
const ACTIONS: [&str; 3] = ["ADD", "DELETE", "PUT"];

/// The condition that `Expected` states. `None` if it states nothing.
///
/// # Errors
/// [`Error::Validation`] with the text of AWS.
pub(crate) fn expected(
    sent: Option<&Expected<'_>>,
    operator: Option<&str>,
) -> Result<Option<Condition>, Error> {
    let Some(Entries(sent)) = sent else { return without_conditions(operator) };
    let conditions = sent.iter().map(|(name, Structure(expected))| expected.condition(name));
    joined(conditions.collect::<Result<_, _>>()?, operator)
}

/// The condition that `QueryFilter`, `ScanFilter` or `KeyConditions` state. `None` if they state nothing.
///
/// # Errors
/// [`Error::Validation`] with the text of AWS.
pub(crate) fn conditions(
    member: &str,
    sent: Option<&Conditions<'_>>,
    operator: Option<&str>,
) -> Result<Option<Condition>, Error> {
    let Some(Entries(sent)) = sent else { return without_conditions(operator) };
    let conditions = sent.iter().map(|(name, Structure(sent))| {
        let values = values(sent.attribute_value_list.as_ref())?;
        if sent.comparison_operator.given().is_none() {
            return Err(Error::Validation(format!(
                "1 validation error detected: Value null at '{member}.{name}.member.comparisonOperator' failed to \
                 satisfy constraint: Member must not be null"
            )));
        }
        let operator = &sent.comparison_operator;
        check_word(member, name, "comparisonOperator", operator, &OPERATORS)?;
        comparison(name, operator, values)
    });
    joined(conditions.collect::<Result<_, _>>()?, operator)
}

/// The update that `AttributeUpdates` states.
///
/// # Errors
/// [`Error::Validation`] with the text of AWS.
pub(crate) fn updates(Entries(sent): &AttributeUpdates<'_>) -> Result<Update, Error> {
    let actions = sent
        .iter()
        .map(|(name, Structure(update))| Ok((Path::attribute(name.clone()), update.action(name)?)));
    Ok(Update { actions: actions.collect::<Result<_, Error>>()?, is_legacy: true })
}

impl ExpectedValue<'_> {
    fn condition(&self, name: &str) -> Result<Condition, Error> {
        let invalid =
            |text: &str| Err(Error::parameters(format_args!("{text} for Attribute: {name}")));
        let exists = self.exists.map(|Flag(exists)| exists);
        let has_list = self.attribute_value_list.is_some();
        if let Some(operator) = &self.comparison_operator {
            check_word("expected", name, "comparisonOperator", operator, &OPERATORS)?;
            if exists.is_some() {
                return invalid("Exists and ComparisonOperator cannot be used together");
            }
            if self.value.is_some() && has_list {
                return invalid("Value and AttributeValueList cannot be used together");
            }
            let values = match &self.value {
                Some(value) => vec![value.0.clone()?],
                None => values(self.attribute_value_list.as_ref())?,
            };
            return comparison(name, operator, values);
        }
        if has_list {
            return invalid("AttributeValueList can only be used with a ComparisonOperator");
        }
        let path = Path::attribute(name.to_owned());
        match (exists, &self.value) {
            (None | Some(true), Some(value)) => {
                let value = Operand::Value(value.0.clone()?);
                Ok(Condition::Compare(Comparator::Equal, Operand::Path(path), value))
            }
            (Some(false), None) => Ok(Condition::Not(Box::new(Condition::Exists(path)))),
            (Some(false), Some(_)) => invalid("Value cannot be used when Exists is false"),
            (Some(true), None) => invalid("Value must be provided when Exists is true"),
            (None, None) => invalid("Value must be provided when Exists is null"),
        }
    }
}

impl AttributeUpdate<'_> {
    fn action(&self, name: &str) -> Result<Action, Error> {
        let action = self.action.as_deref().unwrap_or("PUT");
        check_word("attributeUpdates", name, "action", action, &ACTIONS)?;
        let value = self.value.as_ref().map(|value| value.0.clone()).transpose()?;
        let Some(value) = value else {
            if action == "DELETE" {
                return Ok(Action::Remove);
            }
            return Err(Error::parameters(
                "Only DELETE action is allowed when no attribute value is specified",
            ));
        };
        let (what, is_allowed) = match action {
            "ADD" => ("ADD action", is_set(&value) || matches!(value, Value::N(_) | Value::L(_))),
            "DELETE" => ("DELETE action with value", is_set(&value)),
            _ => ("PUT action", true),
        };
        if !is_allowed {
            return Err(Error::parameters(format_args!(
                "{what} is not supported for the type {}",
                value.kind().name()
            )));
        }
        Ok(match action {
            "ADD" => Action::Add(value),
            "DELETE" => Action::Delete(value),
            _ => Action::Set(Sum::Term(Term::Value(value))),
        })
    }
}

const fn is_set(value: &Value) -> bool {
    matches!(value.kind(), Kind::Ss | Kind::Ns | Kind::Bs)
}

fn values(sent: Option<&Sequence<SentValue>>) -> Result<Vec<Value>, Error> {
    let values = sent.map(|values| values.0.as_slice()).unwrap_or_default();
    values.iter().map(|value| Ok(value.0.clone()?)).collect()
}

fn comparison(name: &str, operator: &str, values: Vec<Value>) -> Result<Condition, Error> {
    let has_right_count = match operator {
        "NULL" | "NOT_NULL" => values.is_empty(),
        "BETWEEN" => values.len() == 2,
        "IN" => !values.is_empty(),
        _ => values.len() == 1,
    };
    if !has_right_count {
        return Err(Error::parameters(format_args!(
            "Invalid number of argument(s) for the {operator} ComparisonOperator"
        )));
    }
    let is_allowed = |kind: Kind| match operator {
        "LE" | "LT" | "GE" | "GT" | "BETWEEN" | "IN" => matches!(kind, Kind::S | Kind::N | Kind::B),
        "BEGINS_WITH" => matches!(kind, Kind::S | Kind::B),
        "CONTAINS" | "NOT_CONTAINS" => {
            matches!(kind, Kind::S | Kind::N | Kind::B | Kind::Bool | Kind::Null)
        }
        _ => true,
    };
    if let Some(value) = values.iter().find(|value| !is_allowed(value.kind())) {
        return Err(Error::parameters(format_args!(
            "ComparisonOperator {operator} is not valid for {} AttributeValue type",
            value.kind().name()
        )));
    }
    let path = Path::attribute(name.to_owned());
    let operand = Operand::Path(path.clone());
    let mut values = values.into_iter().map(Operand::Value);
    let condition = match (operator, values.next(), values.next()) {
        ("NULL", None, None) => Condition::Not(Box::new(Condition::Exists(path))),
        ("NOT_NULL", None, None) => Condition::Exists(path),
        ("BETWEEN", Some(low), Some(high)) => between(operand, low, high)?,
        ("IN", Some(first), second) => {
            Condition::In(operand, std::iter::once(first).chain(second).chain(values).collect())
        }
        ("BEGINS_WITH", Some(value), None) => Condition::BeginsWith(operand, value),
        ("CONTAINS", Some(value), None) => Condition::Contains(operand, value),
        ("NOT_CONTAINS", Some(value), None) => {
            Condition::Not(Box::new(Condition::Contains(operand, value)))
        }
        (_, Some(value), None) => {
            let comparator = match operator {
                "NE" => Comparator::NotEqual,
                "LE" => Comparator::LessOrEqual,
                "LT" => Comparator::Less,
                "GE" => Comparator::GreaterOrEqual,
                "GT" => Comparator::Greater,
                _ => Comparator::Equal,
            };
            Condition::Compare(comparator, operand, value)
        }
        _ => {
            return Err(Error::Internal {
                cause: format!("operator {operator} with wrong values"),
            });
        }
    };
    Ok(condition)
}

fn between(operand: Operand, low: Operand, high: Operand) -> Result<Condition, Error> {
    if let (Operand::Value(lowest), Operand::Value(highest)) = (&low, &high) {
        match lowest.order(highest) {
            None => {
                return Err(Error::parameters(
                    "AttributeValues inside AttributeValueList must be of same type",
                ));
            }
            Some(std::cmp::Ordering::Greater) => {
                return Err(Error::Validation(
                    "The BETWEEN condition was provided a range where the lower bound is greater than the upper bound"
                        .to_owned(),
                ));
            }
            Some(_) => {}
        }
    }
    Ok(Condition::Between(operand, low, high))
}

fn joined(conditions: Vec<Condition>, operator: Option<&str>) -> Result<Option<Condition>, Error> {
    match (conditions.len(), operator) {
        (0, _) => without_conditions(operator),
        (_, Some("OR")) => Ok(Some(Condition::Any(conditions))),
        _ => Ok(Some(Condition::All(conditions))),
    }
}

fn without_conditions(operator: Option<&str>) -> Result<Option<Condition>, Error> {
    if operator.is_none() {
        return Ok(None);
    }
    Err(Error::Validation(
        "ConditionalOperator cannot be used without Filter or Expected".to_owned(),
    ))
}

/// Checks a word of a member in a map. `anabranch_aws::constraints` has no paths through maps.
fn check_word(
    map: &str,
    name: &str,
    member: &str,
    word: &str,
    words: &[&str],
) -> Result<(), Error> {
    if words.contains(&word) {
        return Ok(());
    }
    Err(Error::Validation(format!(
        "1 validation error detected: Value '{}' at '{map}.{name}.member.{member}' failed to satisfy constraint: Member \
         must satisfy enum value set: [{}]",
        word.chars().take(64).collect::<String>(),
        words.join(", ")
    )))
}
