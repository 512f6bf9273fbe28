//! AddTagsToStream, RemoveTagsFromStream and ListTagsForStream: tags of a stream, which the request names by name or
//! ARN.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{Integer, List, Map, Required, Text, Writer};
use anabranch_catalog::Resource;
use anabranch_gateway::service::{Empty, Request, RequestTags, Response};
use anabranch_types::limits;
use serde::Deserialize;

use super::tags;
use crate::error::Error;
use crate::kinesis::{Context, Kinesis};
use crate::rules;
use crate::targets::StreamTarget;

/// `AddTagsToStreamInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AddTagsToStream<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    tags: Required<Map<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for AddTagsToStream<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_stream(checks, &self.stream_name, &self.stream_arn, &self.stream_id);
        checks.map("Tags", &self.tags, &rules::TAGS, (&rules::TAG_KEY, &rules::TAG_VALUE));
    }
}

impl Request<Kinesis> for AddTagsToStream<'_> {
    type Target = StreamTarget;
    type Response = Empty;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target(&self.stream_name, &self.stream_arn)
    }

    fn tags(&self) -> RequestTags<'_> {
        tags::requested(&self.tags)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<Empty, Error> {
        let stream = target.name.clone();
        let resource = Resource { stream, consumer: None };
        let set = tags::checked(&self.tags)?;
        tags::change(cx, resource, set, BTreeSet::new()).await.map(|()| Empty)
    }
}

/// `RemoveTagsFromStreamInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RemoveTagsFromStream<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    tag_keys: Required<List<Text<'a>>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for RemoveTagsFromStream<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_stream(checks, &self.stream_name, &self.stream_arn, &self.stream_id);
        checks.texts("TagKeys", &self.tag_keys, &rules::TAG_KEYS, &rules::TAG_KEY);
    }
}

impl Request<Kinesis> for RemoveTagsFromStream<'_> {
    type Target = StreamTarget;
    type Response = Empty;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target(&self.stream_name, &self.stream_arn)
    }

    fn tags(&self) -> RequestTags<'_> {
        tags::requested_keys(&self.tag_keys)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<Empty, Error> {
        let stream = target.name.clone();
        let resource = Resource { stream, consumer: None };
        let removed = tags::keys(&self.tag_keys)?;
        tags::change(cx, resource, BTreeMap::new(), removed).await.map(|()| Empty)
    }
}

/// `ListTagsForStreamInput` of the API reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListTagsForStream<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow)]
    exclusive_start_tag_key: Option<Text<'a>>,
    limit: Option<Integer>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
}

impl Constrained for ListTagsForStream<'_> {
    fn check(&self, checks: &mut Checks) {
        rules::check_stream(checks, &self.stream_name, &self.stream_arn, &self.stream_id);
        checks.text("ExclusiveStartTagKey", &self.exclusive_start_tag_key, &rules::TAG_KEY);
        checks.number("Limit", &self.limit, &rules::TAGS_LIMIT);
    }
}

/// `ListTagsForStreamOutput` of the API reference.
#[derive(Debug)]
pub(crate) struct TagPage {
    tags: BTreeMap<String, String>,
    has_more: bool,
}

impl Request<Kinesis> for ListTagsForStream<'_> {
    type Target = StreamTarget;
    type Response = TagPage;

    fn target(&self, kinesis: &Kinesis) -> Result<StreamTarget, Error> {
        kinesis.stream_target(&self.stream_name, &self.stream_arn)
    }

    async fn run(&self, cx: &Context<'_>, target: &StreamTarget) -> Result<TagPage, Error> {
        let kinesis = cx.service;
        let name = &target.name;
        let view = kinesis.cluster.view();
        let tags = &kinesis.find(&view, name)?.stream.tags;
        let after = self.exclusive_start_tag_key.as_deref();
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let limit = self.limit.map_or(limits::MAX_TAGS, |limit| limit.as_u32() as usize);
        let mut rest = tags.range::<str, _>((after, Bound::Unbounded));
        let page = rest.by_ref().take(limit).map(|(key, value)| (key.clone(), value.clone()));
        Ok(TagPage { tags: page.collect(), has_more: rest.next().is_some() })
    }
}

impl Response for TagPage {
    fn write(&self, writer: &mut Writer) {
        writer.structure(|w| {
            tags::write(w, self.tags.iter());
            w.member("HasMoreTags").flag(self.has_more);
        });
    }
}
