//! `Principal` and `NotPrincipal` in policies of resources.
//!
//! A principal names a user, an account or everybody. An account as a principal allows its root user directly. Its
//! other users also need an `Allow` in one of their own policies, so the two cases are told apart ([`Grant`]).

use anabranch_types::AccountId;

use super::Caller;

/// The callers that a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Principals {
    pub(super) negated: bool,
    pub(super) members: Vec<Principal>,
}

/// One caller, one account, or everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Principal {
    /// `*`
    Everybody,
    /// Twelve digits, or `arn:aws:iam::<account>:root`: the account, which may pass its rights on to its users.
    Account(String),
    /// `arn:aws:iam::<account>:user/<name>`
    User(String),
}

/// How a statement includes the caller: by its name (or everybody), or only by its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    ByName,
    ByAccount,
}

impl Principal {
    /// Parses a principal.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let is_account = |text: &str| text.parse::<AccountId>().is_ok();
        if text == "*" {
            return Ok(Self::Everybody);
        }
        if is_account(text) {
            return Ok(Self::Account(text.to_owned()));
        }
        let named = text
            .strip_prefix("arn:aws:iam::")
            .and_then(|rest| rest.split_once(':'))
            .filter(|(account, _)| is_account(account));
        match named {
            Some((account, "root")) => Ok(Self::Account(account.to_owned())),
            Some((_, user)) if is_user(user) => Ok(Self::User(text.to_owned())),
            _ => Err(
                "a principal is '*', an account of twelve digits, arn:aws:iam::<account>:root or \
                      arn:aws:iam::<account>:user/<name>"
                    .to_owned(),
            ),
        }
    }
}

/// Whether the text is `user/` and a user name.
fn is_user(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
    let name = text.strip_prefix("user/").unwrap_or_default();
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

impl Principals {
    /// How the statement includes the caller; `None` if the statement is not about the caller.
    pub(super) fn grant(&self, caller: &Caller<'_>) -> Option<Grant> {
        let mut found = None;
        for member in &self.members {
            let grant = match member {
                Principal::Everybody => Some(Grant::ByName),
                Principal::User(arn) => (arn == caller.arn).then_some(Grant::ByName),
                Principal::Account(account) if account != caller.account => None,
                Principal::Account(_) if caller.is_root => Some(Grant::ByName),
                Principal::Account(_) => Some(Grant::ByAccount),
            };
            if grant == Some(Grant::ByName) {
                found = grant;
                break;
            }
            found = found.or(grant);
        }
        match (self.negated, found) {
            (false, found) => found,
            // `NotPrincipal` with an account exempts the root user of that account, but not its other users.
            (true, Some(Grant::ByName)) => None,
            (true, Some(Grant::ByAccount) | None) => Some(Grant::ByName),
        }
    }
}
