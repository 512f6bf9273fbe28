//! Payloads of CloudWatch Logs subscriptions: the processors Decompression and CloudWatchLogProcessing.
//!
//! ```text
//! gzip -> {"messageType":"DATA_MESSAGE","logEvents":[{"message":"one"},{"message":"two"}],…} -> one\ntwo
//! ```
//!
//! A `CONTROL_MESSAGE`, which the service sends to check whether the destination can be reached, gives no record.
//!
//! Sources: Amazon Data Firehose Developer Guide, Decompress CloudWatch Logs and Extract message; CloudWatch Logs User
//! Guide, Log group-level subscription filters.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io::Read;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;

use crate::record::{Failure, Record};

/// `errorCode` of a record that is not gzip, or too large.
pub const DECOMPRESSION_ERROR_CODE: &str = "Decompression.MalformedData";
/// `errorCode` of a record that is not a message of CloudWatch Logs.
pub const EXTRACTION_ERROR_CODE: &str = "CloudWatchLogProcessing.MalformedData";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    #[serde(borrow)]
    message_type: Cow<'a, str>,
    #[serde(borrow, default)]
    log_events: Vec<LogEvent<'a>>,
}

#[derive(Deserialize)]
struct LogEvent<'a> {
    #[serde(borrow)]
    message: Cow<'a, str>,
}

/// Decompresses a record of one or more gzip members. `limit_bytes` bounds the data of the result: a record of 1 MiB
/// could otherwise take 1 GiB.
///
/// # Errors
///
/// Fails if the record is not gzip, is cut, or has more data than `limit_bytes`.
pub fn decompress(record: &Record, limit_bytes: usize) -> Result<Record, Box<Failure>> {
    let failed = |message: Cow<'static, str>| {
        Err(Box::new(record.clone().failed(DECOMPRESSION_ERROR_CODE, message)))
    };
    let mut data = Vec::new();
    // One byte more than allowed, to see whether there is more.
    let limit = u64::try_from(limit_bytes).unwrap_or(u64::MAX).saturating_add(1);
    match MultiGzDecoder::new(&*record.data).take(limit).read_to_end(&mut data) {
        Ok(_) if data.len() > limit_bytes => {
            failed(format!("decompressed data has more than {limit_bytes} bytes").into())
        }
        Ok(_) => Ok(record.with_data(data.into())),
        Err(error) => failed(format!("record is not gzip: {error}").into()),
    }
}

/// The messages of a decompressed payload, with a newline between two of them. `None` if it has no message.
///
/// # Errors
///
/// Fails if the record is not a payload of CloudWatch Logs.
pub fn extract_messages(record: &Record) -> Result<Option<Record>, Box<Failure>> {
    match messages(&record.data) {
        Ok(messages) if messages.is_empty() => Ok(None),
        Ok(messages) => Ok(Some(record.with_data(Bytes::from(messages.join("\n"))))),
        Err(message) => Err(Box::new(record.clone().failed(EXTRACTION_ERROR_CODE, message))),
    }
}

fn messages(data: &[u8]) -> Result<Vec<Cow<'_, str>>, String> {
    let mut messages = Vec::new();
    for payload in serde_json::Deserializer::from_slice(data).into_iter::<Payload<'_>>() {
        let payload = payload.map_err(|error| format!("not a CloudWatch Logs payload: {error}"))?;
        match &*payload.message_type {
            "DATA_MESSAGE" => {
                messages.extend(payload.log_events.into_iter().map(|event| event.message));
            }
            "CONTROL_MESSAGE" => {}
            unknown => return Err(format!("unknown messageType: {unknown}")),
        }
    }
    Ok(messages)
}
