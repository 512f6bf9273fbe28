use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_catalog::ConsumerCommand;
use anabranch_gateway::service::{Empty, Request};
use serde::Deserialize;

use super::consumers::ConsumerMembers;
use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::targets::ConsumerTarget;

/// `DeregisterStreamConsumerInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct DeregisterStreamConsumer<'a>(#[serde(borrow)] ConsumerMembers<'a>);

impl Constrained for DeregisterStreamConsumer<'_> {
    fn check(&self, checks: &mut Checks) {
        self.0.check(checks);
    }
}

impl Request<Kinesis> for DeregisterStreamConsumer<'_> {
    type Target = ConsumerTarget;
    type Response = Empty;

    fn target(&self, kinesis: &Kinesis) -> Result<ConsumerTarget, Error> {
        self.0.target(kinesis)
    }

    async fn run(&self, cx: &Context<'_>, target: &ConsumerTarget) -> Result<Empty, Error> {
        let (name, consumer, known) = self.0.find(cx.service, target)?;
        let created = known.created;
        let command = ConsumerCommand::Deregister { name: name.clone(), consumer, created };
        cx.service.change(&name, command).await.map(|_| Empty)
    }
}
