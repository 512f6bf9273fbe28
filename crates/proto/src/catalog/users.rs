//! Users, their access keys and their policies.
//!
//! Users that share a name or an access key are rejected, because the catalog finds a user by its key.

use anabranch_catalog::{AccessKey, User, Users};
use anabranch_types::{AccountId, ParseError, Timestamp, UserName};

use crate::error::Error;
use crate::generated::pb_catalog as pb;

pub(super) fn message(name: &UserName, user: &User) -> pb::User {
    pb::User {
        name: name.to_string(),
        account: user.account.to_string(),
        created_millis: user.created.as_millis(),
        policies: user.policies.clone().into_iter().collect(),
        keys: user.keys.iter().map(|(id, key)| key_message(id, key)).collect(),
    }
}

pub(super) fn users(version: u64, messages: Vec<pb::User>) -> Result<Users, Error> {
    let users = messages.into_iter().map(user).collect::<Result<Vec<_>, _>>()?;
    Users::new(version, users).ok_or_else(|| Error::Invalid {
        field: "user.keys",
        rule: "users have different names and keys".into(),
    })
}

pub(super) fn policy_ref(user: &UserName, name: &str) -> pb::UserPolicyRef {
    pb::UserPolicyRef { user: user.to_string(), name: name.into() }
}

pub(super) fn name(text: &str) -> Result<UserName, Error> {
    text.parse()
        .map_err(|error: ParseError| Error::Invalid { field: "user.name", rule: error.to_string() })
}

pub(super) fn account(text: &str) -> Result<AccountId, Error> {
    text.parse().map_err(|error: ParseError| Error::Invalid {
        field: "user.account",
        rule: error.to_string(),
    })
}

fn user(message: pb::User) -> Result<(UserName, User), Error> {
    let user = User {
        account: account(&message.account)?,
        created: Timestamp::from_millis(message.created_millis),
        policies: message.policies.into_iter().collect(),
        keys: message.keys.into_iter().map(key).collect(),
    };
    Ok((name(&message.name)?, user))
}

fn key_message(id: &str, key: &AccessKey) -> pb::AccessKey {
    pb::AccessKey {
        id: id.into(),
        sealed_secret: key.sealed_secret.clone().into(),
        enabled: key.enabled,
        created_millis: key.created.as_millis(),
    }
}

fn key(message: pb::AccessKey) -> (String, AccessKey) {
    let key = AccessKey {
        sealed_secret: message.sealed_secret.into(),
        enabled: message.enabled,
        created: Timestamp::from_millis(message.created_millis),
    };
    (message.id, key)
}
