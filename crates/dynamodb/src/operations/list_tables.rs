//! ListTables: names of tables in alphabetical order, at most 100 at a time.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Integer, Text, Writer};
use serde::Deserialize;

use super::{Context, Operation, Output, Plan};
use crate::error::Error;
use crate::rules;
use crate::store::{self, Decision, Found, Range, Reads, Space};
use crate::table::Tables;

/// `ListTablesInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTables<'a> {
    #[serde(borrow)]
    exclusive_start_table_name: Option<Text<'a>>,
    limit: Option<Integer>,
}

/// The names to list. The caller merges the definitions of all groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTablesPlan(Range);

/// `ListTablesOutput` of the API reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableNames {
    /// The names.
    pub names: Vec<String>,
    /// Whether more tables follow.
    pub has_more: bool,
}

impl Constrained for ListTables<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.text("ExclusiveStartTableName", &self.exclusive_start_table_name, &rules::NAME);
        checks.number("Limit", &self.limit, &rules::LIST_TABLES_LIMIT);
    }
}

impl Operation for ListTables<'_> {
    type Plan = ListTablesPlan;

    fn tables(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    fn plan(&self, _: &Context, _: &Tables) -> Result<ListTablesPlan, Error> {
        let start = self.exclusive_start_table_name.as_ref();
        let start = start.map_or_else(Vec::new, |name| store::successor(name.as_bytes()));
        let max_rows = self.limit.map_or(100, |limit| limit.as_u32() as usize);
        let space = Space::Definitions;
        Ok(ListTablesPlan(Range { space, start, end: None, descending: false, max_rows }))
    }
}

impl Plan for ListTablesPlan {
    type Output = TableNames;

    fn reads(&self) -> Reads {
        Reads { rows: Vec::new(), range: Some(self.0.clone()) }
    }

    fn decide(&self, _: &Context, found: &Found) -> Result<Decision<TableNames>, Error> {
        let rows = &found.page.rows;
        let names = rows.iter().take(self.0.max_rows);
        let names: Vec<_> =
            names.map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect();
        let has_more = found.page.has_more || names.len() < rows.len();
        Ok(Decision::response(TableNames { names, has_more }))
    }
}

impl Output for TableNames {
    fn write(&self, _: &Context, w: &mut Writer) {
        w.structure(|w| {
            w.member("TableNames").list(|w| self.names.iter().for_each(|name| w.text(name)));
            if let Some(last) = self.names.last().filter(|_| self.has_more) {
                w.member("LastEvaluatedTableName").text(last);
            }
        });
    }
}
