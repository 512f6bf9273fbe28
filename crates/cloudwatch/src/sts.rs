//! STS as a service of the gateway: GetCallerIdentity, which tells a program who it is.
//!
//! The answer has the account and the ARN that this cluster's policies use. Each caller with a valid signature may ask,
//! whatever policies say, as in AWS. If signatures are not verified, the caller is the root user of the cluster's
//! account.

use std::fmt;

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::fault::{Fault, Message};
use anabranch_aws::protocol::Protocol;
use anabranch_aws::wire::Writer;
use anabranch_client::View;
use anabranch_gateway::service::{
    Context, Kind, Operation, QueryNames, Request, Resource, Response, Service, ServiceError,
    ServiceNames, Target,
};
use anabranch_gateway::{Identity, Platform, run};
use anabranch_types::AccountId;
use http::StatusCode;
use md5::{Digest, Md5};
use serde::Deserialize;

use crate::cloudwatch::NoScope;

/// The STS API of a cluster.
#[derive(Clone)]
pub struct Sts {
    account: AccountId,
}

impl Sts {
    /// The service of a platform.
    pub fn new(platform: &Platform) -> Self {
        Self { account: platform.settings.account.clone() }
    }
}

impl fmt::Debug for Sts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sts").field("account", &self.account).finish()
    }
}

/// `GetCallerIdentityRequest` of the service model.
#[derive(Debug, Deserialize)]
pub(crate) struct GetCallerIdentity {}

impl Constrained for GetCallerIdentity {
    fn check(&self, _: &mut Checks) {}
}

/// `GetCallerIdentityResponse` of the service model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallerIdentity {
    arn: String,
    /// The account for its root user. Otherwise `AIDA` and 17 characters, which no other user has or had.
    user_id: String,
    account: String,
}

impl CallerIdentity {
    fn of(identity: &Identity) -> Self {
        if identity.is_root() {
            return Self::of_root(identity.account());
        }
        let created = identity.created().as_millis();
        let user_id = unique_id(&format!("{} {created}", identity.arn()));
        Self { arn: identity.arn().to_owned(), user_id, account: identity.account().to_string() }
    }

    fn of_root(account: &AccountId) -> Self {
        let arn = format!("arn:aws:iam::{account}:root");
        Self { arn, user_id: account.to_string(), account: account.to_string() }
    }
}

/// An id in the form that IAM gives to users. The same text always makes the same id.
fn unique_id(text: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits = u128::from_be_bytes(Md5::digest(text).into());
    let digits = (0..17).map(|place| (bits >> (5 * place)) & 31);
    let letters = digits.map(|digit| char::from(ALPHABET[usize::try_from(digit).unwrap_or(0)]));
    ["AIDA".to_owned(), letters.collect()].concat()
}

impl Response for CallerIdentity {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("Arn").text(&self.arn);
            w.member("UserId").text(&self.user_id);
            w.member("Account").text(&self.account);
        });
    }
}

impl Request<Sts> for GetCallerIdentity {
    type Target = Caller;
    type Response = CallerIdentity;

    const NEEDS_PERMISSION: bool = false;

    fn target(&self, _: &Sts) -> Result<Caller, Error> {
        Ok(Caller)
    }

    async fn run(&self, cx: &Context<'_, Sts>, _: &Caller) -> Result<CallerIdentity, Error> {
        let of_root = || CallerIdentity::of_root(&cx.service.account);
        Ok(cx.identity.map_or_else(of_root, CallerIdentity::of))
    }
}

/// The target of GetCallerIdentity: the caller itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller;

impl Target<Sts> for Caller {
    fn resource<'v>(&self, _: &Sts, caller: &AccountId, _: &'v View) -> Resource<'v> {
        let owner = caller.clone();
        Resource { arn: "*".to_owned(), owner, tags: None, policy: None, missing: None }
    }

    fn subject(&self, scope: NoScope, _: &View) -> Option<()> {
        match scope {}
    }
}

/// The error of an operation of STS. Its text is the message for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// STS has the action, this service does not.
    #[error("{0} is not supported by this endpoint")]
    Unsupported(&'static str),
    /// A byte budget of the gateway is used up.
    #[error("{0}")]
    Throttled(String),
}

impl ServiceError for Error {
    /// The only place with the AWS codes of STS. Source: STS API reference, common errors.
    fn fault(&self) -> Fault {
        let code = match self {
            Self::Unsupported(_) => "InvalidAction",
            Self::Throttled(_) => "Throttling",
        };
        let (status, message) = (StatusCode::BAD_REQUEST, Message::Text(self.to_string()));
        Fault { status, code, message, json: None, query: None }
    }

    fn may_be_outdated(&self) -> bool {
        false
    }
}

/// Actions of STS that are known, so that the error names them. Source: the model of the API that the SDKs contain.
const UNSUPPORTED: &[&str] = &[
    "AssumeRole",
    "AssumeRoleWithSAML",
    "AssumeRoleWithWebIdentity",
    "AssumeRoot",
    "DecodeAuthorizationMessage",
    "GetAccessKeyInfo",
    "GetDelegatedAccessToken",
    "GetFederationToken",
    "GetSessionToken",
    "GetWebIdentityToken",
];

const OPERATIONS: &[Operation<Sts>] = &[Operation {
    name: "GetCallerIdentity",
    kind: Kind::Read,
    limit: None,
    perform: |call| run::<_, GetCallerIdentity>(call),
}];

impl Service for Sts {
    const NAMES: ServiceNames = ServiceNames {
        target: "AWSSecurityTokenServiceV20110615",
        protocols: &[Protocol::Query],
        signing: "sts",
        actions: "sts",
        query: Some(QueryNames {
            version: "2011-06-15",
            namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
        }),
    };
    const OPERATIONS: &'static [Operation<Self>] = OPERATIONS;

    type Error = Error;
    type Scope = NoScope;
    type Subject = ();

    fn unsupported(operation: &str) -> Option<Fault> {
        let known = UNSUPPORTED.iter().find(|name| **name == operation);
        known.map(|name| Error::Unsupported(name).fault())
    }

    fn throttled(_: Kind, message: String) -> Fault {
        Error::Throttled(message).fault()
    }
}

#[cfg(test)]
mod tests {
    use anabranch_aws::wire::Format;

    use super::*;

    #[test]
    fn the_identity_is_written_as_sts_writes_it() {
        let root = CallerIdentity::of_root(&"123456789012".parse().unwrap());
        let mut writer = Writer::new(Format::Query, 0);
        root.write(&mut writer);
        assert_eq!(
            String::from_utf8(writer.finish()).unwrap(),
            "<Arn>arn:aws:iam::123456789012:root</Arn><UserId>123456789012</UserId>\
             <Account>123456789012</Account>"
        );
    }

    #[test]
    fn an_id_of_a_user_has_the_form_of_iam_and_never_changes() {
        let id = unique_id("arn:aws:iam::123456789012:user/ann 1800000000000");
        assert_eq!(id.len(), 21);
        assert!(id.starts_with("AIDA"));
        assert!(id.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b)));
        assert_eq!(id, unique_id("arn:aws:iam::123456789012:user/ann 1800000000000"));
        assert_ne!(id, unique_id("arn:aws:iam::123456789012:user/ann 1800000000001"));
    }

    #[test]
    fn actions_that_are_not_supported_are_named() {
        let text = |action| Sts::unsupported(action).map(|fault| fault.message.text().to_owned());
        let expected = "AssumeRole is not supported by this endpoint";
        assert_eq!(text("AssumeRole").as_deref(), Some(expected));
        assert_eq!([text("GetCallerIdentity"), text("Nonsense")], [None, None]);
    }
}
