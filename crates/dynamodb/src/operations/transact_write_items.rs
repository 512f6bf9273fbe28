//! TransactWriteItems: up to 100 changes of items, all or nothing.
//!
//! Order of events: decide each entry alone, on the items as they were read. If an entry is refused, the whole
//! transaction is, and the error has one reason for each entry, in order. Or else all rows are written in one
//! transaction. The migration of KCL 3.4 to 3.5 uses it.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{List, Required, Structure, Text, Writer};
use md5::{Digest, Md5};
use serde::Deserialize;

use super::capacity::{Consumed, Detail};
use super::write_item::{self, returns_item};
use super::{Context, Operation, Output, Plan};
use crate::error::{CancellationReason, Error};
use crate::expression::Update;
use crate::item::{ItemChange, ItemWrite};
use crate::limits;
use crate::rules;
use crate::store::{Decision, Found, Reads};
use crate::style::{SentNames, SentValues, Style};
use crate::table::Tables;
use crate::token::{Token, Verdict};
use crate::value::json::{Entries, SentValue};

/// `TransactWriteItemsInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TransactWriteItems<'a> {
    #[serde(borrow, default)]
    transact_items: Required<List<Structure<Entry<'a>>>>,
    #[serde(borrow)]
    return_consumed_capacity: Option<Text<'a>>,
    #[serde(borrow)]
    return_item_collection_metrics: Option<Text<'a>>,
    #[serde(borrow)]
    client_request_token: Option<Text<'a>>,
}

/// `TransactWriteItem` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    #[serde(borrow)]
    condition_check: Option<Structure<ConditionCheck<'a>>>,
    #[serde(borrow)]
    put: Option<Structure<Put<'a>>>,
    #[serde(borrow)]
    delete: Option<Structure<Delete<'a>>>,
    #[serde(borrow)]
    update: Option<Structure<UpdateEntry<'a>>>,
}

/// `ConditionCheck` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConditionCheck<'a> {
    #[serde(borrow, default)]
    table_name: Required<Text<'a>>,
    #[serde(default)]
    key: Required<Entries<SentValue>>,
    #[serde(borrow, default)]
    condition_expression: Required<Text<'a>>,
    #[serde(borrow)]
    expression_attribute_names: Option<SentNames<'a>>,
    expression_attribute_values: Option<SentValues>,
    #[serde(borrow)]
    return_values_on_condition_check_failure: Option<Text<'a>>,
}

/// `Put` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put<'a> {
    #[serde(borrow, default)]
    table_name: Required<Text<'a>>,
    #[serde(default)]
    item: Required<Entries<SentValue>>,
    #[serde(borrow)]
    condition_expression: Option<Text<'a>>,
    #[serde(borrow)]
    expression_attribute_names: Option<SentNames<'a>>,
    expression_attribute_values: Option<SentValues>,
    #[serde(borrow)]
    return_values_on_condition_check_failure: Option<Text<'a>>,
}

/// `Delete` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Delete<'a> {
    #[serde(borrow, default)]
    table_name: Required<Text<'a>>,
    #[serde(default)]
    key: Required<Entries<SentValue>>,
    #[serde(borrow)]
    condition_expression: Option<Text<'a>>,
    #[serde(borrow)]
    expression_attribute_names: Option<SentNames<'a>>,
    expression_attribute_values: Option<SentValues>,
    #[serde(borrow)]
    return_values_on_condition_check_failure: Option<Text<'a>>,
}

/// `Update` of the API reference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateEntry<'a> {
    #[serde(borrow, default)]
    table_name: Required<Text<'a>>,
    #[serde(default)]
    key: Required<Entries<SentValue>>,
    #[serde(borrow, default)]
    update_expression: Required<Text<'a>>,
    #[serde(borrow)]
    condition_expression: Option<Text<'a>>,
    #[serde(borrow)]
    expression_attribute_names: Option<SentNames<'a>>,
    expression_attribute_values: Option<SentValues>,
    #[serde(borrow)]
    return_values_on_condition_check_failure: Option<Text<'a>>,
}

impl Constrained for TransactWriteItems<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.list("TransactItems", &self.transact_items, &rules::TRANSACT_ITEMS);
        checks.text(
            "ReturnConsumedCapacity",
            &self.return_consumed_capacity,
            &rules::RETURN_CAPACITY,
        );
        let metrics = &self.return_item_collection_metrics;
        checks.text("ReturnItemCollectionMetrics", metrics, &rules::RETURN_METRICS);
        checks.text("ClientRequestToken", &self.client_request_token, &rules::REQUEST_TOKEN);
    }
}

impl Constrained for Entry<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.structure("ConditionCheck", &self.condition_check);
        checks.structure("Put", &self.put);
        checks.structure("Delete", &self.delete);
        checks.structure("Update", &self.update);
    }
}

/// Implements the checks of an entry: table, key or item, and further required members.
macro_rules! constrained {
    ($entry:ident, $($name:literal $member:ident),*) => {
        impl Constrained for $entry<'_> {
            fn check(&self, checks: &mut Checks) {
                rules::check_table(checks, &self.table_name);
                $(checks.present($name, &self.$member);)*
                let on_failure = &self.return_values_on_condition_check_failure;
                checks.text("ReturnValuesOnConditionCheckFailure", on_failure, &rules::RETURN_ON_FAILURE);
            }
        }
    };
}

constrained!(ConditionCheck, "Key" key, "ConditionExpression" condition_expression);
constrained!(Put, "Item" item);
constrained!(Delete, "Key" key);
constrained!(UpdateEntry, "Key" key, "UpdateExpression" update_expression);

/// The members that all entries have.
struct Common<'r, 'a> {
    table: &'r str,
    condition: Option<&'r Text<'a>>,
    names: Option<&'r SentNames<'a>>,
    values: Option<&'r SentValues>,
    on_failure: Option<&'r Text<'a>>,
    is_update: bool,
}

/// Makes [`Common`] of an entry.
macro_rules! common {
    ($entry:expr, $condition:expr, $is_update:expr) => {
        Common {
            table: &$entry.table_name,
            condition: $condition,
            names: $entry.expression_attribute_names.as_ref(),
            values: $entry.expression_attribute_values.as_ref(),
            on_failure: $entry.return_values_on_condition_check_failure.as_ref(),
            is_update: $is_update,
        }
    };
}

impl<'a> Entry<'a> {
    /// The members of the one change that the entry has.
    fn common(&self) -> Result<Common<'_, 'a>, Error> {
        match (&self.condition_check, &self.put, &self.delete, &self.update) {
            (Some(Structure(check)), None, None, None) => {
                Ok(common!(check, Some(&check.condition_expression), false))
            }
            (None, Some(Structure(put)), None, None) => {
                Ok(common!(put, put.condition_expression.as_ref(), false))
            }
            (None, None, Some(Structure(delete)), None) => {
                Ok(common!(delete, delete.condition_expression.as_ref(), false))
            }
            (None, None, None, Some(Structure(update))) => {
                Ok(common!(update, update.condition_expression.as_ref(), true))
            }
            _ => Err(Error::Validation(
                "TransactItems can only contain one of Check, Put, Update or Delete".to_owned(),
            )),
        }
    }

    fn write(&self, tables: &Tables) -> Result<ItemWrite, Error> {
        let common = self.common()?;
        let mut style = Style::new();
        if common.is_update {
            style = style.expression("UpdateExpression", true);
        }
        let style = style.expression("ConditionExpression", common.condition.is_some());
        let mut placeholders = style.placeholders(common.names, common.values)?;
        let update = match &self.update {
            Some(Structure(update)) => {
                Some(Update::parse(&update.update_expression, &mut placeholders)?)
            }
            None => None,
        };
        let condition = write_item::condition(common.condition, &mut placeholders)?;
        placeholders.check_used()?;
        let table = tables.existing(rules::table_name(common.table)?)?.clone();
        let definition = &table.definition;
        let (row, change) = match (&self.put, &self.delete, &self.condition_check, &self.update) {
            (Some(Structure(put)), ..) => {
                let item = put.item.attributes()?;
                (definition.row_of_item(&item)?, ItemChange::Put(item))
            }
            (_, Some(Structure(delete)), ..) => {
                (definition.item_row(&delete.key.attributes()?)?, ItemChange::Delete)
            }
            (_, _, Some(Structure(check)), _) => {
                (definition.item_row(&check.key.attributes()?)?, ItemChange::Check)
            }
            (_, _, _, Some(Structure(sent))) => {
                let key = sent.key.attributes()?;
                let update = update.unwrap_or_default();
                update.check_key(&definition.key)?;
                (definition.item_row(&key)?, ItemChange::Update(key, update))
            }
            (None, None, None, None) => {
                return Err(Error::Internal { cause: "an entry without a change".to_owned() });
            }
        };
        let returns_item_on_failure = returns_item(common.on_failure);
        Ok(ItemWrite { table, row, condition, change, returns_item_on_failure })
    }
}

/// A transaction whose rows are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    entries: Vec<ItemWrite>,
    token: Option<Token>,
    capacity: Detail,
}

/// `TransactWriteItemsOutput` of the API reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Transacted {
    /// `ConsumedCapacity`, one for each table.
    pub consumed: Vec<Consumed>,
}

impl Operation for TransactWriteItems<'_> {
    type Plan = Transaction;

    fn tables(&self) -> Result<Vec<String>, Error> {
        let names = self
            .transact_items
            .members()
            .iter()
            .map(|Structure(entry)| Ok(rules::table_name(entry.common()?.table)?.to_owned()));
        Ok(names.collect::<Result<BTreeSet<_>, Error>>()?.into_iter().collect())
    }

    /// Source: Amazon DynamoDB Developer Guide, "Using IAM with DynamoDB transactions": a transaction needs the rights
    /// of its entries.
    fn rights(&self) -> Result<Vec<(&'static str, String)>, Error> {
        let mut rights = BTreeSet::new();
        for Structure(entry) in self.transact_items.members() {
            let action = match (&entry.condition_check, &entry.put, &entry.delete) {
                (Some(_), ..) => "ConditionCheckItem",
                (None, Some(_), _) => "PutItem",
                (None, None, Some(_)) => "DeleteItem",
                (None, None, None) => "UpdateItem",
            };
            rights.insert((action, rules::table_name(entry.common()?.table)?.to_owned()));
        }
        Ok(rights.into_iter().collect())
    }

    fn plan(&self, _: &Context, tables: &Tables) -> Result<Transaction, Error> {
        let entries = self.transact_items.members().iter();
        let entries: Vec<_> =
            entries.map(|Structure(entry)| entry.write(tables)).collect::<Result<_, _>>()?;
        let mut rows = BTreeSet::new();
        if !entries.iter().all(|entry| rows.insert(&entry.row)) {
            return Err(Error::Validation(
                "Transaction request cannot include multiple operations on one item".to_owned(),
            ));
        }
        let token = self
            .client_request_token
            .as_ref()
            .map(|text| Token { text: text.to_string(), content: content(&entries) });
        let capacity = Detail::of(self.return_consumed_capacity.as_ref());
        Ok(Transaction { entries, token, capacity })
    }
}

/// A hash of what a transaction is to do. The version of the definitions does not count, because a table may change
/// between a call and its retry.
fn content(entries: &[ItemWrite]) -> [u8; 16] {
    let mut hash = Md5::new();
    for ItemWrite { row, condition, change, .. } in entries {
        hash.update(format!("{row:?} {condition:?} {change:?};"));
    }
    hash.finalize().into()
}

impl Plan for Transaction {
    type Output = Transacted;

    fn reads(&self) -> Reads {
        let rows = self.entries.iter().map(|entry| entry.row.clone());
        let rows = rows.chain(self.token.as_ref().map(Token::row)).collect();
        Reads { rows, range: None }
    }

    fn decide(&self, cx: &Context, found: &Found) -> Result<Decision<Transacted>, Error> {
        let mut writes = Vec::new();
        match self.token.as_ref().map(|token| token.verdict(found, cx.now)).transpose()? {
            Some(Verdict::Done) => {
                return Ok(Decision::response(Transacted { consumed: Vec::new() }));
            }
            Some(Verdict::Run(write)) => writes.push(write),
            None => {}
        }
        let (mut reasons, mut units) = (Vec::new(), BTreeMap::new());
        for entry in &self.entries {
            match entry.decide(found) {
                Ok(changed) => {
                    // A transaction costs twice as much as single writes.
                    let table = entry.table.definition.name.as_str();
                    *units.entry(table).or_insert(0.0) += 2.0 * write_item::units(&changed);
                    writes.extend(changed.writes);
                    reasons.push(CancellationReason::NONE);
                }
                Err(error @ Error::Internal { .. }) => return Err(error),
                Err(error) => reasons.extend(CancellationReason::of(error)),
            }
        }
        if reasons.iter().any(|reason| *reason != CancellationReason::NONE) {
            return Err(Error::TransactionCancelled(reasons));
        }
        let mut tables: Vec<_> = self.entries.iter().map(|entry| &entry.table).collect();
        tables.sort_by(|one, other| one.definition.name.cmp(&other.definition.name));
        tables.dedup_by(|one, other| one.definition.name == other.definition.name);
        writes.extend(tables.iter().map(|table| table.unchanged()));
        limits::check(&writes)?;
        let consumed =
            units.into_iter().filter_map(|(table, units)| self.capacity.consumed(table, units));
        let consumed = consumed.collect();
        Ok(Decision::write(writes, Transacted { consumed }))
    }
}

impl Output for Transacted {
    fn write(&self, _: &Context, w: &mut Writer) {
        w.structure(|w| {
            if !self.consumed.is_empty() {
                w.member("ConsumedCapacity").list(|w| {
                    self.consumed.iter().for_each(|consumed| consumed.write(w));
                });
            }
        });
    }
}
