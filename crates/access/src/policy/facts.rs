use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use anabranch_types::{Timestamp, dates};

use super::key::Key;

/// What is known of a call.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// `aws:username`
    pub username: &'a str,
    /// `aws:PrincipalArn`
    pub principal_arn: &'a str,
    /// `aws:PrincipalAccount`
    pub principal_account: &'a str,
    /// `aws:SourceIp`: where the connection comes from.
    pub source_ip: IpAddr,
    /// `aws:SecureTransport`: whether the connection is encrypted.
    pub is_secure: bool,
    /// `aws:UserAgent`
    pub user_agent: Option<&'a str>,
    /// `aws:CurrentTime`, `aws:EpochTime`
    pub now: Timestamp,
    /// `aws:ResourceTag/…`: of the stream or consumer.
    pub resource_tags: Option<&'a BTreeMap<String, String>>,
    /// `aws:RequestTag/…` and `aws:TagKeys`: keys of the request, with values where it has some.
    pub request_tags: &'a [(Cow<'a, str>, Option<Cow<'a, str>>)],
}

impl Facts<'_> {
    /// Values of a key; `None` if the call has none.
    pub(super) fn values(&self, key: &Key) -> Option<Vec<Cow<'_, str>>> {
        if let Key::TagKeys = key {
            let keys: Vec<_> =
                self.request_tags.iter().map(|(key, _)| Cow::Borrowed(&**key)).collect();
            return (!keys.is_empty()).then_some(keys);
        }
        self.value(key).map(|value| vec![value])
    }

    /// The value of a key that has one.
    pub(super) fn value(&self, key: &Key) -> Option<Cow<'_, str>> {
        match key {
            // The service gives users an opaque id; here their names are never given to somebody else meanwhile.
            Key::Username | Key::UserId => Some(self.username.into()),
            Key::PrincipalArn => Some(self.principal_arn.into()),
            Key::PrincipalAccount => Some(self.principal_account.into()),
            Key::PrincipalType => {
                let is_root = self.principal_arn.ends_with(":root");
                Some(if is_root { "Account" } else { "User" }.into())
            }
            Key::SourceIp => Some(self.source_ip.to_canonical().to_string().into()),
            Key::UserAgent => self.user_agent.map(Cow::Borrowed),
            Key::SecureTransport => Some(if self.is_secure { "true" } else { "false" }.into()),
            Key::CurrentTime => Some(dates::iso_8601_text(self.now).into()),
            Key::EpochTime => Some(self.now.as_secs().to_string().into()),
            Key::ResourceTag(tag) => {
                self.resource_tags?.get(tag).map(|value| Cow::Borrowed(value.as_str()))
            }
            Key::RequestTag(tag) => {
                let found = self.request_tags.iter().find(|(key, _)| key == tag);
                found.and_then(|(_, value)| value.as_deref()).map(Cow::Borrowed)
            }
            Key::TagKeys | Key::Absent => None,
        }
    }
}
