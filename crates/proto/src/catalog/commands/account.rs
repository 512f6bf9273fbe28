//! Commands of the account.

use anabranch_catalog::AccountCommand;
use anabranch_types::Timestamp;

use super::decoded::{Decoded, Pb};
use crate::error::Error;
use crate::generated::pb_catalog as pb;

pub(super) fn message(command: &AccountCommand) -> Pb {
    match command {
        AccountCommand::SetCommitment { enabled, now } => {
            Pb::SetCommitment(pb::SetCommitment { enabled: *enabled, now_millis: now.as_millis() })
        }
    }
}

pub(super) fn command(message: Pb) -> Result<Decoded, Error> {
    let command = match message {
        Pb::SetCommitment(set) => AccountCommand::SetCommitment {
            enabled: set.enabled,
            now: Timestamp::from_millis(set.now_millis),
        },
        other => return Ok(Decoded::Other(other)),
    };
    Ok(Decoded::Command(command.into()))
}
