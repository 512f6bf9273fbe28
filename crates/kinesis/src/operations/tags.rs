//! Tags of streams and consumers: what the old operations, which name streams, and the new ones, which name ARNs, share.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use anabranch_aws::wire::{List, Map, Member, Text, Writer};
use anabranch_catalog::{Resource, ResourceCommand};
use anabranch_gateway::service::RequestTags;

use crate::error::Error;
use crate::kinesis::Context;

/// The tags of a request, if their letters are those that tags may have.
///
/// # Errors
/// [`Error::InvalidArgument`].
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

/// White space means characters of Unicode's separators, so no tabs and line breaks.
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

/// The tags of a request, for conditions.
pub(super) fn asked<'a, 't: 'a>(tags: &'a impl Member<Map<'t>>) -> RequestTags<'a> {
    let entries = tags.given().map(Map::entries).unwrap_or_default();
    // Of a key that is repeated the last value counts, as for what is stored.
    let asked: BTreeMap<&str, &str> =
        entries.iter().map(|(key, value)| (&**key, &**value)).collect();
    let asked = asked.into_iter();
    asked.map(|(key, value)| (Cow::Borrowed(key), Some(Cow::Borrowed(value)))).collect()
}

/// The keys of a request, for conditions.
pub(super) fn asked_keys<'a, 't: 'a>(keys: &'a impl Member<List<Text<'t>>>) -> RequestTags<'a> {
    let keys = keys.given().map(List::members).unwrap_or_default();
    keys.iter().map(|key| (Cow::Borrowed(&**key), None)).collect()
}

/// The keys of a request, if their letters are those that tags may have.
///
/// # Errors
/// [`Error::InvalidArgument`].
pub(super) fn keys<'t>(keys: &impl Member<List<Text<'t>>>) -> Result<BTreeSet<String>, Error> {
    let keys = keys.given().map(List::members).unwrap_or_default();
    let keys: BTreeSet<_> = keys.iter().map(|key| key.to_string()).collect();
    check_letters(keys.iter())?;
    Ok(keys)
}

/// Has the catalog change the tags of a resource.
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

/// A `TagList` of the API reference.
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
    fn a_repeated_key_has_for_conditions_the_value_that_is_stored() {
        let body = br#"{"Tags":{"env":"dev","env":"prod"}}"#;
        let tagged: Tagged<'_> = wire::decode(Format::Json, body).unwrap();
        let stored = checked(&tagged.tags).unwrap();
        assert_eq!(stored["env"], "prod");
        assert_eq!(asked(&tagged.tags), [("env".into(), Some("prod".into()))]);
    }
}
