//! The common part of Query and Scan: a page of items, with filter and projection, and the key at which the next page
//! begins.
//!
//! Order of events: read a range of rows, take items until the limit or 1 MB is reached, apply the filter, then the
//! projection. `LastEvaluatedKey` is the key of the last item that was taken. It is absent if no row follows, because
//! KCL reads until it is absent.

use std::sync::Arc;

use anabranch_aws::constraints::Checks;
use anabranch_aws::wire::{Integer, List, Text, Writer};

use super::capacity::{self, Consumed, Detail};
use super::{Context, Output, Plan};
use crate::error::Error;
use crate::expression::{Condition, Placeholders, Projection};
use crate::index;
use crate::rules;
use crate::store::{self, Decision, Found, Range, Reads};
use crate::table::{Index, KeySchema, Projection as IndexProjection, Table};
use crate::value::{self, Attributes, json, stored};

/// Most bytes of items of a page. Source: "Paginating table query results" of the DynamoDB Developer Guide.
const MAX_PAGE_BYTES: usize = 1024 * 1024;
/// Most rows of one read.
const MAX_PAGE_ROWS: usize = 16_384;

/// The items that a Query or a Scan is about.
#[derive(Clone, Debug, PartialEq)]
pub struct PagePlan {
    pub(crate) source: Source,
    pub(crate) range: Range,
    pub(crate) filter: Option<Condition>,
    pub(crate) projection: Option<Projection>,
    pub(crate) counts_only: bool,
    pub(crate) is_consistent: bool,
    pub(crate) capacity: Detail,
}

/// A table, or one of its indexes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Source {
    pub table: Arc<Table>,
    pub index: Option<Index>,
}

/// The response of Query and Scan.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemPage {
    /// The items that passed the filter. `None` if only their number was asked for.
    pub items: Option<Vec<Attributes>>,
    /// Number of items that passed the filter.
    pub count: usize,
    /// Number of items that were read.
    pub scanned: usize,
    /// The key after which the next page begins.
    pub last_key: Option<Attributes>,
    /// `ConsumedCapacity`.
    pub consumed: Option<Consumed>,
}

impl Source {
    /// The table, or its index with this name.
    pub(crate) fn new(table: &Arc<Table>, index: Option<&str>) -> Result<Self, Error> {
        let Some(name) = index else { return Ok(Self { table: Arc::clone(table), index: None }) };
        let index = table.definition.index(name).ok_or_else(|| {
            Error::Validation(format!("The table does not have the specified index: {name}"))
        })?;
        if index.is_backfilling {
            return Err(Error::Validation(format!(
                "Cannot read from backfilling global secondary index: {name}"
            )));
        }
        Ok(Self { table: Arc::clone(table), index: Some(index.clone()) })
    }

    /// The key that a Query is about.
    pub(crate) fn key(&self) -> &KeySchema {
        self.index.as_ref().map_or(&self.table.definition.key, |index| &index.key)
    }

    /// The keyspace.
    pub(crate) fn space(&self) -> crate::store::Space {
        let definition = &self.table.definition;
        self.index.as_ref().map_or(definition.space(), |index| definition.index_space(index))
    }

    /// The part of a range that is behind the row that `ExclusiveStartKey` names.
    ///
    /// # Errors
    /// [`Error::Validation`], with the text of `outside` if the range does not have the row.
    pub(crate) fn behind(
        &self,
        start_key: &Attributes,
        mut range: Range,
        outside: impl FnOnce() -> String,
    ) -> Result<Range, Error> {
        let row = self.start_row(start_key)?;
        if row < range.start || range.end.as_ref().is_some_and(|end| row >= *end) {
            return Err(Error::Validation(outside()));
        }
        if range.descending {
            range.end = Some(row);
        } else {
            range.start = store::successor(&row);
        }
        Ok(range)
    }

    /// The row that `ExclusiveStartKey` names.
    fn start_row(&self, key: &Attributes) -> Result<Vec<u8>, Error> {
        let invalid = || {
            Error::Validation(
                "The provided starting key is invalid: The provided key element does not match the schema".to_owned(),
            )
        };
        let definition = &self.table.definition;
        let row = match &self.index {
            None => definition.item_row(key).map_err(|_| invalid())?.key,
            Some(index) => index::row_key(definition, index, key)?.ok_or_else(invalid)?,
        };
        if self.key_of(key).len() == key.len() { Ok(row) } else { Err(invalid()) }
    }

    /// Checks that the reads can be consistent.
    pub(crate) fn check_consistency(&self, is_consistent: bool) -> Result<(), Error> {
        if !is_consistent || self.index.is_none() {
            return Ok(());
        }
        Err(Error::Validation(
            "Consistent reads are not supported on global secondary indexes".to_owned(),
        ))
    }

    /// The attributes that name an item of the source.
    fn key_of(&self, item: &Attributes) -> Attributes {
        let mut key = self.table.definition.key_of(item);
        if let Some(index) = &self.index {
            key.append(&mut index.key.of(item));
        }
        key
    }

    /// Checks that the index has the attributes of a projection.
    fn check_projected(&self, projection: &Projection) -> Result<(), Error> {
        let Some(index) = &self.index else { return Ok(()) };
        let has = |name: &str| {
            self.table.definition.key.has(name)
                || index.key.has(name)
                || match &index.projection {
                    IndexProjection::KeysOnly => false,
                    IndexProjection::Include(names) => {
                        names.iter().any(|included| included == name)
                    }
                    IndexProjection::All => true,
                }
        };
        let missing: Vec<_> = projection.attributes().filter(|name| !has(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::parameters(format_args!(
            "Global secondary index {} does not project [{}]",
            index.name,
            missing.join(", ")
        )))
    }
}

/// The members of Query and Scan that say which parts of the items are wanted.
pub(crate) struct Wanted {
    pub projection: Option<Projection>,
    pub counts_only: bool,
}

impl Wanted {
    /// From `Select` and the projection, after a check that they fit together and fit the source.
    pub(crate) fn new(
        select: Option<&str>,
        projection: Option<Projection>,
        source: &Source,
    ) -> Result<Self, Error> {
        if let Some(projection) = &projection {
            source.check_projected(projection)?;
        }
        match (select, &projection) {
            (None | Some("SPECIFIC_ATTRIBUTES"), Some(_)) | (None, None) => {}
            (Some("SPECIFIC_ATTRIBUTES"), None) => {
                return Err(Error::parameters(
                    "Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES",
                ));
            }
            (Some(select), Some(_)) => {
                return Err(Error::Validation(format!(
                    "Cannot specify the AttributesToGet or ProjectionExpression when choosing to get {select}"
                )));
            }
            (Some("ALL_PROJECTED_ATTRIBUTES"), None) if source.index.is_none() => {
                return Err(Error::parameters(
                    "ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName",
                ));
            }
            (Some("ALL_ATTRIBUTES"), None) => {
                if let Some(index) = &source.index
                    && index.projection != IndexProjection::All
                {
                    return Err(Error::parameters(format_args!(
                        "Select type ALL_ATTRIBUTES is not supported for global secondary index {} because its \
                         projection type is not ALL",
                        index.name
                    )));
                }
            }
            (Some(_), None) => {}
        }
        Ok(Self { projection, counts_only: select == Some("COUNT") })
    }
}

/// Checks the members that Query and Scan share.
pub(crate) fn check_options(
    checks: &mut Checks,
    index: &Option<Text<'_>>,
    select: &Option<Text<'_>>,
    names: &Option<List<Text<'_>>>,
    limit: &Option<Integer>,
    operator: &Option<Text<'_>>,
    capacity: &Option<Text<'_>>,
) {
    checks.text("IndexName", index, &rules::NAME);
    checks.text("Select", select, &rules::SELECT);
    checks.texts("AttributesToGet", names, &rules::ATTRIBUTE_NAMES, &rules::ANY);
    checks.number("Limit", limit, &rules::LIMIT);
    checks.text("ConditionalOperator", operator, &rules::CONDITIONAL_OPERATOR);
    checks.text("ReturnConsumedCapacity", capacity, &rules::RETURN_CAPACITY);
}

/// The projection of a read, in the style that the request uses.
pub(crate) fn projection(
    text: Option<&Text<'_>>,
    names: Option<&List<Text<'_>>>,
    placeholders: &mut Placeholders,
) -> Result<Option<Projection>, Error> {
    match text {
        Some(text) => Projection::parse(text, placeholders).map(Some),
        None => attributes_to_get(names),
    }
}

/// The member `AttributesToGet`.
fn attributes_to_get(names: Option<&List<Text<'_>>>) -> Result<Option<Projection>, Error> {
    let Some(names) = names else { return Ok(None) };
    if names.count() > names.members().len() {
        return Err(Error::unsupported("AttributesToGet with more than 500 names"));
    }
    let names: Vec<_> = names.members().iter().map(|name| name.to_string()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() < names.len() {
        return Err(Error::parameters("Duplicate value in attribute name list"));
    }
    Ok(Some(Projection::of_attributes(names)))
}

/// Most rows to read for the member `Limit`.
pub(crate) fn max_rows(limit: Option<Integer>) -> usize {
    limit.map_or(MAX_PAGE_ROWS, |limit| (limit.as_u32() as usize).clamp(1, MAX_PAGE_ROWS))
}

impl Plan for PagePlan {
    type Output = ItemPage;

    fn reads(&self) -> Reads {
        Reads { rows: Vec::new(), range: Some(self.range.clone()) }
    }

    fn decide(&self, _: &Context, found: &Found) -> Result<Decision<ItemPage>, Error> {
        let rows = &found.page.rows;
        let (mut items, mut bytes, mut scanned) = (Vec::new(), 0, 0);
        let mut count = 0;
        for (_, row) in rows.iter().take(self.range.max_rows) {
            let item = stored::decode(&row.value)?;
            bytes += value::size(&item);
            scanned += 1;
            let passes = self.filter.as_ref().is_none_or(|filter| filter.holds(&item));
            count += usize::from(passes);
            if passes && !self.counts_only {
                items.push(match &self.projection {
                    Some(projection) => projection.apply(&item),
                    None => item,
                });
            }
            if bytes >= MAX_PAGE_BYTES {
                break;
            }
        }
        let has_more = scanned < rows.len() || found.page.has_more;
        let last = rows[..scanned].last().filter(|_| has_more);
        let last_key = match last {
            Some((_, row)) => Some(self.source.key_of(&stored::decode(&row.value)?)),
            None => None,
        };
        let units = capacity::read_units(bytes, self.is_consistent);
        let table = &self.source.table.definition.name;
        let consumed = match &self.source.index {
            None => self.capacity.consumed(table, units),
            Some(index) => self
                .capacity
                .consumed(table, 0.0)
                .map(|consumed| Consumed { index: Some((index.name.clone(), units)), ..consumed }),
        };
        Ok(Decision::response(ItemPage {
            items: (!self.counts_only).then_some(items),
            count,
            scanned,
            last_key,
            consumed,
        }))
    }
}

impl Output for ItemPage {
    fn write(&self, _: &Context, w: &mut Writer) {
        w.structure(|w| {
            if let Some(items) = &self.items {
                w.member("Items").list(|w| {
                    items.iter().for_each(|item| json::write_attributes(w, item));
                });
            }
            w.member("Count").number(self.count as u64);
            w.member("ScannedCount").number(self.scanned as u64);
            if let Some(key) = &self.last_key {
                json::write_attributes(w.member("LastEvaluatedKey"), key);
            }
            capacity::write(w, self.consumed.as_ref());
        });
    }
}
