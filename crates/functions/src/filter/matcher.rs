//! Rules for one field: an element of the array in a pattern.

use crate::filter::value::{Level, Value};

/// A rule for one field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Matcher {
    Null,
    Boolean(bool),
    Text(String),
    /// A plain number, by its text.
    Number(String),
    /// `numeric`: all comparisons hold.
    Numeric(Vec<(Comparison, f64)>),
    Exists(bool),
    Prefix(String),
    Suffix(String),
    EqualsIgnoreCase(String),
    /// `anything-but`: the field is there, and none of these match.
    AnythingBut(Vec<Matcher>),
}

/// An operator of `numeric`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Below,
    AtMost,
    Above,
    AtLeast,
}

impl Matcher {
    /// `Err` says what is wrong.
    pub(crate) fn parse(value: Value<'_>) -> Result<Self, String> {
        match level(value)? {
            Level::Object(rule) => {
                let mut rule = rule.into_iter();
                match (rule.next(), rule.next()) {
                    (Some((operator, operand)), None) => Self::operator(&operator, operand),
                    _ => Err("A rule must have one operator.".into()),
                }
            }
            Level::Array(_) => Err("A rule must not be an array.".into()),
            Level::Text(text) => Ok(Self::Text(text)),
            Level::Number(text) => Ok(Self::Number(text.to_owned())),
            Level::Boolean(value) => Ok(Self::Boolean(value)),
            Level::Null => Ok(Self::Null),
        }
    }

    fn operator(operator: &str, operand: Value<'_>) -> Result<Self, String> {
        match (operator, level(operand)?) {
            ("exists", Level::Boolean(wanted)) => Ok(Self::Exists(wanted)),
            ("prefix", Level::Text(text)) => Ok(Self::Prefix(text)),
            ("suffix", Level::Text(text)) => Ok(Self::Suffix(text)),
            ("equals-ignore-case", Level::Text(text)) => {
                Ok(Self::EqualsIgnoreCase(text.to_lowercase()))
            }
            ("numeric", Level::Array(parts)) => numeric(&parts).map(Self::Numeric),
            ("anything-but", operand) => anything_but(operand).map(Self::AnythingBut),
            ("exists" | "prefix" | "suffix" | "equals-ignore-case" | "numeric", _) => {
                Err(format!("{operator} has a wrong operand."))
            }
            _ => Err(format!("Unrecognized match type {operator}.")),
        }
    }

    /// Whether the rule holds for the field; `None` if the record has no such field.
    pub(crate) fn matches(&self, field: Option<Value<'_>>) -> bool {
        // A text that is not Unicode is there, and equals nothing.
        let level = field.map(|field| field.level().unwrap_or(Level::Text("\u{fffd}".into())));
        match (self, level) {
            // Only leaves exist: an object has no rules of its own.
            (Self::Exists(wanted), found) => {
                *wanted == found.is_some_and(|level| !matches!(level, Level::Object(_)))
            }
            (_, None | Some(Level::Object(_))) => false,
            // An array in an array is not looked into, so the depth of a record does not matter.
            (_, Some(Level::Array(elements))) => elements
                .into_iter()
                .any(|element| !element.is_array() && self.matches(Some(element))),
            (Self::AnythingBut(refused), Some(_)) => {
                !refused.iter().any(|matcher| matcher.matches(field))
            }
            (matcher, Some(level)) => matcher.holds(&level),
        }
    }

    fn holds(&self, level: &Level<'_>) -> bool {
        match (self, level) {
            (Self::Null, Level::Null) => true,
            (Self::Boolean(wanted), Level::Boolean(found)) => wanted == found,
            (Self::Text(wanted), Level::Text(found)) => wanted == found,
            (Self::Number(wanted), Level::Number(found)) => wanted == found,
            (Self::Numeric(comparisons), Level::Number(found)) => found
                .parse()
                .is_ok_and(|found| comparisons.iter().all(|(by, to)| by.holds(found, *to))),
            (Self::Prefix(start), Level::Text(found)) => found.starts_with(start),
            (Self::Suffix(end), Level::Text(found)) => found.ends_with(end),
            (Self::EqualsIgnoreCase(wanted), Level::Text(found)) => found.to_lowercase() == *wanted,
            _ => false,
        }
    }
}

impl Comparison {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "=" => Some(Self::Equal),
            "<" => Some(Self::Below),
            "<=" => Some(Self::AtMost),
            ">" => Some(Self::Above),
            ">=" => Some(Self::AtLeast),
            _ => None,
        }
    }

    fn holds(self, found: f64, to: f64) -> bool {
        match self {
            Self::Equal => found == to,
            Self::Below => found < to,
            Self::AtMost => found <= to,
            Self::Above => found > to,
            Self::AtLeast => found >= to,
        }
    }
}

/// One comparison, or a lower and an upper bound.
fn numeric(parts: &[Value<'_>]) -> Result<Vec<(Comparison, f64)>, String> {
    let wrong = || "numeric must be one comparison, or a lower and an upper bound.".to_owned();
    let mut comparisons = Vec::new();
    for pair in parts.chunks(2) {
        let [operator, operand] = pair else { return Err(wrong()) };
        let (Level::Text(operator), Level::Number(number)) = (level(*operator)?, level(*operand)?)
        else {
            return Err(wrong());
        };
        let number = number.parse().map_err(|_| wrong())?;
        comparisons.push((Comparison::parse(&operator).ok_or_else(wrong)?, number));
    }
    use Comparison::{Above, AtLeast, AtMost, Below};
    match comparisons[..] {
        [_] | [(Above | AtLeast, _), (Below | AtMost, _)] => Ok(comparisons),
        _ => Err(wrong()),
    }
}

fn anything_but(operand: Level<'_>) -> Result<Vec<Matcher>, String> {
    let refused = match operand {
        Level::Array(elements) => {
            elements.into_iter().map(Matcher::parse).collect::<Result<Vec<_>, _>>()?
        }
        Level::Text(text) => vec![Matcher::Text(text)],
        Level::Number(text) => vec![Matcher::Number(text.to_owned())],
        Level::Object(rule) => {
            let rule =
                rule.into_iter().map(|(operator, value)| Matcher::operator(&operator, value));
            rule.collect::<Result<Vec<_>, _>>()?
        }
        Level::Boolean(_) | Level::Null => Vec::new(),
    };
    let allowed = |matcher: &Matcher| {
        matches!(
            matcher,
            Matcher::Text(_) | Matcher::Number(_) | Matcher::Prefix(_) | Matcher::Suffix(_)
        )
    };
    if refused.is_empty() || !refused.iter().all(allowed) {
        return Err("anything-but must be texts, numbers, a prefix or a suffix.".into());
    }
    Ok(refused)
}

fn level(value: Value<'_>) -> Result<Level<'_>, String> {
    value.level().ok_or_else(|| "A text is not Unicode.".to_owned())
}
