//! The definition of a function: a name, and the HTTP endpoint behind it.
//!
//! [`FunctionSpec`] is the form in JSON, for storage and for commands. [`Function`] has been checked.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::Uri;
use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;
use crate::limits::{HEADER_BYTES, HEADERS, TIMEOUT_SECONDS, URL_BYTES};
use crate::name::FunctionName;

/// Version of the JSON form. Every other version is refused.
const VERSION: u32 = 1;

/// Headers that the call itself sets, or that belong to the connection.
const RESERVED: [&str; 11] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A function as JSON. Not checked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct FunctionSpec {
    /// Version of this form.
    pub version: u32,
    /// Name.
    pub function_name: String,
    /// `http://` or `https://` URL to which events are posted.
    pub url: String,
    /// Headers of each call, such as `Authorization`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Seconds of a call.
    #[serde(default = "sixty")]
    pub timeout_in_seconds: i64,
}

/// A function. A value of this type has been checked.
#[derive(Clone)]
pub struct Function {
    /// Name.
    pub name: FunctionName,
    /// `http://` or `https://` URL to which events are posted.
    pub url: Uri,
    /// Headers of each call.
    pub headers: HeaderMap,
    /// Time of a call, from the connection to the last byte of the response.
    pub timeout: Duration,
}

impl FunctionSpec {
    /// A function without headers, with the default timeout of 60 s.
    pub fn new(name: &str, url: &str) -> Self {
        Self {
            version: VERSION,
            function_name: name.to_owned(),
            url: url.to_owned(),
            headers: BTreeMap::new(),
            timeout_in_seconds: sixty(),
        }
    }

    /// Parses the JSON form. Unknown members are refused.
    ///
    /// # Errors
    /// [`Invalid`] for the whole text.
    pub fn parse(json: &[u8]) -> Result<Self, Invalid> {
        serde_json::from_slice(json).map_err(|error| Invalid::new("Function", error))
    }

    /// The JSON form.
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers can be written")
    }
}

impl Function {
    /// Checks `spec`.
    ///
    /// # Errors
    /// [`Invalid`] names the first member that breaks a rule.
    pub fn check(spec: &FunctionSpec) -> Result<Self, Invalid> {
        if spec.version != VERSION {
            return Err(Invalid::new("Version", format_args!("must be {VERSION}")));
        }
        let seconds =
            Invalid::check("TimeoutInSeconds", spec.timeout_in_seconds, &TIMEOUT_SECONDS)?;
        Ok(Self {
            name: spec.function_name.parse()?,
            url: url(&spec.url)?,
            headers: headers(&spec.headers)?,
            timeout: Duration::from_secs(seconds),
        })
    }
}

/// Without the values of headers, which may be secrets.
impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.keys().map(HeaderName::as_str).collect();
        f.debug_struct("Function")
            .field("name", &self.name.as_str())
            .field("url", &self.url)
            .field("headers", &headers)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// Without the values of headers, which may be secrets.
impl fmt::Debug for FunctionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionSpec")
            .field("function_name", &self.function_name)
            .field("url", &self.url)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("timeout_in_seconds", &self.timeout_in_seconds)
            .finish_non_exhaustive()
    }
}

fn sixty() -> i64 {
    60
}

fn url(text: &str) -> Result<Uri, Invalid> {
    let invalid =
        || Invalid::new("Url", "must be http:// or https://, a host, and no user or fragment");
    if text.len() > URL_BYTES || text.contains('#') {
        return Err(invalid());
    }
    let url: Uri = text.parse().map_err(|_| invalid())?;
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    let authority = url.authority().ok_or_else(invalid)?;
    if !is_http || authority.host().is_empty() || authority.as_str().contains('@') {
        return Err(invalid());
    }
    Ok(url)
}

fn headers(spec: &BTreeMap<String, String>) -> Result<HeaderMap, Invalid> {
    if spec.len() > HEADERS {
        return Err(Invalid::new("Headers", format_args!("must be at most {HEADERS}")));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in spec {
        let header = header(name, value).ok_or_else(|| {
            Invalid::new("Headers", format_args!("{name} is not a header to set"))
        })?;
        if headers.insert(header.0, header.1).is_some() {
            return Err(Invalid::new("Headers", format_args!("{name} is there twice")));
        }
    }
    Ok(headers)
}

fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let header: HeaderName = name.parse().ok()?;
    let is_reserved = RESERVED.contains(&header.as_str()) || header.as_str().starts_with("x-amz-");
    if is_reserved || name.len() + value.len() > HEADER_BYTES {
        return None;
    }
    let mut value: HeaderValue = value.parse().ok()?;
    value.set_sensitive(true);
    Some((header, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = r#"{"Version":1,"FunctionName":"meter","Url":"https://f.test/invoke?x=1","Headers":{"authorization":"Bearer s3cret"},"TimeoutInSeconds":30}"#;

    fn spec() -> FunctionSpec {
        FunctionSpec::new("meter", "https://f.test/invoke")
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut FunctionSpec), expected: &str) {
        let mut spec = spec();
        change(&mut spec);
        assert_eq!(Function::check(&spec).unwrap_err().to_string(), expected);
    }

    #[test]
    fn the_stored_form_is_read_and_written_byte_for_byte() {
        let spec = FunctionSpec::parse(STORED.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(spec.json()).unwrap(), STORED);
        let function = Function::check(&spec).unwrap();
        assert_eq!(function.name.as_str(), "meter");
        assert_eq!(function.url.host(), Some("f.test"));
        assert_eq!(function.headers["authorization"], "Bearer s3cret");
        assert_eq!(function.timeout, Duration::from_secs(30));
    }

    #[test]
    fn defaults_are_no_headers_and_sixty_seconds() {
        let json = br#"{"Version":1,"FunctionName":"f","Url":"http://f.test"}"#;
        let function = Function::check(&FunctionSpec::parse(json).unwrap()).unwrap();
        assert_eq!((function.headers.len(), function.timeout.as_secs()), (0, 60));
    }

    #[test]
    fn an_invalid_member_is_named_with_its_rule() {
        let url = "Url: must be http:// or https://, a host, and no user or fragment";
        for text in
            ["", "f.test", "/f", "ftp://f.test", "http://u@f.test", "http://f.test/#a", "http://"]
        {
            check(|spec| spec.url = text.into(), url);
        }
        let name = "FunctionName: must be 1 to 64 letters, digits, hyphens and underscores";
        for text in ["", "a b", "a.b", &"a".repeat(65)] {
            check(|spec| spec.function_name = text.into(), name);
        }
        check(|spec| spec.timeout_in_seconds = 901, "TimeoutInSeconds: must be 1 to 900, is 901");
        check(|spec| spec.version = 2, "Version: must be 1");
        for name in ["Host", "content-length", "X-Amz-Request-Id", "a b"] {
            let expected = format!("Headers: {name} is not a header to set");
            check(|spec| drop(spec.headers.insert(name.into(), "v".into())), &expected);
        }
        check(
            |spec| drop(spec.headers.insert("x".into(), "a\nb".into())),
            "Headers: x is not a header to set",
        );
    }

    #[test]
    fn unknown_members_are_refused() {
        let json = br#"{"Version":1,"FunctionName":"f","Url":"http://f.test","Runtime":"x"}"#;
        let error = FunctionSpec::parse(json).unwrap_err().to_string();
        assert!(error.starts_with("Function: unknown field `Runtime`"), "{error}");
    }

    #[test]
    fn values_of_headers_are_not_in_debug_texts() {
        let spec = FunctionSpec::parse(STORED.as_bytes()).unwrap();
        let texts = format!("{spec:?} {:?}", Function::check(&spec).unwrap());
        assert!(texts.contains("authorization") && !texts.contains("s3cret"), "{texts}");
    }
}
