//! The common part of PutItem, UpdateItem and DeleteItem: the response, and the order of the steps.

use anabranch_aws::constraints::Checks;
use anabranch_aws::wire::{Text, Writer};

use super::capacity::{self, Consumed, Detail};
use super::{Context, Output, Plan};
use crate::error::Error;
use crate::expression::{Condition, Placeholders, Projection};
use crate::item::{ItemChanged, ItemWrite};
use crate::legacy::{self, Expected};
use crate::limits;
use crate::rules;
use crate::store::{Decision, Found, Reads};
use crate::value::{self, Attributes, json};

/// A write of one item with the response that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct WriteItem {
    /// The write.
    pub write: ItemWrite,
    /// The attributes to return.
    pub returns: Returns,
    /// The capacity to return.
    pub capacity: Detail,
}

/// The attributes that the response has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returns {
    /// None.
    Nothing,
    /// The item before.
    Old,
    /// The item after.
    New,
    /// The updated parts before.
    UpdatedOld(Projection),
    /// The updated parts after.
    UpdatedNew(Projection),
}

/// The response of PutItem, UpdateItem and DeleteItem.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// `Attributes`.
    pub attributes: Option<Attributes>,
    /// `ConsumedCapacity`.
    pub consumed: Option<Consumed>,
}

impl Plan for WriteItem {
    type Output = Written;

    fn reads(&self) -> Reads {
        Reads { rows: vec![self.write.row.clone()], range: None }
    }

    fn decide(&self, _: &Context, found: &Found) -> Result<Decision<Written>, Error> {
        let changed = self.write.decide(found)?;
        let units = units(&changed);
        let consumed = self.capacity.consumed(&self.write.table.definition.name, units);
        let ItemChanged { old, new, mut writes } = changed;
        let attributes = match &self.returns {
            Returns::Nothing => None,
            Returns::Old => old,
            Returns::New => new,
            Returns::UpdatedOld(parts) => old.map(|item| parts.apply(&item)),
            Returns::UpdatedNew(parts) => new.map(|item| parts.apply(&item)),
        };
        let attributes = attributes.filter(|attributes| !attributes.is_empty());
        if !writes.is_empty() {
            writes.push(self.write.table.unchanged());
        }
        limits::check(&writes)?;
        Ok(Decision::write(writes, Written { attributes, consumed }))
    }
}

/// Write units of a change, those of its index rows included.
pub(crate) fn units(changed: &ItemChanged) -> f64 {
    let size = |item: &Option<Attributes>| item.as_ref().map_or(0, value::size);
    let units = capacity::write_units(size(&changed.old).max(size(&changed.new)));
    let index_rows = changed.writes.len().saturating_sub(1) as f64;
    units * (1.0 + index_rows)
}

impl Output for Written {
    fn write(&self, _: &Context, w: &mut Writer) {
        w.structure(|w| {
            if let Some(attributes) = &self.attributes {
                json::write_attributes(w.member("Attributes"), attributes);
            }
            capacity::write(w, self.consumed.as_ref());
        });
    }
}

/// Checks the members that the three operations share.
pub(crate) fn check_options(
    checks: &mut Checks,
    operator: &Option<Text<'_>>,
    returns: &Option<Text<'_>>,
    capacity: &Option<Text<'_>>,
    metrics: &Option<Text<'_>>,
    on_failure: &Option<Text<'_>>,
) {
    checks.text("ConditionalOperator", operator, &rules::CONDITIONAL_OPERATOR);
    checks.text("ReturnValues", returns, &rules::RETURN_VALUES);
    checks.text("ReturnConsumedCapacity", capacity, &rules::RETURN_CAPACITY);
    checks.text("ReturnItemCollectionMetrics", metrics, &rules::RETURN_METRICS);
    checks.text("ReturnValuesOnConditionCheckFailure", on_failure, &rules::RETURN_ON_FAILURE);
}

/// Whether the member `ReturnValuesOnConditionCheckFailure` asks for the item.
pub(crate) fn returns_item(on_failure: Option<&Text<'_>>) -> bool {
    on_failure.is_some_and(|word| &**word == "ALL_OLD")
}

/// `ReturnValues` of PutItem and DeleteItem, which know the old item only.
pub(crate) fn old_or_nothing(returns: Option<&Text<'_>>) -> Result<Returns, Error> {
    match returns.map(|word| &**word) {
        None | Some("NONE") => Ok(Returns::Nothing),
        Some("ALL_OLD") => Ok(Returns::Old),
        Some(_) => Err(Error::Validation("Return values set to invalid value".to_owned())),
    }
}

/// The condition of PutItem, UpdateItem or DeleteItem, in the style that the request uses.
pub(crate) fn condition_or_expected(
    text: Option<&Text<'_>>,
    expected: Option<&Expected<'_>>,
    operator: Option<&Text<'_>>,
    placeholders: &mut Placeholders,
) -> Result<Option<Condition>, Error> {
    match condition(text, placeholders)? {
        Some(condition) => Ok(Some(condition)),
        None => legacy::expected(expected, operator.map(|word| &**word)),
    }
}

/// The member `ConditionExpression`.
pub(crate) fn condition(
    text: Option<&Text<'_>>,
    placeholders: &mut Placeholders,
) -> Result<Option<Condition>, Error> {
    let parse = |text: &Text<'_>| Condition::parse("ConditionExpression", text, placeholders);
    text.map(parse).transpose()
}
