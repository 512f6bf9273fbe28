use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::Writer;
use anabranch_gateway::service::{Request, Response};
use serde::Deserialize;

use super::consumers::{ConsumerMembers, ConsumerSummary};
use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::targets::ConsumerTarget;

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

impl Request<Kinesis> for DescribeStreamConsumer<'_> {
    type Target = ConsumerTarget;
    type Response = Described;

    fn target(&self, kinesis: &Kinesis) -> Result<ConsumerTarget, Error> {
        self.0.target(kinesis)
    }

    async fn run(&self, cx: &Context<'_>, target: &ConsumerTarget) -> Result<Described, Error> {
        let (stream, name, consumer) = self.0.find(cx.service, target)?;
        Ok(Described(ConsumerSummary::new(cx.service, &stream, &name, &consumer)))
    }
}

impl Response for Described {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            w.member("ConsumerDescription").structure(|w| self.0.write_description(w));
        });
    }
}
