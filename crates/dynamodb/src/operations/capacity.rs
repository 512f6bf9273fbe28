//! `ReturnConsumedCapacity`: the capacity that a call would cost in AWS. Nothing is limited by it.
//!
//! Source: "Capacity unit consumption" of the DynamoDB Developer Guide.

use anabranch_aws::wire::{Text, Writer};

/// Bytes of a write unit.
const WRITE_BYTES: usize = 1024;
/// Bytes of a read unit.
const READ_BYTES: usize = 4096;

/// How much a request wants to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    #[default]
    None,
    /// The sum.
    Total,
    /// The sum, and the share of the table and of each index.
    Indexes,
}

/// Capacity that one table consumed.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumed {
    /// The table.
    pub table: String,
    /// Units of the table.
    pub units: f64,
    /// Units of an index that was read.
    pub index: Option<(String, f64)>,
    /// Whether the shares are written.
    pub detail: Detail,
}

impl Detail {
    /// The detail that the member asks for. The word was checked before.
    pub(crate) fn of(sent: Option<&Text<'_>>) -> Self {
        match sent.map(|word| &**word) {
            Some("TOTAL") => Self::Total,
            Some("INDEXES") => Self::Indexes,
            _ => Self::None,
        }
    }

    /// The capacity of a call on a table, if it was asked for.
    pub(crate) fn consumed(self, table: &str, units: f64) -> Option<Consumed> {
        let consumed = Consumed { table: table.to_owned(), units, index: None, detail: self };
        (self != Self::None).then_some(consumed)
    }
}

/// Units for writing an item of this size. A deleted item counts as one unit at least.
pub(crate) fn write_units(bytes: usize) -> f64 {
    bytes.div_ceil(WRITE_BYTES).max(1) as f64
}

/// Units for reading items of this size together.
pub(crate) fn read_units(bytes: usize, is_consistent: bool) -> f64 {
    let units = bytes.div_ceil(READ_BYTES).max(1) as f64;
    if is_consistent { units } else { units / 2.0 }
}

impl Consumed {
    /// Writes a `ConsumedCapacity`.
    pub(crate) fn write(&self, w: &mut Writer) {
        let index_units = self.index.as_ref().map_or(0.0, |(_, units)| *units);
        w.structure(|w| {
            w.member("TableName").text(&self.table);
            w.member("CapacityUnits").real(self.units + index_units);
            if self.detail != Detail::Indexes {
                return;
            }
            w.member("Table").structure(|w| w.member("CapacityUnits").real(self.units));
            if let Some((name, units)) = &self.index {
                w.member("GlobalSecondaryIndexes").structure(|w| {
                    w.entry(name).structure(|w| w.member("CapacityUnits").real(*units));
                });
            }
        });
    }
}

/// Writes the member `ConsumedCapacity`, if it was asked for.
pub(crate) fn write(w: &mut Writer, consumed: Option<&Consumed>) {
    if let Some(consumed) = consumed {
        consumed.write(w.member("ConsumedCapacity"));
    }
}
