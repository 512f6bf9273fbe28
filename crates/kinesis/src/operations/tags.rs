//! Tags of streams and consumers. Two generations of operations share these functions: the older one names a stream,
//! the newer one names a resource by ARN.
//!
//! A request with an invalid tag changes nothing: all tags are checked before any is proposed to the catalog.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use anabranch_aws::wire::{List, Map, Member, Text, Writer};
use anabranch_catalog::{Resource, ResourceCommand};
use anabranch_gateway::service::RequestTags;

use crate::error::Error;
use crate::kinesis::Context;

/// Checks and returns the tags of a request.
///
/// # Errors
/// [`Error::InvalidArgument`] for a character that tags may not have, and for a key that begins with `aws:`.
pub(super) fn checked<'t>(tags: &impl Member<Map<'t>>) -> Result<BTreeMap<String, String>, Error> {
    let entries = tags.given().map(Map::entries).unwrap_or_default();
    let tags: BTreeMap<_, _> =
        entries.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    if tags.keys().any(|key| key.to_ascii_lowercase().starts_with("aws:")) {
        let message = "Tag keys that begin with aws: are reserved.".to_owned();
        return Err(Error::InvalidArgument(message));
    }
    check_letters(tags.iter().flat_map(|(key, value)| [key, value]))?;
    Ok(tags)
}

/// Checks the characters of keys and values. White space means the separators of Unicode, so tabs and line breaks are
/// refused.
fn check_letters<'a>(mut texts: impl Iterator<Item = &'a String>) -> Result<(), Error> {
    let is_space = |c: char| c.is_whitespace() && !c.is_control();
    let is_allowed = |c: char| c.is_alphanumeric() || is_space(c) || "_.:/=+-%@".contains(c);
    if texts.all(|text| text.chars().all(is_allowed)) {
        return Ok(());
    }
    Err(Error::InvalidArgument(
        "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white \
         space, _ . / = + - % @."
            .to_owned(),
    ))
}

/// The tags of a request, for conditions of policies.
pub(super) fn requested<'a, 't: 'a>(tags: &'a impl Member<Map<'t>>) -> RequestTags<'a> {
    let entries = tags.given().map(Map::entries).unwrap_or_default();
    // If a key is repeated, the last value counts. The stored tags follow the same rule.
    let requested: BTreeMap<&str, &str> =
        entries.iter().map(|(key, value)| (&**key, &**value)).collect();
    let requested = requested.into_iter();
    requested.map(|(key, value)| (Cow::Borrowed(key), Some(Cow::Borrowed(value)))).collect()
}

/// The tag keys of a request, for conditions of policies.
pub(super) fn requested_keys<'a, 't: 'a>(keys: &'a impl Member<List<Text<'t>>>) -> RequestTags<'a> {
    let keys = keys.given().map(List::members).unwrap_or_default();
    keys.iter().map(|key| (Cow::Borrowed(&**key), None)).collect()
}

/// Checks and returns the tag keys of a request.
///
/// # Errors
/// [`Error::InvalidArgument`] for a character that tags may not have.
pub(super) fn keys<'t>(keys: &impl Member<List<Text<'t>>>) -> Result<BTreeSet<String>, Error> {
    let keys = keys.given().map(List::members).unwrap_or_default();
    let keys: BTreeSet<_> = keys.iter().map(|key| key.to_string()).collect();
    check_letters(keys.iter())?;
    Ok(keys)
}

/// Proposes a change of the tags of a resource to the catalog.
pub(super) async fn change(
    cx: &Context<'_>,
    resource: Resource,
    set: BTreeMap<String, String>,
    removed: BTreeSet<String>,
) -> Result<(), Error> {
    let stream = resource.stream.clone();
    cx.service
        .change(&stream, ResourceCommand::SetTags { resource, set, removed })
        .await
        .map(|_| ())
}

/// Writes a `TagList` of the API reference.
pub(super) fn write<'a>(w: &mut Writer, tags: impl Iterator<Item = (&'a String, &'a String)>) {
    w.member("Tags").list(|w| {
        for (key, value) in tags {
            w.structure(|w| {
                w.member("Key").text(key);
                w.member("Value").text(value);
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use anabranch_aws::wire::{self, Format};

    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Tagged<'a> {
        #[serde(borrow)]
        tags: Option<Map<'a>>,
    }

    #[test]
    fn conditions_see_the_value_of_a_repeated_key_that_is_stored() {
        let body = br#"{"Tags":{"env":"dev","env":"prod"}}"#;
        let tagged: Tagged<'_> = wire::decode(Format::Json, body).unwrap();
        let stored = checked(&tagged.tags).unwrap();
        assert_eq!(stored["env"], "prod");
        assert_eq!(requested(&tagged.tags), [("env".into(), Some("prod".into()))]);
    }
}
