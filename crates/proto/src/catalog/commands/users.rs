//! Commands of users, their access keys and their policies.

use anabranch_catalog::UserCommand;
use anabranch_types::Timestamp;

use super::decoded::{Decoded, Pb};
use crate::catalog::users::{account, name, policy_ref};
use crate::error::Error;
use crate::generated::pb_catalog as pb;

pub(super) fn message(command: &UserCommand) -> Pb {
    match command {
        UserCommand::Create { name, account, now } => Pb::CreateUser(pb::CreateUser {
            name: name.to_string(),
            account: account.to_string(),
            now_millis: now.as_millis(),
        }),
        UserCommand::Delete { name } => Pb::DeleteUser(name.to_string()),
        UserCommand::CreateAccessKey { user, id, sealed_secret, now } => {
            Pb::CreateAccessKey(pb::CreateAccessKey {
                user: user.to_string(),
                id: id.clone(),
                sealed_secret: sealed_secret.clone().into(),
                now_millis: now.as_millis(),
            })
        }
        UserCommand::SetAccessKey { id, enabled } => {
            Pb::SetAccessKey(pb::SetAccessKey { id: id.clone(), enabled: *enabled })
        }
        UserCommand::DeleteAccessKey { id } => Pb::DeleteAccessKey(id.clone()),
        UserCommand::PutPolicy { user, name, document } => Pb::PutUserPolicy(pb::PutUserPolicy {
            user: user.to_string(),
            name: name.clone(),
            document: document.clone(),
        }),
        UserCommand::DeletePolicy { user, name } => Pb::DeleteUserPolicy(policy_ref(user, name)),
    }
}

pub(super) fn command(message: Pb) -> Result<Decoded, Error> {
    let command = match message {
        Pb::CreateUser(new) => UserCommand::Create {
            name: name(&new.name)?,
            account: account(&new.account)?,
            now: Timestamp::from_millis(new.now_millis),
        },
        Pb::DeleteUser(user) => UserCommand::Delete { name: name(&user)? },
        Pb::CreateAccessKey(new) => UserCommand::CreateAccessKey {
            user: name(&new.user)?,
            id: new.id,
            sealed_secret: new.sealed_secret.into(),
            now: Timestamp::from_millis(new.now_millis),
        },
        Pb::SetAccessKey(set) => UserCommand::SetAccessKey { id: set.id, enabled: set.enabled },
        Pb::DeleteAccessKey(id) => UserCommand::DeleteAccessKey { id },
        Pb::PutUserPolicy(put) => UserCommand::PutPolicy {
            user: name(&put.user)?,
            name: put.name,
            document: put.document,
        },
        Pb::DeleteUserPolicy(policy) => {
            UserCommand::DeletePolicy { user: name(&policy.user)?, name: policy.name }
        }
        other => return Ok(Decoded::Other(other)),
    };
    Ok(Decoded::Command(command.into()))
}
