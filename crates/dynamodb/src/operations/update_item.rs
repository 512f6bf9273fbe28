//! UpdateItem: changes attributes of an item, under a condition. An absent item is created.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Required, Text};
use serde::Deserialize;

use super::capacity::Detail;
use super::write_item::{self, Returns, WriteItem, check_options, returns_item};
use super::{Context, Operation};
use crate::error::Error;
use crate::expression::{Projection, Update};
use crate::item::{ItemChange, ItemWrite};
use crate::legacy::{self, AttributeUpdates, Expected};
use crate::rules;
use crate::style::{SentNames, SentValues, Style};
use crate::table::Tables;
use crate::value::json::{Entries, SentValue};

/// `UpdateItemInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateItem<'a> {
    #[serde(borrow, default)]
    table_name: Required<Text<'a>>,
    #[serde(default)]
    key: Required<Entries<SentValue>>,
    #[serde(borrow)]
    attribute_updates: Option<AttributeUpdates<'a>>,
    #[serde(borrow)]
    expected: Option<Expected<'a>>,
    #[serde(borrow)]
    conditional_operator: Option<Text<'a>>,
    #[serde(borrow)]
    update_expression: Option<Text<'a>>,
    #[serde(borrow)]
    condition_expression: Option<Text<'a>>,
    #[serde(borrow)]
    expression_attribute_names: Option<SentNames<'a>>,
    expression_attribute_values: Option<SentValues>,
    #[serde(borrow)]
    return_values: Option<Text<'a>>,
    #[serde(borrow)]
    return_consumed_capacity: Option<Text<'a>>,
    #[serde(borrow)]
    return_item_collection_metrics: Option<Text<'a>>,
    #[serde(borrow)]
    return_values_on_condition_check_failure: Option<Text<'a>>,
}

impl Constrained for UpdateItem<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_table(checks, &self.table_name);
        checks.present("Key", &self.key);
        check_options(
            checks,
            &self.conditional_operator,
            &self.return_values,
            &self.return_consumed_capacity,
            &self.return_item_collection_metrics,
            &self.return_values_on_condition_check_failure,
        );
    }
}

impl Operation for UpdateItem<'_> {
    type Plan = WriteItem;

    fn tables(&self) -> Result<Vec<String>, Error> {
        Ok(vec![rules::table_name(&self.table_name)?.to_owned()])
    }

    fn plan(&self, _: &Context, tables: &Tables) -> Result<WriteItem, Error> {
        let style = Style::new()
            .expression("UpdateExpression", self.update_expression.is_some())
            .expression("ConditionExpression", self.condition_expression.is_some())
            .legacy("AttributeUpdates", self.attribute_updates.is_some())
            .legacy("ConditionalOperator", self.conditional_operator.is_some())
            .legacy("Expected", self.expected.is_some());
        let (names, values) = (&self.expression_attribute_names, &self.expression_attribute_values);
        let mut placeholders = style.placeholders(names.as_ref(), values.as_ref())?;
        let key = self.key.attributes()?;
        let update = match (&self.update_expression, &self.attribute_updates) {
            (Some(text), _) => Update::parse(text, &mut placeholders)?,
            (None, Some(updates)) => legacy::updates(updates)?,
            (None, None) => Update::default(),
        };
        let condition = write_item::condition_or_expected(
            self.condition_expression.as_ref(),
            self.expected.as_ref(),
            self.conditional_operator.as_ref(),
            &mut placeholders,
        )?;
        placeholders.check_used()?;
        let table = tables.existing(rules::table_name(&self.table_name)?)?.clone();
        let row = table.definition.item_row(&key)?;
        update.check_key(&table.definition.key)?;
        let updated = || Projection::of_paths(update.paths());
        let returns = match self.return_values.as_deref() {
            Some("ALL_OLD") => Returns::Old,
            Some("ALL_NEW") => Returns::New,
            Some("UPDATED_OLD") => Returns::UpdatedOld(updated()),
            Some("UPDATED_NEW") => Returns::UpdatedNew(updated()),
            _ => Returns::Nothing,
        };
        let on_failure = self.return_values_on_condition_check_failure.as_ref();
        let write = ItemWrite {
            table,
            row,
            condition,
            change: ItemChange::Update(key, update),
            returns_item_on_failure: returns_item(on_failure),
        };
        let capacity = Detail::of(self.return_consumed_capacity.as_ref());
        Ok(WriteItem { write, returns, capacity })
    }
}
