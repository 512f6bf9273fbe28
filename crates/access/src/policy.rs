//! IAM policies: which caller may do what with which stream.
//!
//! A document is compiled once ([`Policy::parse`]) and evaluated for many requests ([`decide`]). A document with any
//! element that is not understood is invalid. So no part of a policy is ever silently ignored.
//!
//! ```text
//! decide:  the root user in its own account                     -> allow
//!          a Deny that matches, in any policy                   -> deny
//!          own account:    the user's policies allow, or the resource's policy allows this user    -> allow
//!          other account:  the user's policies allow, and the resource's policy allows             -> allow
//!          otherwise                                            -> deny
//! ```
//!
//! A statement matches if its action, principal, resource and all of its conditions match.
//!
//! Source: AWS documentation, "IAM JSON policy elements reference" and "Policy evaluation logic".

mod condition;
mod context;
mod json;
mod key;
mod parse;
mod pattern;
mod principal;

use std::fmt;

pub use context::{MAX_VALUE_BYTES, RequestContext};
pub use parse::{MAX_DOCUMENT_BYTES, ParseError};

use condition::Condition;
use pattern::{ActionPattern, ArnPattern};
use principal::Principals;

/// A compiled policy document.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    statements: Vec<Statement>,
    /// Length of the document.
    bytes: usize,
}

/// The kind of entity that a policy document is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A user. Its statements have no `Principal`.
    Identity,
    /// A stream or consumer. Each statement has a `Principal` or `NotPrincipal`.
    Resource,
}

#[derive(Clone, Debug, PartialEq)]
struct Statement {
    effect: Effect,
    /// `None` in the policy of a user.
    principals: Option<Principals>,
    actions: Listed<ActionPattern>,
    /// `None` if the policy of a resource leaves it out. It then means the resource that the policy is attached to.
    resources: Option<Listed<ArnPattern>>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// `Action` or `NotAction`, `Resource` or `NotResource`; `negated` for the second form.
#[derive(Clone, Debug, PartialEq)]
struct Listed<T> {
    negated: bool,
    members: Vec<T>,
}

/// The caller of a request, the "principal" of IAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller<'a> {
    /// Account of the caller: twelve digits.
    pub account: &'a str,
    /// `arn:aws:iam::<account>:user/<name>`, or `…:root`.
    pub arn: &'a str,
    /// Whether the caller is the root user of its account. The root user may do everything in its own account.
    pub is_root: bool,
}

/// A request to authorize.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationRequest<'a> {
    /// The caller.
    pub caller: Caller<'a>,
    /// Action, such as `kinesis:PutRecord`.
    pub action: &'a str,
    /// ARN of the stream or consumer, or `*` for an action on the whole account.
    pub resource: &'a str,
    /// Account that owns the resource.
    pub owner: &'a str,
    /// The request context: values of the condition keys.
    pub context: &'a RequestContext<'a>,
}

/// Why a request is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// A policy of the user denies it.
    DeniedByIdentity,
    /// The policy of the resource denies it.
    DeniedByResource,
    /// No policy of the user allows it.
    NotAllowedByIdentity,
    /// The resource belongs to another account, and its policy does not allow it.
    NotAllowedByResource,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DeniedByIdentity | Self::NotAllowedByIdentity => "identity-based",
            Self::DeniedByResource | Self::NotAllowedByResource => "resource-based",
        })
    }
}

impl Denial {
    /// The message of an `AccessDeniedException`, in the words of AWS.
    pub fn message(self, request: &AuthorizationRequest<'_>) -> String {
        let AuthorizationRequest { caller, action, resource, .. } = request;
        let reason = match self {
            Self::DeniedByIdentity => format!("with an explicit deny in an {self} policy"),
            Self::DeniedByResource => format!("with an explicit deny in a {self} policy"),
            Self::NotAllowedByIdentity | Self::NotAllowedByResource => {
                format!("because no {self} policy allows the {action} action")
            }
        };
        format!(
            "User: {} is not authorized to perform: {action} on resource: {resource} {reason}",
            caller.arn
        )
    }
}

/// The combined effect of all matching statements of some policies.
#[derive(Clone, Copy, Debug, Default)]
struct Effects {
    denied: bool,
    /// A statement allows the caller by name, or allows everybody.
    allowed: bool,
    /// A statement allows the caller's account. The account may pass this on to its users with their own policies.
    allowed_account: bool,
}

/// Decides a request by the policies of the user and the policy of the resource.
///
/// A `Deny` that matches always wins. If the resource belongs to the caller's account, one `Allow` is enough, in a
/// policy of the user or in the policy of the resource. An `Allow` of the resource for the account as a whole counts
/// only together with an `Allow` of the user. If the resource belongs to another account, both must allow the
/// request. The root user needs no policy of its own: in its own account it may do everything, in another account the
/// policy of the resource decides alone.
///
/// # Errors
/// [`Denial`] with the reason, if the request is denied.
pub fn decide<'p>(
    request: &AuthorizationRequest<'_>,
    identity: impl IntoIterator<Item = &'p Policy>,
    resource: Option<&Policy>,
) -> Result<(), Denial> {
    let AuthorizationRequest { caller, owner, .. } = request;
    let is_own = caller.account == *owner;
    if caller.is_root && is_own {
        return Ok(());
    }
    let action = request.action.to_ascii_lowercase();
    let mut by_identity = Effects { allowed: caller.is_root, ..Effects::default() };
    for policy in identity {
        policy.evaluate(request, &action, &mut by_identity);
    }
    let mut by_resource = Effects::default();
    if let Some(policy) = resource {
        policy.evaluate(request, &action, &mut by_resource);
    }
    if by_identity.denied {
        return Err(Denial::DeniedByIdentity);
    }
    if by_resource.denied {
        return Err(Denial::DeniedByResource);
    }
    let by_name = by_resource.allowed;
    match (is_own, by_identity.allowed, by_name || by_resource.allowed_account) {
        (true, true, _) | (false, true, true) => Ok(()),
        (true, false, _) if by_name => Ok(()),
        (true, false, _) | (false, false, _) => Err(Denial::NotAllowedByIdentity),
        (false, true, false) => Err(Denial::NotAllowedByResource),
    }
}

impl Policy {
    /// Length of the document in bytes. The time of an evaluation is about in proportion to it.
    pub const fn document_bytes(&self) -> usize {
        self.bytes
    }

    fn evaluate(&self, request: &AuthorizationRequest<'_>, action: &str, effects: &mut Effects) {
        for statement in &self.statements {
            statement.evaluate(request, action, effects);
        }
    }
}

impl Statement {
    /// `action` is the action of the request in lower case.
    fn evaluate(&self, request: &AuthorizationRequest<'_>, action: &str, effects: &mut Effects) {
        if self.is_decided(effects) || !self.actions.matches(|pattern| pattern.matches(action)) {
            return;
        }
        let grant = match &self.principals {
            Some(principals) => principals.grant(&request.caller),
            None => Some(principal::Grant::ByName),
        };
        let Some(grant) = grant else { return };
        if !self.applies_to(request) {
            return;
        }
        match (self.effect, grant) {
            (Effect::Deny, _) => effects.denied = true,
            (Effect::Allow, principal::Grant::ByName) => effects.allowed = true,
            (Effect::Allow, principal::Grant::ByAccount) => effects.allowed_account = true,
        }
    }

    /// Whether this statement can no longer change the result.
    const fn is_decided(&self, effects: &Effects) -> bool {
        match self.effect {
            Effect::Allow => effects.allowed || effects.denied,
            Effect::Deny => effects.denied,
        }
    }

    /// Whether resource and conditions match. An `Allow` never matches if one of its variables has no value, wherever
    /// the variable is. Otherwise a negated operator on it would match, and the statement would allow too much.
    fn applies_to(&self, request: &AuthorizationRequest<'_>) -> bool {
        let context = request.context;
        if self.effect == Effect::Allow && !self.has_all_values(context) {
            return false;
        }
        let about = |resources: &Listed<ArnPattern>| {
            resources.matches(|resource| resource.matches(request.resource, context))
        };
        self.resources.as_ref().is_none_or(about)
            && self.conditions.iter().all(|condition| condition.holds(context, self.effect))
    }

    fn has_all_values(&self, context: &RequestContext<'_>) -> bool {
        let resources = self.resources.iter().flat_map(|resources| &resources.members);
        resources.into_iter().all(|resource| resource.has_all_values(context))
            && self.conditions.iter().all(|condition| condition.has_all_values(context))
    }
}

impl<T> Listed<T> {
    fn matches(&self, member: impl FnMut(&T) -> bool) -> bool {
        self.members.iter().any(member) != self.negated
    }
}

#[cfg(test)]
mod tests;
