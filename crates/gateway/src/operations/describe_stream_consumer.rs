use serde::Deserialize;

use super::consumers::{ConsumerMembers, ConsumerSummary};
use super::{Answer, Context, Request};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::Writer;

/// `DescribeStreamConsumerInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct DescribeStreamConsumer<'a>(#[serde(borrow)] ConsumerMembers<'a>);

impl Constrained for DescribeStreamConsumer<'_> {
    fn check(&self, checks: &mut Checks) {
        self.0.check(checks);
    }
}

/// `DescribeStreamConsumerOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct Described(ConsumerSummary);

impl Request for DescribeStreamConsumer<'_> {
    type Answer = Described;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        self.0.target(gateway)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Described, Error> {
        let (stream, name, consumer) = self.0.find(cx)?;
        Ok(Described(ConsumerSummary::new(cx.gateway, &stream, &name, &consumer)))
    }
}

impl Answer for Described {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("ConsumerDescription").structure(|w| self.0.write_description(w));
        });
    }
}
