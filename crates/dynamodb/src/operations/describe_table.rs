//! DescribeTable, and the response that all operations on a table have.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Required, Text, Writer};
use serde::Deserialize;

use super::{Context, Operation, Output, Plan};
use crate::error::Error;
use crate::rules;
use crate::store::{Decision, Found};
use crate::table::{Table, Tables, description};

/// `DescribeTableInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeTable<'a> {
    #[serde(borrow, default)]
    table_name: Required<Text<'a>>,
}

/// A table to describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeTablePlan(Table);

/// The description of a table in a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableOutput {
    /// The member of the response.
    pub(crate) member: &'static str,
    /// The table.
    pub table: Table,
    /// `TableStatus`.
    pub(crate) status: &'static str,
}

impl Constrained for DescribeTable<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_table(checks, &self.table_name);
    }
}

impl Operation for DescribeTable<'_> {
    type Plan = DescribeTablePlan;

    fn tables(&self) -> Result<Vec<String>, Error> {
        Ok(vec![rules::table_name(&self.table_name)?.to_owned()])
    }

    fn plan(&self, _: &Context, tables: &Tables) -> Result<DescribeTablePlan, Error> {
        let table = tables.described(rules::table_name(&self.table_name)?)?;
        Ok(DescribeTablePlan(Table::clone(table)))
    }
}

impl Plan for DescribeTablePlan {
    type Output = TableOutput;

    fn decide(&self, _: &Context, _: &Found) -> Result<Decision<TableOutput>, Error> {
        let table = self.0.clone();
        Ok(Decision::response(TableOutput { member: "Table", table, status: "ACTIVE" }))
    }
}

impl Output for TableOutput {
    fn write(&self, cx: &Context, w: &mut Writer) {
        w.structure(|w| {
            w.member(self.member);
            description::write(w, &cx.home, &self.table, self.status);
        });
    }
}
