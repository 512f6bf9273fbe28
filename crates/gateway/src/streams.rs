//! Which stream a request means, and what it is called in messages.

use anabranch_catalog::{StreamMode, StreamStatus};
use anabranch_client::{StreamView, View};
use anabranch_types::{AccountId, StreamArn, StreamName};

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
        let by_arn = arn.as_deref().map(|arn| self.name_in_arn(arn)).transpose()?;
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

    fn name_in_arn(&self, arn: &str) -> Result<StreamName, Error> {
        let arn: StreamArn =
            arn.parse().map_err(|error| Error::InvalidArgument(format!("StreamARN: {error}.")))?;
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
