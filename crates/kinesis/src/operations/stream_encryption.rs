//! StartStreamEncryption and StopStreamEncryption.
//!
//! To start, the gateway first asks the cluster for a data key that is wrapped with the master key, which proves that
//! the master key can be used. Then it proposes the change to the catalog. The change names the id of the stream for
//! which the data key was made, so that a stream that was created meanwhile under the same name does not get it.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Required, Text, Writer};
use anabranch_catalog::EncryptionCommand;
use anabranch_gateway::service::{Empty, Request};
use serde::Deserialize;

use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;

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
    #[serde(borrow, default)]
    encryption_type: Required<Text<'a>>,
    #[serde(borrow, default)]
    key_id: Required<Text<'a>>,
}

impl<const START: bool> Constrained for SetStreamEncryption<'_, START> {
    fn check(&self, checks: &mut Checks) {
        rules::check_stream(checks, &self.stream_name, &self.stream_arn, &self.stream_id);
        let kind = &self.encryption_type;
        checks.text("EncryptionType", kind, &rules::ENCRYPTION_TYPE);
        checks.text("KeyId", &self.key_id, &rules::KEY_ID);
    }
}

impl<const START: bool> Request<Kinesis> for SetStreamEncryption<'_, START> {
    type Target = StreamTarget;
    type Response = Empty;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<Empty, Error> {
        let kinesis = cx.service;
        let name = &target.name;
        if &**self.encryption_type != KMS {
            return Err(Error::InvalidArgument("EncryptionType must be KMS.".to_owned()));
        }
        let id = {
            let view = kinesis.cluster.view();
            kinesis.find(&view, name)?.stream.id
        };
        let command = if START {
            let master_key = self.key_id.to_string();
            let wrapped = kinesis.cluster.new_data_key(name.clone(), id, master_key.clone()).await;
            let wrapped =
                wrapped.map_err(|error| Error::from_client(error, || kinesis.subject(name)))?;
            let now = kinesis.clock.now();
            let name = name.clone();
            EncryptionCommand::Start { name, id: Some(id), master_key, wrapped, now }
        } else {
            EncryptionCommand::Stop { name: name.clone() }
        };
        kinesis.change(name, command).await.map(|_| Empty)
    }
}

/// The only type of encryption in the API.
const KMS: &str = "KMS";

/// Writes `EncryptionType` of a record, or of a response about records. Nothing is written without encryption.
pub(crate) fn write_if_encrypted(w: &mut Writer, encrypted: bool) {
    if encrypted {
        w.member("EncryptionType").plain(KMS);
    }
}

/// Writes `EncryptionType` and `KeyId` of a stream.
pub(super) fn write_encryption(w: &mut Writer, master_key: Option<&str>) {
    w.member("EncryptionType").plain(if master_key.is_some() { KMS } else { "NONE" });
    if let Some(master_key) = master_key {
        w.member("KeyId").text(master_key);
    }
}
