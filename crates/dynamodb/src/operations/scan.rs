//! Scan: all items of a table or an index, in the order of the hashes of their keys. A parallel scan has segments,
//! which are ranges of hashes.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Flag, Integer, List, Required, Text};
use serde::Deserialize;

use super::capacity::Detail;
use super::page::{self, PagePlan, Source, Wanted};
use super::{Context, Operation};
use crate::error::Error;
use crate::expression::{Condition, Projection};
use crate::key;
use crate::legacy::{self, Conditions};
use crate::rules;
use crate::store::Range;
use crate::style::{SentNames, SentValues, Style};
use crate::table::Tables;
use crate::value::json::{Entries, SentValue};

/// `ScanInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Scan<'a> {
    #[serde(borrow, default)]
    table_name: Required<Text<'a>>,
    #[serde(borrow)]
    index_name: Option<Text<'a>>,
    #[serde(borrow)]
    attributes_to_get: Option<List<Text<'a>>>,
    limit: Option<Integer>,
    #[serde(borrow)]
    select: Option<Text<'a>>,
    #[serde(borrow)]
    scan_filter: Option<Conditions<'a>>,
    #[serde(borrow)]
    conditional_operator: Option<Text<'a>>,
    exclusive_start_key: Option<Entries<SentValue>>,
    #[serde(borrow)]
    return_consumed_capacity: Option<Text<'a>>,
    total_segments: Option<Integer>,
    segment: Option<Integer>,
    #[serde(borrow)]
    projection_expression: Option<Text<'a>>,
    #[serde(borrow)]
    filter_expression: Option<Text<'a>>,
    #[serde(borrow)]
    expression_attribute_names: Option<SentNames<'a>>,
    expression_attribute_values: Option<SentValues>,
    consistent_read: Option<Flag>,
}

impl Constrained for Scan<'_> {
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
        checks.number("TotalSegments", &self.total_segments, &rules::TOTAL_SEGMENTS);
        checks.number("Segment", &self.segment, &rules::SEGMENT);
    }
}

impl Scan<'_> {
    /// Segment and number of segments.
    fn segments(&self) -> Result<Option<(u32, u32)>, Error> {
        let invalid = |text: String| Err(Error::Validation(text));
        let required = |missing: &str, given: &str| {
            invalid(format!(
                "The {missing} parameter is required but was not present in the request when {given} parameter is \
                 present"
            ))
        };
        match (self.segment, self.total_segments) {
            (None, None) => Ok(None),
            (Some(_), None) => required("TotalSegments", "Segment"),
            (None, Some(_)) => required("Segment", "TotalSegments"),
            (Some(segment), Some(total)) if segment.0 >= total.0 => invalid(format!(
                "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: {} is \
                 not less than TotalSegments: {}",
                segment.0, total.0
            )),
            (Some(segment), Some(total)) => Ok(Some((segment.as_u32(), total.as_u32()))),
        }
    }

    fn filter_and_projection(&self) -> Result<(Option<Condition>, Option<Projection>), Error> {
        let style = Style::new()
            .expression("ProjectionExpression", self.projection_expression.is_some())
            .expression("FilterExpression", self.filter_expression.is_some())
            .legacy("AttributesToGet", self.attributes_to_get.is_some())
            .legacy("ScanFilter", self.scan_filter.is_some())
            .legacy("ConditionalOperator", self.conditional_operator.is_some());
        let (names, values) = (&self.expression_attribute_names, &self.expression_attribute_values);
        let mut placeholders = style.placeholders(names.as_ref(), values.as_ref())?;
        let operator = self.conditional_operator.as_deref();
        let filter = match &self.filter_expression {
            Some(text) => Some(Condition::parse("FilterExpression", text, &mut placeholders)?),
            None => legacy::conditions("scanFilter", self.scan_filter.as_ref(), operator)?,
        };
        let names = self.attributes_to_get.as_ref();
        let projection =
            page::projection(self.projection_expression.as_ref(), names, &mut placeholders)?;
        placeholders.check_used()?;
        Ok((filter, projection))
    }
}

impl Operation for Scan<'_> {
    type Plan = PagePlan;

    fn tables(&self) -> Result<Vec<String>, Error> {
        Ok(vec![rules::table_name(&self.table_name)?.to_owned()])
    }

    fn plan(&self, _: &Context, tables: &Tables) -> Result<PagePlan, Error> {
        let (filter, projection) = self.filter_and_projection()?;
        let segments = self.segments()?;
        let start_key = self.exclusive_start_key.as_ref().map(Entries::attributes).transpose()?;
        let table = tables.existing(rules::table_name(&self.table_name)?)?;
        let source = Source::new(table, self.index_name.as_deref())?;
        let is_consistent = self.consistent_read.is_some_and(|Flag(is_consistent)| is_consistent);
        source.check_consistency(is_consistent)?;
        let Wanted { projection, counts_only } =
            Wanted::new(self.select.as_deref(), projection, &source)?;
        let (start, end) =
            segments.map_or((Vec::new(), None), |(segment, total)| key::segment(segment, total));
        let max_rows = page::max_rows(self.limit);
        let mut range = Range { space: source.space(), start, end, descending: false, max_rows };
        if let Some(key) = start_key {
            range = source.behind(&key, range, || {
                let (segment, total) = segments.unwrap_or_default();
                format!(
                    "The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey \
                     with correct Segment. TotalSegments: {total} Segment: {segment}"
                )
            })?;
        }
        let capacity = Detail::of(self.return_consumed_capacity.as_ref());
        Ok(PagePlan { source, range, filter, projection, counts_only, is_consistent, capacity })
    }
}
