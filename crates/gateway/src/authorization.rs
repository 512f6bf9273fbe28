//! Whether the caller may do what it asks for: policies of users, of streams and of consumers.

use std::borrow::Cow;
use std::sync::Arc;

use anabranch_access::policy::{self, Facts, Policy, Question};
use anabranch_client::View;
use anabranch_types::{AccountId, ConsumerArn, ConsumerName, StreamName, Timestamp};
use http::header::USER_AGENT;

use crate::aside::handed_over;
use crate::auth::{Authenticator, Known};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::identity::Identity;
use crate::operations::Call;
use crate::streams::Attached;
use crate::wire::Text;

/// Policies of this length together are asked in less than a millisecond, whatever they say.
const SHORT_POLICIES_BYTES: usize = 4096;

/// What a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Nothing in particular: the account.
    Account,
    /// A stream.
    Stream {
        /// Its name.
        name: StreamName,
        /// Whether the request says of which account it is; a name alone means the caller's own.
        is_named_fully: bool,
    },
    /// A consumer.
    Consumer {
        /// Its stream.
        stream: StreamName,
        /// Its name.
        consumer: ConsumerName,
        /// When it was registered, if the request says so.
        created_seconds: Option<u64>,
    },
}

impl Target {
    /// A stream that a token of this cluster names.
    pub(crate) const fn named_fully(name: StreamName) -> Self {
        Self::Stream { name, is_named_fully: true }
    }
}

/// Tags that a call brings, or keys of tags that it takes away.
pub(crate) type AskedTags<'a> = Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>;

impl Gateway {
    /// The stream that name, ARN or both mean, see [`Self::stream_name`].
    ///
    /// # Errors
    /// Those of [`Self::stream_name`].
    pub(crate) fn stream_target(
        &self,
        name: &Option<Text<'_>>,
        arn: &Option<Text<'_>>,
    ) -> Result<Target, Error> {
        let is_named_fully = arn.is_some();
        Ok(Target::Stream { name: self.stream_name(name, arn)?, is_named_fully })
    }

    /// The consumer that an ARN means.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is none; [`Error::NotFound`] for one of another account.
    pub(crate) fn consumer_target(&self, arn: &str) -> Result<Target, Error> {
        let arn: ConsumerArn = arn
            .parse()
            .map_err(|error| Error::InvalidArgument(format!("ConsumerARN: {error}.")))?;
        if arn.stream.account != self.settings.account {
            return Err(Error::NotFound(format!("Consumer {arn} not found.")));
        }
        let (stream, consumer) = (arn.stream.stream, arn.consumer);
        Ok(Target::Consumer { stream, consumer, created_seconds: Some(arn.created_seconds) })
    }

    /// The stream or consumer that a `ResourceARN` means.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is neither; [`Error::NotFound`] for one of another account.
    pub(crate) fn resource_target(&self, arn: &Option<Text<'_>>) -> Result<Target, Error> {
        let arn = arn.as_deref().unwrap_or_default();
        if arn.contains("/consumer/") {
            return self.consumer_target(arn);
        }
        self.name_in_arn("ResourceARN", arn).map(Target::named_fully)
    }
}

/// A target in one version of the catalog.
struct Resource<'a> {
    arn: String,
    /// Whose it is.
    owner: AccountId,
    attached: Option<Attached<'a>>,
}

/// Lets the call pass if policies allow it.
///
/// Who would be refused is judged again by the newest version of the catalog, so that what was allowed a moment ago is. If
/// that version can't be had, the first judgement stands.
///
/// # Errors
/// [`Error::AccessDenied`]; [`Error::NotFound`] for a stream that a user of another account means as its own.
pub(crate) async fn authorize(
    call: &Call<'_>,
    authenticator: &Authenticator,
    caller: &Known,
    target: &Target,
    tags: &AskedTags<'_>,
) -> Result<(), Error> {
    let gateway = call.gateway;
    let Known { identity, token_issued } = caller;
    let asked = Asked { call, authenticator, token_issued: *token_issued, target, tags };
    let judged = asked.judge(identity, &gateway.cluster.view());
    if !matches!(judged, Err(Error::AccessDenied(_))) {
        return judged;
    }
    let Some(newest) = gateway.newest.view(&gateway.cluster).await else { return judged };
    let current = authenticator.identity(&newest, &identity.user).ok_or(Error::UnknownKey)?;
    asked.judge(&current, &newest)
}

/// What is asked for.
struct Asked<'a> {
    call: &'a Call<'a>,
    authenticator: &'a Authenticator,
    token_issued: Option<Timestamp>,
    target: &'a Target,
    tags: &'a AskedTags<'a>,
}

impl Asked<'_> {
    fn judge(&self, identity: &Identity, view: &Arc<View>) -> Result<(), Error> {
        let Self { call, target, .. } = self;
        let gateway = call.gateway;
        let resource = resource(gateway, identity, target, view);
        let caller = identity.caller();
        let agent = call.parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let facts = Facts {
            username: identity.user.as_str(),
            principal_arn: caller.arn,
            principal_account: caller.account,
            source_ip: call.peer.address,
            is_secure: call.peer.is_secure,
            user_agent: agent,
            now: gateway.clock.now(),
            token_issued: self.token_issued,
            region: gateway.settings.region.as_str(),
            resource_account: resource.owner.as_str(),
            resource_tags: resource.attached.map(|attached| attached.tags),
            request_tags: self.tags,
        };
        let action = call.operation.action();
        let question = Question {
            caller,
            action: &action,
            resource: &resource.arn,
            owner: resource.owner.as_str(),
            facts: &facts,
        };
        let text = resource.attached.and_then(|attached| attached.policy.as_deref());
        let compiled = text.map(|text| self.authenticator.documents.compiled(&resource.arn, text));
        // Documents are compiled before they are attached. One from before that was so might deny something to all but root.
        let attached = match compiled.transpose() {
            Ok(attached) => attached,
            Err(_) if caller.is_root => None,
            Err(error) => {
                let message = format!("The policy of {} cannot be read: {error}", resource.arn);
                return Err(Error::AccessDenied(message));
            }
        };
        let attached = attached.as_deref();
        let asked: usize =
            identity.policies.iter().chain(attached).map(Policy::document_bytes).sum();
        let decide = || policy::decide(&question, &identity.policies, attached);
        let decided = if asked > SHORT_POLICIES_BYTES { handed_over(decide) } else { decide() };
        decided.map_err(|denial| Error::AccessDenied(denial.message(&question)))?;
        let is_own = resource.owner == gateway.settings.account;
        match target {
            // The caller's own account has no streams here.
            Target::Stream { name, .. } if !is_own => Err(Error::NotFound(format!(
                "Stream {name} under account {} not found.",
                resource.owner
            ))),
            Target::Account | Target::Stream { .. } | Target::Consumer { .. } => Ok(()),
        }
    }
}

/// One spelling of the ARN, whatever partition and region the client wrote.
fn resource<'a>(
    gateway: &Gateway,
    identity: &Identity,
    target: &Target,
    view: &'a View,
) -> Resource<'a> {
    let own = gateway.settings.account.clone();
    match target {
        Target::Account => Resource { arn: "*".to_owned(), owner: own, attached: None },
        Target::Stream { name, is_named_fully } => {
            let mut arn = gateway.arn(name);
            if !is_named_fully && identity.account != gateway.settings.account {
                arn.account = identity.account.clone();
                let owner = identity.account.clone();
                return Resource { arn: arn.to_string(), owner, attached: None };
            }
            let found = view
                .stream(name)
                .map(|found| Attached { tags: &found.stream.tags, policy: &found.stream.policy });
            Resource { arn: arn.to_string(), owner: own, attached: found }
        }
        Target::Consumer { stream, consumer, created_seconds } => {
            let known = view.stream(stream).and_then(|found| found.stream.consumers.get(consumer));
            let found = known.filter(|known| {
                created_seconds.is_none_or(|seconds| seconds == known.created.as_secs())
            });
            let created_seconds =
                created_seconds.or(known.map(|known| known.created.as_secs())).unwrap_or(0);
            let stream = gateway.arn(stream);
            let arn = ConsumerArn { stream, consumer: consumer.clone(), created_seconds };
            let attached = found.map(|known| Attached { tags: &known.tags, policy: &known.policy });
            Resource { arn: arn.to_string(), owner: own, attached }
        }
    }
}
