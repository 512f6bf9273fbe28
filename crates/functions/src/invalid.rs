use std::fmt::Display;
use std::ops::RangeInclusive;

/// A definition breaks a rule. The text names the member, as Lambda calls it, and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{member}: {rule}")]
pub struct Invalid {
    /// Member of the definition, such as `BatchSize`.
    pub member: &'static str,
    /// The rule that the member breaks.
    pub rule: String,
}

impl Invalid {
    pub(crate) fn new(member: &'static str, rule: impl Display) -> Self {
        Self { member, rule: rule.to_string() }
    }

    /// `value` as another type, if it is in `range`.
    pub(crate) fn check<T: TryFrom<i64>>(
        member: &'static str,
        value: i64,
        range: &RangeInclusive<i64>,
    ) -> Result<T, Self> {
        let (least, most) = (range.start(), range.end());
        let outside = || Self::new(member, format_args!("must be {least} to {most}, is {value}"));
        if !range.contains(&value) {
            return Err(outside());
        }
        T::try_from(value).map_err(|_| outside())
    }
}
