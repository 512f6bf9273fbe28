//! DeleteItem: deletes an item, under a condition. An absent item is deleted without an error.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Required, Text};
use serde::Deserialize;

use super::capacity::Detail;
use super::write_item::{self, WriteItem, check_options, old_or_nothing, returns_item};
use super::{Context, Operation};
use crate::error::Error;
use crate::item::{ItemChange, ItemWrite};
use crate::legacy::Expected;
use crate::rules;
use crate::style::{SentNames, SentValues, Style};
use crate::table::Tables;
use crate::value::json::{Entries, SentValue};

/// `DeleteItemInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteItem<'a> {
    #[serde(borrow, default)]
    table_name: Required<Text<'a>>,
    #[serde(default)]
    key: Required<Entries<SentValue>>,
    #[serde(borrow)]
    expected: Option<Expected<'a>>,
    #[serde(borrow)]
    conditional_operator: Option<Text<'a>>,
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

impl Constrained for DeleteItem<'_> {
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

impl Operation for DeleteItem<'_> {
    type Plan = WriteItem;

    fn tables(&self) -> Result<Vec<String>, Error> {
        Ok(vec![rules::table_name(&self.table_name)?.to_owned()])
    }

    fn plan(&self, _: &Context, tables: &Tables) -> Result<WriteItem, Error> {
        let style = Style::new()
            .expression("ConditionExpression", self.condition_expression.is_some())
            .legacy("ConditionalOperator", self.conditional_operator.is_some())
            .legacy("Expected", self.expected.is_some());
        let (names, values) = (&self.expression_attribute_names, &self.expression_attribute_values);
        let mut placeholders = style.placeholders(names.as_ref(), values.as_ref())?;
        let returns = old_or_nothing(self.return_values.as_ref())?;
        let key = self.key.attributes()?;
        let condition = write_item::condition_or_expected(
            self.condition_expression.as_ref(),
            self.expected.as_ref(),
            self.conditional_operator.as_ref(),
            &mut placeholders,
        )?;
        placeholders.check_used()?;
        let table = tables.existing(rules::table_name(&self.table_name)?)?.clone();
        let row = table.definition.item_row(&key)?;
        let on_failure = self.return_values_on_condition_check_failure.as_ref();
        let write = ItemWrite {
            table,
            row,
            condition,
            change: ItemChange::Delete,
            returns_item_on_failure: returns_item(on_failure),
        };
        let capacity = Detail::of(self.return_consumed_capacity.as_ref());
        Ok(WriteItem { write, returns, capacity })
    }
}
