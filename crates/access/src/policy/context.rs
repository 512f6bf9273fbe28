//! The request context: the value of each condition key for one request.
//!
//! Policies read it in conditions and in variables. The caller of `decide` fills it in, so nothing here asks a clock,
//! a socket or the catalog. A key without a value is `None`, never an empty text: IAM treats a missing key in a
//! special way.
//!
//! Source: AWS documentation, "AWS global condition context keys".

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use anabranch_types::{Timestamp, dates};

use super::key::Key;

/// The request context.
#[derive(Clone, Debug)]
pub struct RequestContext<'a> {
    /// `aws:username` and `aws:userid`
    pub username: &'a str,
    /// `aws:PrincipalArn`
    pub principal_arn: &'a str,
    /// `aws:PrincipalAccount`
    pub principal_account: &'a str,
    /// `aws:SourceIp`: the address of the client's connection. Behind a proxy it is the proxy's.
    pub source_ip: IpAddr,
    /// `aws:SecureTransport`: whether the connection uses TLS.
    pub is_secure: bool,
    /// `aws:UserAgent`. Conditions see its first [`MAX_VALUE_BYTES`] bytes.
    pub user_agent: Option<&'a str>,
    /// `aws:CurrentTime`, `aws:EpochTime`
    pub now: Timestamp,
    /// `aws:TokenIssueTime`: when the session was issued. `None` for a long-term key.
    pub token_issued: Option<Timestamp>,
    /// `aws:RequestedRegion`
    pub region: &'a str,
    /// `aws:ResourceAccount`
    pub resource_account: &'a str,
    /// `aws:ResourceTag/…`: the tags of the stream or consumer.
    pub resource_tags: Option<&'a BTreeMap<String, String>>,
    /// `aws:RequestTag/…` and `aws:TagKeys`: the tags in the request. A tag to remove has a key and no value.
    pub request_tags: &'a [(Cow<'a, str>, Option<Cow<'a, str>>)],
}

/// Longest value that conditions compare, in bytes. Only the user agent of the client can be longer.
pub const MAX_VALUE_BYTES: usize = 2048;

impl RequestContext<'_> {
    /// All values of a key; `None` if the request has none. A tag has several values if the keys of tags differ in
    /// case alone.
    pub(super) fn values(&self, key: &Key) -> Option<Vec<Cow<'_, str>>> {
        let values: Vec<_> = if *key == Key::TagKeys {
            self.request_tags.iter().map(|(key, _)| Cow::Borrowed(&**key)).collect()
        } else if let Key::ResourceTag(tag) = key {
            self.resource_tag(tag).collect()
        } else if let Key::RequestTag(tag) = key {
            self.request_tag(tag).collect()
        } else {
            self.value(key).into_iter().collect()
        };
        (!values.is_empty()).then_some(values)
    }

    fn resource_tag<'a>(&'a self, tag: &str) -> impl Iterator<Item = Cow<'a, str>> {
        let tags = self.resource_tags.into_iter().flatten();
        let named = tags.filter(|(key, _)| is_same_tag(key, tag));
        named.map(|(_, value)| Cow::Borrowed(value.as_str()))
    }

    fn request_tag<'a>(&'a self, tag: &str) -> impl Iterator<Item = Cow<'a, str>> {
        let named = self.request_tags.iter().filter(|(key, _)| is_same_tag(key, tag));
        named.filter_map(|(_, value)| value.as_deref()).map(Cow::Borrowed)
    }

    /// The value of a key that has exactly one. `None` if it has none or several.
    pub(super) fn value(&self, key: &Key) -> Option<Cow<'_, str>> {
        match key {
            // AWS gives each user an opaque id. Here the name is the id: two users with one name never exist at the
            // same time.
            Key::Username | Key::UserId => Some(self.username.into()),
            Key::PrincipalArn => Some(self.principal_arn.into()),
            Key::PrincipalAccount => Some(self.principal_account.into()),
            Key::PrincipalType => {
                let is_root = self.principal_arn.ends_with(":root");
                Some(if is_root { "Account" } else { "User" }.into())
            }
            Key::SourceIp => Some(self.source_ip.to_canonical().to_string().into()),
            Key::UserAgent => self.user_agent.map(|agent| Cow::Borrowed(cut(agent))),
            Key::SecureTransport => Some(if self.is_secure { "true" } else { "false" }.into()),
            Key::CurrentTime => Some(dates::iso_8601_text(self.now).into()),
            Key::EpochTime => Some(self.now.as_secs().to_string().into()),
            Key::RequestedRegion => Some(self.region.into()),
            Key::ResourceAccount => Some(self.resource_account.into()),
            Key::TokenIssueTime => {
                self.token_issued.map(|issued| dates::iso_8601_text(issued).into())
            }
            Key::MultiFactorAuthPresent => self.token_issued.map(|_| "false".into()),
            // Here no AWS service calls on behalf of a user.
            Key::PrincipalIsAwsService | Key::ViaAwsService => Some("false".into()),
            Key::ResourceTag(tag) => only(self.resource_tag(tag)),
            Key::RequestTag(tag) => only(self.request_tag(tag)),
            Key::TagKeys | Key::Absent(_) => None,
        }
    }
}

fn only<T>(mut values: impl Iterator<Item = T>) -> Option<T> {
    values.next().filter(|_| values.next().is_none())
}

/// Whether two keys of tags are equal without case, as conditions compare them.
fn is_same_tag(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|key| key.chars().flat_map(char::to_lowercase));
    one.eq(other)
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_VALUE_BYTES)]
}
