//! Compares this crate with an independent implementation, the crate `aws-sigv4` of the AWS SDK for Rust: this crate
//! verifies what the SDK signs, and signs as the SDK does.
//!
//! Two things are left out, because SDKs disagree about them and no call to this service has them: a `+` in the
//! query, which some take for a space, and a path that ends with a dotted segment.

use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use http::header::{HeaderName, HeaderValue, USER_AGENT};
use proptest::prelude::*;

use super::*;

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const REGION: &str = "eu-west-1";
const NOW: u64 = 1_440_938_160_000; // 20150830T123600Z
const HOST: &str = "127.0.0.1:4567";

type Call = http::Request<Vec<u8>>;

/// A call without a signature.
fn call(path: &str, query: &str, headers: &[(String, String)], body: &[u8]) -> Call {
    let uri = format!("http://{HOST}{path}?{query}");
    let mut call = Call::new(body.to_vec());
    *call.method_mut() = http::Method::POST;
    *call.uri_mut() = uri.parse().unwrap();
    let own = [
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", "Kinesis_20131202.PutRecord"),
    ];
    let others = headers.iter().map(|(name, value)| (&**name, &**value));
    for (name, value) in own.into_iter().chain(others) {
        let name: HeaderName = name.parse().unwrap();
        call.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
    }
    call
}

/// The call with the signature of the SDK.
fn signed(mut call: Call, settings: SigningSettings, token: Option<&str>) -> Call {
    let mut credentials = aws_credential_types::Credentials::builder()
        .access_key_id(KEY_ID)
        .secret_access_key(SECRET)
        .provider_name("test");
    credentials.set_session_token(token.map(str::to_owned));
    let identity = credentials.build().into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name("kinesis")
        .time(SystemTime::UNIX_EPOCH + Duration::from_millis(NOW))
        .settings(settings);
    let params = params.build().unwrap().into();
    let headers = call.headers().iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let body = SignableBody::Bytes(call.body());
    let signable = SignableRequest::new("POST", call.uri().to_string(), headers, body).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    instructions.apply_to_request_http1x(&mut call);
    call
}

fn in_header(checksum: PayloadChecksumKind) -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = checksum;
    settings
}

fn in_query(expires: Duration) -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(expires);
    settings
}

/// Names and values of all headers, `Host` included.
fn sent(call: &Call) -> Vec<(&str, &[u8])> {
    let headers = call.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    headers.chain([("host", HOST.as_bytes())]).collect()
}

fn request<'a, H>(call: &'a Call, headers: H) -> Request<'a, H> {
    let uri = call.uri();
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    Request { method: "POST", path, query, headers, body: call.body() }
}

fn verify(call: &Call) -> Result<(), Error> {
    let sent = sent(call);
    let request = request(call, sent.iter().copied());
    let signature = Signature::parse(&request)?;
    signature.check("kinesis", Timestamp::from_millis(NOW))?;
    signature.verify(&request, &signature.signing_key(SECRET.as_bytes()))
}

/// The call with the signature of this crate.
fn signed_here(mut call: Call, token: Option<&str>) -> Call {
    let credentials = Credentials {
        key_id: KEY_ID.into(),
        secret: SECRET.into(),
        token: token.map(str::to_owned),
    };
    let signer = Signer::new(credentials, REGION, "kinesis");
    let sent = sent(&call);
    let signed = signer.sign(&request(&call, sent.iter().copied()), Timestamp::from_millis(NOW));
    let token = signed.token.map(|token| ("x-amz-security-token", token));
    let added = [("authorization", signed.authorization), ("x-amz-date", signed.date)];
    for (name, value) in added.into_iter().chain(token) {
        call.headers_mut().insert(name, HeaderValue::from_str(&value).unwrap());
    }
    call
}

/// Text of a query: characters that are never escaped, and escapes with upper and lower case digits.
fn escaped() -> impl Strategy<Value = String> {
    "([a-zA-Z0-9._~-]|[!$'()*,;:@/?]|%[2-7][0-9A-F]|%[2-7][0-9a-f]|%C3%A9|%00){0,6}"
}

fn query() -> impl Strategy<Value = String> {
    let pair = (escaped(), prop::option::of((escaped(), "=?")));
    let pair = pair.prop_map(|(name, value)| match value {
        Some((value, more)) => format!("{name}={value}{more}"),
        None => name,
    });
    prop::collection::vec(pair, 0..5).prop_map(|pairs| pairs.join("&"))
}

fn path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![Just(".".into()), Just("..".into()), escaped_segment()];
    prop::collection::vec(segment, 0..4).prop_map(|segments| format!("/{}/", segments.join("/")))
}

fn escaped_segment() -> impl Strategy<Value = String> {
    "([a-zA-Z0-9_~-]|[!$&'()*+,;=:@]|%[2-7][0-9A-F]|%C3%A9){0,5}"
}

/// Headers, some with the same name, with spaces around and inside of the values.
fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec(("my-[ab]{1,2}", " {0,2}([!-~]| ){0,12} {0,2}"), 0..6)
}

fn token() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[a-zA-Z0-9+/=]{1,60}")
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..200)
}

fn checksum() -> impl Strategy<Value = PayloadChecksumKind> {
    prop_oneof![Just(PayloadChecksumKind::NoHeader), Just(PayloadChecksumKind::XAmzSha256)]
}

proptest! {
    #[test]
    fn a_signature_of_the_sdk_in_the_header_verifies(
        path in path(),
        query in query(),
        headers in headers(),
        body in body(),
        token in token(),
        checksum in checksum(),
    ) {
        let mut call = call(&path, &query, &headers, &body);
        call.headers_mut().insert(USER_AGENT, HeaderValue::from_static("aws-sdk-rust/1"));
        let mut signed = signed(call, in_header(checksum), token.as_deref());
        let has_checksum = signed.headers().contains_key("x-amz-content-sha256");
        prop_assert_eq!(has_checksum, checksum == PayloadChecksumKind::XAmzSha256);
        prop_assert_eq!(verify(&signed), Ok(()));
        signed.body_mut().push(0);
        prop_assert_eq!(verify(&signed), mismatch());
    }

    #[test]
    fn a_signature_of_the_sdk_in_the_query_verifies(
        path in path(),
        query in query(),
        headers in headers(),
        body in body(),
        token in token(),
        expires in 1u64..=604_800,
    ) {
        let call = call(&path, &query, &headers, &body);
        let settings = in_query(Duration::from_secs(expires));
        let mut signed = signed(call, settings, token.as_deref());
        prop_assert!(!signed.headers().contains_key("authorization"));
        prop_assert_eq!(verify(&signed), Ok(()));
        signed.body_mut().push(0);
        prop_assert_eq!(verify(&signed), mismatch());
    }

    #[test]
    fn this_crate_and_the_sdk_sign_a_request_alike(
        path in path(),
        query in query(),
        headers in headers(),
        body in body(),
        token in token(),
    ) {
        let call = call(&path, &query, &headers, &body);
        let here = signed_here(call.clone(), token.as_deref());
        let there = signed(call, in_header(PayloadChecksumKind::NoHeader), token.as_deref());
        prop_assert_eq!(here.headers(), there.headers());
    }
}

fn mismatch() -> Result<(), Error> {
    Err(Error::Invalid(MISMATCH.to_owned()))
}

#[test]
fn a_presigned_request_may_have_the_hash_of_its_body_in_a_header() {
    let of_body = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    for (said, verified) in
        [(of_body, Ok(())), ("UNSIGNED-PAYLOAD", mismatch()), (&of_body[1..], mismatch())]
    {
        let said = [("x-amz-content-sha256".to_owned(), said.to_owned())];
        let call = call("/", "", &said, b"{}");
        let signed = signed(call, in_query(Duration::from_secs(60)), None);
        assert_eq!(verify(&signed), verified);
    }
}
