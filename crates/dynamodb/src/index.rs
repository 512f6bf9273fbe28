//! Global secondary indexes: which rows an item has in them.
//!
//! An item is in an index if it has all key attributes of the index. The row has a copy of the attributes that the
//! index projects. It is written in the same transaction as the item, so an index is never older than its table.

use crate::error::Error;
use crate::key;
use crate::limits;
use crate::store::{Change, Expect, Row, RowKey, Write};
use crate::table::{Definition, Index, Projection, Table};
use crate::value::Attributes;
use crate::value::stored;

/// The changes of all indexes when an item changes.
///
/// # Errors
/// [`Error::Validation`] if an attribute of the new item cannot be a key of an index.
pub fn changes(
    definition: &Definition,
    old: Option<&Attributes>,
    new: Option<&Attributes>,
) -> Result<Vec<Write>, Error> {
    let mut writes = Vec::new();
    for index in &definition.indexes {
        let old = old.map(|item| row(definition, index, item)).transpose()?.flatten();
        let new = new.map(|item| row(definition, index, item)).transpose()?.flatten();
        if old == new {
            continue;
        }
        if let Some((key, _)) = old
            && new.as_ref().is_none_or(|(new, _)| *new != key)
        {
            writes.push(Write { key, expect: Expect::Anything, change: Change::Delete });
        }
        if let Some((key, value)) = new {
            writes.push(Write { key, expect: Expect::Anything, change: Change::Put(value) });
        }
    }
    Ok(writes)
}

/// The row of an item in an index. `None` if the item is not in the index.
///
/// # Errors
/// [`Error::Internal`] if the item lacks its primary key.
pub fn row(
    definition: &Definition,
    index: &Index,
    item: &Attributes,
) -> Result<Option<(RowKey, Vec<u8>)>, Error> {
    let Some(key) = row_key(definition, index, item)? else { return Ok(None) };
    let key = RowKey { space: definition.index_space(index), key };
    Ok(Some((key, stored::encode(&projected(definition, index, item)))))
}

/// The key of an item in an index. `None` if the item has not all key attributes of the index, or one of a wrong type.
///
/// # Errors
/// If the keys are too long for a row.
pub fn row_key(
    definition: &Definition,
    index: &Index,
    item: &Attributes,
) -> Result<Option<Vec<u8>>, Error> {
    let mut values = Vec::new();
    for attribute in index.key.attributes().chain(definition.key.attributes()) {
        match item.get(&attribute.name) {
            Some(value) if value.kind() == attribute.kind.kind() => values.push(value),
            _ => return Ok(None),
        }
    }
    let Some((hash, rest)) = values.split_first() else { return Ok(None) };
    key::encode(hash, rest.iter().copied()).map(Some)
}

/// Checks that the attributes of an item that are keys of indexes can be keys.
///
/// # Errors
/// [`Error::Validation`].
pub fn check(definition: &Definition, item: &Attributes) -> Result<(), Error> {
    for index in &definition.indexes {
        for attribute in index.key.attributes() {
            let Some(value) = item.get(&attribute.name) else { continue };
            let (name, expected) = (&attribute.name, attribute.kind.kind());
            let actual = value.kind();
            if actual != expected {
                return Err(Error::parameters(format_args!(
                    "Type mismatch for Index Key {name} Expected: {} Actual: {} IndexName: {}",
                    expected.name(),
                    actual.name(),
                    index.name
                )));
            }
            let Some(empty) = value.empty_name() else { continue };
            return Err(Error::Validation(format!(
                "One or more parameter values are not valid. A value specified for a secondary index key is not \
                 supported. The AttributeValue for a key attribute cannot contain an empty {empty} value. IndexName: \
                 {}, IndexKey: {name}",
                index.name
            )));
        }
    }
    Ok(())
}

/// The attributes of an item that an index has.
pub fn projected(definition: &Definition, index: &Index, item: &Attributes) -> Attributes {
    let is_projected = |name: &str| {
        let is_key = definition.key.has(name) || index.key.has(name);
        is_key
            || match &index.projection {
                Projection::KeysOnly => false,
                Projection::Include(names) => names.iter().any(|included| included == name),
                Projection::All => true,
            }
    };
    let attributes = item.iter().filter(|(name, _)| is_projected(name));
    attributes.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The part of a page that one transaction puts into an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backfill {
    /// The transaction. It expects that the definition and the items are as they were read.
    pub writes: Vec<Write>,
    /// Number of rows of the page that are done. The caller goes on behind them. Zero only for an empty page.
    pub rows: usize,
}

/// Puts items of a page into the index that is being filled.
///
/// The caller reads all items of the table with [`crate::store::Range`]. It runs the transaction, and goes on behind
/// the rows that are done. If an item or the definition has changed, it reads again from there. Behind the last row it
/// stores [`filled`].
///
/// # Errors
/// If a row cannot be read, or the row of one item is too large for a transaction.
pub fn backfill(table: &Table, page: &[(Vec<u8>, Row)]) -> Result<Backfill, Error> {
    let definition = &table.definition;
    let mut backfill = Backfill { writes: vec![table.unchanged()], rows: 0 };
    let mut bytes = backfill.writes.iter().map(limits::bytes).sum::<usize>();
    for (key, item_row) in page {
        let item = stored::decode(&item_row.value)?;
        let mut writes = Vec::new();
        for index in definition.indexes.iter().filter(|index| index.is_backfilling) {
            if let Some((key, value)) = row(definition, index, &item)? {
                writes.push(Write { key, expect: Expect::Anything, change: Change::Put(value) });
            }
        }
        if !writes.is_empty() {
            let key = RowKey { space: definition.space(), key: key.clone() };
            let expect = Expect::Version(item_row.version);
            writes.push(Write { key, expect, change: Change::Keep });
        }
        bytes += writes.iter().map(limits::bytes).sum::<usize>();
        let fits =
            backfill.writes.len() + writes.len() <= limits::MAX_ROWS && bytes <= limits::MAX_BYTES;
        if !fits && backfill.rows > 0 {
            break;
        }
        backfill.writes.append(&mut writes);
        backfill.rows += 1;
    }
    limits::check(&backfill.writes)?;
    Ok(backfill)
}

/// The definition whose indexes are all filled.
pub fn filled(definition: &Definition) -> Definition {
    let mut definition = definition.clone();
    definition.indexes.iter_mut().for_each(|index| index.is_backfilling = false);
    definition
}
