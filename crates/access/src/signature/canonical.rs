//! The canonical request: the text that client and server both make of a request. The signature is an HMAC over its
//! hash.
//!
//! ```text
//! POST                        method
//! /                           path
//! a=1&b=2                     query, sorted
//! host:127.0.0.1:4567         signed headers, one line each
//! x-amz-date:20260131T...
//!                             an empty line
//! host;x-amz-date             names of the signed headers
//! 44136fa3...                 SHA-256 of the body, always of the body that arrived
//! ```
//!
//! Source: AWS documentation, "Create a signed AWS API request".

use aws_lc_rs::digest::{Digest, SHA256, digest};

use super::query::{self, Query};
use super::{ALGORITHM, Request, hex};

/// SHA-256 of a canonical request.
#[derive(Debug)]
pub(super) struct Canonical(Digest);

impl Canonical {
    /// Makes the canonical request for the given signed headers. `None` if the request lacks one of them, or if its
    /// `x-amz-content-sha256` header is not the hash of the body.
    pub(super) fn of<'a, H>(request: &Request<'a, H>, signed_headers: &str) -> Option<Self>
    where
        H: Iterator<Item = (&'a str, &'a [u8])> + Clone,
    {
        let payload = hex(digest(&SHA256, request.body).as_ref());
        if request.values("x-amz-content-sha256").any(|said| said != payload) {
            return None;
        }
        let mut text = Vec::with_capacity(1024);
        text.extend_from_slice(request.method.as_bytes());
        text.push(b'\n');
        write_path(request.path, &mut text);
        text.push(b'\n');
        Query::new(request.query).write_canonical(&mut text);
        text.push(b'\n');
        for name in signed_headers.split(';') {
            write_header(request, name, &mut text)?;
        }
        text.push(b'\n');
        text.extend_from_slice(signed_headers.as_bytes());
        text.push(b'\n');
        text.extend_from_slice(&payload);
        Some(Self(digest(&SHA256, &text)))
    }

    /// The text that the signing key signs: algorithm, time, scope and hash of the canonical request.
    pub(super) fn string_to_sign(&self, moment: &str, scope: &str) -> Vec<u8> {
        let hash = hex(self.0.as_ref());
        [ALGORITHM.as_bytes(), moment.as_bytes(), scope.as_bytes(), &hash].join(&b'\n')
    }
}

/// Appends the path without empty segments, `.` and `..`. Each segment is percent-encoded once more, although it is
/// encoded already: Signature version 4 demands that for every service except S3.
fn write_path(path: &str, out: &mut Vec<u8>) {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    for segment in &segments {
        out.push(b'/');
        query::encode(segment.as_bytes(), b"", out);
    }
    if segments.is_empty() || path.ends_with('/') {
        out.push(b'/');
    }
}

/// Appends `name:value`. Several values of one header are joined with `,`. Each is trimmed, and several spaces in a
/// row become one. `None` if the request has no such header.
fn write_header<'a, H>(request: &Request<'a, H>, name: &str, out: &mut Vec<u8>) -> Option<()>
where
    H: Iterator<Item = (&'a str, &'a [u8])> + Clone,
{
    out.extend_from_slice(name.as_bytes());
    let lookup = if name == ":authority" { "host" } else { name };
    let mut separator = b':';
    for value in request.values(lookup) {
        out.push(separator);
        separator = b',';
        write_value(value.trim_ascii(), out);
    }
    out.push(b'\n');
    (separator == b',').then_some(())
}

fn write_value(value: &[u8], out: &mut Vec<u8>) {
    if !value.windows(2).any(|pair| pair == b"  ") {
        return out.extend_from_slice(value);
    }
    let mut was_space = false;
    for byte in value {
        let is_space = *byte == b' ';
        if !(is_space && was_space) {
            out.push(*byte);
        }
        was_space = is_space;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> String {
        let mut out = Vec::new();
        write_path(path, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn paths_are_normalised_and_encoded_once_more() {
        for (given, canonical) in [
            ("/", "/"),
            ("", "/"),
            ("//", "/"),
            ("/a/./b/../c", "/a/c"),
            ("/a//b/", "/a/b/"),
            ("/a%20b", "/a%2520b"),
            ("/../..", "/"),
        ] {
            assert_eq!(path(given), canonical, "{given}");
        }
    }

    #[test]
    fn values_are_trimmed_and_values_of_one_header_are_joined() {
        let headers: [(&str, &[u8]); 3] = [("My", b"  a   b "), ("other", b"x"), ("my", b"c")];
        let request = Request {
            method: "POST",
            path: "/",
            query: "",
            headers: headers.into_iter(),
            body: b"",
        };
        let mut out = Vec::new();
        write_header(&request, "my", &mut out).unwrap();
        assert_eq!(out, b"my:a b,c\n");
        assert_eq!(write_header(&request, "none", &mut out), None);
    }
}
