//! Conditions: `ConditionExpression`, `FilterExpression`, and the same in the older style.
//!
//! ```text
//! or      = and { OR and }
//! and     = not { AND not }
//! not     = NOT not | ( or ) | comparison
//! comparison = operand ( = | <> | < | <= | > | >= ) operand
//!            | operand BETWEEN operand AND operand | operand IN ( operand { , operand } ) | function
//! operand = path | :value | size ( operand )
//! ```

use std::cmp::Ordering;

use super::lexer::Kind as TokenKind;
use super::parser::Parser;
use super::path::Path;
use super::placeholders::Placeholders;
use crate::error::Error;
use crate::number::Number;
use crate::value::{Attributes, Kind, Value};

/// A condition on an item. An absent item is an item without attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All of them hold.
    All(Vec<Self>),
    /// One of them holds.
    Any(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// The comparison holds.
    Compare(Comparator, Operand, Operand),
    /// The first operand is not below the second and not above the third.
    Between(Operand, Operand, Operand),
    /// The first operand equals one of the others.
    In(Operand, Vec<Operand>),
    /// There is a value at the path.
    Exists(Path),
    /// There is a value of this type at the path.
    HasType(Path, Kind),
    /// The first operand begins with the second.
    BeginsWith(Operand, Operand),
    /// The first operand, a set, list, string or byte string, contains the second.
    Contains(Operand, Operand),
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparator {
    /// Equal: same type and same value.
    Equal,
    /// Not equal. An absent value is not equal to any value.
    NotEqual,
    /// Below. Only strings, numbers and byte strings have an order.
    Less,
    /// Below or equal.
    LessOrEqual,
    /// Above.
    Greater,
    /// Above or equal.
    GreaterOrEqual,
}

/// One side of a comparison, or an argument of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// The value at a path, which may be absent.
    Path(Path),
    /// A value of the request.
    Value(Value),
    /// The size of an operand: characters, bytes or members.
    Size(Box<Self>),
}

impl Condition {
    /// Parses a condition. `member` is the name of the member of the request, for messages.
    ///
    /// # Errors
    /// [`Error::Validation`] with the text of AWS.
    pub fn parse(
        member: &'static str,
        text: &str,
        placeholders: &mut Placeholders,
    ) -> Result<Self, Error> {
        let mut parser = Parser::new(member, text, placeholders)?;
        let condition = any(&mut parser, 0)?;
        parser.expect_end()?;
        Ok(condition)
    }

    /// Whether the item meets the condition.
    pub fn holds(&self, item: &Attributes) -> bool {
        match self {
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(item)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(item)),
            Self::Not(condition) => !condition.holds(item),
            Self::Compare(comparator, one, other) => {
                one.with(item, |one| other.with(item, |other| comparator.holds(one, other)))
            }
            Self::Between(operand, low, high) => operand.with(item, |value| {
                low.with(item, |low| Comparator::GreaterOrEqual.holds(value, low))
                    && high.with(item, |high| Comparator::LessOrEqual.holds(value, high))
            }),
            Self::In(operand, others) => operand.with(item, |value| {
                value.is_some()
                    && others.iter().any(|other| other.with(item, |other| value == other))
            }),
            Self::Exists(path) => path.find(item).is_some(),
            Self::HasType(path, kind) => path.find(item).is_some_and(|value| value.kind() == *kind),
            Self::BeginsWith(one, other) => {
                one.with(item, |one| other.with(item, |other| begins_with(one, other)))
            }
            Self::Contains(one, other) => {
                one.with(item, |one| other.with(item, |other| contains(one, other)))
            }
        }
    }

    /// Every path of the condition.
    pub(crate) fn paths(&self) -> Vec<&Path> {
        match self {
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.iter().flat_map(Self::paths).collect()
            }
            Self::Not(condition) => condition.paths(),
            Self::Compare(_, one, other)
            | Self::BeginsWith(one, other)
            | Self::Contains(one, other) => one.path().into_iter().chain(other.path()).collect(),
            Self::Between(operand, low, high) => {
                [operand, low, high].into_iter().filter_map(Operand::path).collect()
            }
            Self::In(operand, others) => {
                std::iter::once(operand).chain(others).filter_map(Operand::path).collect()
            }
            Self::Exists(path) | Self::HasType(path, _) => vec![path],
        }
    }
}

impl Comparator {
    /// The symbol.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    fn of_symbol(symbol: &str) -> Option<Self> {
        let all = [
            Self::Equal,
            Self::NotEqual,
            Self::Less,
            Self::LessOrEqual,
            Self::Greater,
            Self::GreaterOrEqual,
        ];
        all.into_iter().find(|comparator| comparator.symbol() == symbol)
    }

    fn holds(self, one: Option<&Value>, other: Option<&Value>) -> bool {
        let (Some(one), Some(other)) = (one, other) else { return self == Self::NotEqual };
        match self {
            Self::Equal => one == other,
            Self::NotEqual => one != other,
            Self::Less => one.order(other) == Some(Ordering::Less),
            Self::LessOrEqual => one.order(other).is_some_and(Ordering::is_le),
            Self::Greater => one.order(other) == Some(Ordering::Greater),
            Self::GreaterOrEqual => one.order(other).is_some_and(Ordering::is_ge),
        }
    }
}

impl Operand {
    /// Calls a function with the value of the operand.
    fn with<T>(&self, item: &Attributes, then: impl FnOnce(Option<&Value>) -> T) -> T {
        match self {
            Self::Path(path) => then(path.find(item)),
            Self::Value(value) => then(Some(value)),
            Self::Size(_) => then(self.size(item).map(Value::N).as_ref()),
        }
    }

    fn size(&self, item: &Attributes) -> Option<Number> {
        let value = match self {
            Self::Path(path) => path.find(item)?,
            Self::Value(value) => value,
            Self::Size(operand) => return operand.size(item),
        };
        let size = match value {
            Value::S(text) => text.chars().count(),
            Value::B(bytes) => bytes.len(),
            Value::L(members) => members.len(),
            Value::M(members) => members.len(),
            Value::Ss(members) => members.len(),
            Value::Ns(members) => members.len(),
            Value::Bs(members) => members.len(),
            Value::N(_) | Value::Bool(_) | Value::Null => return None,
        };
        Some(Number::from(size as u64))
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Value(_) => None,
            Self::Size(operand) => operand.path(),
        }
    }
}

fn begins_with(value: Option<&Value>, beginning: Option<&Value>) -> bool {
    match (value, beginning) {
        (Some(Value::S(text)), Some(Value::S(beginning))) => text.starts_with(beginning),
        (Some(Value::B(bytes)), Some(Value::B(beginning))) => bytes.starts_with(beginning),
        _ => false,
    }
}

fn contains(value: Option<&Value>, part: Option<&Value>) -> bool {
    let (Some(value), Some(part)) = (value, part) else { return false };
    match (value, part) {
        (Value::S(text), Value::S(part)) => text.contains(part),
        (Value::B(_), Value::B(part)) if part.is_empty() => true,
        (Value::B(bytes), Value::B(part)) => {
            bytes.windows(part.len()).any(|window| window == part.as_slice())
        }
        (Value::Ss(members), Value::S(member)) => members.contains(member),
        (Value::Ns(members), Value::N(member)) => members.contains(member),
        (Value::Bs(members), Value::B(member)) => members.contains(member),
        (Value::L(members), member) => members.contains(member),
        _ => false,
    }
}

fn any(parser: &mut Parser<'_, '_>, depth: usize) -> Result<Condition, Error> {
    let mut conditions = vec![all(parser, depth)?];
    while parser.take_keyword("OR") {
        conditions.push(all(parser, depth)?);
    }
    Ok(joined(conditions, Condition::Any))
}

fn all(parser: &mut Parser<'_, '_>, depth: usize) -> Result<Condition, Error> {
    let mut conditions = vec![not(parser, depth)?];
    while parser.take_keyword("AND") {
        conditions.push(not(parser, depth)?);
    }
    Ok(joined(conditions, Condition::All))
}

fn joined(mut conditions: Vec<Condition>, join: fn(Vec<Condition>) -> Condition) -> Condition {
    match conditions.pop() {
        Some(only) if conditions.is_empty() => only,
        last => {
            conditions.extend(last);
            join(conditions)
        }
    }
}

fn not(parser: &mut Parser<'_, '_>, depth: usize) -> Result<Condition, Error> {
    parser.check_depth(depth)?;
    if parser.take_keyword("NOT") {
        return Ok(Condition::Not(Box::new(not(parser, depth + 1)?)));
    }
    let start = parser.at();
    if !parser.take("(") {
        return comparison(parser, depth);
    }
    let condition = any(parser, depth + 1)?;
    // `((a = b))` is refused, `((a = b) AND c = d)` is not.
    if parser.last_group == Some((start + 1, parser.at())) {
        return Err(parser.fault("The expression has redundant parentheses;"));
    }
    parser.expect(")")?;
    parser.last_group = Some((start, parser.at()));
    Ok(condition)
}

fn comparison(parser: &mut Parser<'_, '_>, depth: usize) -> Result<Condition, Error> {
    if let Some(condition) = function(parser, depth)? {
        return Ok(condition);
    }
    let operand = operand(parser, depth)?;
    let token = parser.token();
    if token.kind == TokenKind::Symbol
        && let Some(comparator) = Comparator::of_symbol(token.text)
    {
        parser.advance();
        let other = self::operand(parser, depth)?;
        check_ordered(parser, comparator, [&operand, &other])?;
        check_distinct(parser, comparator.symbol(), &operand, &[&other])?;
        return Ok(Condition::Compare(comparator, operand, other));
    }
    if parser.take_keyword("BETWEEN") {
        let low = self::operand(parser, depth)?;
        parser.expect_keyword("AND")?;
        let high = self::operand(parser, depth)?;
        check_bounds(parser, [&operand, &low, &high])?;
        check_distinct(parser, "BETWEEN", &operand, &[&low, &high])?;
        return Ok(Condition::Between(operand, low, high));
    }
    if parser.take_keyword("IN") {
        parser.expect("(")?;
        let others = operands(parser, depth)?;
        check_distinct(parser, "IN", &operand, &others.iter().collect::<Vec<_>>())?;
        return Ok(Condition::In(operand, others));
    }
    if matches!(operand, Operand::Size(_)) {
        return Err(misused(parser, "size"));
    }
    Err(parser.syntax_error())
}

fn operand(parser: &mut Parser<'_, '_>, depth: usize) -> Result<Operand, Error> {
    parser.check_depth(depth)?;
    let token = parser.token();
    match token.kind {
        TokenKind::ValuePlaceholder => Ok(Operand::Value(parser.value()?)),
        TokenKind::Word if parser.peek(1).is("(") => {
            if token.text != "size" {
                let is_known = FUNCTIONS.contains(&token.text);
                return Err(if is_known {
                    misused(parser, token.text)
                } else {
                    unknown(parser, token.text)
                });
            }
            parser.advance();
            parser.advance();
            let mut operands = operands(parser, depth + 1)?;
            check_count(parser, "size", operands.len(), 1)?;
            let operand = operands.pop().ok_or_else(|| parser.syntax_error())?;
            if matches!(operand, Operand::Size(_)) {
                return Err(misused(parser, "size"));
            }
            if let Operand::Value(value @ (Value::N(_) | Value::Bool(_) | Value::Null)) = &operand {
                return Err(wrong_type(parser, "size", value.kind()));
            }
            Ok(Operand::Size(Box::new(operand)))
        }
        TokenKind::Symbol if token.is("(") => {
            parser.advance();
            let operand = operand(parser, depth + 1)?;
            parser.expect(")")?;
            Ok(operand)
        }
        TokenKind::Word
        | TokenKind::NamePlaceholder
        | TokenKind::Digits
        | TokenKind::Symbol
        | TokenKind::Unknown
        | TokenKind::End => Ok(Operand::Path(Path::parse(parser)?)),
    }
}

/// Operands up to the closing parenthesis.
fn operands(parser: &mut Parser<'_, '_>, depth: usize) -> Result<Vec<Operand>, Error> {
    let mut operands = vec![operand(parser, depth)?];
    while parser.take(",") {
        operands.push(operand(parser, depth)?);
    }
    parser.expect(")")?;
    Ok(operands)
}

/// The functions that are conditions.
const FUNCTIONS: [&str; 5] =
    ["attribute_exists", "attribute_not_exists", "attribute_type", "begins_with", "contains"];

fn function(parser: &mut Parser<'_, '_>, depth: usize) -> Result<Option<Condition>, Error> {
    let name = parser.token();
    if name.kind != TokenKind::Word || !parser.peek(1).is("(") || name.text == "size" {
        return Ok(None);
    }
    if !FUNCTIONS.contains(&name.text) {
        // A keyword before a parenthesis is not a function: `AND (`.
        parser.check_not_reserved(name.text).map_err(|_| parser.syntax_error())?;
        return Err(unknown(parser, name.text));
    }
    parser.advance();
    parser.advance();
    let mut operands = operands(parser, depth + 1)?.into_iter();
    let count = operands.len();
    let expected = if name.text.ends_with("exists") { 1 } else { 2 };
    check_count(parser, name.text, count, expected)?;
    let (Some(first), second) = (operands.next(), operands.next()) else {
        return Err(parser.syntax_error());
    };
    let condition = applied(parser, name.text, first, second)?;
    let next = parser.token();
    if next.kind == TokenKind::Symbol && Comparator::of_symbol(next.text).is_some() {
        return Err(misused(parser, name.text));
    }
    Ok(Some(condition))
}

/// The condition that a function states about its operands, whose number is right.
fn applied(
    parser: &Parser<'_, '_>,
    name: &str,
    first: Operand,
    second: Option<Operand>,
) -> Result<Condition, Error> {
    match (name, second) {
        ("attribute_exists", None) => Ok(Condition::Exists(path_of(parser, name, first)?)),
        ("attribute_not_exists", None) => {
            Ok(Condition::Not(Box::new(Condition::Exists(path_of(parser, name, first)?))))
        }
        ("attribute_type", Some(second)) => {
            let path = path_of(parser, name, first)?;
            Ok(Condition::HasType(path, type_named(parser, &second)?))
        }
        ("begins_with", Some(second)) => {
            let has_beginning = |kind| matches!(kind, Kind::S | Kind::B);
            check_kind(parser, name, &first, has_beginning)?;
            check_kind(parser, name, &second, has_beginning)?;
            check_distinct(parser, name, &first, &[&second])?;
            Ok(Condition::BeginsWith(first, second))
        }
        ("contains", Some(second)) => {
            let has_parts = |kind| !matches!(kind, Kind::N | Kind::Bool | Kind::Null | Kind::M);
            check_kind(parser, name, &first, has_parts)?;
            check_distinct(parser, name, &first, &[&second])?;
            Ok(Condition::Contains(first, second))
        }
        _ => Err(parser.syntax_error()),
    }
}

fn path_of(parser: &Parser<'_, '_>, name: &str, operand: Operand) -> Result<Path, Error> {
    let Operand::Path(path) = operand else {
        return Err(parser.fault(format_args!(
            "Operator or function requires a document path; operator or function: {name}"
        )));
    };
    Ok(path)
}

/// Checks the type of an operand that is a value of the request.
fn check_kind(
    parser: &Parser<'_, '_>,
    name: &str,
    operand: &Operand,
    is_allowed: impl Fn(Kind) -> bool,
) -> Result<(), Error> {
    match operand {
        Operand::Value(value) if !is_allowed(value.kind()) => {
            Err(wrong_type(parser, name, value.kind()))
        }
        Operand::Value(_) | Operand::Path(_) | Operand::Size(_) => Ok(()),
    }
}

fn type_named(parser: &Parser<'_, '_>, operand: &Operand) -> Result<Kind, Error> {
    match operand {
        Operand::Value(Value::S(name)) => Kind::named(name).ok_or_else(|| {
            let valid = Kind::ALL.map(Kind::name).join(",");
            parser.fault(format_args!("Invalid attribute type name found; type: {name}, valid types: {{{valid}}}"))
        }),
        Operand::Value(value) => Err(wrong_type(parser, "attribute_type", value.kind())),
        Operand::Path(_) | Operand::Size(_) => Err(parser.fault(
            "Incorrect operand type for operator or function; operator or function: attribute_type, operand type: \
             {DOCUMENT_PATH}",
        )),
    }
}

fn check_ordered(
    parser: &Parser<'_, '_>,
    comparator: Comparator,
    operands: [&Operand; 2],
) -> Result<(), Error> {
    if matches!(comparator, Comparator::Equal | Comparator::NotEqual) {
        return Ok(());
    }
    operands
        .into_iter()
        .try_for_each(|operand| check_has_order(parser, comparator.symbol(), operand))
}

fn check_has_order(parser: &Parser<'_, '_>, symbol: &str, operand: &Operand) -> Result<(), Error> {
    if let Operand::Value(value) = operand
        && value.order(value).is_none()
    {
        return Err(wrong_type(parser, symbol, value.kind()));
    }
    Ok(())
}

fn check_bounds(parser: &Parser<'_, '_>, operands: [&Operand; 3]) -> Result<(), Error> {
    operands.into_iter().try_for_each(|operand| check_has_order(parser, "BETWEEN", operand))?;
    let [_, Operand::Value(low), Operand::Value(high)] = operands else { return Ok(()) };
    match low.order(high) {
        Some(Ordering::Greater) => Err(parser.fault(format_args!(
            "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound operand: \
             AttributeValue: {low}, upper bound operand: AttributeValue: {high}"
        ))),
        Some(_) => Ok(()),
        None => Err(parser.fault(format_args!(
            "The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: \
             AttributeValue: {low}, upper bound operand: AttributeValue: {high}"
        ))),
    }
}

/// A value cannot be compared with itself.
fn check_distinct(
    parser: &Parser<'_, '_>,
    operator: &str,
    first: &Operand,
    others: &[&Operand],
) -> Result<(), Error> {
    let Operand::Path(path) = first else { return Ok(()) };
    if !others.contains(&first) {
        return Ok(());
    }
    Err(parser.fault(format_args!(
        "The first operand must be distinct from the remaining operands for this operator or function; operator: \
         {operator}, first operand: {path}"
    )))
}

fn check_count(
    parser: &Parser<'_, '_>,
    name: &str,
    count: usize,
    expected: usize,
) -> Result<(), Error> {
    if count == expected {
        return Ok(());
    }
    Err(parser.fault(format_args!(
        "Incorrect number of operands for operator or function; operator or function: {name}, number of operands: \
         {count}"
    )))
}

fn wrong_type(parser: &Parser<'_, '_>, operator: &str, kind: Kind) -> Error {
    parser.fault(format_args!(
        "Incorrect operand type for operator or function; operator or function: {operator}, operand type: {}",
        kind.name()
    ))
}

fn misused(parser: &Parser<'_, '_>, name: &str) -> Error {
    parser.fault(format_args!(
        "The function is not allowed to be used this way in an expression; function: {name}"
    ))
}

fn unknown(parser: &Parser<'_, '_>, name: &str) -> Error {
    parser.fault(format_args!("Invalid function name; function: {name}"))
}
