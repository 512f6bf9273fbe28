//! RecordDeAggregation: several JSON documents, or several rows, in one record.
//!
//! | type | what is a part | what is between parts |
//! | --- | --- | --- |
//! | JSON | a JSON document, byte for byte | nothing, or white space |
//! | DELIMITED | the bytes between two delimiters, if there are any | the delimiter |
//!
//! An array that holds only objects is taken apart: each object is a part. Programs that collect records before they
//! put them often send such an array, and then a part is what they call a record. Any other array is one document.
//!
//! A record with only white space, or only delimiters, has no parts. A record that is not valid to its end fails as a
//! whole, so that a replay of its error line gives nothing twice.
//!
//! Source: Amazon Data Firehose Developer Guide, Apply dynamic partitioning to aggregated data. It does not mention
//! arrays.

#[cfg(test)]
mod tests;

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::delimiter::{Delimiter, DelimiterError};
use crate::record::{Failure, Record};

/// `errorCode` of a record that has no valid parts.
pub const ERROR_CODE: &str = "RecordDeAggregation.MalformedData";

/// How records are taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deaggregation {
    /// JSON documents.
    Json,
    /// Rows with a delimiter between them.
    Delimited(Delimiter),
}

/// Parameters of the processor that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeaggregationError {
    /// Neither `JSON` nor `DELIMITED`.
    #[error("unknown SubRecordType: {0}")]
    UnknownType(String),
    /// `DELIMITED` needs a delimiter.
    #[error("SubRecordType DELIMITED without Delimiter")]
    NoDelimiter,
    /// The delimiter is not valid.
    #[error(transparent)]
    Delimiter(#[from] DelimiterError),
}

/// Parts of a record. They share the record's bytes.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    record: &'a Record,
    ranges: std::vec::IntoIter<Range<u32>>,
    next: u32,
}

impl Deaggregation {
    /// Reads the parameters `SubRecordType` and `Delimiter` of the processor.
    ///
    /// # Errors
    ///
    /// Fails if the type does not exist, or the delimiter is missing or not base64.
    pub fn parse(
        sub_record_type: &str,
        delimiter: Option<&str>,
    ) -> Result<Self, DeaggregationError> {
        match (sub_record_type, delimiter) {
            ("JSON", _) => Ok(Self::Json),
            ("DELIMITED", Some(delimiter)) => Ok(Self::Delimited(Delimiter::parse(delimiter)?)),
            ("DELIMITED", None) => Err(DeaggregationError::NoDelimiter),
            (unknown, _) => Err(DeaggregationError::UnknownType(unknown.to_owned())),
        }
    }

    /// Takes a record apart.
    ///
    /// # Errors
    ///
    /// Fails if the record is not valid JSON documents. A delimited record is always valid.
    pub fn split<'a>(&self, record: &'a Record) -> Result<Parts<'a>, Box<Failure>> {
        let ranges = match self {
            Self::Json => json_ranges(&record.data),
            Self::Delimited(delimiter) => Ok(rows(&record.data, delimiter.as_bytes())),
        };
        match ranges {
            Ok(ranges) => Ok(Parts { record, ranges: ranges.into_iter(), next: 0 }),
            Err(message) => Err(Box::new(record.clone().failed(ERROR_CODE, message))),
        }
    }
}

impl Iterator for Parts<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let Range { start, end } = self.ranges.next()?;
        let data = self.record.data.slice(start as usize..end as usize);
        let sub_sequence = self.next;
        self.next += 1;
        Some(Record { data, sub_sequence, ..self.record.clone() })
    }
}

fn json_ranges(data: &[u8]) -> Result<Vec<Range<u32>>, String> {
    let mut ranges = Vec::new();
    let mut documents = serde_json::Deserializer::from_slice(data).into_iter::<&RawValue>();
    while let Some(document) = documents.next() {
        let at = documents.byte_offset();
        let document = document.map_err(|error| format!("byte {at}: {error}"))?;
        add_document(data, document.get(), &mut ranges)?;
    }
    Ok(ranges)
}

/// Adds the range of `document`, or the ranges of its objects if it is an array of objects.
fn add_document(data: &[u8], document: &str, ranges: &mut Vec<Range<u32>>) -> Result<(), String> {
    if document.starts_with('[') {
        let elements =
            Vec::<&RawValue>::deserialize(&mut serde_json::Deserializer::from_str(document))
                .map_err(|error| error.to_string())?;
        let is_object = |element: &&RawValue| element.get().starts_with('{');
        if !elements.is_empty() && elements.iter().all(is_object) {
            for element in elements {
                ranges.push(range_in(data, element.get().as_bytes())?);
            }
            return Ok(());
        }
    }
    ranges.push(range_in(data, document.as_bytes())?);
    Ok(())
}

fn rows(data: &[u8], delimiter: &[u8]) -> Vec<Range<u32>> {
    let mut ranges = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < data.len() {
        if data[at..].starts_with(delimiter) {
            push_row(start..at, &mut ranges);
            at += delimiter.len();
            start = at;
        } else {
            at += 1;
        }
    }
    push_row(start..data.len(), &mut ranges);
    ranges
}

fn push_row(row: Range<usize>, ranges: &mut Vec<Range<u32>>) {
    let ends = u32::try_from(row.start).ok().zip(u32::try_from(row.end).ok());
    let (start, end) = ends.expect("a record has less than 4 GiB");
    if start < end {
        ranges.push(start..end);
    }
}

/// Where `part`, a piece of `data`, is in it.
fn range_in(data: &[u8], part: &[u8]) -> Result<Range<u32>, String> {
    let start = part.as_ptr() as usize - data.as_ptr() as usize;
    let (start, end) = (u32::try_from(start), u32::try_from(start + part.len()));
    start.and_then(|start| Ok(start..end?)).map_err(|_| "record has more than 4 GiB".to_owned())
}
