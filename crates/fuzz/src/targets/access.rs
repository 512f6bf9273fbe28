//! Signatures, policies and session tokens, as clients send them.
//!
//! None of the inputs was made with the right key. So a signature or a token must never be accepted, whatever the
//! bytes are.

use anabranch_access::SecretSealer;
use std::net::Ipv4Addr;

use anabranch_access::policy::{self, AuthorizationRequest, Caller, Kind, Policy, RequestContext};
use anabranch_access::signature::{Request, Signature};
use anabranch_types::Timestamp;

/// Input: two lines, an `Authorization` header and a query. If they parse as a signature, it must not match.
pub(super) fn signature(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (header, query) = text.split_once('\n').unwrap_or((text, ""));
    let headers = [("host", "h"), ("x-amz-date", "20260101T000000Z"), ("authorization", header)];
    let headers = headers.iter().filter(|(_, value)| !value.is_empty());
    let headers = headers.map(|(name, value)| (*name, value.as_bytes()));
    let request = Request { method: "POST", path: "/", query, headers, body: b"{}" };
    let Ok(signature) = Signature::parse(&request) else { return };
    drop(signature.check("kinesis", Timestamp::from_millis(1_767_225_600_000)));
    let key = signature.signing_key(b"a secret that no input knows");
    assert!(signature.verify(&request, &key).is_err(), "a signature that nobody made");
}

/// Input: a policy document. It is compiled for a user and for a resource, and a request is evaluated with it.
pub(super) fn policy(input: &[u8]) {
    let Ok(document) = std::str::from_utf8(input) else { return };
    let [identity, resource] =
        [Kind::Identity, Kind::Resource].map(|kind| Policy::parse(document, kind).ok());
    let account = "123456789012";
    let caller = Caller { account, arn: "arn:aws:iam::123456789012:user/u", is_root: false };
    let (action, owner) = ("kinesis:PutRecord", account);
    let tags = [("a".into(), Some("v".into()))];
    let context = &RequestContext {
        username: "u",
        principal_arn: caller.arn,
        principal_account: account,
        source_ip: Ipv4Addr::LOCALHOST.into(),
        is_secure: true,
        user_agent: Some("agent"),
        now: Timestamp::from_millis(1_767_225_600_000),
        token_issued: None,
        region: "us-east-1",
        resource_account: account,
        resource_tags: None,
        request_tags: &tags,
    };
    let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/s";
    let request = AuthorizationRequest { caller, action, resource: arn, owner, context };
    if let Err(denial) = policy::decide(&request, &identity, resource.as_ref()) {
        assert!(denial.message(&request).contains(arn));
    }
}

/// Input: a session token, and a sealed secret as the catalog stores it. Neither was sealed with the cluster key, so
/// neither may open.
pub(super) fn session(input: &[u8]) {
    let sealer = SecretSealer::new(&[7; 32]);
    assert!(sealer.open("AKIAIOSFODNN7EXAMPLE", input).is_none(), "a secret that nobody sealed");
    if let Ok(token) = std::str::from_utf8(input) {
        assert!(sealer.open_session(token).is_none(), "a session that nobody sealed");
    }
}
