//! DeleteTable: deletes a table with its items and indexes, unless it is protected.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Required, Text};
use serde::Deserialize;

use super::describe_table::TableOutput;
use super::{Context, Operation, Plan};
use crate::error::Error;
use crate::rules;
use crate::store::{Change, Decision, Found, Write};
use crate::table::{Table, Tables};

/// `DeleteTableInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteTable<'a> {
    #[serde(borrow, default)]
    table_name: Required<Text<'a>>,
}

/// A table to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteTablePlan(Table);

impl Constrained for DeleteTable<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_table(checks, &self.table_name);
    }
}

impl Operation for DeleteTable<'_> {
    type Plan = DeleteTablePlan;

    fn tables(&self) -> Result<Vec<String>, Error> {
        Ok(vec![rules::table_name(&self.table_name)?.to_owned()])
    }

    fn plan(&self, cx: &Context, tables: &Tables) -> Result<DeleteTablePlan, Error> {
        let table = tables.described(rules::table_name(&self.table_name)?)?;
        if table.definition.deletion_protection {
            return Err(Error::Validation(format!(
                "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection \
                 first. Table: {}",
                cx.home.table_arn(&table.definition.name)
            )));
        }
        Ok(DeleteTablePlan(Table::clone(table)))
    }
}

impl Plan for DeleteTablePlan {
    type Output = TableOutput;

    fn decide(&self, _: &Context, _: &Found) -> Result<Decision<TableOutput>, Error> {
        let table = self.0.clone();
        let definition = &table.definition;
        let spaces = definition.indexes.iter().map(|index| definition.index_space(index));
        let drops = std::iter::once(definition.space()).chain(spaces).collect();
        let writes = vec![Write { change: Change::Delete, ..table.unchanged() }];
        let response = TableOutput { member: "TableDescription", table, status: "DELETING" };
        Ok(Decision { creates: Vec::new(), writes, drops, response })
    }
}
