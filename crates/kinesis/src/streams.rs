//! Finds the streams and consumers that requests name, and names them in messages.
//!
//! A request may name a stream by name, by ARN or by both. These functions check that the names agree and that the
//! account is this cluster's account. Whether the stream exists is looked up in a version of the catalog (`find`). An
//! error "not found" is final only on the newest version, see `anabranch_gateway::run`.

use std::sync::Arc;

use anabranch_aws::wire::Text;
use anabranch_catalog::{Command, Consumer, Refusal, Resource, StreamMode, StreamStatus};
use anabranch_client as client;
use anabranch_client::{StreamView, View};
use anabranch_types::{ConsumerArn, ConsumerName, StreamArn, StreamName};

use crate::error::{Error, not_found, stream_subject};
use crate::kinesis::Kinesis;
use crate::targets::{ConsumerTarget, ResourceTarget, StreamTarget};

impl Kinesis {
    /// Reads the stream name from a name, an ARN or both (API reference: every stream operation).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if both are absent or if they disagree. [`Error::NotFound`] for an ARN of another
    /// account.
    pub(crate) fn stream_name(
        &self,
        name: &Option<Text<'_>>,
        arn: &Option<Text<'_>>,
    ) -> Result<StreamName, Error> {
        let by_name = name.as_deref().map(parse_name).transpose()?;
        let by_arn = arn.as_deref().map(|arn| self.name_in_arn("StreamARN", arn)).transpose()?;
        match (by_name, by_arn) {
            (Some(name), Some(in_arn)) if name != in_arn => Err(Error::InvalidArgument(
                "StreamName and StreamARN must name the same stream.".to_owned(),
            )),
            (Some(name), _) | (None, Some(name)) => Ok(name),
            (None, None) => Err(Error::InvalidArgument(
                "Either StreamName or StreamARN must be provided.".to_owned(),
            )),
        }
    }

    /// Reads the stream name from an ARN. `member` is the name of the member, for messages.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the text is not an ARN of a stream. [`Error::NotFound`] for another account.
    pub(crate) fn name_in_arn(&self, member: &str, arn: &str) -> Result<StreamName, Error> {
        let arn: StreamArn =
            arn.parse().map_err(|error| Error::InvalidArgument(format!("{member}: {error}.")))?;
        if arn.account != self.account {
            return Err(not_found(&arn.stream, &arn.account));
        }
        check_not_internal(member, &arn.stream)?;
        Ok(arn.stream)
    }

    /// Finds a stream in any state.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) fn find<'a>(
        &self,
        view: &'a View,
        name: &StreamName,
    ) -> Result<StreamView<'a>, Error> {
        view.stream(name).ok_or_else(|| not_found(name, &self.account))
    }

    /// Finds a stream for reading or writing records. A stream that is being created counts as not found.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) fn find_for_data<'a>(
        &self,
        view: &'a View,
        name: &StreamName,
    ) -> Result<StreamView<'a>, Error> {
        let found = self.find(view, name)?;
        match found.stream.status {
            StreamStatus::Active | StreamStatus::Updating | StreamStatus::Deleting => Ok(found),
            StreamStatus::Creating => Err(not_found(name, &self.account)),
        }
    }

    /// Whether new records of the stream are encrypted.
    pub(crate) fn encrypts(&self, name: &StreamName) -> bool {
        let view = self.cluster.view();
        view.stream(name).is_some_and(|found| found.stream.encryption.master_key.is_some())
    }

    /// Proposes a change of a stream to the catalog. If the limits of the AWS service apply, the catalog checks them
    /// too.
    ///
    /// # Errors
    /// The error that belongs to the refusal of the catalog, see [`Error::from_client`].
    pub(crate) async fn change(
        &self,
        name: &StreamName,
        command: impl Into<Command>,
    ) -> Result<Arc<View>, Error> {
        let command = command.into();
        let command = match self.service_limits {
            true => Command::Limited { command: Box::new(command), now: self.clock.now() },
            false => command,
        };
        let done = self.cluster.propose(command).await;
        done.map_err(|error| {
            if matches!(error, client::Error::Refused(Refusal::StreamNotActive { .. })) {
                return self.not_active(name);
            }
            Error::from_client(error, || self.subject(name))
        })
    }

    /// The error for a stream that cannot be changed in its current state.
    pub(crate) fn not_active(&self, name: &StreamName) -> Error {
        let view = self.cluster.view();
        let status = view.stream(name).map_or("DELETING", |found| found.stream.status.name());
        Error::InUse(format!("{} not ACTIVE, instead in state {status}", self.subject(name)))
    }

    /// Reads the target from a name, an ARN or both, see [`Self::stream_name`].
    ///
    /// # Errors
    /// The errors of [`Self::stream_name`].
    pub(crate) fn stream_target(
        &self,
        name: &Option<Text<'_>>,
        arn: &Option<Text<'_>>,
    ) -> Result<StreamTarget, Error> {
        let is_named_fully = arn.is_some();
        Ok(StreamTarget { name: self.stream_name(name, arn)?, is_named_fully })
    }

    /// Reads the target from a `StreamARN`.
    ///
    /// # Errors
    /// The errors of [`Self::name_in_arn`].
    pub(crate) fn stream_target_of_arn(&self, arn: &str) -> Result<StreamTarget, Error> {
        self.name_in_arn("StreamARN", arn).map(StreamTarget::named_fully)
    }

    /// Reads the ARN of a consumer. It names a certain registration of the consumer.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the text is not an ARN of a consumer. [`Error::NotFound`] for another account.
    pub(crate) fn consumer_arn_target(&self, arn: &str) -> Result<ConsumerArn, Error> {
        let arn: ConsumerArn = arn
            .parse()
            .map_err(|error| Error::InvalidArgument(format!("ConsumerARN: {error}.")))?;
        check_not_internal("ConsumerARN", &arn.stream.stream)?;
        if arn.stream.account == self.account { Ok(arn) } else { Err(consumer_not_found(&arn)) }
    }

    /// Reads a stream or a consumer from a `ResourceARN`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the text is not an ARN of either. [`Error::NotFound`] for another account.
    pub(crate) fn resource_target(&self, arn: &str) -> Result<ResourceTarget, Error> {
        if arn.contains("/consumer/") {
            let consumer = self.consumer_arn_target(arn)?;
            return Ok(ResourceTarget::Consumer(ConsumerTarget::Arn(consumer)));
        }
        let stream = self.name_in_arn("ResourceARN", arn)?;
        Ok(ResourceTarget::Stream(StreamTarget::named_fully(stream)))
    }

    /// Finds the consumer of exactly the registration that the ARN names. A later registration under the same name is
    /// another consumer.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) fn find_consumer<'a>(
        &self,
        view: &'a View,
        arn: &ConsumerArn,
    ) -> Result<&'a Consumer, Error> {
        let stream = view.stream(&arn.stream.stream);
        let consumer = stream.and_then(|found| found.stream.consumers.get(&arn.consumer));
        let consumer = consumer.filter(|known| known.created.as_secs() == arn.created_seconds);
        consumer.ok_or_else(|| consumer_not_found(arn))
    }

    /// Finds a stream or consumer in this version, with its tags and its policy.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) fn resource<'a>(
        &self,
        view: &'a View,
        target: &ResourceTarget,
    ) -> Result<(Resource, Attached<'a>), Error> {
        match target {
            ResourceTarget::Stream(target) => {
                let found = self.find(view, &target.name)?.stream;
                let attached = Attached { tags: &found.tags, policy: &found.policy };
                Ok((Resource { stream: target.name.clone(), consumer: None }, attached))
            }
            ResourceTarget::Consumer(target) => {
                let (stream, consumer, known) = self.find_consumer_target(view, target)?;
                let attached = Attached { tags: &known.tags, policy: &known.policy };
                Ok((Resource { stream, consumer: Some(consumer) }, attached))
            }
        }
    }

    /// Finds a consumer in this version. Returns its stream, its name and its data.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) fn find_consumer_target<'a>(
        &self,
        view: &'a View,
        target: &ConsumerTarget,
    ) -> Result<(StreamName, ConsumerName, &'a Consumer), Error> {
        match target {
            ConsumerTarget::Arn(arn) => {
                let known = self.find_consumer(view, arn)?;
                Ok((arn.stream.stream.clone(), arn.consumer.clone(), known))
            }
            ConsumerTarget::Name { stream, consumer } => {
                let known = self.find(view, stream)?.stream.consumers.get(consumer);
                let known = known.ok_or_else(|| {
                    let (account, region) = (&self.account, &self.region);
                    Error::NotFound(format!(
                        "Consumer {consumer} of stream {stream} under account {account} in {region} \
                         not found."
                    ))
                })?;
                Ok((stream.clone(), consumer.clone(), known))
            }
        }
    }

    /// Makes the ARN of a consumer.
    pub(crate) fn consumer_arn(
        &self,
        stream: &StreamName,
        consumer: &ConsumerName,
        known: &Consumer,
    ) -> ConsumerArn {
        let created_seconds = known.created.as_secs();
        ConsumerArn { stream: self.arn(stream), consumer: consumer.clone(), created_seconds }
    }

    /// The name of a stream in messages, such as `Stream orders under account 000000000000`.
    pub(crate) fn subject(&self, name: &StreamName) -> String {
        stream_subject(name, &self.account)
    }

    /// Makes the ARN of a stream.
    pub(crate) fn arn(&self, name: &StreamName) -> StreamArn {
        StreamArn {
            region: self.region.clone(),
            account: self.account.clone(),
            stream: name.clone(),
        }
    }
}

/// Tags and policy of a stream or consumer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attached<'a> {
    pub tags: &'a std::collections::BTreeMap<String, String>,
    pub policy: &'a Option<String>,
}

/// `StreamMode` in requests and responses.
pub(crate) const fn mode_text(mode: StreamMode) -> &'static str {
    match mode {
        StreamMode::Provisioned => "PROVISIONED",
        StreamMode::OnDemand => "ON_DEMAND",
    }
}

/// Reads a stream name that has passed the constraints.
pub(crate) fn parse_name(text: &str) -> Result<StreamName, Error> {
    let name: StreamName =
        text.parse().map_err(|error| Error::InvalidArgument(format!("StreamName: {error}.")))?;
    check_not_internal("StreamName", &name)?;
    Ok(name)
}

/// Refuses the streams of services of this cluster: they are no streams of this API.
fn check_not_internal(member: &str, name: &StreamName) -> Result<(), Error> {
    if !name.is_internal() {
        return Ok(());
    }
    let text = "names that begin with .anabranch. belong to services of this cluster.";
    Err(Error::InvalidArgument(format!("{member}: {text}")))
}

fn consumer_not_found(arn: &ConsumerArn) -> Error {
    Error::NotFound(format!("Consumer {arn} not found."))
}
