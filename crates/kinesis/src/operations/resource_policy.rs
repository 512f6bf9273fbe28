//! PutResourcePolicy, GetResourcePolicy and DeleteResourcePolicy: the policy that is attached to a stream or
//! consumer.
//!
//! A policy is compiled before it is stored, so a policy with an unknown element is refused and never ignored.

use anabranch_access::policy;
use anabranch_aws::constraints::{Checks, Constrained, Rule};
use anabranch_aws::wire::{Required, Text, Writer};
use anabranch_catalog::ResourceCommand;
use anabranch_gateway::service::{Empty, Request, Response};
use serde::Deserialize;

use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::ResourceTarget;

/// `PutResourcePolicyInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PutResourcePolicy<'a> {
    #[serde(borrow, rename = "ResourceARN", default)]
    resource_arn: Required<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    policy: Required<Text<'a>>,
}

impl Constrained for PutResourcePolicy<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_resource(checks, &self.resource_arn, &self.stream_id);
        checks.text("Policy", &self.policy, &Rule::ANY);
    }
}

impl Request<Kinesis> for PutResourcePolicy<'_> {
    type Target = ResourceTarget;
    type Response = Empty;

    fn target(&self, kinesis: &Kinesis) -> Result<ResourceTarget, Error> {
        kinesis.resource_target(&self.resource_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &ResourceTarget) -> Result<Empty, Error> {
        let view = cx.service.cluster.view();
        let (resource, _) = cx.service.resource(&view, target)?;
        let document = &**self.policy;
        check_document(document)?;
        let (stream, policy) = (resource.stream.clone(), Some(document.to_owned()));
        cx.service
            .change(&stream, ResourceCommand::SetPolicy { resource, policy })
            .await
            .map(|_| Empty)
    }
}

/// Checks that the policy compiles.
fn check_document(policy: &str) -> Result<(), Error> {
    let checked = policy::Policy::parse_new(policy, policy::Kind::Resource);
    checked
        .map(|_| ())
        .map_err(|error| Error::InvalidArgument(format!("Policy is malformed: {error}.")))
}

/// `GetResourcePolicyInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GetResourcePolicy<'a> {
    #[serde(borrow, rename = "ResourceARN", default)]
    resource_arn: Required<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for GetResourcePolicy<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_resource(checks, &self.resource_arn, &self.stream_id);
    }
}

/// `GetResourcePolicyOutput` of the API reference. As in AWS, a resource without a policy has an empty document.
#[derive(Debug)]
pub(crate) struct Policy(Option<String>);

impl Request<Kinesis> for GetResourcePolicy<'_> {
    type Target = ResourceTarget;
    type Response = Policy;

    fn target(&self, kinesis: &Kinesis) -> Result<ResourceTarget, Error> {
        kinesis.resource_target(&self.resource_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &ResourceTarget) -> Result<Policy, Error> {
        let view = cx.service.cluster.view();
        let (_, attached) = cx.service.resource(&view, target)?;
        Ok(Policy(attached.policy.clone()))
    }
}

impl Response for Policy {
    fn write(&self, writer: &mut Writer) {
        let policy = self.0.as_deref().unwrap_or("{}");
        writer.structure(|w| w.member("Policy").text(policy));
    }
}

/// `DeleteResourcePolicyInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DeleteResourcePolicy<'a> {
    #[serde(borrow, rename = "ResourceARN", default)]
    resource_arn: Required<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for DeleteResourcePolicy<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_resource(checks, &self.resource_arn, &self.stream_id);
    }
}

impl Request<Kinesis> for DeleteResourcePolicy<'_> {
    type Target = ResourceTarget;
    type Response = Empty;

    fn target(&self, kinesis: &Kinesis) -> Result<ResourceTarget, Error> {
        kinesis.resource_target(&self.resource_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &ResourceTarget) -> Result<Empty, Error> {
        let view = cx.service.cluster.view();
        let (resource, attached) = cx.service.resource(&view, target)?;
        if attached.policy.is_none() {
            return Err(Error::NotFound(format!(
                "No resource policy found for resource ARN {}.",
                &**self.resource_arn
            )));
        }
        let stream = resource.stream.clone();
        let command = ResourceCommand::SetPolicy { resource, policy: None };
        cx.service.change(&stream, command).await.map(|_| Empty)
    }
}
