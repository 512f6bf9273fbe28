use anabranch_catalog::{Command, EncryptionCommand};
use serde::Deserialize;

use super::{Context, Empty, Request};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::{Text, Writer};

/// `StartStreamEncryptionInput` and, with `START` false, `StopStreamEncryptionInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SetStreamEncryption<'a, const START: bool> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    #[serde(borrow)]
    encryption_type: Option<Text<'a>>,
    #[serde(borrow)]
    key_id: Option<Text<'a>>,
}

impl<const START: bool> Constrained for SetStreamEncryption<'_, START> {
    fn check(&self, checks: &mut Checks) {
        checks.stream(&self.stream_name, &self.stream_arn, &self.stream_id);
        let rule = rules::ENCRYPTION_TYPE.required();
        checks.text("EncryptionType", &self.encryption_type, &rule);
        checks.text("KeyId", &self.key_id, &rules::KEY_ID.required());
    }
}

impl<const START: bool> Request for SetStreamEncryption<'_, START> {
    type Answer = Empty;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let gateway = cx.gateway;
        let name = gateway.stream_name(&self.stream_name, &self.stream_arn)?;
        if self.encryption_type.as_deref() != Some(KMS) {
            return Err(Error::InvalidArgument("EncryptionType must be KMS.".to_owned()));
        }
        let id = {
            let view = gateway.cluster.view();
            gateway.find(&view, &name)?.stream.id
        };
        let command = if START {
            let master_key = self.key_id.as_deref().unwrap_or_default().to_owned();
            let wrapped = gateway.cluster.new_data_key(name.clone(), id, master_key.clone()).await;
            let wrapped =
                wrapped.map_err(|error| Error::from_client(error, || gateway.subject(&name)))?;
            let now = gateway.clock.now();
            let name = name.clone();
            Command::Encryption(EncryptionCommand::Start {
                name,
                id: Some(id),
                master_key,
                wrapped,
                now,
            })
        } else {
            Command::Encryption(EncryptionCommand::Stop { name: name.clone() })
        };
        gateway.change(&name, command).await.map(|_| Empty)
    }
}

/// The one type of encryption that the API has.
const KMS: &str = "KMS";

/// `EncryptionType` of a record, or of an answer about records: written where there is any.
pub(crate) fn write_if_encrypted(w: &mut Writer, encrypted: bool) {
    if encrypted {
        w.member("EncryptionType").plain(KMS);
    }
}

/// `EncryptionType` and `KeyId` of a stream.
pub(super) fn write_encryption(w: &mut Writer, master_key: Option<&str>) {
    w.member("EncryptionType").plain(if master_key.is_some() { KMS } else { "NONE" });
    if let Some(master_key) = master_key {
        w.member("KeyId").text(master_key);
    }
}
