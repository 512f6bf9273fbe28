use anabranch_catalog::Command;
use serde::Deserialize;

use super::{Answer, Context, Empty, Request};
use crate::constraints::{Checks, Constrained, Rule};
use crate::errors::Error;
use crate::wire::{Text, Writer};

/// Longest policy document, in bytes.
///
/// Source: IAM quotas for resource-based policies; the API reference of PutResourcePolicy gives none.
const POLICY_MAX_BYTES: usize = 20_480;

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

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let view = cx.gateway.cluster.view();
        let arn = self.resource_arn.as_deref().unwrap_or_default();
        let (resource, _) = cx.gateway.resource(&view, arn)?;
        let policy = self.policy.as_deref().unwrap_or_default();
        check_document(policy)?;
        let (stream, policy) = (resource.stream.clone(), Some(policy.to_owned()));
        cx.gateway.change(&stream, Command::SetPolicy { resource, policy }).await.map(|_| Empty)
    }
}

/// A policy is a JSON object with a statement.
fn check_document(policy: &str) -> Result<(), Error> {
    let malformed = |why: &str| Err(Error::InvalidArgument(format!("Policy is malformed: {why}.")));
    if policy.len() > POLICY_MAX_BYTES {
        return malformed("it is longer than 20480 bytes");
    }
    match serde_json::from_str::<serde_json::Value>(policy) {
        Ok(serde_json::Value::Object(members)) if members.contains_key("Statement") => Ok(()),
        Ok(serde_json::Value::Object(_)) => malformed("it has no Statement"),
        Ok(_) => malformed("it is no JSON object"),
        Err(_) => malformed("it is no JSON document"),
    }
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

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let view = cx.gateway.cluster.view();
        let arn = self.resource_arn.as_deref().unwrap_or_default();
        let (resource, attached) = cx.gateway.resource(&view, arn)?;
        if attached.policy.is_none() {
            return Err(Error::NotFound(format!("{arn} has no resource policy.")));
        }
        let stream = resource.stream.clone();
        let command = Command::SetPolicy { resource, policy: None };
        cx.gateway.change(&stream, command).await.map(|_| Empty)
    }
}
