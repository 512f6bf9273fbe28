use anabranch_catalog::Command;
use serde::Deserialize;

use super::{Context, Empty, Request};
use crate::constraints::{Checks, Constrained};
use crate::errors::Error;
use crate::wire::{Flag, Text};

/// `DeleteStreamInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DeleteStream<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    /// Type-checked only: there are no consumers yet that it could concern.
    #[serde(rename = "EnforceConsumerDeletion")]
    _enforce_consumer_deletion: Option<Flag>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for DeleteStream<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.stream(&self.stream_name, &self.stream_arn, &self.stream_id);
    }
}

impl Request for DeleteStream<'_> {
    type Answer = Empty;

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let gateway = cx.gateway;
        let name = gateway.stream_name(&self.stream_name, &self.stream_arn)?;
        let subject = gateway.subject(&name);
        let deleted = gateway.cluster.propose(Command::DeleteStream { name }).await;
        deleted.map(|_| Empty).map_err(|error| Error::from_client(error, || subject))
    }
}
