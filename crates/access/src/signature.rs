//! Signature version 4 of a request, in the `Authorization` header or in the query.
//!
//! ```text
//! Signature::parse      finds the signature, splits it, and demands that all important headers are signed
//!       | key_id()      the caller looks up the secret of this access key
//! Signature::check      compares service, date and time
//! Signature::verify     makes the canonical request, and compares its HMAC with the signature
//! ```
//!
//! Nothing in a [`Signature`] is trustworthy before `verify` has succeeded. The body is always part of the signature.
//! Error texts are those of AWS, because SDKs read the server's time from them and correct their own clock.
//!
//! Source: AWS documentation, "Signature Version 4 signing process", and what botocore's `auth.py` signs.

mod canonical;
mod query;
mod signer;

use std::borrow::Cow;
use std::time::Duration;

use anabranch_types::{Timestamp, dates};
use aws_lc_rs::hmac;

pub use signer::{Credentials, Signed, Signer};

use canonical::Canonical;
use query::Query;

/// The parts of an HTTP request that a signature covers. The iterator yields every header, with its name in any case;
/// a header that appears twice is yielded twice. HTTP/2 requests may have no `Host` header: then the caller adds one
/// with the authority.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a, H> {
    /// HTTP method, such as `POST`.
    pub method: &'a str,
    /// Path as it is in the request, still percent-encoded. Empty means `/`.
    pub path: &'a str,
    /// Query as it is in the request, still percent-encoded and without `?`.
    pub query: &'a str,
    /// Names and values of all headers.
    pub headers: H,
    /// The whole body, after transfer encoding.
    pub body: &'a [u8],
}

/// Why a request is refused. Show the text to the client only, do not log it: like AWS, the text for an incomplete
/// signature contains the whole `Authorization` header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request has no signature.
    #[error("Missing Authentication Token")]
    Missing,
    /// The request has a signature in the header and another one in the query.
    #[error(
        "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."
    )]
    Two,
    /// Parts of the signature are missing or malformed.
    #[error("{0}")]
    Incomplete(String),
    /// The signature is well-formed, but does not belong to this request, this service or this time.
    #[error("{0}")]
    Invalid(String),
}

/// A parsed signature. Nothing of it has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    /// `<key id>/<date>/<region>/<service>/aws4_request`
    credential: Cow<'a, str>,
    signed_headers: Cow<'a, str>,
    /// 64 hexadecimal digits if it is well-formed; only `verify` checks that.
    signature: Cow<'a, str>,
    moment: Timestamp,
    /// The signing time as the client wrote it: `20260131T235959Z`.
    moment_text: Cow<'a, str>,
    token: Option<Cow<'a, str>>,
    place: Place,
}

/// Where in the request the signature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Header,
    /// With the value of `X-Amz-Expires` in seconds, if the query has one.
    Query(Option<u64>),
}

/// Signing key of one secret, day, region and service. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct SigningKey(hmac::Key);

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
const QUERY_PARTS: [&str; 5] =
    ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"];
const HEADER_PARTS: [&str; 3] = ["Credential", "Signature", "SignedHeaders"];
/// Largest accepted difference between the clocks of client and server.
const SKEW: Duration = Duration::from_secs(300);
/// Seven days (AWS documentation of `X-Amz-Expires`).
const LONGEST_EXPIRY_SECONDS: u64 = 604_800;
/// No SDK signs more headers. Each signed header is searched among all headers, so this bounds the work for one
/// request.
const MAX_SIGNED_HEADERS: usize = 64;
const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
                        Secret Access Key and signing method. Consult the service documentation for details.";

/// Checks only that the request has exactly one signature with all its parts. Does not look at their values.
///
/// # Errors
/// [`Error::Missing`], [`Error::Two`], or [`Error::Incomplete`] with the missing parts.
pub fn require<'a, H>(request: &Request<'a, H>) -> Result<(), Error>
where
    H: Iterator<Item = (&'a str, &'a [u8])> + Clone,
{
    locate(request).map(|_| ())
}

/// The access key id that the `Authorization` header or the query names. Empty if neither names one. Nothing is
/// verified, so it is only a claim of the client.
pub fn claimed_key_id<'a>(authorization: &'a str, query: &'a str) -> Cow<'a, str> {
    let first = |credential: &'a str| credential.split('/').next().unwrap_or_default();
    let [credential, ..] = HeaderParts::of(authorization).values;
    if let Some(credential) = credential {
        return Cow::Borrowed(first(credential));
    }
    match Query::new(query).only("X-Amz-Credential") {
        Ok(Some(Cow::Borrowed(credential))) => Cow::Borrowed(first(credential)),
        Ok(Some(Cow::Owned(credential))) => {
            Cow::Owned(credential.split('/').next().unwrap_or_default().to_owned())
        }
        Ok(None) | Err(_) => Cow::Borrowed(""),
    }
}

/// The signature of a request, in the place where `locate` found it.
enum Located<'a> {
    Header(HeaderParts<'a>),
    Query(Query<'a>),
}

/// The parts of `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`. `values` has the order of
/// [`HEADER_PARTS`].
struct HeaderParts<'a> {
    /// The whole header, for the error text.
    header: &'a str,
    algorithm: &'a str,
    values: [Option<&'a str>; HEADER_PARTS.len()],
    /// A part that appears more than once.
    repeated: Option<&'static str>,
}

fn locate<'a, H>(request: &Request<'a, H>) -> Result<Located<'a>, Error>
where
    H: Iterator<Item = (&'a str, &'a [u8])> + Clone,
{
    let query = Query::new(request.query);
    let in_query = query.has("X-Amz-Algorithm") || query.has("X-Amz-Signature");
    match (request.header("authorization"), in_query) {
        (Some(_), true) => Err(Error::Two),
        (None, false) => Err(Error::Missing),
        (None, true) => complete_query(&query).map(|()| Located::Query(query)),
        (Some(value), false) => {
            let parts = HeaderParts::of(std::str::from_utf8(value).unwrap_or_default());
            let dated = request.header("x-amz-date").or_else(|| request.header("date")).is_some();
            parts.check_complete(dated).map(|()| Located::Header(parts))
        }
    }
}

impl<'a> HeaderParts<'a> {
    fn of(authorization: &'a str) -> Self {
        // Splits bytes, not characters, because that is faster and this code runs for every request.
        let parts = authorization.as_bytes().split(|byte| matches!(byte, b' ' | b','));
        let mut parts = parts.map(|part| std::str::from_utf8(part).unwrap_or_default());
        let algorithm = parts.next().unwrap_or_default();
        let header = authorization;
        let mut found =
            Self { header, algorithm, values: [None; HEADER_PARTS.len()], repeated: None };
        for part in parts {
            for (known, slot) in HEADER_PARTS.into_iter().zip(&mut found.values) {
                let value = part.strip_prefix(known).and_then(|rest| rest.strip_prefix('='));
                if value.is_some_and(|value| slot.replace(value).is_some()) {
                    found.repeated = Some(known);
                }
            }
        }
        found
    }

    fn check_complete(&self, dated: bool) -> Result<(), Error> {
        let is_given = |value: &Option<&str>| value.is_some_and(|value| !value.is_empty());
        if dated && self.values.iter().all(is_given) {
            return Ok(());
        }
        let mut missing: String = HEADER_PARTS
            .into_iter()
            .zip(&self.values)
            .filter(|(_, value)| !is_given(value))
            .map(|(part, _)| format!("Authorization header requires '{part}' parameter. "))
            .collect();
        if !dated {
            missing.push_str(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ",
            );
        }
        Err(Error::Incomplete(format!("{missing}Authorization={}", self.header)))
    }
}

fn complete_query(query: &Query<'_>) -> Result<(), Error> {
    let missing: String = QUERY_PARTS
        .into_iter()
        .filter(|part| !query.has_value(part))
        .map(|part| format!("AWS query-string parameters must include '{part}'. "))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Incomplete(format!("{missing}Re-examine the query-string parameters.")))
}

impl<'a, H> Request<'a, H>
where
    H: Iterator<Item = (&'a str, &'a [u8])> + Clone,
{
    /// All values of a header. `name` is lowercase.
    fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.headers.clone().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value)
    }

    fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// The value of a header that may appear only once.
    fn only(&self, name: &str) -> Result<Option<&'a str>, Error> {
        let mut values = self.values(name);
        let (first, second) = (values.next(), values.next());
        if second.is_some() {
            return Err(Error::Incomplete(format!("The header '{name}' appears more than once.")));
        }
        let Some(value) = first else { return Ok(None) };
        let text = std::str::from_utf8(value).map(str::trim);
        text.map(Some)
            .map_err(|_| Error::Incomplete(format!("The header '{name}' is not valid UTF-8.")))
    }
}

impl<'a> Signature<'a> {
    /// Parses the signature of a request.
    ///
    /// # Errors
    /// Those of [`require`]. [`Error::Incomplete`] and [`Error::Invalid`] for malformed parts and for important
    /// headers that are not signed.
    pub fn parse<H>(request: &Request<'a, H>) -> Result<Self, Error>
    where
        H: Iterator<Item = (&'a str, &'a [u8])> + Clone,
    {
        let parsed = match locate(request)? {
            Located::Header(parts) => Self::of_header(request, &parts)?,
            Located::Query(query) => Self::of_query(&query)?,
        };
        let elements = parsed.credential.split('/').count();
        if elements != 5 || parsed.credential.split('/').any(str::is_empty) {
            return Err(Error::Incomplete(
                "Credential must have exactly 5 slash-delimited elements, e.g. \
                 keyid/date/region/service/term."
                    .to_owned(),
            ));
        }
        parsed.check_signed_headers(request)?;
        Ok(parsed)
    }

    fn of_header<H>(request: &Request<'a, H>, parts: &HeaderParts<'a>) -> Result<Self, Error>
    where
        H: Iterator<Item = (&'a str, &'a [u8])> + Clone,
    {
        // With two `Authorization` headers, a proxy and this server could read different ones.
        request.only("authorization")?;
        if parts.algorithm != ALGORITHM {
            return Err(unsupported_algorithm());
        }
        if let Some(name) = parts.repeated {
            let message =
                format!("Authorization header has the parameter '{name}' more than once.");
            return Err(Error::Incomplete(message));
        }
        let [credential, signature, signed_headers] =
            parts.values.map(|value| Cow::Borrowed(value.unwrap_or_default()));
        let (moment, moment_text) = match request.only("x-amz-date")? {
            Some(date) => (dates::parse_basic(date).ok_or_else(not_iso_8601)?, Cow::Borrowed(date)),
            None => {
                let date = request.only("date")?.unwrap_or_default();
                let moment = dates::parse_http(date).or_else(|| dates::parse_basic(date));
                let moment = moment.ok_or_else(not_iso_8601)?;
                (moment, Cow::Owned(dates::basic_text(moment)))
            }
        };
        let token = request.only("x-amz-security-token")?.map(Cow::Borrowed);
        let place = Place::Header;
        Ok(Self { credential, signed_headers, signature, moment, moment_text, token, place })
    }

    fn of_query(query: &Query<'a>) -> Result<Self, Error> {
        if query.only("X-Amz-Algorithm")?.as_deref() != Some(ALGORITHM) {
            return Err(unsupported_algorithm());
        }
        let part = |name: &str| query.only(name).map(Option::unwrap_or_default);
        let expires = match query.only("X-Amz-Expires")? {
            None => None,
            Some(text) => {
                let seconds = text.parse().ok();
                let allowed = |seconds: &u64| (1..=LONGEST_EXPIRY_SECONDS).contains(seconds);
                let wrong = || {
                    Error::Incomplete(format!(
                        "X-Amz-Expires must be a number of seconds from 1 to {LONGEST_EXPIRY_SECONDS}."
                    ))
                };
                Some(seconds.filter(allowed).ok_or_else(wrong)?)
            }
        };
        let moment_text = part("X-Amz-Date")?;
        Ok(Self {
            credential: part("X-Amz-Credential")?,
            signed_headers: part("X-Amz-SignedHeaders")?,
            signature: part("X-Amz-Signature")?,
            moment: dates::parse_basic(&moment_text).ok_or_else(not_iso_8601)?,
            moment_text,
            token: query.only("X-Amz-Security-Token")?,
            place: Place::Query(expires),
        })
    }

    /// Demands that every header that can change the meaning of the call is signed. Otherwise somebody between client
    /// and server could change it. The headers are the host, the date and those of `deciding`.
    fn check_signed_headers<H>(&self, request: &Request<'a, H>) -> Result<(), Error>
    where
        H: Iterator<Item = (&'a str, &'a [u8])> + Clone,
    {
        let mut deciding = [
            ("x-amz-content-sha256", false),
            ("x-amz-date", false),
            ("x-amz-security-token", false),
            ("x-amz-target", false),
        ];
        let (mut names_host, mut names_date, mut last, mut count) = (false, false, "", 0);
        for name in self.signed_headers.split(';') {
            let allowed = |b: u8| b.is_ascii_graphic() && !b.is_ascii_uppercase();
            count += 1;
            if name <= last || !name.bytes().all(allowed) || count > MAX_SIGNED_HEADERS {
                return Err(Error::Invalid(format!(
                    "SignedHeaders must be at most {MAX_SIGNED_HEADERS} lowercase names in alphabetical \
                     order, each once."
                )));
            }
            last = name;
            names_host |= name == "host" || name == ":authority";
            names_date |= name == "date";
            deciding.iter_mut().for_each(|(known, is_signed)| *is_signed |= name == *known);
        }
        if !names_host {
            return Err(unsigned("Host' or ':authority"));
        }
        let mut is_dated = self.place != Place::Header;
        for (name, _) in request.headers.clone() {
            if !name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-")) {
                continue;
            }
            is_dated |= name.eq_ignore_ascii_case("x-amz-date");
            let is_unsigned =
                |(known, is_signed): &&(&str, bool)| !is_signed && name.eq_ignore_ascii_case(known);
            if let Some((name, _)) = deciding.iter().find(is_unsigned) {
                return Err(unsigned(name));
            }
        }
        if is_dated || names_date { Ok(()) } else { Err(unsigned("date")) }
    }

    /// The access key id that the signature names.
    pub fn key_id(&self) -> &str {
        self.element(0)
    }

    /// Session token of temporary credentials; `None` for the long-term key of a user.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The credential: `<key id>/<date>/<region>/<service>/aws4_request`. A [`SigningKey`] depends on this text and
    /// the secret alone, so callers cache signing keys under it.
    pub fn credential(&self) -> &str {
        &self.credential
    }

    /// Name of the service that the credential is scoped to: `kinesis`.
    pub fn service(&self) -> &str {
        self.element(3)
    }

    /// The credential without the key id: the part that is signed.
    fn scope(&self) -> &str {
        self.credential.split_once('/').map_or("", |(_, scope)| scope)
    }

    fn element(&self, number: usize) -> &str {
        self.credential.split('/').nth(number).unwrap_or_default()
    }

    /// Checks that the signature was made for `service`, that the date in its credential is the day of the signing
    /// time, and that this time is neither too old nor in the future.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the texts of AWS.
    pub fn check(&self, service: &str, now: Timestamp) -> Result<(), Error> {
        let moment = &*self.moment_text;
        if self.element(4) != TERMINATOR {
            return Err(Error::Invalid(format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}'."
            )));
        }
        if self.service() != service {
            return Err(Error::Invalid(format!(
                "Credential should be scoped to correct service: '{service}'. "
            )));
        }
        if Some(self.element(1)) != moment.get(..8) {
            return Err(Error::Invalid(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from \
                 HTTP, from '{moment}'."
            )));
        }
        self.check_time(moment, now)
    }

    fn check_time(&self, moment: &str, now: Timestamp) -> Result<(), Error> {
        let lifetime = match self.place {
            Place::Query(Some(seconds)) => Duration::from_secs(seconds),
            Place::Query(None) | Place::Header => SKEW,
        };
        let (oldest, newest) = (now.minus(lifetime), now.plus(SKEW));
        let text = dates::basic_text;
        // The signing time has no milliseconds, so the comparison has none either. Else the last second of the
        // lifetime would be cut off.
        if self.moment.as_secs() < oldest.as_secs() {
            return Err(Error::Invalid(format!(
                "Signature expired: {moment} is now earlier than {} ({} - {} min.)",
                text(oldest),
                text(now),
                lifetime.as_secs() / 60
            )));
        }
        if self.moment > newest {
            return Err(Error::Invalid(format!(
                "Signature not yet current: {moment} is still later than {} ({} + 5 min.)",
                text(newest),
                text(now)
            )));
        }
        Ok(())
    }

    /// Derives the key for [`Self::verify`] from the secret of the access key.
    pub fn signing_key(&self, secret: &[u8]) -> SigningKey {
        SigningKey::derive(secret, self.element(1), self.element(2), self.element(3))
    }

    /// Checks that `key` signed exactly this request. The body must be part of the signature: a signature over
    /// `UNSIGNED-PAYLOAD`, or over the hash of another body, never matches, neither in the header nor in the query.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the signature does not match.
    pub fn verify<H>(&self, request: &Request<'a, H>, key: &SigningKey) -> Result<(), Error>
    where
        H: Iterator<Item = (&'a str, &'a [u8])> + Clone,
    {
        let mismatch = || Error::Invalid(MISMATCH.to_owned());
        let signature = parse_hex(&self.signature).ok_or_else(mismatch)?;
        let canonical = Canonical::of(request, &self.signed_headers).ok_or_else(mismatch)?;
        let text = canonical.string_to_sign(&self.moment_text, self.scope());
        hmac::verify(&key.0, &text, &signature).map_err(|_| mismatch())
    }
}

fn unsigned(name: &str) -> Error {
    Error::Invalid(format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."))
}

fn unsupported_algorithm() -> Error {
    Error::Incomplete(format!("Unsupported signing algorithm: it must be '{ALGORITHM}'."))
}

fn not_iso_8601() -> Error {
    Error::Incomplete("Date must be in ISO-8601 'basic format': YYYYMMDD'T'HHMMSS'Z'.".to_owned())
}

impl SigningKey {
    /// Derives the key of a secret for a day (`20260131`), a region and a service.
    pub fn derive(secret: &[u8], date: &str, region: &str, service: &str) -> Self {
        let first = [b"AWS4", secret].concat();
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, &first);
        for part in [date, region, service, TERMINATOR] {
            key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
        }
        Self(key)
    }

    fn sign(&self, text: &[u8]) -> String {
        hex(hmac::sign(&self.0, text).as_ref()).iter().copied().map(char::from).collect()
    }
}

/// Lowercase hexadecimal digits of a hash of 32 bytes.
fn hex(hash: &[u8]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 64];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(hash) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
    digits
}

/// Decodes 64 lowercase hexadecimal digits. `None` for anything else.
fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod cost;
#[cfg(test)]
mod sdk_tests;
#[cfg(test)]
mod tests;
