//! Whether policies allow a call: policies of the user, and of the resource that the call is about.
//!
//! A denial by this node's version of the catalog may be out of date: another gateway may have acknowledged a new policy a
//! moment ago. So a denied call is checked again with the newest version. If the catalog does not answer in time, the
//! first decision stands.

use std::sync::Arc;

use anabranch_access::policy::{self, Facts, Policy, Question};
use anabranch_aws::fault::Fault;
use anabranch_client::View;
use anabranch_types::Timestamp;
use http::header::USER_AGENT;
use http::request::Parts;

use crate::auth::{Authenticator, Known, Peer};
use crate::cooperative::while_others_run;
use crate::error::Error;
use crate::identity::Identity;
use crate::platform::Platform;
use crate::service::{RequestTags, Resource, Service, Target};

/// Policies of this length together are evaluated in less than a millisecond, whatever they contain.
const SHORT_POLICIES_BYTES: usize = 4096;

/// One call that must be allowed.
pub(crate) struct Authorization<'a> {
    pub platform: &'a Platform,
    pub authenticator: &'a Authenticator,
    pub parts: &'a Parts,
    pub peer: Peer,
    /// `kinesis:PutRecord`
    pub action: String,
    pub tags: &'a RequestTags<'a>,
}

/// Why a call is not allowed.
enum Refusal {
    /// A policy denies it, or none allows it. A newer version of the catalog may decide otherwise.
    Denied(String),
    /// Policies allow it, but there is no such resource.
    Missing(Fault),
}

impl Authorization<'_> {
    /// Lets the call pass if policies allow it.
    ///
    /// # Errors
    /// The fault of [`Error::AccessDenied`], or that of a resource of another account.
    pub(crate) async fn check<S: Service>(
        &self,
        caller: &Known,
        service: &S,
        target: &impl Target<S>,
    ) -> Result<(), Fault> {
        let Self { platform, authenticator, .. } = self;
        let Known { identity, token_issued } = caller;
        let decide = |identity: &Identity, view: &Arc<View>| {
            let resource = target.resource(service, &identity.account, view);
            self.decide(identity, *token_issued, resource)
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
        resource: Resource<'_>,
    ) -> Result<(), Refusal> {
        let platform = self.platform;
        let caller = identity.caller();
        let agent = self.parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let facts = Facts {
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
        let question = Question {
            caller,
            action: &self.action,
            resource: &resource.arn,
            owner: resource.owner.as_str(),
            facts: &facts,
        };
        let policies = &self.authenticator.policies;
        let compiled = resource.policy.map(|text| policies.compiled(&resource.arn, text));
        // Policies are compiled before they are stored. One that was stored by an older version and does not compile
        // denies everything to everybody but root, who can replace it.
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
        let decide = || policy::decide(&question, &identity.policies, attached);
        let decided =
            if bytes > SHORT_POLICIES_BYTES { while_others_run(decide) } else { decide() };
        decided.map_err(|denial| Refusal::Denied(denial.message(&question)))?;
        resource.missing.map_or(Ok(()), |fault| Err(Refusal::Missing(fault)))
    }
}
