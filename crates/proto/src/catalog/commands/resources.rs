//! Commands of tags and policies.

use anabranch_catalog::ResourceCommand;

use super::decoded::{Decoded, Pb};
use crate::catalog::values::{resource, resource_message};
use crate::error::Error;
use crate::generated::pb_catalog as pb;

pub(super) fn message(command: &ResourceCommand) -> Pb {
    match command {
        ResourceCommand::SetTags { resource, set, removed } => Pb::SetTags(pb::SetTags {
            resource: Some(resource_message(resource)),
            set: set.clone().into_iter().collect(),
            removed: removed.iter().cloned().collect(),
        }),
        ResourceCommand::SetPolicy { resource, policy } => Pb::SetPolicy(pb::SetPolicy {
            resource: Some(resource_message(resource)),
            policy: policy.clone(),
        }),
    }
}

pub(super) fn command(message: Pb) -> Result<Decoded, Error> {
    let command = match message {
        Pb::SetTags(set) => ResourceCommand::SetTags {
            resource: resource(set.resource, "set_tags.resource")?,
            set: set.set.into_iter().collect(),
            removed: set.removed.into_iter().collect(),
        },
        Pb::SetPolicy(set) => ResourceCommand::SetPolicy {
            resource: resource(set.resource, "set_policy.resource")?,
            policy: set.policy,
        },
        other => return Ok(Decoded::Other(other)),
    };
    Ok(Decoded::Command(command.into()))
}
