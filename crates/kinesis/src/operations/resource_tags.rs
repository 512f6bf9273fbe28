//! TagResource, UntagResource and ListTagsForResource: tags of a stream or consumer, which the request names by ARN.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{List, Map, Required, Text, Writer};
use anabranch_gateway::service::{Empty, Request, RequestTags, Response};
use serde::Deserialize;

use super::tags;
use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::ResourceTarget;

/// `TagResourceInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TagResource<'a> {
    #[serde(borrow, default)]
    tags: Required<Map<'a>>,
    #[serde(borrow, rename = "ResourceARN", default)]
    resource_arn: Required<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for TagResource<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.map("Tags", &self.tags, &rules::TAGS, (&rules::TAG_KEY, &rules::TAG_VALUE));
        rules::check_resource(checks, &self.resource_arn, &self.stream_id);
    }
}

impl Request<Kinesis> for TagResource<'_> {
    type Target = ResourceTarget;
    type Response = Empty;

    fn target(&self, kinesis: &Kinesis) -> Result<ResourceTarget, Error> {
        kinesis.resource_target(&self.resource_arn)
    }

    fn tags(&self) -> RequestTags<'_> {
        tags::requested(&self.tags)
    }

    async fn run(&self, cx: &Context<'_>, target: &ResourceTarget) -> Result<Empty, Error> {
        let view = cx.service.cluster.view();
        let (resource, _) = cx.service.resource(&view, target)?;
        let set = tags::checked(&self.tags)?;
        tags::change(cx, resource, set, BTreeSet::new()).await.map(|()| Empty)
    }
}

/// `UntagResourceInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UntagResource<'a> {
    #[serde(borrow, default)]
    tag_keys: Required<List<Text<'a>>>,
    #[serde(borrow, rename = "ResourceARN", default)]
    resource_arn: Required<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for UntagResource<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.texts("TagKeys", &self.tag_keys, &rules::TAG_KEYS, &rules::TAG_KEY);
        rules::check_resource(checks, &self.resource_arn, &self.stream_id);
    }
}

impl Request<Kinesis> for UntagResource<'_> {
    type Target = ResourceTarget;
    type Response = Empty;

    fn target(&self, kinesis: &Kinesis) -> Result<ResourceTarget, Error> {
        kinesis.resource_target(&self.resource_arn)
    }

    fn tags(&self) -> RequestTags<'_> {
        tags::requested_keys(&self.tag_keys)
    }

    async fn run(&self, cx: &Context<'_>, target: &ResourceTarget) -> Result<Empty, Error> {
        let view = cx.service.cluster.view();
        let (resource, _) = cx.service.resource(&view, target)?;
        let removed = tags::keys(&self.tag_keys)?;
        tags::change(cx, resource, BTreeMap::new(), removed).await.map(|()| Empty)
    }
}

/// `ListTagsForResourceInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListTagsForResource<'a> {
    #[serde(borrow, rename = "ResourceARN", default)]
    resource_arn: Required<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for ListTagsForResource<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_resource(checks, &self.resource_arn, &self.stream_id);
    }
}

/// `ListTagsForResourceOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct TagList(BTreeMap<String, String>);

impl Request<Kinesis> for ListTagsForResource<'_> {
    type Target = ResourceTarget;
    type Response = TagList;

    fn target(&self, kinesis: &Kinesis) -> Result<ResourceTarget, Error> {
        kinesis.resource_target(&self.resource_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &ResourceTarget) -> Result<TagList, Error> {
        let view = cx.service.cluster.view();
        let (_, attached) = cx.service.resource(&view, target)?;
        Ok(TagList(attached.tags.clone()))
    }
}

impl Response for TagList {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| tags::write(w, self.0.iter()));
    }
}
