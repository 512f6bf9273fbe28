//! Queries in jq: partition keys (MetadataExtraction), and filters that transform records.
//!
//! A [`Query`] is compiled once and runs on records. [`Query::keys`] reads partition keys from a record, and
//! [`Query::filter`] transforms it.
//!
//! ```text
//! {customer: .customer_id, day: (.time | strftime("%d"))}      {"customer_id":7,"time":0} -> customer=7, day=01
//! select(.level != "debug") | del(.password)                   a record -> no record, or another one
//! ```
//!
//! The language is that of jq 1.6, because the API calls it `JQ-1.6`. The interpreter is `jaq`; values, arithmetic and
//! paths are our own (`value.rs`, `operations.rs`), because jaq follows a newer jq. The tests compare with a table
//! that jq 1.6 made. Differences that remain:
//! - Refused when it is compiled: `env`, `$ENV`, `input`, `inputs`, `debug`, `stderr`, `halt`, `halt_error`, modules,
//!   `$__loc__`, `input_filename`, `input_line_number`, `tostream` and its relatives, `@base32`.
//! - `now` is the arrival of the record. `localtime` and `strflocaltime` use UTC.
//! - Regular expressions have no look-around and no back references. `capture` leaves out a name without a match.
//! - `strptime` needs a whole date, and does not know `%Z`. Dates end with the year 9999. A fraction of a second is not
//!   an error.
//! - Bugs of jq 1.6 are not repeated: `.[] |= empty` skips elements, `limit(0; f)` gives a result, `gsub("^a"; "b")`
//!   replaces every `a`.
//! - `nan == nan`, and `nan < nan` is false. `range(null)` gives nothing. A literal cannot begin with its point: `.1`.
//! - Texts of errors, and JSON that is nested deeper than 127 levels.
//!
//! A run is bounded by steps ([`STEPS_PER_RECORD`]), not by time, so that every attempt ends in the same way.

mod budget;
mod error;
mod functions;
mod interpreter;
mod number;
mod operations;
mod size;
#[cfg(test)]
mod tests;
mod value;

use std::borrow::Cow;
use std::fmt;

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Filter, Vars, load};

pub use crate::jq::budget::Exhausted;
pub use crate::jq::error::{LONGEST_QUERY, QueryError};
use crate::jq::interpreter::{Interpreter, Run};
use crate::jq::value::Value;
use crate::prefix::Keys;
use crate::record::{Failure, Record};

/// `errorCode` of a record from which no keys can be extracted.
///
/// Source: reports of users of the service.
pub const EXTRACTION_ERROR_CODE: &str = "DynamicPartitioning.MetadataExtractionFailed";
/// `errorCode` of a record that a filter could not transform.
pub const FILTER_ERROR_CODE: &str = "Jq.FilterFailed";

/// Steps of one run on one record: some 50 ms. An operation on values is a step, and so are 16 bytes of a new text.
pub const STEPS_PER_RECORD: u64 = 500_000;
/// A query that is compiled. It can be shared by threads.
pub struct Query {
    text: String,
    filter: Filter<Interpreter>,
}

impl Query {
    /// Compiles a query. It takes about a millisecond, so keep the result.
    ///
    /// # Errors
    ///
    /// Fails if the text is not jq, or names a function that does not exist or is refused.
    pub fn compile(text: &str) -> Result<Self, QueryError> {
        size::check(text)?;
        let arena = Arena::default();
        let loader = Loader::new(functions::definitions());
        let modules = loader.load(&arena, File { code: text, path: () });
        let modules = modules.map_err(|errors| {
            let error = errors.first().map(|(_, error)| error);
            error.map_or(QueryError::Module, syntax_error)
        })?;
        // Imported data are resolved by the caller of the compiler, which has none.
        load::import(&modules, |_| Err(String::new())).map_err(|_| QueryError::Module)?;
        let compiler = Compiler::default().with_funs(functions::functions());
        let filter = compiler.compile(modules).map_err(|errors| {
            let undefined = errors.first().and_then(|(_, errors)| errors.first());
            undefined.map_or(QueryError::Module, |(name, undefined)| QueryError::Undefined {
                kind: undefined.as_str(),
                name: (*name).to_owned(),
            })
        })?;
        Ok(Self { text: text.to_owned(), filter })
    }

    /// The text that was compiled.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Partition keys of a record: the members of the object that the query gives. A value is a text, a number or a
    /// boolean, and is not empty.
    ///
    /// # Errors
    ///
    /// Fails if the record is not one JSON document, or the query fails, or it does not give exactly one such object.
    pub fn keys(&self, record: &Record) -> Result<Keys, Box<Failure>> {
        let result = self.run(record, |outputs| match (outputs.next(), outputs.next()) {
            (Some(Ok(output)), None) => keys_of(&output),
            (None, _) => Err("query gave no result".into()),
            (_, Some(Ok(_))) => Err("query gave more than one result".into()),
            (Some(Err(message)), _) | (_, Some(Err(message))) => Err(message),
        });
        result.map_err(|message| Box::new(record.clone().failed(EXTRACTION_ERROR_CODE, message)))
    }

    /// The records that a record becomes: each result of the query, as JSON without spaces. No result drops the
    /// record.
    ///
    /// # Errors
    ///
    /// Fails if the record is not one JSON document, or the query fails, also after results.
    pub fn filter(&self, record: &Record) -> Result<Vec<Record>, Box<Failure>> {
        let result = self.run(record, |outputs| {
            let texts = outputs.map(|output| Ok(output?.to_string()));
            texts.collect::<Result<Vec<String>, _>>()
        });
        match result {
            Ok(texts) => {
                let records = (0..).zip(texts).map(|(sub_sequence, text)| Record {
                    sub_sequence,
                    ..record.with_data(text.into())
                });
                Ok(records.collect())
            }
            Err(message) => Err(Box::new(record.clone().failed(FILTER_ERROR_CODE, message))),
        }
    }

    /// Runs on a record within the bounds, and gives the results to `read`. Values never leave the bounds: their
    /// copies and comparisons cost steps too.
    fn run<T>(
        &self,
        record: &Record,
        read: impl FnOnce(&mut dyn Iterator<Item = Result<Value, Message>>) -> Result<T, Message>,
    ) -> Result<T, Message> {
        // The input is not part of the bound: its size is bounded by the size of a record.
        let steps = STEPS_PER_RECORD + record.data.len() as u64;
        let result = budget::run(steps, || {
            let input: Value = serde_json::from_slice(&record.data)
                .map_err(|error| Message::from(format!("record is not JSON: {error}")))?;
            let data = Run::new(&self.filter.lut, record.arrival);
            let context = Ctx::<Interpreter>::new(data, Vars::new([]));
            let outputs = self.filter.id.run((context, input));
            let mut outputs = outputs.map(|output| {
                output.map_err(|exception| match exception.get_err() {
                    Ok(error) => Message::from(error.into_val().to_text()),
                    Err(_) => Message::from("query was left by a break"),
                })
            });
            read(&mut outputs)
        });
        result.unwrap_or_else(|exhausted| Err(exhausted.to_string().into()))
    }
}

type Message = Cow<'static, str>;

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Query").field(&self.text).finish()
    }
}

fn syntax_error(error: &load::Error<&str>) -> QueryError {
    let near = match error {
        load::Error::Io(_) => return QueryError::Module,
        load::Error::Lex(errors) => errors.first().map(|(_, found)| *found),
        load::Error::Parse(errors) => errors.first().map(|(_, found)| *found),
    };
    QueryError::Syntax(near.unwrap_or_default().chars().take(40).collect())
}

fn keys_of(output: &Value) -> Result<Keys, Message> {
    let Value::Object(members) = output else {
        return Err(format!("query gave {}, not an object", output.described()).into());
    };
    let members = members.0.iter().map(|(name, value)| {
        let name = String::from_utf8_lossy(name).into_owned();
        let text = match value {
            Value::Null => String::new(),
            Value::Text(_) | Value::Bool(_) | Value::Number(_) => value.to_text(),
            Value::Array(_) | Value::Object(_) => {
                return Err(format!("partition key {name} is an {}", value.kind()).into());
            }
        };
        if text.is_empty() {
            return Err(format!("partition key {name} is null or empty").into());
        }
        Ok((name, text))
    });
    members.collect()
}
