//! The canonical request: the one text that client and service make of a request, and sign.

use aws_lc_rs::digest::{Digest, SHA256, digest};

use super::query::{self, Query};
use super::{ALGORITHM, Request, hex};

/// The hash of a canonical request.
#[derive(Debug)]
pub(super) struct Canonical(Digest);

impl Canonical {
    /// Of a request and the headers that are signed; `None` if one of them isn't there, or if a header says another
    /// hash of the body than it has.
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

    /// What is signed.
    pub(super) fn string_to_sign(&self, moment: &str, scope: &str) -> Vec<u8> {
        let hash = hex(self.0.as_ref());
        [ALGORITHM.as_bytes(), moment.as_bytes(), scope.as_bytes(), &hash].join(&b'\n')
    }
}

/// The path without empty and dotted segments, encoded once more.
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

/// `name:value` with all values of the header, each trimmed and with one space for several.
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
    fn paths_are_normal_and_encoded_once_more() {
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
    fn values_are_trimmed_and_repeated_headers_joined() {
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
