//! GetItem: reads one item. The read is always consistent, which is more than a request without `ConsistentRead`
//! asks for.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Flag, List, Required, Text, Writer};
use serde::Deserialize;

use super::capacity::{self, Consumed, Detail};
use super::page::projection;
use super::{Context, Operation, Output, Plan};
use crate::error::Error;
use crate::expression::Projection;
use crate::rules;
use crate::store::{Decision, Found, Reads, RowKey};
use crate::style::{SentNames, Style};
use crate::table::Tables;
use crate::value::json::{Entries, SentValue};
use crate::value::{self, Attributes, json, stored};

/// `GetItemInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetItem<'a> {
    #[serde(borrow, default)]
    table_name: Required<Text<'a>>,
    #[serde(default)]
    key: Required<Entries<SentValue>>,
    #[serde(borrow)]
    attributes_to_get: Option<List<Text<'a>>>,
    consistent_read: Option<Flag>,
    #[serde(borrow)]
    projection_expression: Option<Text<'a>>,
    #[serde(borrow)]
    expression_attribute_names: Option<SentNames<'a>>,
    #[serde(borrow)]
    return_consumed_capacity: Option<Text<'a>>,
}

/// A GetItem whose row is known.
#[derive(Clone, Debug, PartialEq)]
pub struct GetItemPlan {
    table: String,
    row: RowKey,
    projection: Option<Projection>,
    is_consistent: bool,
    capacity: Detail,
}

/// `GetItemOutput` of the API reference.
#[derive(Clone, Debug, PartialEq)]
pub struct GotItem {
    /// The wanted parts of the item. `None` if there is no item.
    pub item: Option<Attributes>,
    /// `ConsumedCapacity`.
    pub consumed: Option<Consumed>,
}

impl Constrained for GetItem<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_table(checks, &self.table_name);
        checks.present("Key", &self.key);
        let names = &self.attributes_to_get;
        checks.texts("AttributesToGet", names, &rules::ATTRIBUTE_NAMES, &rules::ANY);
        checks.text(
            "ReturnConsumedCapacity",
            &self.return_consumed_capacity,
            &rules::RETURN_CAPACITY,
        );
    }
}

impl Operation for GetItem<'_> {
    type Plan = GetItemPlan;

    fn tables(&self) -> Result<Vec<String>, Error> {
        Ok(vec![rules::table_name(&self.table_name)?.to_owned()])
    }

    fn plan(&self, _: &Context, tables: &Tables) -> Result<GetItemPlan, Error> {
        let style = Style::new()
            .expression("ProjectionExpression", self.projection_expression.is_some())
            .legacy("AttributesToGet", self.attributes_to_get.is_some());
        let names = self.expression_attribute_names.as_ref();
        let mut placeholders = style.placeholders(names, None)?;
        let key = self.key.attributes()?;
        let names = self.attributes_to_get.as_ref();
        let projection = projection(self.projection_expression.as_ref(), names, &mut placeholders)?;
        placeholders.check_used()?;
        let table = rules::table_name(&self.table_name)?;
        Ok(GetItemPlan {
            row: tables.existing(table)?.definition.item_row(&key)?,
            table: table.to_owned(),
            projection,
            is_consistent: self.consistent_read.is_some_and(|Flag(is_consistent)| is_consistent),
            capacity: Detail::of(self.return_consumed_capacity.as_ref()),
        })
    }
}

impl Plan for GetItemPlan {
    type Output = GotItem;

    fn reads(&self) -> Reads {
        Reads { rows: vec![self.row.clone()], range: None }
    }

    fn decide(&self, _: &Context, found: &Found) -> Result<Decision<GotItem>, Error> {
        let item = found.row(&self.row).map(|row| stored::decode(&row.value)).transpose()?;
        let bytes = item.as_ref().map_or(0, value::size);
        let units = capacity::read_units(bytes, self.is_consistent);
        let item = match &self.projection {
            Some(projection) => item.map(|item| projection.apply(&item)),
            None => item,
        };
        let consumed = self.capacity.consumed(&self.table, units);
        Ok(Decision::response(GotItem { item, consumed }))
    }
}

impl Output for GotItem {
    fn write(&self, _: &Context, w: &mut Writer) {
        w.structure(|w| {
            if let Some(item) = &self.item {
                json::write_attributes(w.member("Item"), item);
            }
            capacity::write(w, self.consumed.as_ref());
        });
    }
}
