//! One item that changes: condition, change, checks, and the rows to write. PutItem, UpdateItem, DeleteItem and each
//! entry of TransactWriteItems are an [`ItemWrite`].
//!
//! Order of events: evaluate the condition on the item as it was read, compute the new item, check its size and its
//! index keys, compute the rows of the indexes. The item is written only if it still has the version that was read.

use std::sync::Arc;

use crate::error::Error;
use crate::expression::{Condition, Update};
use crate::index;
use crate::store::{Change, Expect, Found, RowKey, Write};
use crate::table::Table;
use crate::value::{self, Attributes, json, stored};

/// Largest item. Source: "Quotas" of the DynamoDB Developer Guide.
pub const MAX_ITEM_BYTES: usize = 400 * 1024;
/// The text of AWS for an update whose item becomes too large.
pub(crate) const UPDATED_ITEM_TOO_LARGE: &str =
    "Item size to update has exceeded the maximum allowed size";
/// The text of AWS for an item that is too large.
const ITEM_TOO_LARGE: &str = "Item size has exceeded the maximum allowed size";

/// A change of one item under a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemWrite {
    /// The table.
    pub table: Arc<Table>,
    /// The row of the item.
    pub row: RowKey,
    /// The condition on the item as it is.
    pub condition: Option<Condition>,
    /// The change.
    pub change: ItemChange,
    /// Whether the error of a condition that is not met carries the item.
    pub returns_item_on_failure: bool,
}

/// The change of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemChange {
    /// Put this item in place of the old one.
    Put(Attributes),
    /// Update the item. An absent item begins with this key.
    Update(Attributes, Update),
    /// Delete the item.
    Delete,
    /// Change nothing. Only the condition matters.
    Check,
}

/// An item before and after a change, and the rows to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemChanged {
    /// The item before.
    pub old: Option<Attributes>,
    /// The item after.
    pub new: Option<Attributes>,
    /// The row of the item and the rows of the indexes. The condition on the definition of the table is not in it.
    pub writes: Vec<Write>,
}

impl ItemWrite {
    /// Decides the change.
    ///
    /// # Errors
    /// [`Error::ConditionFailed`] and [`Error::Validation`].
    pub fn decide(&self, found: &Found) -> Result<ItemChanged, Error> {
        let row = found.row(&self.row);
        let old = row.map(|row| stored::decode(&row.value)).transpose()?;
        if let Some(condition) = &self.condition
            && !condition.holds(old.as_ref().unwrap_or(&Attributes::new()))
        {
            let item = old.filter(|_| self.returns_item_on_failure);
            return Err(Error::ConditionFailed { item });
        }
        let expect = Expect::unchanged(row);
        let key = self.row.clone();
        let (new, change) = match self.new_item(old.as_ref())? {
            NewItem::Put(new) => {
                let value = self.checked(&new)?;
                (Some(new), Change::Put(value))
            }
            NewItem::Absent if old.is_none() => {
                return Ok(ItemChanged { old, new: None, writes: Vec::new() });
            }
            NewItem::Absent => (None, Change::Delete),
            NewItem::Kept => {
                let writes = vec![Write { key, expect, change: Change::Keep }];
                return Ok(ItemChanged { new: old.clone(), old, writes });
            }
        };
        let mut writes = vec![Write { key, expect, change }];
        writes.extend(index::changes(&self.table.definition, old.as_ref(), new.as_ref())?);
        Ok(ItemChanged { old, new, writes })
    }

    fn new_item(&self, old: Option<&Attributes>) -> Result<NewItem, Error> {
        Ok(match &self.change {
            ItemChange::Put(item) => NewItem::Put(item.clone()),
            ItemChange::Update(key, update) => NewItem::Put(update.apply(old.unwrap_or(key))?),
            ItemChange::Delete => NewItem::Absent,
            ItemChange::Check => NewItem::Kept,
        })
    }

    /// The stored form of a new item, after a check of its size, its depth and its index keys.
    fn checked(&self, item: &Attributes) -> Result<Vec<u8>, Error> {
        index::check(&self.table.definition, item)?;
        json::check_depth(item.values())?;
        let value = stored::encode(item);
        // The stored form is a little larger than what DynamoDB counts. A row has the same limit.
        if value.len() <= MAX_ITEM_BYTES && value::size(item) <= MAX_ITEM_BYTES {
            return Ok(value);
        }
        let is_update = matches!(self.change, ItemChange::Update(..));
        let text = if is_update { UPDATED_ITEM_TOO_LARGE } else { ITEM_TOO_LARGE };
        Err(Error::Validation(text.to_owned()))
    }
}

/// The item after a change.
enum NewItem {
    Put(Attributes),
    Absent,
    Kept,
}
