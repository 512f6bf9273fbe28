//! Policies: who may do what with which stream, as IAM's documents say it.
//!
//! A document is compiled once ([`Policy::parse`]) and asked often ([`decide`]). What is not understood makes a
//! document invalid when it is read, so that nothing in it is ever silently ignored.
//!
//! Source: AWS documentation, "IAM JSON policy elements reference" and "Policy evaluation logic".

mod condition;
mod facts;
mod json;
mod key;
mod parse;
mod pattern;
mod principal;

use std::fmt;

pub use facts::{Facts, MAX_VALUE_BYTES};
pub use parse::{MAX_DOCUMENT_BYTES, ParseError};

use condition::Condition;
use pattern::{ActionPattern, ArnPattern};
use principal::Principals;

/// A document, ready to be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    statements: Vec<Statement>,
    /// Length of the document.
    bytes: usize,
}

/// What a document is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A user: it says nothing of who.
    Identity,
    /// A stream or consumer: every statement says who.
    Resource,
}

#[derive(Clone, Debug, PartialEq)]
struct Statement {
    effect: Effect,
    /// Of policies of resources.
    principals: Option<Principals>,
    actions: Listed<ActionPattern>,
    /// None where a policy of a resource leaves it out: the resource that it is attached to.
    resources: Option<Listed<ArnPattern>>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// `Action` or `NotAction`, `Resource` or `NotResource`.
#[derive(Clone, Debug, PartialEq)]
struct Listed<T> {
    negated: bool,
    members: Vec<T>,
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller<'a> {
    /// Twelve digits.
    pub account: &'a str,
    /// `arn:aws:iam::<account>:user/<name>`, or `…:root`.
    pub arn: &'a str,
    /// Whether it is its account's root user, who may do everything in it.
    pub is_root: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who calls.
    pub caller: Caller<'a>,
    /// `kinesis:PutRecord`
    pub action: &'a str,
    /// ARN of the stream or consumer, or `*` for what concerns the whole account.
    pub resource: &'a str,
    /// Account that the resource belongs to.
    pub owner: &'a str,
    /// What conditions ask about.
    pub facts: &'a Facts<'a>,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// A policy of the user says no.
    DeniedByIdentity,
    /// The policy of the resource says no.
    DeniedByResource,
    /// No policy of the user says yes.
    NotAllowedByIdentity,
    /// The policy of the resource of another account doesn't say yes.
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
    /// The message of an `AccessDeniedException`, as the service writes it.
    pub fn message(self, question: &Question<'_>) -> String {
        let Question { caller, action, resource, .. } = question;
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

/// What the statements of some policies say together.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    denied: bool,
    /// To the caller by name, or to everybody.
    allowed: bool,
    /// To the caller's account, which may pass it on to its users.
    allowed_account: bool,
}

/// Decides a call by the policies of the user and the one of the resource.
///
/// A denial wins. In the resource's own account either may allow; a resource that names the account alone leaves it to
/// policies of users. Across accounts both have to. The root user needs no policies: in its own account it may do
/// everything, across accounts the resource alone decides.
///
/// # Errors
/// [`Denial`].
pub fn decide<'p>(
    question: &Question<'_>,
    identity: impl IntoIterator<Item = &'p Policy>,
    resource: Option<&Policy>,
) -> Result<(), Denial> {
    let Question { caller, owner, .. } = question;
    let is_own = caller.account == *owner;
    if caller.is_root && is_own {
        return Ok(());
    }
    let action = question.action.to_ascii_lowercase();
    let mut by_identity = Said { allowed: caller.is_root, ..Said::default() };
    for policy in identity {
        policy.ask(question, &action, &mut by_identity);
    }
    let mut by_resource = Said::default();
    if let Some(policy) = resource {
        policy.ask(question, &action, &mut by_resource);
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
    /// Length of the document: what asking it costs is about in proportion.
    pub const fn document_bytes(&self) -> usize {
        self.bytes
    }

    fn ask(&self, question: &Question<'_>, action: &str, said: &mut Said) {
        for statement in &self.statements {
            statement.ask(question, action, said);
        }
    }
}

impl Statement {
    /// `action` is that of the question, in lower case.
    fn ask(&self, question: &Question<'_>, action: &str, said: &mut Said) {
        if self.is_answered(said) || !self.actions.matches(|pattern| pattern.matches(action)) {
            return;
        }
        let grant = match &self.principals {
            Some(principals) => principals.grant(&question.caller),
            None => Some(principal::Grant::ByName),
        };
        let Some(grant) = grant else { return };
        if !self.is_about(question) {
            return;
        }
        match (self.effect, grant) {
            (Effect::Deny, _) => said.denied = true,
            (Effect::Allow, principal::Grant::ByName) => said.allowed = true,
            (Effect::Allow, principal::Grant::ByAccount) => said.allowed_account = true,
        }
    }

    /// Whether nothing that it could say would change anything.
    const fn is_answered(&self, said: &Said) -> bool {
        match self.effect {
            Effect::Allow => said.allowed || said.denied,
            Effect::Deny => said.denied,
        }
    }

    /// Nothing is allowed by a variable that has no value, in whatever it stands.
    fn is_about(&self, question: &Question<'_>) -> bool {
        let facts = question.facts;
        if self.effect == Effect::Allow && !self.is_known(facts) {
            return false;
        }
        let about = |resources: &Listed<ArnPattern>| {
            resources.matches(|resource| resource.matches(question.resource, facts))
        };
        self.resources.as_ref().is_none_or(about)
            && self.conditions.iter().all(|condition| condition.holds(facts, self.effect))
    }

    fn is_known(&self, facts: &Facts<'_>) -> bool {
        let resources = self.resources.iter().flat_map(|resources| &resources.members);
        resources.into_iter().all(|resource| resource.is_known(facts))
            && self.conditions.iter().all(|condition| condition.is_known(facts))
    }
}

impl<T> Listed<T> {
    fn matches(&self, member: impl FnMut(&T) -> bool) -> bool {
        self.members.iter().any(member) != self.negated
    }
}

#[cfg(test)]
mod tests;
