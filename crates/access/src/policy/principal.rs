//! `Principal` and `NotPrincipal` of policies of resources.

use anabranch_types::AccountId;

use super::Caller;

/// Who a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Principals {
    pub(super) negated: bool,
    pub(super) members: Vec<Principal>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Principal {
    /// `*`
    Everybody,
    /// Twelve digits, or `arn:aws:iam::<account>:root`: the account, which may pass on what it is allowed.
    Account(String),
    /// `arn:aws:iam::<account>:user/<name>`
    User(String),
}

/// How a statement means the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    ByName,
    ByAccount,
}

impl Principal {
    /// Reads a principal.
    ///
    /// # Errors
    /// What it must look like.
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

/// `user/<name>`
fn is_user(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
    let name = text.strip_prefix("user/").unwrap_or_default();
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

impl Principals {
    /// How the caller is meant, if at all.
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
            // An account that is excepted doesn't except its users.
            (true, Some(Grant::ByName)) => None,
            (true, Some(Grant::ByAccount) | None) => Some(Grant::ByName),
        }
    }
}
