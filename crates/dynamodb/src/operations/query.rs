//! Query: the items of one hash key, in the order of the range key.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Flag, Integer, List, Required, Text};
use serde::Deserialize;

use super::capacity::Detail;
use super::page::{self, PagePlan, Source, Wanted};
use super::{Context, Operation};
use crate::error::Error;
use crate::expression::{Condition, KeyCondition, Projection};
use crate::legacy::{self, Conditions};
use crate::rules;
use crate::store::Range;
use crate::style::{SentNames, SentValues, Style};
use crate::table::{KeySchema, Tables};
use crate::value::json::{Entries, SentValue};

/// `QueryInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Query<'a> {
    #[serde(borrow, default)]
    table_name: Required<Text<'a>>,
    #[serde(borrow)]
    index_name: Option<Text<'a>>,
    #[serde(borrow)]
    select: Option<Text<'a>>,
    #[serde(borrow)]
    attributes_to_get: Option<List<Text<'a>>>,
    limit: Option<Integer>,
    consistent_read: Option<Flag>,
    #[serde(borrow)]
    key_conditions: Option<Conditions<'a>>,
    #[serde(borrow)]
    query_filter: Option<Conditions<'a>>,
    #[serde(borrow)]
    conditional_operator: Option<Text<'a>>,
    scan_index_forward: Option<Flag>,
    exclusive_start_key: Option<Entries<SentValue>>,
    #[serde(borrow)]
    return_consumed_capacity: Option<Text<'a>>,
    #[serde(borrow)]
    projection_expression: Option<Text<'a>>,
    #[serde(borrow)]
    filter_expression: Option<Text<'a>>,
    #[serde(borrow)]
    key_condition_expression: Option<Text<'a>>,
    #[serde(borrow)]
    expression_attribute_names: Option<SentNames<'a>>,
    expression_attribute_values: Option<SentValues>,
}

impl Constrained for Query<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_table(checks, &self.table_name);
        page::check_options(
            checks,
            &self.index_name,
            &self.select,
            &self.attributes_to_get,
            &self.limit,
            &self.conditional_operator,
            &self.return_consumed_capacity,
        );
    }
}

/// The parts of a request that are parsed before the table is known.
struct Parsed {
    key: Condition,
    filter: Option<Condition>,
    projection: Option<Projection>,
}

impl Query<'_> {
    fn parsed(&self) -> Result<Parsed, Error> {
        let style = Style::new()
            .expression("ProjectionExpression", self.projection_expression.is_some())
            .expression("FilterExpression", self.filter_expression.is_some())
            .expression("KeyConditionExpression", self.key_condition_expression.is_some())
            .legacy("AttributesToGet", self.attributes_to_get.is_some())
            .legacy("QueryFilter", self.query_filter.is_some())
            .legacy("ConditionalOperator", self.conditional_operator.is_some())
            .legacy("KeyConditions", self.key_conditions.is_some());
        let (names, values) = (&self.expression_attribute_names, &self.expression_attribute_values);
        let mut placeholders = style.placeholders(names.as_ref(), values.as_ref())?;
        let operator = self.conditional_operator.as_deref();
        let filter = match &self.filter_expression {
            Some(text) => Some(Condition::parse("FilterExpression", text, &mut placeholders)?),
            None => legacy::conditions("queryFilter", self.query_filter.as_ref(), operator)?,
        };
        let names = self.attributes_to_get.as_ref();
        let projection =
            page::projection(self.projection_expression.as_ref(), names, &mut placeholders)?;
        let key = match &self.key_condition_expression {
            Some(text) => {
                Some(Condition::parse("KeyConditionExpression", text, &mut placeholders)?)
            }
            None => legacy::conditions("keyConditions", self.key_conditions.as_ref(), None)?,
        };
        placeholders.check_used()?;
        let key = key.ok_or_else(|| {
            Error::Validation(
                "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request."
                    .to_owned(),
            )
        })?;
        Ok(Parsed { key, filter, projection })
    }

    /// A filter must leave the key to the key condition.
    fn check_filter(&self, filter: Option<&Condition>, key: &KeySchema) -> Result<(), Error> {
        let paths = filter.map(Condition::paths).unwrap_or_default();
        let Some(path) = paths.into_iter().find(|path| key.has(&path.attribute)) else {
            return Ok(());
        };
        let member = if self.query_filter.is_some() { "QueryFilter" } else { "Filter Expression" };
        Err(Error::Validation(format!(
            "{member} can only contain non-primary key attributes: Primary key attribute: {}",
            path.attribute
        )))
    }
}

impl Operation for Query<'_> {
    type Plan = PagePlan;

    fn tables(&self) -> Result<Vec<String>, Error> {
        Ok(vec![rules::table_name(&self.table_name)?.to_owned()])
    }

    fn plan(&self, _: &Context, tables: &Tables) -> Result<PagePlan, Error> {
        let Parsed { key, filter, projection } = self.parsed()?;
        let start_key = self.exclusive_start_key.as_ref().map(Entries::attributes).transpose()?;
        let table = tables.existing(rules::table_name(&self.table_name)?)?;
        let source = Source::new(table, self.index_name.as_deref())?;
        let is_consistent = self.consistent_read.is_some_and(|Flag(is_consistent)| is_consistent);
        source.check_consistency(is_consistent)?;
        let Wanted { projection, counts_only } =
            Wanted::new(self.select.as_deref(), projection, &source)?;
        let condition = KeyCondition::of(key, source.key())?;
        self.check_filter(filter.as_ref(), source.key())?;
        let (start, end) = condition.rows()?;
        let descending = self.scan_index_forward.is_some_and(|Flag(is_forward)| !is_forward);
        let max_rows = page::max_rows(self.limit);
        let mut range = Range { space: source.space(), start, end, descending, max_rows };
        if let Some(key) = start_key {
            range = source.behind(&key, range, || {
                "The provided starting key is outside query boundaries based on provided conditions"
                    .to_owned()
            })?;
        }
        let capacity = Detail::of(self.return_consumed_capacity.as_ref());
        Ok(PagePlan { source, range, filter, projection, counts_only, is_consistent, capacity })
    }
}
