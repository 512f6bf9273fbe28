//! The interface between the gateway and its services.
//!
//! A service is one AWS API. It implements [`Service`]: its names and its table of [`Operation`]s. A row of the table
//! names a [`Request`] type. The gateway decodes the request, checks it, authorizes its [`Target`] and then runs it.
//! [`mod@crate::run`] fixes this order, and only its functions can make a row.
//!
//! Invariant: [`Request::run`] receives the target that was authorized. It gets no other target, so an operation
//! cannot work on a resource that no policy was evaluated for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::Hash;

use anabranch_aws::constraints::Constrained;
use anabranch_aws::fault::Fault;
use anabranch_aws::protocol::Protocol;
use anabranch_aws::wire::Writer;
use anabranch_client::View;
use anabranch_types::AccountId;
use http::request::Parts;

use crate::budget::Permit;
use crate::identity::Identity;
use crate::response::Events;
use crate::run::{Call, Performed};

/// The names of a service in requests, signatures and policies.
#[derive(Clone, Copy, Debug)]
pub struct ServiceNames {
    /// Prefix of `X-Amz-Target` up to the dot: `Kinesis_20131202`.
    pub target: &'static str,
    /// Protocols that clients of the service may use with that header.
    pub protocols: &'static [Protocol],
    /// Service name in the scope of signatures: `kinesis`.
    pub signing: &'static str,
    /// Prefix of actions in policies: `kinesis` in `kinesis:PutRecord`.
    pub actions: &'static str,
    /// Names in the query protocol. `None` if the service does not have that protocol.
    pub query: Option<QueryNames>,
}

/// The names of a service in the query protocol.
#[derive(Clone, Copy, Debug)]
pub struct QueryNames {
    /// Value of the field `Version` in forms: `2011-06-15`. No other hosted service has the same.
    pub version: &'static str,
    /// XML namespace of responses.
    pub namespace: &'static str,
}

/// One AWS API of the gateway.
pub trait Service: Sized + Send + Sync + 'static {
    /// The names of the service.
    const NAMES: ServiceNames;
    /// Every operation, in alphabetical order of the names.
    const OPERATIONS: &'static [Operation<Self>];

    /// The error of an operation.
    type Error: ServiceError;
    /// The kind of subject that a limit of calls per second counts separately, besides the account: each stream, each
    /// shard.
    type Scope: Scope;
    /// One value of a scope: a certain stream, a certain shard.
    type Subject: Clone + Eq + Hash + Send;

    /// The fault for an operation that the API has and this service does not. `None` for all other names: the gateway
    /// then says that the operation is unknown.
    fn unsupported(operation: &str) -> Option<Fault> {
        let _ = operation;
        None
    }

    /// The fault for a call that exceeds a limit or finds no free memory. Each API has its own code for it.
    fn throttled(kind: Kind, message: String) -> Fault;
}

/// The kind of subject that a limit of calls counts separately.
pub trait Scope: Copy + Send + Sync + 'static {
    /// End of the message for clients: ` for each stream`.
    fn text(self) -> &'static str;
}

/// An error of a service.
pub trait ServiceError: Send {
    /// The fault for the client.
    fn fault(&self) -> Fault;

    /// Whether an old version of the catalog may have caused the error. "Not found" may be such an error, "throttled"
    /// is not. The gateway runs such a call again on the newest version before it refuses the call.
    fn may_be_outdated(&self) -> bool;
}

/// One row of a service's table of operations.
#[derive(Debug)]
pub struct Operation<S: Service> {
    /// Name of the operation in requests, and in policies behind the prefix of the service.
    pub name: &'static str,
    /// Decides which version of the catalog the operation needs and which fault throttles it.
    pub kind: Kind,
    /// How often the operation may be called if the limits of the AWS service apply. `None` if AWS documents no
    /// figure.
    pub limit: Option<Limit<S::Scope>>,
    /// [`crate::run::run`] or [`crate::run::run_events`] of the request type.
    pub perform: for<'a> fn(Call<'a, S>) -> Performed<'a>,
}

/// The data that an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Works on the catalog. Runs on the newest version, so it shows every change that any gateway acknowledged
    /// before.
    Control,
    /// Writes records. Like [`Kind::Read`].
    Write,
    /// Reads records. Runs on the version of this node, because a request to the catalog would cost more than the
    /// call. A refusal is checked again with the newest version.
    Read,
    /// Pushes records for a long time. Like [`Kind::Read`], but it is throttled like a control operation.
    Push,
}

impl Kind {
    /// Whether the operation needs the newest version of the catalog before it runs.
    pub(crate) const fn needs_newest(self) -> bool {
        matches!(self, Self::Control)
    }
}

/// How often an operation may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit<Scope> {
    /// Token bucket: refills at this rate and holds one second's calls.
    pub per_second: u64,
    /// Each value of this scope has a limit of its own. `None` if all calls of the account count together.
    pub scope: Option<Scope>,
}

/// A decoded request of a service.
pub trait Request<S: Service>: Constrained + Send + Sync {
    /// The resource that the request works on.
    type Target: Target<S>;
    /// The output of the operation.
    type Response: Send;

    /// Whether policies decide about the call. If not, each caller with a valid signature may make it.
    const NEEDS_PERMISSION: bool = true;

    /// Reads the target from the members of the request.
    ///
    /// # Errors
    /// If the members name nothing that could exist.
    fn target(&self, service: &S) -> Result<Self::Target, S::Error>;

    /// Tags that the request sets or removes. Conditions of policies use them.
    fn tags(&self) -> RequestTags<'_> {
        RequestTags::new()
    }

    /// Checks the meaning of the request and runs it. May run twice, see [`ServiceError::may_be_outdated`].
    fn run(
        &self,
        cx: &Context<'_, S>,
        target: &Self::Target,
    ) -> impl Future<Output = Result<Self::Response, S::Error>> + Send;
}

/// Tags that a request sets, and keys of tags that it removes (`None`).
pub type RequestTags<'a> = Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>;

/// The resource that a request works on.
pub trait Target<S: Service>: Send + Sync {
    /// The resource in one version of the catalog, for the evaluation of policies. `caller` is the account of the
    /// caller. A name without an account means a resource of the caller's account.
    fn resource<'v>(&self, service: &S, caller: &AccountId, view: &'v View) -> Resource<'v>;

    /// The operation that policies must allow on the resource. `None`: the operation that was called.
    fn action(&self) -> Option<&'static str> {
        None
    }

    /// Further operations that policies must allow too, each with its resource. An operation of another service has the
    /// prefix of that service: `s3:PutObject`.
    fn further_rights<'v>(
        &self,
        service: &S,
        caller: &AccountId,
        view: &'v View,
    ) -> Vec<(&'static str, Resource<'v>)> {
        let _ = (service, caller, view);
        Vec::new()
    }

    /// The subject that a limited call counts for. `None` if the target does not exist. Such a call fails anyway, and
    /// no counter is kept for a made-up name.
    fn subject(&self, scope: S::Scope, view: &View) -> Option<S::Subject>;
}

/// A target in one version of the catalog, for the evaluation of policies.
#[derive(Debug)]
pub struct Resource<'v> {
    /// The ARN in one spelling, whatever partition and region the client wrote. `*` for the account.
    pub arn: String,
    /// The account that owns the resource.
    pub owner: AccountId,
    /// Tags of the resource. `None` if the resource does not exist or cannot have tags.
    pub tags: Option<&'v BTreeMap<String, String>>,
    /// The policy document that is attached to the resource.
    pub policy: Option<&'v str>,
    /// Set if the resource cannot exist in this cluster, whatever the catalog says. If policies allow the call, the
    /// call gets this fault.
    pub missing: Option<Fault>,
}

/// The values that an operation gets besides its request and its target.
#[derive(Debug)]
pub struct Context<'a, S> {
    /// The service that the operation belongs to.
    pub service: &'a S,
    /// The caller. `None` if signatures are not verified.
    pub identity: Option<&'a Identity>,
    /// Head of the HTTP request.
    pub parts: &'a Parts,
    /// Random id of the request, also if the gateway runs the operation a second time.
    pub request_id: [u8; 16],
}

/// The output of an operation that is sent as one body.
pub trait Response {
    /// Expected size of the body in bytes. A good guess avoids that the buffer grows.
    fn expected_bytes(&self) -> usize {
        512
    }

    /// Writes the body.
    fn write(&self, writer: &mut Writer);

    /// Whether the response reports a change that was made. Such a response is sent even if the budget for responses
    /// is used up. A client that got an error instead would repeat the change.
    fn reports_change(&self) -> bool {
        false
    }

    /// The permit of a response that was counted against the budget before it was made. Any other large response is
    /// counted when it is encoded.
    fn into_permit(self) -> Option<Permit>
    where
        Self: Sized,
    {
        None
    }
}

/// The output of an operation that is sent in pieces.
pub trait EventSource {
    /// The frames of the event stream.
    fn events(self, protocol: Protocol) -> Events;
}

/// The response of an operation without output: an empty body, as in AWS.
#[derive(Debug)]
pub struct Empty;

impl Response for Empty {
    fn expected_bytes(&self) -> usize {
        0
    }

    fn write(&self, _: &mut Writer) {}
}
