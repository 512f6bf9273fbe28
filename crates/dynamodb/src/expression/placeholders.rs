//! `ExpressionAttributeNames` and `ExpressionAttributeValues` of a request.
//!
//! All expressions of a request share them. Each use is recorded, because DynamoDB refuses a placeholder that no
//! expression uses.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::value::{Attributes, Value};

/// Most bytes of values in all expressions of a request, each use counted.
///
/// Source: "Quotas" of the DynamoDB Developer Guide, length of all substitution variables.
const MAX_COPIED_BYTES: usize = 2 * 1024 * 1024;

/// The placeholders of a request, and which of them were used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placeholders {
    names: BTreeMap<String, String>,
    values: Attributes,
    used: BTreeSet<String>,
    /// Bytes of values that expressions copied.
    copied_bytes: usize,
}

impl Placeholders {
    /// The placeholders of a request. Keys are with `#` and `:`.
    ///
    /// # Errors
    /// [`Error::Validation`] if a map is empty or a key has a wrong form.
    pub fn new(
        names: Option<BTreeMap<String, String>>,
        values: Option<Attributes>,
    ) -> Result<Self, Error> {
        if let Some(names) = &names {
            check_keys("ExpressionAttributeNames", names.keys(), '#')?;
        }
        if let Some(values) = &values {
            check_keys("ExpressionAttributeValues", values.keys(), ':')?;
        }
        let (names, values) = (names.unwrap_or_default(), values.unwrap_or_default());
        Ok(Self { names, values, used: BTreeSet::new(), copied_bytes: 0 })
    }

    /// The name behind `#name`.
    pub(crate) fn name(&mut self, placeholder: &str) -> Option<String> {
        let name = self.names.get(placeholder)?.clone();
        self.used.insert(placeholder.to_owned());
        Some(name)
    }

    /// The value behind `:value`.
    ///
    /// # Errors
    /// [`Error::Validation`] if the expressions repeat large values so often that they would fill the memory.
    pub(crate) fn value(&mut self, placeholder: &str) -> Result<Option<Value>, Error> {
        let Some(value) = self.values.get(placeholder) else { return Ok(None) };
        self.copied_bytes += value.size();
        if self.copied_bytes > MAX_COPIED_BYTES {
            return Err(Error::Validation(format!(
                "The values in the expressions have more than {MAX_COPIED_BYTES} bytes"
            )));
        }
        self.used.insert(placeholder.to_owned());
        Ok(Some(value.clone()))
    }

    /// Checks that every placeholder was used.
    ///
    /// # Errors
    /// [`Error::Validation`] that lists the placeholders that were not used.
    pub fn check_used(&self) -> Result<(), Error> {
        self.check("ExpressionAttributeNames", self.names.keys())?;
        self.check("ExpressionAttributeValues", self.values.keys())
    }

    fn check<'k>(&self, member: &str, keys: impl Iterator<Item = &'k String>) -> Result<(), Error> {
        let unused: Vec<_> = keys.filter(|key| !self.used.contains(*key)).cloned().collect();
        if unused.is_empty() {
            return Ok(());
        }
        Err(Error::Validation(format!(
            "Value provided in {member} unused in expressions: keys: {{{}}}",
            unused.join(", ")
        )))
    }
}

fn check_keys<'k>(
    member: &str,
    mut keys: impl ExactSizeIterator<Item = &'k String>,
    first: char,
) -> Result<(), Error> {
    if keys.len() == 0 {
        return Err(Error::Validation(format!("{member} must not be empty")));
    }
    let is_valid = |key: &String| {
        let rest = key.strip_prefix(first).unwrap_or_default();
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match keys.find(|key| !is_valid(key)) {
        Some(key) => Err(Error::Validation(format!(
            "{member} contains invalid key: Syntax error; key: \"{key}\""
        ))),
        None => Ok(()),
    }
}
