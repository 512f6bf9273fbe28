//! Which stream a request means, and what it is called in messages.

use std::sync::Arc;

use anabranch_catalog::{Command, Consumer, Refusal, Resource, StreamMode, StreamStatus};
use anabranch_client as client;
use anabranch_client::{StreamView, View};
use anabranch_types::{AccountId, ConsumerArn, ConsumerName, StreamArn, StreamName};

use crate::constraints::{Checks, rules};
use crate::errors::Error;
use crate::gateway::Gateway;
use crate::wire::Text;

impl Checks {
    /// The three members that name a stream.
    pub(crate) fn stream(
        &mut self,
        name: &Option<Text<'_>>,
        arn: &Option<Text<'_>>,
        id: &Option<Text<'_>>,
    ) {
        self.text("StreamName", name, &rules::STREAM_NAME);
        self.text("StreamARN", arn, &rules::STREAM_ARN);
        self.text("StreamId", id, &rules::STREAM_ID);
    }
}

impl Checks {
    /// The two members that name a stream or consumer.
    pub(crate) fn resource(&mut self, arn: &Option<Text<'_>>, id: &Option<Text<'_>>) {
        self.text("ResourceARN", arn, &rules::RESOURCE_ARN.required());
        self.text("StreamId", id, &rules::STREAM_ID);
    }
}

impl Gateway {
    /// The stream that name, ARN or both mean (API reference: every stream operation).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if there is neither or they disagree; [`Error::NotFound`] for an
    /// ARN of another account.
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

    /// The stream that an ARN means.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is none; [`Error::NotFound`] for one of another account.
    pub(crate) fn name_in_arn(&self, member: &str, arn: &str) -> Result<StreamName, Error> {
        let arn: StreamArn =
            arn.parse().map_err(|error| Error::InvalidArgument(format!("{member}: {error}.")))?;
        if arn.account != self.settings.account {
            return Err(not_found(&arn.stream, &arn.account));
        }
        Ok(arn.stream)
    }

    /// The stream in whatever state.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) fn find<'a>(
        &self,
        view: &'a View,
        name: &StreamName,
    ) -> Result<StreamView<'a>, Error> {
        view.stream(name).ok_or_else(|| not_found(name, &self.settings.account))
    }

    /// The stream for reading and writing: one that is being created isn't there yet.
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
            StreamStatus::Creating => Err(not_found(name, &self.settings.account)),
        }
    }

    /// Whether a stream's new records are encrypted.
    pub(crate) fn encrypts(&self, name: &StreamName) -> bool {
        let view = self.cluster.view();
        view.stream(name).is_some_and(|found| found.stream.encryption.master_key.is_some())
    }

    /// Has the catalog change something of a stream, within the limits of the service if there are any.
    ///
    /// # Errors
    /// What its refusal means, see [`Error::from_client`].
    pub(crate) async fn change(
        &self,
        name: &StreamName,
        command: Command,
    ) -> Result<Arc<View>, Error> {
        let command = match self.settings.service_limits {
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

    /// The error for a stream that can't be changed in the state that it is in.
    pub(crate) fn not_active(&self, name: &StreamName) -> Error {
        let view = self.cluster.view();
        let status = view.stream(name).map_or("DELETING", |found| found.stream.status.name());
        Error::InUse(format!("{} not ACTIVE, instead in state {status}", self.subject(name)))
    }

    /// The consumer that an ARN means, of the very registration that it names.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is none; [`Error::NotFound`].
    pub(crate) fn consumer_in_arn<'a>(
        &self,
        view: &'a View,
        arn: &str,
    ) -> Result<(ConsumerArn, &'a Consumer), Error> {
        let arn: ConsumerArn = arn
            .parse()
            .map_err(|error| Error::InvalidArgument(format!("ConsumerARN: {error}.")))?;
        let consumer = self.find_consumer(view, &arn)?;
        Ok((arn, consumer))
    }

    /// The consumer of the very registration that an ARN names.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) fn find_consumer<'a>(
        &self,
        view: &'a View,
        arn: &ConsumerArn,
    ) -> Result<&'a Consumer, Error> {
        let own = arn.stream.account == self.settings.account;
        let stream = view.stream(&arn.stream.stream).filter(|_| own);
        let consumer = stream.and_then(|found| found.stream.consumers.get(&arn.consumer));
        let consumer = consumer.filter(|known| known.created.as_secs() == arn.created_seconds);
        consumer.ok_or_else(|| Error::NotFound(format!("Consumer {arn} not found.")))
    }

    /// The stream or consumer that a `ResourceARN` means, and what it has attached.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is neither; [`Error::NotFound`].
    pub(crate) fn resource<'a>(
        &self,
        view: &'a View,
        arn: &str,
    ) -> Result<(Resource, Attached<'a>), Error> {
        if arn.contains("/consumer/") {
            let (arn, consumer) = self.consumer_in_arn(view, arn)?;
            let resource = Resource { stream: arn.stream.stream, consumer: Some(arn.consumer) };
            return Ok((resource, Attached { tags: &consumer.tags, policy: &consumer.policy }));
        }
        let stream = self.name_in_arn("ResourceARN", arn)?;
        let found = self.find(view, &stream)?.stream;
        let attached = Attached { tags: &found.tags, policy: &found.policy };
        Ok((Resource { stream, consumer: None }, attached))
    }

    /// The ARN of a stream's consumer.
    pub(crate) fn consumer_arn(
        &self,
        stream: &StreamName,
        consumer: &ConsumerName,
        known: &Consumer,
    ) -> ConsumerArn {
        let created_seconds = known.created.as_secs();
        ConsumerArn { stream: self.arn(stream), consumer: consumer.clone(), created_seconds }
    }

    /// What messages call a stream.
    pub(crate) fn subject(&self, name: &StreamName) -> String {
        subject(name, &self.settings.account)
    }

    /// The stream's ARN.
    pub(crate) fn arn(&self, name: &StreamName) -> StreamArn {
        StreamArn {
            region: self.settings.region.clone(),
            account: self.settings.account.clone(),
            stream: name.clone(),
        }
    }
}

/// What a stream or consumer has attached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attached<'a> {
    pub tags: &'a std::collections::BTreeMap<String, String>,
    pub policy: &'a Option<String>,
}

/// `StreamMode` on the wire.
pub(crate) const fn mode_text(mode: StreamMode) -> &'static str {
    match mode {
        StreamMode::Provisioned => "PROVISIONED",
        StreamMode::OnDemand => "ON_DEMAND",
    }
}

/// A name that has passed the constraints.
pub(crate) fn parse_name(text: &str) -> Result<StreamName, Error> {
    text.parse().map_err(|error| Error::InvalidArgument(format!("StreamName: {error}.")))
}

fn subject(name: &StreamName, account: &AccountId) -> String {
    format!("Stream {name} under account {account}")
}

fn not_found(name: &StreamName, account: &AccountId) -> Error {
    Error::NotFound(format!("{} not found.", subject(name, account)))
}
