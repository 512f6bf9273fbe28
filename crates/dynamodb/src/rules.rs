//! Constraints of members, as the service model states them, and names of tables.
//!
//! Source: the model of the API that the SDKs contain (`dynamodb/2012-08-10`). `crate::constraints` of the crate `aws`
//! makes the sentences.

use anabranch_aws::constraints::{Checks, Rule};
use anabranch_aws::wire::{Required, Text};

use crate::error::Error;

/// No constraint.
pub(crate) const ANY: Rule = Rule::ANY;
/// A name or an ARN.
pub(crate) const TABLE_ARN: Rule = Rule::range(1, 1024);
/// A name.
pub(crate) const NAME: Rule = Rule::range(3, 255).pattern("[a-zA-Z0-9_.-]+", is_name);
pub(crate) const BILLING_MODE: Rule = Rule::one_of(&["PROVISIONED", "PAY_PER_REQUEST"]);
pub(crate) const KEY_SCHEMA: Rule = Rule::range(1, 2);
pub(crate) const KEY_NAME: Rule = Rule::range(1, 255);
pub(crate) const KEY_TYPE: Rule = Rule::one_of(&["HASH", "RANGE"]);
pub(crate) const SCALAR_TYPE: Rule = Rule::one_of(&["B", "N", "S"]);
pub(crate) const PROJECTION_TYPE: Rule = Rule::one_of(&["ALL", "KEYS_ONLY", "INCLUDE"]);
pub(crate) const NON_KEY_ATTRIBUTES: Rule = Rule::range(1, 20);
pub(crate) const CAPACITY: Rule = Rule::range(1, i64::MAX as u64);
pub(crate) const TAG_KEY: Rule = Rule::range(1, 128);
pub(crate) const TAG_VALUE: Rule = Rule::range(0, 256);
pub(crate) const LIST_TABLES_LIMIT: Rule = Rule::range(1, 100);
pub(crate) const LIMIT: Rule = Rule::range(1, i32::MAX as u64);
pub(crate) const SEGMENT: Rule = Rule::range(0, 999_999);
pub(crate) const TOTAL_SEGMENTS: Rule = Rule::range(1, 1_000_000);
pub(crate) const TRANSACT_ITEMS: Rule = Rule::range(1, 100);
pub(crate) const REQUEST_TOKEN: Rule = Rule::range(1, 36);
pub(crate) const ATTRIBUTE_NAMES: Rule = Rule::range(1, u64::MAX);
pub(crate) const RECOVERY_DAYS: Rule = Rule::range(1, 35);
pub(crate) const RETURN_CAPACITY: Rule = Rule::one_of(&["INDEXES", "TOTAL", "NONE"]);
pub(crate) const RETURN_METRICS: Rule = Rule::one_of(&["SIZE", "NONE"]);
pub(crate) const RETURN_VALUES: Rule =
    Rule::one_of(&["ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW"]);
pub(crate) const RETURN_ON_FAILURE: Rule = Rule::one_of(&["ALL_OLD", "NONE"]);
pub(crate) const CONDITIONAL_OPERATOR: Rule = Rule::one_of(&["OR", "AND"]);
pub(crate) const SELECT: Rule =
    Rule::one_of(&["SPECIFIC_ATTRIBUTES", "COUNT", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES"]);
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    !text.is_empty() && text.bytes().all(allowed)
}

/// Checks the member `TableName`.
pub(crate) fn check_table(checks: &mut Checks, name: &Required<Text<'_>>) {
    checks.text("TableName", name, &TABLE_ARN);
}

/// The name of a table from the member `TableName`, which may be a name or an ARN.
///
/// # Errors
/// [`Error::Validation`] if the text is neither.
pub(crate) fn table_name(text: &str) -> Result<&str, Error> {
    let name = match text.strip_prefix("arn:") {
        Some(arn) => arn.rsplit_once(":table/").map(|(_, name)| name),
        None => Some(text),
    };
    let name = name.ok_or_else(|| Error::Validation("Invalid TableArn".to_owned()))?;
    if !(3..=255).contains(&name.len()) {
        return Err(Error::Validation(
            "TableName must be at least 3 characters long and at most 255 characters long"
                .to_owned(),
        ));
    }
    if !is_name(name) {
        return Err(Error::Validation(format!(
            "1 validation error detected: Value '{name}' at 'tableName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
        )));
    }
    Ok(name)
}
