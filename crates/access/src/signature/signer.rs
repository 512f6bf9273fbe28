//! Signs requests that this program sends itself, for example to a key management service.
//!
//! The signer adds `X-Amz-Date` and, for temporary credentials, `X-Amz-Security-Token`, and signs every header. It
//! never reads a clock: the caller passes the time in. It keeps the signing key of the last day, because deriving it
//! costs four HMACs.

use std::sync::{Mutex, PoisonError};

use anabranch_types::{Timestamp, dates};

use super::canonical::Canonical;
use super::{ALGORITHM, Request, SigningKey, TERMINATOR};

/// An access key with its secret. `Debug` shows only the id.
#[derive(Clone)]
pub struct Credentials {
    /// Access key id.
    pub key_id: String,
    /// Secret access key.
    pub secret: String,
    /// Session token, if the credentials are temporary.
    pub token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Signs requests to one service in one region. Keeps the signing key of the last day it signed for.
#[derive(Debug)]
pub struct Signer {
    credentials: Credentials,
    region: String,
    service: String,
    key: Mutex<Option<(String, SigningKey)>>,
}

/// Headers that the caller adds to the request that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// `Authorization`
    pub authorization: String,
    /// `X-Amz-Date`
    pub date: String,
    /// `X-Amz-Security-Token`, for temporary credentials only.
    pub token: Option<String>,
}

impl Signer {
    /// Makes a signer for requests to `service` in `region`.
    pub fn new(credentials: Credentials, region: &str, service: &str) -> Self {
        let (region, service) = (region.to_owned(), service.to_owned());
        Self { credentials, region, service, key: Mutex::new(None) }
    }

    /// Signs a request with all its headers. The caller sends exactly these headers, `Host` among them, and the
    /// headers in [`Signed`]. The given headers must contain neither `X-Amz-Date` nor `X-Amz-Security-Token`, because
    /// this function adds both.
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
        // There is no text only if an `x-amz-content-sha256` header contradicts the body. No signature makes such a
        // request valid, so it does not matter what is signed.
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

/// Shortens the lifetime of a header to that of the added headers, so that both fit into one iterator.
const fn shortened<'b, 'a: 'b>((name, value): (&'a str, &'a [u8])) -> (&'b str, &'b [u8]) {
    (name, value)
}
