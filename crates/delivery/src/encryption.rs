//! Encryption at rest of a delivery stream that users put records into: that of its internal stream.

use anabranch_catalog::{EncryptionCommand, Stream};
use anabranch_client::{Cluster, Error};
use anabranch_types::{Clock, StreamName};
use serde_json::Value;

/// The master key of `KeyType` `AWS_OWNED_CMK`: the own one of the service, by its alias.
const OWN_MASTER_KEY: &str = "alias/aws/kinesis";

/// The master key that a `DeliveryStreamEncryptionConfigurationInput` names.
pub fn master_key(input: &Value) -> &str {
    input.get("KeyARN").and_then(Value::as_str).unwrap_or(OWN_MASTER_KEY)
}

/// `Status` of `DeliveryStreamEncryptionConfiguration`, by the catalog.
pub fn status(stream: Option<&Stream>) -> &'static str {
    let Some(encryption) = stream.map(|stream| &stream.encryption) else { return "DISABLED" };
    match (encryption.master_key.is_some(), encryption.unsettled.is_some()) {
        (true, true) => "ENABLING",
        (true, false) => "ENABLED",
        (false, true) => "DISABLING",
        (false, false) => "DISABLED",
    }
}

/// Encrypts new records of a stream under a master key.
///
/// # Errors
/// [`Error::Key`] if the master key can't be used. Others as [`Cluster::propose`].
pub async fn start(
    cluster: &dyn Cluster,
    clock: &dyn Clock,
    name: &StreamName,
    master_key: &str,
) -> Result<(), Error> {
    let view = cluster.newest_view().await?;
    let id = view.stream(name).ok_or(Error::NotFound)?.stream.id;
    let wrapped = cluster.new_data_key(name.clone(), id, master_key.to_owned()).await?;
    let command = EncryptionCommand::Start {
        name: name.clone(),
        id: Some(id),
        master_key: master_key.to_owned(),
        wrapped,
        now: clock.now(),
    };
    cluster.propose(command.into()).await.map(drop)
}

/// Encrypts new records of a stream no more.
///
/// # Errors
/// As [`Cluster::propose`].
pub async fn stop(cluster: &dyn Cluster, name: &StreamName) -> Result<(), Error> {
    cluster.propose(EncryptionCommand::Stop { name: name.clone() }.into()).await.map(drop)
}
