//! Tags and policies that users attach to streams and consumers.
//!
//! Both are kept as their users wrote them: `anabranch_access` reads policies. A resource has at most 50 tags. The
//! tags and policies of a stream and all its consumers have at most 256 KiB together, because the whole catalog is
//! sent to every node with each change.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_types::{ConsumerName, StreamName, limits};

use crate::apply::{Change, assign};
use crate::model::{Catalog, Stream, StreamStatus};
use crate::outcome::Refusal;

/// A stream or a consumer, to which tags and a policy can be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Name of the stream.
    pub stream: StreamName,
    /// Name of one of its consumers; `None` for the stream itself.
    pub consumer: Option<ConsumerName>,
}

/// A change to the tags or the policy of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceCommand {
    /// A user changes tags.
    SetTags {
        /// Resource of the tags.
        resource: Resource,
        /// Tags to add or to change, values by keys.
        set: BTreeMap<String, String>,
        /// Keys of tags to remove. Unknown keys are ignored. A tag that is also in `set` is set.
        removed: BTreeSet<String>,
    },
    /// A user sets or removes the resource policy.
    SetPolicy {
        /// Resource of the policy.
        resource: Resource,
        /// The JSON document; `None` removes the policy.
        policy: Option<String>,
    },
}

impl ResourceCommand {
    pub(crate) fn apply(self, catalog: &mut Catalog) -> Result<Change, Refusal> {
        match self {
            Self::SetTags { resource, set, removed } => catalog.set_tags(&resource, set, &removed),
            Self::SetPolicy { resource, policy } => catalog.set_policy(&resource, policy),
        }
    }

    /// As [`crate::Command::is_idempotent`].
    pub(crate) fn is_idempotent(&self) -> bool {
        match self {
            Self::SetTags { .. } | Self::SetPolicy { .. } => true,
        }
    }
}

impl Catalog {
    fn set_tags(
        &mut self,
        resource: &Resource,
        set: BTreeMap<String, String>,
        removed: &BTreeSet<String>,
    ) -> Result<Change, Refusal> {
        let attached = self.attached_bytes(&resource.stream);
        let tags = self.attached_to(resource)?.0;
        let mut wanted = tags.clone();
        wanted.retain(|key, _| !removed.contains(key));
        wanted.extend(set);
        check_tags(&wanted)?;
        check_room(attached, tags_bytes(tags), tags_bytes(&wanted))?;
        Ok(assign(tags, wanted))
    }

    fn set_policy(
        &mut self,
        resource: &Resource,
        policy: Option<String>,
    ) -> Result<Change, Refusal> {
        let attached = self.attached_bytes(&resource.stream);
        let place = self.attached_to(resource)?.1;
        check_room(attached, policy_bytes(place), policy_bytes(&policy))?;
        Ok(assign(place, policy))
    }

    /// As [`attached_bytes`], for the stream of this name; 0 if it does not exist.
    fn attached_bytes(&self, name: &StreamName) -> usize {
        self.streams.get(name).map_or(0, attached_bytes)
    }

    /// The tags and the policy of a resource.
    ///
    /// # Errors
    /// A refusal if the resource does not exist, or if the stream is CREATING or DELETING.
    fn attached_to(
        &mut self,
        resource: &Resource,
    ) -> Result<(&mut BTreeMap<String, String>, &mut Option<String>), Refusal> {
        let name = || resource.stream.clone();
        let Some(stream) = self.streams.get_mut(&resource.stream) else {
            return Err(Refusal::StreamNotFound { name: name() });
        };
        if matches!(stream.status, StreamStatus::Creating | StreamStatus::Deleting) {
            return Err(Refusal::StreamNotActive { name: name() });
        }
        let Some(consumer) = &resource.consumer else {
            return Ok((&mut stream.tags, &mut stream.policy));
        };
        match stream.consumers.get_mut(consumer) {
            Some(known) => Ok((&mut known.tags, &mut known.policy)),
            None => Err(Refusal::ConsumerNotFound { consumer: consumer.clone() }),
        }
    }
}

pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if tags.len() > limits::MAX_TAGS {
        return Err(Refusal::TooManyTags { limit: limits::MAX_TAGS as u64 });
    }
    Ok(())
}

/// Bytes of all tags and policies of a stream and its consumers.
pub(crate) fn attached_bytes(stream: &Stream) -> usize {
    let consumers = stream.consumers.values();
    let of_consumers: usize =
        consumers.map(|known| tags_bytes(&known.tags) + policy_bytes(&known.policy)).sum();
    tags_bytes(&stream.tags) + policy_bytes(&stream.policy) + of_consumers
}

pub(crate) fn tags_bytes(tags: &BTreeMap<String, String>) -> usize {
    tags.iter().map(|(key, value)| key.len() + value.len()).sum()
}

fn policy_bytes(policy: &Option<String>) -> usize {
    policy.as_ref().map_or(0, String::len)
}

/// Checks the limit for a stream with `attached` bytes in total, of which `old` become `new`. Making them fewer is
/// always allowed.
pub(crate) fn check_room(attached: usize, old: usize, new: usize) -> Result<(), Refusal> {
    let wanted = (attached - old) + new;
    if new <= old || wanted <= limits::MAX_ATTACHED_BYTES {
        return Ok(());
    }
    let [actual, limit] = [wanted, limits::MAX_ATTACHED_BYTES].map(|bytes| bytes as u64);
    Err(Refusal::Limit { what: ATTACHED, actual, limit })
}

/// The limited quantity in [`Refusal::Limit`].
const ATTACHED: &str = "bytes of tags and policies";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumers::ConsumerCommand;
    use crate::model::StreamMode;
    use crate::script::{NOW, Script};

    fn name() -> StreamName {
        "s".parse().unwrap()
    }

    fn with_stream(mode: StreamMode) -> Script {
        let mut script = Script::with_nodes(3, &["a", "b", "c"]);
        script.create_active("s", 1, mode);
        script
    }

    fn set_tags(consumer: Option<&str>, set: &[&str], removed: &[&str]) -> ResourceCommand {
        let consumer = consumer.map(|consumer| consumer.parse().unwrap());
        ResourceCommand::SetTags {
            resource: Resource { stream: name(), consumer },
            set: set.iter().map(|key| ((*key).to_owned(), "v".to_owned())).collect(),
            removed: removed.iter().map(|key| (*key).to_owned()).collect(),
        }
    }

    fn keys(tags: &BTreeMap<String, String>) -> Vec<&str> {
        tags.keys().map(String::as_str).collect()
    }

    #[test]
    fn tags_are_added_replaced_and_removed_on_streams_and_consumers() {
        let mut script = with_stream(StreamMode::Provisioned);
        script.done(set_tags(None, &["a", "b"], &[]));
        script.done(set_tags(None, &["c"], &["a", "none"]));
        assert_eq!(keys(&script.stream("s").tags), ["b", "c"]);
        let consumer: anabranch_types::ConsumerName = "app".parse().unwrap();
        let not_found = Refusal::ConsumerNotFound { consumer: consumer.clone() };
        assert_eq!(script.refused(set_tags(Some("app"), &["a"], &[])), not_found);
        let (tags, now) = (BTreeMap::new(), NOW);
        let register =
            ConsumerCommand::Register { name: name(), consumer: consumer.clone(), tags, now };
        script.done(register);
        script.done(set_tags(Some("app"), &["x"], &[]));
        assert_eq!(keys(&script.stream("s").consumers[&consumer].tags), ["x"]);
        assert_eq!(keys(&script.stream("s").tags), ["b", "c"]);
    }

    #[test]
    fn a_resource_has_at_most_fifty_tags_and_a_refusal_changes_nothing() {
        let mut script = with_stream(StreamMode::Provisioned);
        let many: Vec<_> = (0..50).map(|number| format!("k{number:02}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        script.done(set_tags(None, &many, &[]));
        assert_eq!(script.refused(set_tags(None, &["x"], &[])), Refusal::TooManyTags { limit: 50 });
        assert_eq!(script.stream("s").tags.len(), 50);
        script.done(set_tags(None, &["x"], &["k00"]));
        assert_eq!(script.stream("s").tags.len(), 50);
    }

    #[test]
    fn tags_and_policies_of_a_stream_and_its_consumers_have_a_limit_together() {
        let mut script = with_stream(StreamMode::Provisioned);
        let consumers = (0..20).map(|number| format!("app-{number}"));
        let resources: Vec<_> = consumers
            .map(|consumer| {
                let consumer: anabranch_types::ConsumerName = consumer.parse().unwrap();
                script.done(ConsumerCommand::Register {
                    name: name(),
                    consumer: consumer.clone(),
                    tags: BTreeMap::new(),
                    now: NOW,
                });
                Resource { stream: name(), consumer: Some(consumer) }
            })
            .collect();
        let set = |at: usize, bytes: usize| ResourceCommand::SetPolicy {
            resource: resources[at].clone(),
            policy: Some("p".repeat(bytes)),
        };
        for at in 0..12 {
            script.done(set(at, 20 * 1024));
        }
        let (actual, limit) = (13 * 20 * 1024, 256 * 1024);
        assert_eq!(
            script.refused(set(12, 20 * 1024)),
            Refusal::Limit { what: ATTACHED, actual, limit }
        );
        script.done(set(12, 16 * 1024));
        let Refusal::Limit { what: ATTACHED, .. } = script.refused(set_tags(None, &["k"], &[]))
        else {
            panic!("tags count as well");
        };
        script.done(set(0, 10));
        script.done(set_tags(None, &["k"], &[]));
    }
}
