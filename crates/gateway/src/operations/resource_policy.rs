use anabranch_access::policy;
use anabranch_catalog::{Command, ResourceCommand};
use serde::Deserialize;

use super::{Answer, Context, Empty, Request};
use crate::authorization::Target;
use crate::constraints::{Checks, Constrained, Rule};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::{Text, Writer};

/// `PutResourcePolicyInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PutResourcePolicy<'a> {
    #[serde(borrow, rename = "ResourceARN")]
    resource_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    #[serde(borrow)]
    policy: Option<Text<'a>>,
}

impl Constrained for PutResourcePolicy<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.resource(&self.resource_arn, &self.stream_id);
        checks.text("Policy", &self.policy, &Rule::ANY.required());
    }
}

impl Request for PutResourcePolicy<'_> {
    type Answer = Empty;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.resource_target(&self.resource_arn)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let view = cx.gateway.cluster.view();
        let arn = self.resource_arn.as_deref().unwrap_or_default();
        let (resource, _) = cx.gateway.resource(&view, arn)?;
        let document = self.policy.as_deref().unwrap_or_default();
        check_document(document)?;
        let (stream, policy) = (resource.stream.clone(), Some(document.to_owned()));
        cx.gateway
            .change(&stream, Command::Resource(ResourceCommand::SetPolicy { resource, policy }))
            .await
            .map(|_| Empty)
    }
}

/// A policy is one that can be asked.
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
    #[serde(borrow, rename = "ResourceARN")]
    resource_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for GetResourcePolicy<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.resource(&self.resource_arn, &self.stream_id);
    }
}

/// `GetResourcePolicyOutput` of the API reference. Where there is none, the service answers an empty document.
#[derive(Debug)]
pub(crate) struct Policy(Option<String>);

impl Request for GetResourcePolicy<'_> {
    type Answer = Policy;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.resource_target(&self.resource_arn)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Policy, Error> {
        let view = cx.gateway.cluster.view();
        let arn = self.resource_arn.as_deref().unwrap_or_default();
        let (_, attached) = cx.gateway.resource(&view, arn)?;
        Ok(Policy(attached.policy.clone()))
    }
}

impl Answer for Policy {
    fn write(&self, writer: &mut Writer) {
        let policy = self.0.as_deref().unwrap_or("{}");
        writer.structure(|w| w.member("Policy").text(policy));
    }
}

/// `DeleteResourcePolicyInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DeleteResourcePolicy<'a> {
    #[serde(borrow, rename = "ResourceARN")]
    resource_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for DeleteResourcePolicy<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.resource(&self.resource_arn, &self.stream_id);
    }
}

impl Request for DeleteResourcePolicy<'_> {
    type Answer = Empty;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.resource_target(&self.resource_arn)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let view = cx.gateway.cluster.view();
        let arn = self.resource_arn.as_deref().unwrap_or_default();
        let (resource, attached) = cx.gateway.resource(&view, arn)?;
        if attached.policy.is_none() {
            return Err(Error::NotFound(format!(
                "No resource policy found for resource ARN {arn}."
            )));
        }
        let stream = resource.stream.clone();
        let command = Command::Resource(ResourceCommand::SetPolicy { resource, policy: None });
        cx.gateway.change(&stream, command).await.map(|_| Empty)
    }
}
