//! The `Condition` element of a statement: operators, keys and values.
//!
//! Each key of each operator becomes one [`Condition`]. All conditions of a statement must hold. If the request has
//! no value for the key, the result depends on the operator:
//!
//! | operator | without a value |
//! | --- | --- |
//! | `…IfExists`, `ForAllValues:…` | holds |
//! | `ForAnyValue:…` | does not hold |
//! | negated, such as `StringNotEquals` | holds |
//! | any other | does not hold |
//! | `Null` | holds if the value is `true` |
//!
//! Source: AWS documentation, "IAM JSON policy elements: Condition operators".

use std::borrow::Cow;
use std::net::IpAddr;

use anabranch_types::{Timestamp, dates};

use super::Effect;
use super::context::RequestContext;
use super::key::Key;
use super::pattern::{ArnPattern, Pattern};

/// One key of one operator. It holds if the request's value fits one of the values, or, with a negated operator, none
/// of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    key: Key,
    set: Option<Set>,
    if_exists: bool,
    negated: bool,
    test: Test,
}

/// An operator, without its key and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operator {
    set: Option<Set>,
    if_exists: bool,
    negated: bool,
    kind: OperatorKind,
}

/// How a key with several values is compared: `ForAllValues` or `ForAnyValue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    All,
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OperatorKind {
    Text { wild: bool, ignore_case: bool },
    Number(Order),
    Date(Order),
    Truth,
    Address,
    Arn,
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The values of the condition, parsed for the kind of operator.
#[derive(Clone, Debug, PartialEq)]
enum Test {
    Text {
        patterns: Vec<Pattern>,
        ignore_case: bool,
    },
    Number(Order, Vec<f64>),
    Date(Order, Vec<Timestamp>),
    Truth(Vec<bool>),
    Address(Vec<(IpAddr, u8)>),
    Arn(Vec<ArnPattern>),
    /// `true`: the key must be absent. `false`: the key must be present.
    Null(Vec<bool>),
}

impl Operator {
    /// The operator with this name, prefix and suffix included. `None` if it is unknown.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let (set, name) = match name.split_once(':') {
            Some(("ForAllValues", rest)) => (Some(Set::All), rest),
            Some(("ForAnyValue", rest)) => (Some(Set::Any), rest),
            Some(_) => return None,
            None => (None, name),
        };
        let (if_exists, name) = match name.strip_suffix("IfExists") {
            Some(rest) => (true, rest),
            None => (false, name),
        };
        let text = |wild, ignore_case| OperatorKind::Text { wild, ignore_case };
        let (negated, kind) = match name {
            "StringEquals" => (false, text(false, false)),
            "StringNotEquals" => (true, text(false, false)),
            "StringEqualsIgnoreCase" => (false, text(false, true)),
            "StringNotEqualsIgnoreCase" => (true, text(false, true)),
            "StringLike" => (false, text(true, false)),
            "StringNotLike" => (true, text(true, false)),
            "Bool" => (false, OperatorKind::Truth),
            "IpAddress" => (false, OperatorKind::Address),
            "NotIpAddress" => (true, OperatorKind::Address),
            // AWS treats both forms as the same operator.
            "ArnEquals" | "ArnLike" => (false, OperatorKind::Arn),
            "ArnNotEquals" | "ArnNotLike" => (true, OperatorKind::Arn),
            "Null" if set.is_none() && !if_exists => (false, OperatorKind::Null),
            _ => {
                let (kind, order): (fn(Order) -> OperatorKind, _) = match name.strip_prefix("Date")
                {
                    Some(order) => (OperatorKind::Date, order),
                    None => (OperatorKind::Number, name.strip_prefix("Numeric")?),
                };
                let (negated, order) = match order {
                    "Equals" => (false, Order::Equal),
                    "NotEquals" => (true, Order::Equal),
                    "LessThan" => (false, Order::Less),
                    "LessThanEquals" => (false, Order::LessOrEqual),
                    "GreaterThan" => (false, Order::Greater),
                    "GreaterThanEquals" => (false, Order::GreaterOrEqual),
                    _ => return None,
                };
                (negated, kind(order))
            }
        };
        Some(Self { set, if_exists, negated, kind })
    }
}

impl Condition {
    /// Compiles one key of an operator.
    ///
    /// # Errors
    /// The rule that the key or a value breaks.
    pub(super) fn parse(
        operator: Operator,
        key: &str,
        values: &[String],
        variables: bool,
    ) -> Result<Self, String> {
        let Operator { set, if_exists, negated, kind } = operator;
        let key = Key::of_name(key).ok_or_else(|| "unknown condition key".to_owned())?;
        if values.is_empty() {
            return Err("it has no values".to_owned());
        }
        let test = match kind {
            OperatorKind::Text { wild, ignore_case } => {
                let patterns = each(values, |text| Pattern::parse(text, wild, variables))?;
                Test::Text { patterns, ignore_case }
            }
            OperatorKind::Arn => {
                Test::Arn(each(values, |text| ArnPattern::parse(text, true, variables))?)
            }
            OperatorKind::Number(order) => Test::Number(order, each(values, number)?),
            OperatorKind::Date(order) => Test::Date(order, each(values, date)?),
            OperatorKind::Truth => Test::Truth(each(values, truth)?),
            OperatorKind::Null => Test::Null(each(values, truth)?),
            OperatorKind::Address => Test::Address(each(values, network)?),
        };
        Ok(Self { key, set, if_exists, negated, test })
    }

    /// Whether the request has a value for every variable.
    pub(super) fn has_all_values(&self, context: &RequestContext<'_>) -> bool {
        match &self.test {
            Test::Text { patterns, .. } => {
                patterns.iter().all(|pattern| pattern.has_all_values(context))
            }
            Test::Arn(patterns) => patterns.iter().all(|pattern| pattern.has_all_values(context)),
            Test::Number(..)
            | Test::Date(..)
            | Test::Truth(_)
            | Test::Address(_)
            | Test::Null(_) => true,
        }
    }

    /// The name of the key, if no request here has this key (`Key::Absent`).
    pub(super) const fn absent_key(&self) -> Option<&str> {
        if let Key::Absent(name) = &self.key { Some(name.as_str()) } else { None }
    }

    /// The largest number of variables in one of the values.
    pub(super) fn variables(&self) -> usize {
        let most = match &self.test {
            Test::Text { patterns, .. } => patterns.iter().map(Pattern::variables).max(),
            Test::Arn(patterns) => patterns.iter().map(ArnPattern::variables).max(),
            Test::Number(..)
            | Test::Date(..)
            | Test::Truth(_)
            | Test::Address(_)
            | Test::Null(_) => None,
        };
        most.unwrap_or(0)
    }

    /// Whether the condition holds for a request, in a statement with this effect.
    pub(super) fn holds(&self, context: &RequestContext<'_>, effect: Effect) -> bool {
        let values = context.values(&self.key);
        if let Test::Null(absent) = &self.test {
            return absent.contains(&values.is_none());
        }
        let Some(values) = values else {
            return match self.set {
                _ if self.if_exists => true,
                Some(Set::All) => true,
                Some(Set::Any) => false,
                None => self.negated,
            };
        };
        let fits = |value: &Cow<'_, str>| self.test.fits(value, context) != self.negated;
        // A resource may have two tags whose keys differ in case alone. To be on the safe side, an `Allow` needs the
        // values of both to fit, and a `Deny` needs only one of them to fit.
        let is_tag = matches!(self.key, Key::RequestTag(_) | Key::ResourceTag(_));
        match (self.set, effect, self.negated) {
            (Some(Set::All), _, _) => values.iter().all(fits),
            (Some(Set::Any), _, _) => values.iter().any(fits),
            (None, Effect::Allow, _) if is_tag => values.iter().all(fits),
            (None, Effect::Deny, _) if is_tag => values.iter().any(fits),
            (None, _, true) => values.iter().all(fits),
            (None, _, false) => values.iter().any(fits),
        }
    }
}

impl Test {
    /// Whether the request's value fits one of the values of the condition.
    fn fits(&self, value: &str, context: &RequestContext<'_>) -> bool {
        match self {
            Self::Text { patterns, ignore_case } => {
                patterns.iter().any(|pattern| pattern.matches(value, context, *ignore_case))
            }
            Self::Arn(patterns) => patterns.iter().any(|pattern| pattern.matches(value, context)),
            Self::Number(order, wanted) => {
                number(value).is_ok_and(|value| wanted.iter().any(|w| order.holds(value, *w)))
            }
            Self::Date(order, wanted) => {
                date(value).is_ok_and(|value| wanted.iter().any(|w| order.holds(value, *w)))
            }
            Self::Truth(wanted) => truth(value).is_ok_and(|value| wanted.contains(&value)),
            Self::Address(networks) => value
                .parse::<IpAddr>()
                .is_ok_and(|address| networks.iter().any(|network| is_in(address, *network))),
            // `Condition::holds` has decided it already, because it depends on the key alone.
            Self::Null(_) => false,
        }
    }
}

impl Order {
    fn holds<T: PartialOrd>(self, value: T, wanted: T) -> bool {
        match self {
            Self::Equal => value == wanted,
            Self::Less => value < wanted,
            Self::LessOrEqual => value <= wanted,
            Self::Greater => value > wanted,
            Self::GreaterOrEqual => value >= wanted,
        }
    }
}

fn each<T>(values: &[String], parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    values.iter().map(|value| parse(value)).collect()
}

fn number(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| "a value is not a number".to_owned())
}

/// Parses an ISO 8601 time, a date without a time, or seconds since 1970.
fn date(text: &str) -> Result<Timestamp, String> {
    let seconds = || {
        let seconds: u64 = text.parse().ok()?;
        Some(Timestamp::from_millis(seconds.checked_mul(1000)?))
    };
    let whole_day = || dates::parse_iso_8601(&format!("{text}T00:00:00Z"));
    let moment = dates::parse_iso_8601(text).or_else(seconds).or_else(whole_day);
    moment.ok_or_else(|| "a value is neither an ISO 8601 date nor a number of seconds".to_owned())
}

fn truth(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("a value is neither true nor false".to_owned()),
    }
}

/// Parses `10.0.0.0/8`, or a single address.
fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = || "a value is neither an IP address nor a CIDR range".to_owned();
    let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Ok(longest), |bits| bits.parse().map_err(|_| wrong()))?;
    if bits <= longest { Ok((address, bits)) } else { Err(wrong()) }
}

fn is_in(address: IpAddr, (network, bits): (IpAddr, u8)) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (address.to_bits() ^ network.to_bits()).leading_zeros() >= u32::from(bits)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            (address.to_bits() ^ network.to_bits()).leading_zeros() >= u32::from(bits)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}
