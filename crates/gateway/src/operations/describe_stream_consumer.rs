use serde::Deserialize;

use super::consumers::{ConsumerMembers, ConsumerSummary};
use super::{Answer, Context, Request};
use crate::constraints::{Checks, Constrained};
use crate::errors::Error;
use crate::wire::{Text, Writer};

/// `DescribeStreamConsumerInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DescribeStreamConsumer<'a> {
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    consumer_name: Option<Text<'a>>,
    #[serde(borrow, rename = "ConsumerARN")]
    consumer_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl DescribeStreamConsumer<'_> {
    fn members(&self) -> ConsumerMembers<'_> {
        let Self { stream_arn, consumer_name, consumer_arn, stream_id } = self;
        ConsumerMembers { stream_arn, consumer_name, consumer_arn, stream_id }
    }
}

impl Constrained for DescribeStreamConsumer<'_> {
    fn check(&self, checks: &mut Checks) {
        self.members().check(checks);
    }
}

/// `DescribeStreamConsumerOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct Described(ConsumerSummary);

impl Request for DescribeStreamConsumer<'_> {
    type Answer = Described;

    async fn run(&self, cx: &Context<'_>) -> Result<Described, Error> {
        let (stream, name, consumer) = self.members().find(cx)?;
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
