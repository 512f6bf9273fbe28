//! What a service gives to the gateway, and what the gateway gives back.
//!
//! A service is one AWS API. It implements [`Service`]: its names and its table of [`Operation`]s. A row of the table
//! names a [`Request`] type. The gateway decodes the request, checks it, authorizes its [`Target`] and then runs it; the
//! order is fixed by [`crate::run`], and a row can only be made with a function from there.
//!
//! Invariant: the target that was authorized is the value that [`Request::run`] receives. An operation that works on
//! something else than its target would need another value for it, which it does not get.

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

/// How requests name a service.
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
}

/// One AWS API on the port.
pub trait Service: Sized + Send + Sync + 'static {
    /// How requests name the service.
    const NAMES: ServiceNames;
    /// Every operation, in alphabetical order of the names.
    const OPERATIONS: &'static [Operation<Self>];

    /// Why an operation is not done.
    type Error: ServiceError;
    /// What a limit of calls per second counts separately, beside the account: a stream, a shard.
    type Scope: Scope;
    /// One value of a scope: this stream, that shard.
    type Subject: Clone + Eq + Hash + Send;

    /// The fault for a call that exceeds a limit or finds no memory. Each API has its own code for it.
    fn throttled(kind: Kind, message: String) -> Fault;
}

/// What a limit of calls counts separately.
pub trait Scope: Copy + Send + Sync + 'static {
    /// End of the message for clients: ` for each stream`.
    fn text(self) -> &'static str;
}

/// An error of a service.
pub trait ServiceError: Send {
    /// The fault for clients.
    fn fault(&self) -> Fault;

    /// Whether the error may be due to an old version of the catalog: "not found" is, "throttled" is not. The gateway
    /// runs such a call again on the newest version before it refuses it.
    fn may_be_outdated(&self) -> bool;
}

/// One row of a service's table of operations.
#[derive(Debug)]
pub struct Operation<S: Service> {
    /// Name in requests and, behind the prefix, in policies.
    pub name: &'static str,
    /// Which version of the catalog it needs, and how it is throttled.
    pub kind: Kind,
    /// How often it may be called where the service's limits hold; `None` if AWS documents no figure.
    pub limit: Option<Limit<S::Scope>>,
    /// [`crate::run::run`] or [`crate::run::run_events`] of the request type.
    pub perform: for<'a> fn(Call<'a, S>) -> Performed<'a>,
}

/// What an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The catalog. It runs on the newest version, so it shows every change that any gateway acknowledged before.
    Control,
    /// Writes records. As [`Kind::Read`].
    Write,
    /// Reads records. It runs on this node's version, because a round trip to the catalog would cost more than the call. A
    /// refusal is checked again with the newest version.
    Read,
    /// Records that are pushed over a long time. As [`Kind::Read`], but throttled as control operations are.
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
    /// Calls per second, and the size of a burst.
    pub per_second: u64,
    /// What has a limit of its own; `None` if all calls of the account count together.
    pub scope: Option<Scope>,
}

/// A decoded request of a service.
pub trait Request<S: Service>: Constrained + Send + Sync {
    /// What the request is about.
    type Target: Target<S>;
    /// The result of the operation.
    type Response: Send;

    /// The target that the request names.
    ///
    /// # Errors
    /// If the request names nothing that could exist.
    fn target(&self, service: &S) -> Result<Self::Target, S::Error>;

    /// Tags that the request sets or removes, for conditions of policies.
    fn tags(&self) -> RequestTags<'_> {
        RequestTags::new()
    }

    /// Checks the meaning of the request and does it. May run twice: see [`ServiceError::may_be_outdated`].
    fn run(
        &self,
        cx: &Context<'_, S>,
        target: &Self::Target,
    ) -> impl Future<Output = Result<Self::Response, S::Error>> + Send;
}

/// Tags that a request sets, and keys of tags that it removes (`None`).
pub type RequestTags<'a> = Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>;

/// What a request is about.
pub trait Target<S: Service>: Send + Sync {
    /// The resource that policies are evaluated for, in one version of the catalog. `caller` is the account of the caller:
    /// a name without an account means a resource of that account.
    fn resource<'v>(&self, service: &S, caller: &AccountId, view: &'v View) -> Resource<'v>;

    /// What a limited call counts for. `None` if the target does not exist: the call fails anyway, and made-up names take
    /// no memory.
    fn subject(&self, scope: S::Scope, view: &View) -> Option<S::Subject>;
}

/// A target in one version of the catalog, for the evaluation of policies.
#[derive(Debug)]
pub struct Resource<'v> {
    /// In one spelling, whatever partition and region the client wrote. `*` for the account.
    pub arn: String,
    /// The account that owns it.
    pub owner: AccountId,
    /// Its tags; `None` if it does not exist or cannot have any.
    pub tags: Option<&'v BTreeMap<String, String>>,
    /// The policy document that is attached to it.
    pub policy: Option<&'v str>,
    /// Set if the resource cannot exist here, whatever the catalog says. The call gets this fault once policies allow it.
    pub missing: Option<Fault>,
}

/// What an operation may use beside its request and its target.
#[derive(Debug)]
pub struct Context<'a, S> {
    /// The service.
    pub service: &'a S,
    /// The caller, where signatures are verified.
    pub identity: Option<&'a Identity>,
    /// The head of the HTTP request.
    pub parts: &'a Parts,
}

/// The result of an operation, as a body.
pub trait Response {
    /// Expected size of the body in bytes, so that the buffer seldom grows.
    fn expected_bytes(&self) -> usize {
        512
    }

    /// Writes the body.
    fn write(&self, writer: &mut Writer);

    /// Whether the response reports a change that was made. Such a response is sent even if the budget for responses is
    /// used up: a client that got an error instead would repeat the change.
    fn reports_change(&self) -> bool {
        false
    }

    /// The permit of a response that was counted against the budget before it was made. Other large responses are counted
    /// once they are encoded.
    fn into_permit(self) -> Option<Permit>
    where
        Self: Sized,
    {
        None
    }
}

/// A result that is sent piece by piece.
pub trait EventSource {
    /// The frames of the event stream.
    fn events(self, protocol: Protocol) -> Events;
}

/// The response of operations without output: an empty body, as AWS sends.
#[derive(Debug)]
pub struct Empty;

impl Response for Empty {
    fn expected_bytes(&self) -> usize {
        0
    }

    fn write(&self, _: &mut Writer) {}
}
