//! The other side: signing requests that this program sends itself.

use std::sync::{Mutex, PoisonError};

use anabranch_types::{Timestamp, dates};

use super::canonical::Canonical;
use super::{ALGORITHM, Request, SigningKey, TERMINATOR};

/// An access key with its secret. Shows only the id.
#[derive(Clone)]
pub struct Credentials {
    /// The access key's id.
    pub key_id: String,
    /// The access key's secret.
    pub secret: String,
    /// Session token of temporary credentials.
    pub token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Signs requests to one service in one region. Keeps the day's key.
#[derive(Debug)]
pub struct Signer {
    credentials: Credentials,
    region: String,
    service: String,
    key: Mutex<Option<(String, SigningKey)>>,
}

/// Headers to add to the request that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// `Authorization`
    pub authorization: String,
    /// `X-Amz-Date`
    pub date: String,
    /// `X-Amz-Security-Token`, with temporary credentials.
    pub token: Option<String>,
}

impl Signer {
    /// A signer with these credentials.
    pub fn new(credentials: Credentials, region: &str, service: &str) -> Self {
        let (region, service) = (region.to_owned(), service.to_owned());
        Self { credentials, region, service, key: Mutex::new(None) }
    }

    /// Signs a request with all of its headers, which must be those that are sent as they are, `Host` among them, and
    /// neither `X-Amz-Date` nor `X-Amz-Security-Token`: they are added here.
    pub fn sign<'a, H>(&self, request: &Request<'a, H>, now: Timestamp) -> Signed
    where
        H: Iterator<Item = (&'a str, &'a [u8])> + Clone,
    {
        let date = dates::basic_text(now);
        let authorization = self.authorization(request, &date);
        Signed { authorization, date, token: self.credentials.token.clone() }
    }

    fn authorization<'a, H>(&self, request: &Request<'a, H>, date: &str) -> String
    where
        H: Iterator<Item = (&'a str, &'a [u8])> + Clone,
    {
        let Credentials { key_id, token, .. } = &self.credentials;
        let day = date.get(..8).unwrap_or_default();
        let added = [("x-amz-date", Some(date)), ("x-amz-security-token", token.as_deref())];
        let added = added.into_iter().filter_map(|(name, value)| Some((name, value?.as_bytes())));
        let headers = request.headers.clone().map(shortened).chain(added);
        let Request { method, path, query, body, .. } = *request;
        let request = Request { method, path, query, headers: headers.clone(), body };
        let mut names: Vec<_> = headers.map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort_unstable();
        names.dedup();
        let names = names.join(";");
        let scope = [day, &self.region, &self.service, TERMINATOR].join("/");
        let canonical = Canonical::of(&request, &names);
        let text = canonical.map(|canonical| canonical.string_to_sign(date, &scope));
        // Without a text a header contradicts the body: no signature makes that right.
        let signature = self.key(day).sign(&text.unwrap_or_default());
        format!(
            "{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
    }

    fn key(&self, day: &str) -> SigningKey {
        let mut kept = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((of, key)) if of == day => key.clone(),
            _ => {
                let secret = self.credentials.secret.as_bytes();
                let key = SigningKey::derive(secret, day, &self.region, &self.service);
                *kept = Some((day.to_owned(), key.clone()));
                key
            }
        }
    }
}

/// A header that lives no longer than what is added to the request.
const fn shortened<'b, 'a: 'b>((name, value): (&'a str, &'a [u8])) -> (&'b str, &'b [u8]) {
    (name, value)
}
