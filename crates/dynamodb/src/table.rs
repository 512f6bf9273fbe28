//! Tables: the definition of a table with its indexes, its stored form, and the keys of its items.
//!
//! `table/rules.rs` checks what a client wants to define. `table/description.rs` writes the `TableDescription` of the
//! API.

pub mod description;
pub mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::key;
use crate::store::{Change, Expect, Row, RowKey, Space, TableId, Write};
use crate::value::{Attributes, Kind, Value};

/// The definition of a table. It is stored as JSON: fields are added with a default, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The name.
    pub name: String,
    /// The identity.
    pub id: TableId,
    /// Milliseconds since 1970.
    pub created: u64,
    /// Types of all attributes that are in a key of the table or of an index, in the order of the request.
    pub attributes: Vec<KeyAttribute>,
    /// The primary key.
    pub key: KeySchema,
    /// Billing mode and capacities. They are kept and shown, and limit nothing.
    pub billing: Billing,
    /// The global secondary indexes, in the order of their creation.
    pub indexes: Vec<Index>,
    /// The number of the next index. Numbers are never used again.
    pub next_index: u32,
    /// Whether DeleteTable is refused.
    pub deletion_protection: bool,
    /// Tags of CreateTable.
    pub tags: BTreeMap<String, String>,
    /// The flag that UpdateContinuousBackups set last. There are no backups.
    pub point_in_time_recovery: bool,
}

/// An attribute of a key, and its type: S, N or B.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAttribute {
    /// The name.
    pub name: String,
    /// The type.
    pub kind: KeyKind,
}

/// The type of an attribute of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyKind {
    /// String.
    S,
    /// Number.
    N,
    /// Binary.
    B,
}

/// The attributes of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySchema {
    /// The hash key, also called partition key.
    pub hash: KeyAttribute,
    /// The range key, also called sort key.
    pub range: Option<KeyAttribute>,
}

/// The billing mode of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Billing {
    /// `PROVISIONED`, with these capacities.
    Provisioned(Throughput),
    /// `PAY_PER_REQUEST`, since this time in milliseconds since 1970.
    PayPerRequest {
        /// The time.
        since: u64,
    },
}

/// Provisioned capacities. They are kept and shown, and limit nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throughput {
    /// `ReadCapacityUnits`.
    pub read: u64,
    /// `WriteCapacityUnits`.
    pub write: u64,
}

/// A global secondary index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// The name.
    pub name: String,
    /// Unique within the table, for ever. Names the keyspace.
    pub number: u32,
    /// The key of the index.
    pub key: KeySchema,
    /// The attributes that the index has.
    pub projection: Projection,
    /// Capacities of a provisioned index.
    pub throughput: Throughput,
    /// Whether the items that are older than the index may be missing in it. Such an index is written, not read.
    pub is_backfilling: bool,
}

/// The attributes of an item that an index has, besides the keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Projection {
    /// None.
    KeysOnly,
    /// These.
    Include(Vec<String>),
    /// All.
    All,
}

/// The definition of a table as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The definition.
    pub definition: Definition,
    /// The version of its row.
    pub version: u64,
    /// Size of each keyspace of the table. A keyspace that is missing here has size zero.
    pub sizes: BTreeMap<Space, Size>,
}

/// How many rows a keyspace has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Number of rows.
    pub items: u64,
    /// Bytes of the rows.
    pub bytes: u64,
}

/// The definitions that a request needs: those of the tables that it names and that exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables(BTreeMap<String, Arc<Table>>);

impl Tables {
    /// Adds a table.
    pub fn insert(&mut self, table: Table) {
        self.0.insert(table.definition.name.clone(), Arc::new(table));
    }

    /// The table, if it exists.
    pub fn get(&self, name: &str) -> Option<&Arc<Table>> {
        self.0.get(name)
    }

    /// The table for an operation on items.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn existing(&self, name: &str) -> Result<&Arc<Table>, Error> {
        self.get(name).ok_or_else(|| Error::NotFound("Requested resource not found".to_owned()))
    }

    /// The table for an operation on the table itself. The message names it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn described(&self, name: &str) -> Result<&Arc<Table>, Error> {
        let fault =
            || Error::NotFound(format!("Requested resource not found: Table: {name} not found"));
        self.get(name).ok_or_else(fault)
    }
}

impl Table {
    /// A table from the row of its definition.
    ///
    /// # Errors
    /// [`Error::Internal`] if the row cannot be read.
    pub fn from_row(row: &Row, sizes: BTreeMap<Space, Size>) -> Result<Self, Error> {
        let definition = serde_json::from_slice(&row.value);
        let definition = definition.map_err(|error| Error::Internal {
            cause: format!("the definition of a table cannot be read: {error}"),
        })?;
        Ok(Self { definition, version: row.version, sizes })
    }

    /// Replaces the definition, if it is still as it was read.
    ///
    /// # Errors
    /// [`Error::Internal`] if it cannot be written.
    pub fn replaced_by(&self, definition: &Definition) -> Result<Write, Error> {
        Ok(Write {
            key: Definition::row_key(&definition.name),
            expect: Expect::Version(self.version),
            change: Change::Put(definition.stored()?),
        })
    }

    /// The definition must be as it was read. Every transaction on items has this condition.
    pub fn unchanged(&self) -> Write {
        Write {
            key: Definition::row_key(&self.definition.name),
            expect: Expect::Version(self.version),
            change: Change::Keep,
        }
    }

    /// Size of a keyspace of the table. Zero if it is unknown.
    pub fn size(&self, space: Space) -> Size {
        self.sizes.get(&space).copied().unwrap_or_default()
    }
}

impl Definition {
    /// The row of the definition of this table.
    pub fn row_key(name: &str) -> RowKey {
        RowKey { space: Space::Definitions, key: name.as_bytes().to_vec() }
    }

    /// The stored form.
    ///
    /// # Errors
    /// [`Error::Internal`], which no definition causes.
    pub fn stored(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|error| Error::Internal { cause: error.to_string() })
    }

    /// The keyspace of the items.
    pub const fn space(&self) -> Space {
        Space::Items(self.id)
    }

    /// The keyspace of an index.
    pub const fn index_space(&self, index: &Index) -> Space {
        Space::Index(self.id, index.number)
    }

    /// The index with this name.
    pub fn index(&self, name: &str) -> Option<&Index> {
        self.indexes.iter().find(|index| index.name == name)
    }

    /// The row of the item with this key, after a check of the key.
    ///
    /// # Errors
    /// [`Error::Validation`] if the attributes are not exactly those of the key, or have wrong types.
    pub fn item_row(&self, key: &Attributes) -> Result<RowKey, Error> {
        let fault =
            || Error::Validation("The provided key element does not match the schema".to_owned());
        if key.len() != self.key.attributes().count() {
            return Err(fault());
        }
        for attribute in self.key.attributes() {
            let value = key.get(&attribute.name).ok_or_else(fault)?;
            if value.kind() != attribute.kind.kind() {
                return Err(fault());
            }
        }
        self.row(key)
    }

    /// The row of a whole item, after a check of its key attributes.
    ///
    /// # Errors
    /// [`Error::Validation`] if an attribute of the key is missing or has a wrong type.
    pub fn row_of_item(&self, item: &Attributes) -> Result<RowKey, Error> {
        for KeyAttribute { name, kind } in self.key.attributes() {
            let Some(value) = item.get(name) else {
                return Err(Error::parameters(format_args!("Missing the key {name} in the item")));
            };
            let (expected, actual) = (kind.kind().name(), value.kind().name());
            if expected != actual {
                return Err(Error::parameters(format_args!(
                    "Type mismatch for key {name} expected: {expected} actual: {actual}"
                )));
            }
        }
        self.row(item)
    }

    /// The key attributes of an item.
    pub fn key_of(&self, item: &Attributes) -> Attributes {
        self.key.of(item)
    }

    fn row(&self, item: &Attributes) -> Result<RowKey, Error> {
        let range = self.key.range.as_ref().and_then(|attribute| item.get(&attribute.name));
        let hash = item.get(&self.key.hash.name);
        let hash = hash.ok_or_else(|| Error::Internal { cause: "no hash key".to_owned() })?;
        check_key_value(&self.key.hash.name, hash, "hashkey", key::MAX_HASH_KEY_BYTES)?;
        if let (Some(value), Some(attribute)) = (range, &self.key.range) {
            check_key_value(&attribute.name, value, "range key", key::MAX_RANGE_KEY_BYTES)?;
        }
        Ok(RowKey { space: self.space(), key: key::encode(hash, range)? })
    }
}

/// Checks that a value of the primary key is neither empty nor too long.
fn check_key_value(name: &str, value: &Value, what: &str, max: usize) -> Result<(), Error> {
    if let Some(kind) = value.empty_name() {
        return Err(empty_key(kind, name));
    }
    let length = match value {
        Value::S(text) => text.len(),
        Value::B(bytes) => bytes.len(),
        Value::N(_)
        | Value::Bool(_)
        | Value::Null
        | Value::L(_)
        | Value::M(_)
        | Value::Ss(_)
        | Value::Ns(_)
        | Value::Bs(_) => 0,
    };
    if length <= max {
        return Ok(());
    }
    Err(Error::parameters(format_args!(
        "Size of {what} has exceeded the maximum size limit of{max} bytes"
    )))
}

fn empty_key(kind: &str, name: &str) -> Error {
    Error::Validation(format!(
        "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty \
         {kind} value. Key: {name}"
    ))
}

impl KeySchema {
    /// The hash key and the range key.
    pub fn attributes(&self) -> impl Iterator<Item = &KeyAttribute> {
        std::iter::once(&self.hash).chain(&self.range)
    }

    /// Whether an attribute belongs to the key.
    pub fn has(&self, name: &str) -> bool {
        self.attributes().any(|attribute| attribute.name == name)
    }

    /// The key attributes that an item has.
    pub fn of(&self, item: &Attributes) -> Attributes {
        let names = self.attributes().map(|attribute| &attribute.name);
        names.filter_map(|name| Some((name.clone(), item.get(name)?.clone()))).collect()
    }
}

impl KeyKind {
    /// The type of values.
    pub const fn kind(self) -> Kind {
        match self {
            Self::S => Kind::S,
            Self::N => Kind::N,
            Self::B => Kind::B,
        }
    }

    /// The type with this name in the API.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "S" => Some(Self::S),
            "N" => Some(Self::N),
            "B" => Some(Self::B),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
