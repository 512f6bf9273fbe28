//! Verifies signatures in the header and in the query: the example of the AWS documentation, changed requests,
//! clocks, malformed input.

use proptest::prelude::*;

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const NOW: u64 = 1_440_938_160_000; // 20150830T123600Z

type Headers = Vec<(String, Vec<u8>)>;

/// A request that owns its parts.
#[derive(Clone, Debug)]
struct Owned {
    path: String,
    query: String,
    headers: Headers,
    body: Vec<u8>,
}

fn owned(query: &str, headers: &[(&str, &str)], body: &[u8]) -> Owned {
    let header = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
    let headers = headers.iter().map(header).collect();
    Owned { path: "/".into(), query: query.into(), headers, body: body.to_vec() }
}

fn put(body: &[u8]) -> Owned {
    let headers = [
        ("host", "127.0.0.1:4567"),
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", "Kinesis_20131202.PutRecord"),
    ];
    owned("", &headers, body)
}

impl Owned {
    fn request(&self) -> Request<'_, impl Iterator<Item = (&str, &[u8])> + Clone> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        Request { method: "POST", path: &self.path, query: &self.query, headers, body: &self.body }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
    }

    /// The request with a signature in the header, as a client makes it.
    fn signed(mut self, token: Option<&str>) -> Self {
        let credentials = Credentials {
            key_id: "AKIDEXAMPLE".into(),
            secret: SECRET.into(),
            token: token.map(str::to_owned),
        };
        let signer = Signer::new(credentials, "us-east-1", "kinesis");
        let signed = signer.sign(&self.request(), Timestamp::from_millis(NOW));
        self.set("x-amz-date", &signed.date);
        if let Some(token) = signed.token {
            self.set("x-amz-security-token", &token);
        }
        self.set("authorization", &signed.authorization);
        self
    }

    /// The request with a signature in the query, as `botocore.auth.SigV4QueryAuth` makes it.
    fn presigned(mut self, expires: u32) -> Self {
        self.query = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2F\
             kinesis%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires={expires}&\
             X-Amz-SignedHeaders=host%3Bx-amz-target"
        );
        let canonical = Canonical::of(&self.request(), "host;x-amz-target").unwrap();
        let scope = "20150830/us-east-1/kinesis/aws4_request";
        let text = canonical.string_to_sign("20150830T123600Z", scope);
        let key = SigningKey::derive(SECRET.as_bytes(), "20150830", "us-east-1", "kinesis");
        self.query.push_str(&format!("&X-Amz-Signature={}", key.sign(&text)));
        self
    }

    fn verify_at(&self, now: u64) -> Result<(), Error> {
        let request = self.request();
        let signature = Signature::parse(&request)?;
        signature.check("kinesis", Timestamp::from_millis(now))?;
        signature.verify(&request, &signature.signing_key(SECRET.as_bytes()))
    }

    fn verify(&self) -> Result<(), Error> {
        self.verify_at(NOW)
    }
}

fn mismatch() -> Result<(), Error> {
    Err(Error::Invalid(MISMATCH.to_owned()))
}

/// The example of the AWS documentation, "Create a signed AWS API request" (ListUsers of IAM).
#[test]
fn the_example_of_the_aws_documentation_gets_its_signature() {
    let headers = [
        ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("host", "iam.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
    ];
    let example = owned("Action=ListUsers&Version=2010-05-08", &headers, b"");
    let request = Request { method: "GET", ..example.request() };
    let canonical = Canonical::of(&request, "content-type;host;x-amz-date").unwrap();
    let text = canonical.string_to_sign("20150830T123600Z", "20150830/us-east-1/iam/aws4_request");
    assert_eq!(
        String::from_utf8(text.clone()).unwrap(),
        "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n\
         f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
    );
    let key = SigningKey::derive(SECRET.as_bytes(), "20150830", "us-east-1", "iam");
    assert_eq!(key.sign(&text), "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
}

#[test]
fn a_signature_matches_only_the_request_that_was_signed() {
    let signed = put(b"{}").signed(None);
    assert_eq!(signed.verify(), Ok(()));
    assert_eq!(put(b"{}").signed(Some("token/+=")).verify(), Ok(()));
    let changed = |change: fn(&mut Owned)| {
        let mut changed = signed.clone();
        change(&mut changed);
        changed.verify()
    };
    assert_eq!(changed(|request| request.body = b"{ }".to_vec()), mismatch());
    assert_eq!(changed(|request| request.path = "/x".into()), mismatch());
    assert_eq!(changed(|request| request.query = "a=b".into()), mismatch());
    assert_eq!(changed(|request| request.set("host", "other")), mismatch());
    assert_eq!(
        changed(|request| request.set("x-amz-target", "Kinesis_20131202.DeleteStream")),
        mismatch()
    );
    let twice = |request: &mut Owned| {
        let target = ("x-amz-target".to_owned(), b"Kinesis_20131202.DeleteStream".to_vec());
        request.headers.push(target);
    };
    assert_eq!(changed(twice), mismatch());
    // A header that is not signed may change on its way.
    assert_eq!(changed(|request| request.set("user-agent", "x")), Ok(()));
}

#[test]
fn spaces_around_values_and_the_case_of_header_names_do_not_matter() {
    let mut signed = put(b"{}").signed(None);
    signed.set("host", "  127.0.0.1:4567 ");
    let (name, _) = &mut signed.headers[0];
    *name = name.to_uppercase();
    assert_eq!(signed.verify(), Ok(()));
}

#[test]
fn another_secret_and_another_service_are_refused() {
    let signed = put(b"{}").signed(None);
    let request = signed.request();
    let signature = Signature::parse(&request).unwrap();
    assert_eq!(signature.key_id(), "AKIDEXAMPLE");
    assert_eq!(signature.credential(), "AKIDEXAMPLE/20150830/us-east-1/kinesis/aws4_request");
    let key = signature.signing_key(b"other");
    assert_eq!(signature.verify(&request, &key), mismatch());
    let wrong = signature.check("firehose", Timestamp::from_millis(NOW)).unwrap_err();
    assert_eq!(wrong.to_string(), "Credential should be scoped to correct service: 'firehose'. ");
}

#[test]
fn clocks_may_be_five_minutes_apart() {
    let signed = put(b"{}").signed(None);
    let minutes = |minutes: u64| minutes * 60_000;
    assert_eq!(signed.verify_at(NOW + minutes(5)), Ok(()));
    assert_eq!(signed.verify_at(NOW - minutes(5)), Ok(()));
    assert_eq!(
        signed.verify_at(NOW + minutes(6)).unwrap_err().to_string(),
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123700Z \
         (20150830T124200Z - 5 min.)"
    );
    assert_eq!(
        signed.verify_at(NOW - minutes(6)).unwrap_err().to_string(),
        "Signature not yet current: 20150830T123600Z is still later than 20150830T123500Z \
         (20150830T123000Z + 5 min.)"
    );
}

#[test]
fn the_date_header_replaces_a_missing_x_amz_date() {
    let mut request = put(b"{}");
    request.set("date", "Sun, 30 Aug 2015 12:36:00 GMT");
    let names = "content-type;date;host;x-amz-target";
    let scope = "20150830/us-east-1/kinesis/aws4_request";
    let canonical = Canonical::of(&request.request(), names).unwrap();
    let text = canonical.string_to_sign("20150830T123600Z", scope);
    let key = SigningKey::derive(SECRET.as_bytes(), "20150830", "us-east-1", "kinesis");
    let signature = key.sign(&text);
    let authorization = |names: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope},SignedHeaders={names},\
             Signature={signature}"
        )
    };
    request.set("authorization", &authorization(names));
    assert_eq!(request.verify(), Ok(()));
    request.set("authorization", &authorization("content-type;host;x-amz-target"));
    assert!(matches!(request.verify(), Err(Error::Invalid(_))));
}

#[test]
fn a_signature_in_the_query_is_valid_until_it_expires() {
    let signed = put(b"{}").presigned(60);
    assert_eq!(signed.verify(), Ok(()));
    assert_eq!(signed.verify_at(NOW + 60_000), Ok(()));
    let late = signed.verify_at(NOW + 61_000).unwrap_err();
    assert!(late.to_string().starts_with("Signature expired: "), "{late}");
    let mut changed = signed.clone();
    changed.query = changed.query.replace("Expires=60", "Expires=600");
    assert_eq!(changed.verify(), mismatch());
    let mut changed = signed.clone();
    changed.body = b"other".to_vec();
    assert_eq!(changed.verify(), mismatch());
    let mut changed = signed.clone();
    changed.query.push_str("&X-Amz-Date=20150830T123600Z");
    assert!(matches!(changed.verify(), Err(Error::Incomplete(_))));
    for wrong in [0, 604_801] {
        assert!(matches!(put(b"{}").presigned(wrong).verify(), Err(Error::Incomplete(_))));
    }
    let whole = put(b"{}").presigned(604_800);
    assert_eq!(whole.verify_at(NOW + 604_800_000), Ok(()));
}

#[test]
fn an_unsigned_payload_is_refused() {
    let hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let mut with_hash = put(b"{}");
    with_hash.set("x-amz-content-sha256", hash);
    assert_eq!(with_hash.signed(None).verify(), Ok(()));
    let mut unsigned = put(b"{}");
    unsigned.set("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    assert_eq!(unsigned.signed(None).verify(), mismatch());
}

#[test]
fn headers_that_change_the_meaning_of_a_call_must_be_signed() {
    let refused = |change: fn(&str) -> String| {
        let mut signed = put(b"{}").signed(Some("t"));
        let text = signed.request().header("authorization").unwrap().to_vec();
        let text = String::from_utf8(text).unwrap();
        signed.set("authorization", &change(&text));
        signed.verify().unwrap_err().to_string()
    };
    for name in ["host", "x-amz-date", "x-amz-security-token", "x-amz-target"] {
        let text = match name {
            "host" => refused(|text| text.replace("host;", "")),
            "x-amz-date" => refused(|text| text.replace("x-amz-date;", "")),
            "x-amz-target" => refused(|text| text.replace(";x-amz-target", "")),
            _ => refused(|text| text.replace("x-amz-security-token;", "")),
        };
        let wanted = if name == "host" { "'Host'".to_owned() } else { format!("'{name}'") };
        assert!(text.starts_with(&wanted), "{text}");
    }
    let unsorted = refused(|text| text.replace("content-type;host", "host;content-type"));
    assert!(unsorted.starts_with("SignedHeaders must be"), "{unsorted}");
}

#[test]
fn a_missing_signature_and_two_signatures_are_different_errors() {
    assert_eq!(require(&put(b"").request()), Err(Error::Missing));
    let mut both = put(b"").signed(None);
    both.query = "X-Amz-Signature=00&a=b".into();
    assert_eq!(require(&both.request()), Err(Error::Two));
}

#[test]
fn the_error_lists_all_missing_parts() {
    let request = owned("", &[("authorization", "AWS4-HMAC-SHA256 Credential=a")], b"");
    let error = require(&request.request()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Authorization header requires 'Signature' parameter. Authorization header requires \
         'SignedHeaders' parameter. Authorization header requires existence of either a 'X-Amz-Date' \
         or a 'Date' header. Authorization=AWS4-HMAC-SHA256 Credential=a"
    );
    let part = "X-Amz-Algorithm=x&X-Amz-Credential=x&X-Amz-Signature=x&X-Amz-Date=x";
    let error = require(&owned(part, &[], b"").request()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "AWS query-string parameters must include 'X-Amz-SignedHeaders'. Re-examine the query-string \
         parameters."
    );
    let error = require(&owned("X-Amz-Algorithm=", &[], b"").request()).unwrap_err();
    assert_eq!(error.to_string().matches("must include").count(), QUERY_PARTS.len());
    let whole = QUERY_PARTS.map(|part| format!("{part}=x")).join("&");
    assert_eq!(require(&owned(&whole, &[], b"").request()), Ok(()));
}

#[test]
fn debug_output_contains_no_secret() {
    let key = SigningKey::derive(SECRET.as_bytes(), "20150830", "us-east-1", "kinesis");
    let credentials =
        Credentials { key_id: "AKID".into(), secret: SECRET.into(), token: Some("tok".into()) };
    let shown = format!("{key:?} {credentials:?} {:?}", Signer::new(credentials.clone(), "r", "s"));
    assert!(!shown.contains("wJalr") && !shown.contains("tok"), "{shown}");
}

fn header() -> impl Strategy<Value = (String, String)> {
    ("my-[a-z]{1,8}", "[ -~]{0,20}")
}

proptest! {
    #[test]
    fn any_signed_request_verifies(
        path in "(/[a-z%.]{0,5}){0,4}",
        query in "([a-z%2F+=~ ]{0,6}&){0,4}",
        headers in prop::collection::vec(header(), 0..6),
        body in prop::collection::vec(any::<u8>(), 0..200),
        token in prop::option::of("[ -~]{1,40}"),
    ) {
        let mut request = put(&body);
        (request.path, request.query) = (path, query);
        let headers = headers.into_iter().map(|(name, value)| (name, value.into_bytes()));
        request.headers.extend(headers);
        prop_assert_eq!(request.signed(token.as_deref()).verify(), Ok(()));
    }

    #[test]
    fn any_changed_byte_is_refused(
        body in prop::collection::vec(any::<u8>(), 1..100),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
        header in 0usize..5,
    ) {
        let signed = put(&body).signed(None);
        let mut changed = signed.clone();
        let at_body = at.index(body.len());
        changed.body[at_body] ^= flip;
        prop_assert_eq!(changed.verify(), mismatch());
        let mut changed = signed;
        let value = &mut changed.headers[header].1;
        let at = at.index(value.len());
        let before = value[at];
        value[at] = if before == b'0' { b'1' } else { b'0' };
        // The key id selects the secret. It is not part of the signed text.
        let request = changed.request();
        let other_key = Signature::parse(&request).is_ok_and(|s| s.key_id() != "AKIDEXAMPLE");
        prop_assert!(other_key || changed.verify().is_err());
    }

    #[test]
    fn no_header_and_no_query_makes_the_parser_panic(
        authorization in ".{0,200}",
        date in ".{0,20}",
        query in ".{0,200}",
        bytes in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut request = put(&bytes);
        request.headers.push(("authorization".into(), authorization.into_bytes()));
        request.headers.push(("x-amz-date".into(), date.into_bytes()));
        let _ = request.verify();
        request.headers.push(("authorization".into(), bytes));
        let _ = request.verify();
        request.headers.retain(|(name, _)| name != "authorization");
        request.query = query;
        let _ = request.verify();
    }

    #[test]
    fn no_query_parameters_make_the_parser_panic(
        parts in prop::collection::vec((prop::sample::select(&QUERY_PARTS[..]), "[ -~é]{0,30}"), 0..8),
    ) {
        let pairs: Vec<_> = parts.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let _ = owned(&pairs.join("&"), &[], b"").verify();
    }
}
