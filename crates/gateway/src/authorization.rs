//! Decides whether policies allow a call: the policies of the user and the policy of the resource.
//!
//! The catalog of this node may be old: another gateway may have acknowledged a new policy a moment ago. So a denied
//! call is checked again with the newest version. If the catalog does not respond in time, the first decision is
//! final.

use std::sync::Arc;

use anabranch_access::policy::{self, AuthorizationRequest, Policy, RequestContext};
use anabranch_aws::fault::Fault;
use anabranch_client::View;
use anabranch_types::Timestamp;
use http::header::USER_AGENT;
use http::request::Parts;

use crate::auth::{Authenticator, KnownCaller, Peer};
use crate::cooperative::while_others_run;
use crate::error::Error;
use crate::identity::Identity;
use crate::platform::Platform;
use crate::service::{RequestTags, Resource, Service, Target};

/// Policies of this length together are evaluated in less than a millisecond, whatever they contain.
const SHORT_POLICIES_BYTES: usize = 4096;

/// One call that policies must allow.
pub(crate) struct Authorization<'a> {
    pub platform: &'a Platform,
    pub authenticator: &'a Authenticator,
    pub parts: &'a Parts,
    pub peer: Peer,
    /// Prefix of actions: `kinesis`.
    pub actions: &'static str,
    /// Name of the operation: `PutRecord`.
    pub operation: &'static str,
    pub tags: &'a RequestTags<'a>,
}

/// The reason why a call is refused.
enum Refusal {
    /// A policy denies the call, or no policy allows it. A newer version of the catalog may decide otherwise.
    Denied(String),
    /// Policies allow the call, but the resource does not exist.
    Missing(Fault),
}

impl Authorization<'_> {
    /// Checks that policies allow the call.
    ///
    /// # Errors
    /// The fault of [`Error::AccessDenied`], or the fault of a resource that cannot exist here.
    pub(crate) async fn check<S: Service>(
        &self,
        caller: &KnownCaller,
        service: &S,
        target: &impl Target<S>,
    ) -> Result<(), Fault> {
        let Self { platform, authenticator, .. } = self;
        let KnownCaller { identity, token_issued } = caller;
        let decide = |identity: &Identity, view: &Arc<View>| {
            let resource = target.resource(service, &identity.account, view);
            let operation = target.action().unwrap_or(self.operation);
            self.decide(identity, *token_issued, operation, resource)?;
            let further = target.further_rights(service, &identity.account, view);
            further.into_iter().try_for_each(|(operation, resource)| {
                self.decide(identity, *token_issued, operation, resource)
            })
        };
        let denied = match decide(identity, &platform.cluster.view()) {
            Ok(()) => return Ok(()),
            Err(Refusal::Missing(fault)) => return Err(fault),
            Err(Refusal::Denied(message)) => Error::AccessDenied(message),
        };
        let newest = platform.newest.view(&platform.cluster).await;
        let Some(newest) = newest else { return Err(denied.fault()) };
        let current = authenticator.identity(&newest, &identity.user);
        let current = current.ok_or_else(|| Error::UnknownKey.fault())?;
        decide(&current, &newest).map_err(|refusal| match refusal {
            Refusal::Denied(message) => Error::AccessDenied(message).fault(),
            Refusal::Missing(fault) => fault,
        })
    }

    fn decide(
        &self,
        identity: &Identity,
        token_issued: Option<Timestamp>,
        operation: &str,
        resource: Resource<'_>,
    ) -> Result<(), Refusal> {
        // A further right may be an action of another service.
        let action = match operation.contains(':') {
            true => operation.to_owned(),
            false => format!("{}:{operation}", self.actions),
        };
        let platform = self.platform;
        let caller = identity.caller();
        let agent = self.parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let context = RequestContext {
            username: identity.user.as_str(),
            principal_arn: caller.arn,
            principal_account: caller.account,
            source_ip: self.peer.address,
            is_secure: self.peer.is_secure,
            user_agent: agent,
            now: platform.clock.now(),
            token_issued,
            region: platform.settings.region.as_str(),
            resource_account: resource.owner.as_str(),
            resource_tags: resource.tags,
            request_tags: self.tags,
        };
        let request = AuthorizationRequest {
            caller,
            action: &action,
            resource: &resource.arn,
            owner: resource.owner.as_str(),
            context: &context,
        };
        let policies = &self.authenticator.policies;
        let compiled = resource.policy.map(|text| policies.compiled(&resource.arn, text));
        // A policy is compiled before it is stored, so it normally compiles. An older version of this software may
        // have stored a policy that does not compile any more. Such a policy denies everything to everyone except root.
        // Root can replace it.
        let attached = match compiled.transpose() {
            Ok(attached) => attached,
            Err(_) if caller.is_root => None,
            Err(error) => {
                let message = format!("The policy of {} cannot be read: {error}", resource.arn);
                return Err(Refusal::Denied(message));
            }
        };
        let attached = attached.as_deref();
        let bytes: usize =
            identity.policies.iter().chain(attached).map(Policy::document_bytes).sum();
        let decide = || policy::decide(&request, &identity.policies, attached);
        let decided =
            if bytes > SHORT_POLICIES_BYTES { while_others_run(decide) } else { decide() };
        decided.map_err(|denial| Refusal::Denied(denial.message(&request)))?;
        resource.missing.map_or(Ok(()), |fault| Err(Refusal::Missing(fault)))
    }
}
