//! The position at which reading begins: the members of GetShardIterator and SubscribeToShard that describe it.
//!
//! A position is given by a sequence number, by a moment, or by a word such as `LATEST`. A sequence number must
//! belong to this shard of this stream. A stream that was created again under the same name has another creation time
//! (`birth`), so numbers of the earlier stream are refused.

use anabranch_aws::wire::Moment;
use anabranch_client::ShardRoute;
use anabranch_shard::{Position, Start};
use anabranch_types::{SequenceNumber, StreamName};

use crate::error::Error;
use crate::kinesis::Kinesis;

/// The members that describe the position, and their names in messages of the operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning<'a> {
    pub operation: &'static str,
    pub number_member: &'static str,
    pub kind: &'a str,
    pub number: Option<&'a str>,
    pub moment: Option<Moment>,
}

impl Beginning<'_> {
    /// Checks the members and returns the start. Source of the rules: API reference, `ShardIteratorType`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`].
    pub(super) fn start(
        self,
        kinesis: &Kinesis,
        stream: &StreamName,
        route: &ShardRoute,
    ) -> Result<Start, Error> {
        match (self.kind, self.number, self.moment) {
            ("AT_SEQUENCE_NUMBER", Some(number), _) => {
                Ok(Start::At(self.position(kinesis, stream, route, number)?))
            }
            ("AFTER_SEQUENCE_NUMBER", Some(number), _) => {
                Ok(Start::At(self.position(kinesis, stream, route, number)?.next()))
            }
            ("TRIM_HORIZON", None, _) => Ok(Start::TrimHorizon),
            ("LATEST", None, _) => Ok(Start::Latest),
            ("AT_TIMESTAMP", None, Some(Moment(moment))) => {
                let now = kinesis.clock.now();
                if moment > now {
                    return Err(Error::InvalidArgument(format!(
                        "The timestampInMillis parameter cannot be greater than the \
                         currentTimestampInMillis. timestampInMillis: {}, \
                         currentTimestampInMillis: {}",
                        moment.as_millis(),
                        now.as_millis()
                    )));
                }
                Ok(Start::AtTimestamp(moment))
            }
            ("AT_TIMESTAMP", None, None) => Err(Error::InvalidArgument(
                "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current \
                 request has no timestamp parameter."
                    .to_owned(),
            )),
            _ => Err(self.mismatched()),
        }
    }

    fn mismatched(self) -> Error {
        let Self { kind, number_member, .. } = self;
        let number = if self.number.is_some() { "also a" } else { "no" };
        Error::InvalidArgument(format!(
            "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and \
             {number_member} or (2) TRIM_HORIZON or LATEST and no {number_member}. \
             Request specified {kind} and {number} {number_member}."
        ))
    }

    /// The position of the record with this number. The number must belong to this shard.
    fn position(
        self,
        kinesis: &Kinesis,
        stream: &StreamName,
        route: &ShardRoute,
        text: &str,
    ) -> Result<Position, Error> {
        let Self { operation, number_member, .. } = self;
        let (shard, account) = (route.shard, &kinesis.account);
        let invalid = |reason: &str| {
            Error::InvalidArgument(format!(
                "{number_member} {text} used in {operation} on shard {shard} in stream {stream} \
                 under account {account} is invalid{reason}."
            ))
        };
        let number: SequenceNumber = text.parse().map_err(|_| invalid(""))?;
        let parts = number.parts();
        if parts.shard != shard {
            return Err(Error::InvalidArgument(format!(
                "Invalid {number_member}. It encodes {}, while it was used in a call to a shard \
                 with {shard}",
                parts.shard
            )));
        }
        if parts.shard_born_seconds != route.birth.as_secs() {
            return Err(invalid(" because it did not come from this stream"));
        }
        if number.is_shard_end() {
            return Err(Error::InvalidArgument(format!(
                "Invalid SequenceNumber for ShardIteratorType {}, SequenceNumber has reached max \
                 possible value for the shard.",
                self.kind
            )));
        }
        Ok(Position::of(number))
    }
}
