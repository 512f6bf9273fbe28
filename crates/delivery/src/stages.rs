//! The processors of a delivery stream, applied to one record.
//!
//! The order is the service's: decompression, messages of CloudWatch Logs, de-aggregation. The delimiter comes last,
//! when a record is written (`batch.rs`).

use anabranch_formats::cloudwatch_logs::{decompress, extract_messages};
use anabranch_formats::error_line::{Attempts, Details, error_line as line_of};
use anabranch_formats::{Failure, Record};

use crate::settings::Processors;

/// A record has at most this much data after decompression.
const DECOMPRESSED_BYTES: usize = 64 << 20;

/// The records that one record becomes, or the failure of the processor that refused it. None if there is nothing to
/// deliver.
pub(crate) fn process(
    processors: &Processors,
    record: Record,
) -> Vec<Result<Record, Box<Failure>>> {
    match processed(processors, record) {
        Ok(records) => records.into_iter().map(Ok).collect(),
        Err(failure) => vec![Err(failure)],
    }
}

fn processed(processors: &Processors, record: Record) -> Result<Vec<Record>, Box<Failure>> {
    // The line of an error has the record as it came.
    let original = record.data.clone();
    let as_it_came = |mut failure: Box<Failure>| {
        failure.record.data = original.clone();
        failure
    };
    let mut record = record;
    if processors.decompress {
        record = decompress(&record, DECOMPRESSED_BYTES).map_err(as_it_came)?;
    }
    if processors.log_messages {
        match extract_messages(&record).map_err(as_it_came)? {
            Some(messages) => record = messages,
            None => return Ok(Vec::new()),
        }
    }
    match &processors.split {
        Some(split) => Ok(split.split(&record).map_err(as_it_came)?.collect()),
        None => Ok(vec![record]),
    }
}

/// The line of the error object, with the line break. Its times are the record's: no clock of a node, so that the same
/// record gives the same line at each attempt.
pub(crate) fn error_line(failure: &Failure) -> Vec<u8> {
    let attempts = Attempts { made: 1, ended: failure.record.arrival };
    line_of(failure, attempts, &Details::Stage)
}
