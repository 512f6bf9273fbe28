use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Answer, Context, Empty, Request, tags};
use crate::authorization::{AskedTags, Target};
use crate::constraints::{Checks, Constrained, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::{List, Map, Text, Writer};

/// `TagResourceInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TagResource<'a> {
    #[serde(borrow)]
    tags: Option<Map<'a>>,
    #[serde(borrow, rename = "ResourceARN")]
    resource_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for TagResource<'_> {
    fn check(&self, checks: &mut Checks) {
        let size = rules::TAGS.required();
        checks.map("Tags", &self.tags, &size, (&rules::TAG_KEY, &rules::TAG_VALUE));
        checks.resource(&self.resource_arn, &self.stream_id);
    }
}

impl Request for TagResource<'_> {
    type Answer = Empty;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.resource_target(&self.resource_arn)
    }

    fn tags(&self) -> AskedTags<'_> {
        tags::asked(&self.tags)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let view = cx.gateway.cluster.view();
        let arn = self.resource_arn.as_deref().unwrap_or_default();
        let (resource, _) = cx.gateway.resource(&view, arn)?;
        let set = tags::checked(&self.tags)?;
        tags::change(cx, resource, set, BTreeSet::new()).await.map(|()| Empty)
    }
}

/// `UntagResourceInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UntagResource<'a> {
    #[serde(borrow)]
    tag_keys: Option<List<Text<'a>>>,
    #[serde(borrow, rename = "ResourceARN")]
    resource_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for UntagResource<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.texts("TagKeys", &self.tag_keys, &rules::TAG_KEYS.required(), &rules::TAG_KEY);
        checks.resource(&self.resource_arn, &self.stream_id);
    }
}

impl Request for UntagResource<'_> {
    type Answer = Empty;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.resource_target(&self.resource_arn)
    }

    fn tags(&self) -> AskedTags<'_> {
        tags::asked_keys(&self.tag_keys)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Empty, Error> {
        let view = cx.gateway.cluster.view();
        let arn = self.resource_arn.as_deref().unwrap_or_default();
        let (resource, _) = cx.gateway.resource(&view, arn)?;
        let removed = tags::keys(&self.tag_keys)?;
        tags::change(cx, resource, BTreeMap::new(), removed).await.map(|()| Empty)
    }
}

/// `ListTagsForResourceInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListTagsForResource<'a> {
    #[serde(borrow, rename = "ResourceARN")]
    resource_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for ListTagsForResource<'_> {
    fn check(&self, checks: &mut Checks) {
        checks.resource(&self.resource_arn, &self.stream_id);
    }
}

/// `ListTagsForResourceOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct TagList(BTreeMap<String, String>);

impl Request for ListTagsForResource<'_> {
    type Answer = TagList;

    fn target(&self, gateway: &Gateway) -> Result<Target, Error> {
        gateway.resource_target(&self.resource_arn)
    }

    async fn run(&self, cx: &Context<'_>) -> Result<TagList, Error> {
        let view = cx.gateway.cluster.view();
        let arn = self.resource_arn.as_deref().unwrap_or_default();
        let (_, attached) = cx.gateway.resource(&view, arn)?;
        Ok(TagList(attached.tags.clone()))
    }
}

impl Answer for TagList {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| tags::write(w, self.0.iter()));
    }
}
