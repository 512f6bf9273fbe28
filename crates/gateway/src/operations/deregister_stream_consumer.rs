use anabranch_catalog::{Command, ConsumerCommand};
use serde::Deserialize;

use super::consumers::ConsumerMembers;
use super::{Context, Empty, Request};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained};
use crate::errors::Error;
use crate::gateway::Gateway;

/// `DeregisterStreamConsumerInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct DeregisterStreamConsumer<'a>(#[serde(borrow)] ConsumerMembers<'a>);

impl Constrained for DeregisterStreamConsumer<'_> {
    fn check(&self, checks: &mut Checks) {
        self.0.check(checks);
    }
}

impl Request for DeregisterStreamConsumer<'_> {
    type Answer = Empty;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        self.0.target(gateway)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let (name, consumer, known) = self.0.find(cx)?;
        let created = known.created;
        let command = Command::Consumer(ConsumerCommand::Deregister {
            name: name.clone(),
            consumer,
            created,
        });
        cx.gateway.change(&name, command).await.map(|_| Empty)
    }
}
