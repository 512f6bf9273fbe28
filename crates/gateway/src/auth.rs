//! Signature version 4: whether a request carries one, in the header or in the query.
//!
//! The signature is taken apart but not verified yet: any key and any secret are accepted.

use http::HeaderMap;
use http::header::{AUTHORIZATION, DATE};

use crate::errors::Error;

const QUERY_PARTS: [&str; 5] =
    ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"];
const HEADER_PARTS: [&str; 3] = ["Credential", "Signature", "SignedHeaders"];

/// Refuses a request that has no signature, half of one, or two.
///
/// # Errors
/// [`Error::MissingAuthentication`], [`Error::IncompleteSignature`], [`Error::TwoSignatures`].
pub(crate) fn require_signature(headers: &HeaderMap, query: Option<&str>) -> Result<(), Error> {
    let query = query.unwrap_or_default();
    let in_query =
        has_parameter(query, "X-Amz-Algorithm") || has_parameter(query, "X-Amz-Signature");
    match (headers.get(AUTHORIZATION), in_query) {
        (Some(_), true) => Err(Error::TwoSignatures),
        (None, true) => complete_query(query),
        (Some(value), false) => complete_header(value.to_str().unwrap_or_default(), headers),
        (None, false) => Err(Error::MissingAuthentication),
    }
}

fn complete_header(authorization: &str, headers: &HeaderMap) -> Result<(), Error> {
    let given = header_parts(authorization);
    let dated = headers.contains_key("x-amz-date") || headers.contains_key(DATE);
    if given == [true; HEADER_PARTS.len()] && dated {
        return Ok(());
    }
    let mut missing: String = HEADER_PARTS
        .into_iter()
        .zip(given)
        .filter(|(_, given)| !given)
        .map(|(part, _)| format!("Authorization header requires '{part}' parameter. "))
        .collect();
    if !dated {
        missing.push_str(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ",
        );
    }
    // The service repeats the header; what looks like a signature must not end up in a log.
    let scheme = authorization.split(' ').next().filter(|word| word.starts_with("AWS4-"));
    Err(Error::IncompleteSignature(format!(
        "{missing}Authorization={}",
        scheme.unwrap_or_default()
    )))
}

/// Which of [`HEADER_PARTS`] have a value in `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`.
fn header_parts(authorization: &str) -> [bool; HEADER_PARTS.len()] {
    let mut given = [false; HEADER_PARTS.len()];
    for part in authorization.as_bytes().split(|byte| matches!(byte, b' ' | b',')) {
        for (name, given) in HEADER_PARTS.iter().zip(&mut given) {
            let value = part.strip_prefix(name.as_bytes()).and_then(|v| v.strip_prefix(b"="));
            *given |= value.is_some_and(|value| !value.is_empty());
        }
    }
    given
}

fn complete_query(query: &str) -> Result<(), Error> {
    let missing: String = QUERY_PARTS
        .into_iter()
        .filter(|part| !has_parameter(query, part))
        .map(|part| format!("AWS query-string parameters must include '{part}'. "))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("{missing}Re-examine the query-string parameters.");
    Err(Error::IncompleteSignature(message))
}

fn has_parameter(query: &str, name: &str) -> bool {
    query.split('&').any(|pair| pair.split('=').next() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/kinesis/aws4_request, \
                         SignedHeaders=host;x-amz-date, Signature=00ff";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn a_whole_header_is_accepted() {
        let signed = headers(&[("authorization", WHOLE), ("x-amz-date", "20260101T000000Z")]);
        assert_eq!(require_signature(&signed, None), Ok(()));
        let compact = WHOLE.replace(", ", ",");
        let signed = headers(&[("authorization", &compact), ("date", "today")]);
        assert_eq!(require_signature(&signed, None), Ok(()));
    }

    #[test]
    fn none_and_two_signatures_are_told_apart() {
        assert_eq!(require_signature(&headers(&[]), None), Err(Error::MissingAuthentication));
        let signed = headers(&[("authorization", WHOLE)]);
        assert_eq!(
            require_signature(&signed, Some("X-Amz-Signature=00&a=b")),
            Err(Error::TwoSignatures)
        );
    }

    #[test]
    fn what_is_missing_is_listed() {
        let signed = headers(&[("authorization", "AWS4-HMAC-SHA256 Credential=a")]);
        let Err(Error::IncompleteSignature(message)) = require_signature(&signed, None) else {
            panic!("accepted")
        };
        assert_eq!(
            message,
            "Authorization header requires 'Signature' parameter. Authorization header requires \
             'SignedHeaders' parameter. Authorization header requires existence of either a \
             'X-Amz-Date' or a 'Date' header. Authorization=AWS4-HMAC-SHA256"
        );
    }

    #[test]
    fn presigned_queries_are_complete_or_refused() {
        let whole = QUERY_PARTS.map(|part| format!("{part}=x")).join("&");
        assert_eq!(require_signature(&headers(&[]), Some(&whole)), Ok(()));
        let part = "X-Amz-Algorithm=x&X-Amz-Credential=x&X-Amz-Signature=x&X-Amz-Date=x";
        assert_eq!(
            require_signature(&headers(&[]), Some(part)),
            Err(Error::IncompleteSignature(
                "AWS query-string parameters must include 'X-Amz-SignedHeaders'. Re-examine the \
                 query-string parameters."
                    .into()
            ))
        );
    }
}
