//! Tokens of the Kinesis API: shard iterators, and the paging tokens of listings.
//!
//! A token holds all state of an iterator or a listing, so a gateway needs none of its own, and any gateway can
//! continue. [`anabranch_gateway::token`] seals tokens and limits their age. A token of an older layout keeps its
//! number: a new layout needs a new [`Token::KIND`].

use std::str::FromStr;

use anabranch_catalog::StreamId;
use anabranch_gateway::token::Token;
use anabranch_shard::Position;
use anabranch_types::{ConsumerName, ShardId, StreamName, Timestamp};
use bytes::{Buf, BufMut};

/// Position from which GetRecords reads next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardIterator {
    /// Name of the stream.
    pub stream: StreamName,
    /// Id of the stream. A later stream of the same name has another id.
    pub stream_id: StreamId,
    /// The shard to read.
    pub shard: ShardId,
    /// Position of the next record to read.
    pub position: Position,
}

/// Position in a listing of ListShards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardsPage {
    /// Name of the stream.
    pub stream: StreamName,
    /// Id of the stream. A later stream of the same name has another id.
    pub stream_id: StreamId,
    /// The last shard on the pages so far.
    pub after: ShardId,
    /// Filter of the listing.
    pub filter: ShardFilter,
    /// The version of the stream on the first page. All pages show it.
    pub version: StreamVersion,
}

/// A version of the shards of a stream, recorded when a listing begins.
///
/// Shard numbers rise in the order of creation, and a shard is closed in the same version in which its children
/// appear. So the highest number of that time is enough to tell, from any later version, which shards existed then
/// and which of them were open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamVersion {
    /// Highest number of a shard.
    pub last: ShardId,
    /// Agreed time of the cluster at the first page, for filters by time. 0 if no majority agreed on the time then.
    pub listed_at: Timestamp,
}

/// Position in a listing of ListStreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamsPage {
    /// The last stream on the pages so far.
    pub after: StreamName,
    /// Version of the catalog on the first page. Streams that were created later are not listed.
    pub version: u64,
}

/// Position in a listing of ListStreamConsumers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConsumersPage {
    /// Id of the stream.
    pub stream_id: StreamId,
    /// The last consumer on the pages so far.
    pub after: ConsumerName,
}

/// The shards that ListShards returns (API reference, `ShardFilter`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ShardFilter {
    /// Shards with a higher number.
    AfterShardId(ShardId),
    /// Shards that were open at the trim horizon.
    AtTrimHorizon,
    /// Shards that may still have records within the retention period.
    #[default]
    FromTrimHorizon,
    /// Shards that are open.
    AtLatest,
    /// Shards that were open at a moment.
    AtTimestamp(Timestamp),
    /// Shards that were open at a moment or later.
    FromTimestamp(Timestamp),
}

impl Token for ShardIterator {
    const KIND: u8 = 1;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u64(self.stream_id.0);
        out.put_u32(self.shard.0);
        out.put_u64(self.position.log_index);
        out.put_u16(self.position.offset);
        out.put_slice(self.stream.as_str().as_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let stream_id = StreamId(bytes.try_get_u64().ok()?);
        let shard = ShardId(bytes.try_get_u32().ok()?);
        let log_index = bytes.try_get_u64().ok()?;
        let position = Position { log_index, offset: bytes.try_get_u16().ok()? };
        Some(Self { stream: read_name(bytes)?, stream_id, shard, position })
    }
}

impl Token for StreamsPage {
    // Kind 2 was a layout without a version.
    const KIND: u8 = 6;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u64(self.version);
        out.put_slice(self.after.as_str().as_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let version = bytes.try_get_u64().ok()?;
        Some(Self { after: read_name(bytes)?, version })
    }
}

impl Token for ShardsPage {
    // Kind 3 was a layout without a version.
    const KIND: u8 = 5;

    fn write(&self, out: &mut Vec<u8>) {
        let (tag, argument) = match self.filter {
            ShardFilter::AfterShardId(shard) => (1, u64::from(shard.0)),
            ShardFilter::AtTrimHorizon => (2, 0),
            ShardFilter::FromTrimHorizon => (3, 0),
            ShardFilter::AtLatest => (4, 0),
            ShardFilter::AtTimestamp(moment) => (5, moment.as_millis()),
            ShardFilter::FromTimestamp(moment) => (6, moment.as_millis()),
        };
        out.put_u64(self.stream_id.0);
        out.put_u32(self.after.0);
        out.put_u8(tag);
        out.put_u64(argument);
        out.put_u32(self.version.last.0);
        out.put_u64(self.version.listed_at.as_millis());
        out.put_slice(self.stream.as_str().as_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let stream_id = StreamId(bytes.try_get_u64().ok()?);
        let after = ShardId(bytes.try_get_u32().ok()?);
        let (tag, argument) = (bytes.try_get_u8().ok()?, bytes.try_get_u64().ok()?);
        let filter = match tag {
            1 => ShardFilter::AfterShardId(ShardId(u32::try_from(argument).ok()?)),
            2 => ShardFilter::AtTrimHorizon,
            3 => ShardFilter::FromTrimHorizon,
            4 => ShardFilter::AtLatest,
            5 => ShardFilter::AtTimestamp(Timestamp::from_millis(argument)),
            6 => ShardFilter::FromTimestamp(Timestamp::from_millis(argument)),
            _ => return None,
        };
        let last = ShardId(bytes.try_get_u32().ok()?);
        let listed_at = Timestamp::from_millis(bytes.try_get_u64().ok()?);
        let version = StreamVersion { last, listed_at };
        Some(Self { stream: read_name(bytes)?, stream_id, after, filter, version })
    }
}

impl Token for ConsumersPage {
    const KIND: u8 = 4;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u64(self.stream_id.0);
        out.put_slice(self.after.as_str().as_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let stream_id = StreamId(bytes.try_get_u64().ok()?);
        Some(Self { stream_id, after: read_name(bytes)? })
    }
}

/// Reads a name from the rest of the token.
fn read_name<T: FromStr>(bytes: &mut &[u8]) -> Option<T> {
    let name = std::str::from_utf8(std::mem::take(bytes)).ok()?;
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anabranch_gateway::TokenKey;
    use anabranch_gateway::token::{LIFETIME, OpenError, Sealer};
    use anabranch_types::{Clock, ManualClock};
    use base64_simd::STANDARD;
    use proptest::prelude::*;

    use super::*;

    const KEY: TokenKey = TokenKey::new([7; 32]);

    fn iterator() -> impl Strategy<Value = ShardIterator> {
        ("[a-zA-Z0-9_.-]{1,128}", any::<u64>(), any::<u32>(), any::<u64>(), any::<u16>()).prop_map(
            |(name, id, shard, log_index, offset)| ShardIterator {
                stream: name.parse().unwrap(),
                stream_id: StreamId(id),
                shard: ShardId(shard),
                position: Position { log_index, offset },
            },
        )
    }

    fn filter() -> impl Strategy<Value = ShardFilter> {
        let moment = any::<u64>().prop_map(Timestamp::from_millis);
        prop_oneof![
            any::<u32>().prop_map(|id| ShardFilter::AfterShardId(ShardId(id))),
            Just(ShardFilter::AtTrimHorizon),
            Just(ShardFilter::FromTrimHorizon),
            Just(ShardFilter::AtLatest),
            moment.clone().prop_map(ShardFilter::AtTimestamp),
            moment.prop_map(ShardFilter::FromTimestamp),
        ]
    }

    fn example() -> ShardIterator {
        ShardIterator {
            stream: "orders".parse().unwrap(),
            stream_id: StreamId(9),
            shard: ShardId(3),
            position: Position { log_index: 77, offset: 5 },
        }
    }

    proptest! {
        #[test]
        fn any_gateway_opens_a_token_of_another_gateway(iterator in iterator(), now in any::<u64>()) {
            let now = Timestamp::from_millis(now);
            let text = Sealer::new(KEY).seal(&iterator, now);
            prop_assert!(text.len() <= 512);
            prop_assert_eq!(Sealer::new(KEY).open(&text, now), Ok(iterator));
        }

        #[test]
        fn a_page_token_is_read_as_it_was_written(filter in filter(), shard in any::<u32>(), id in any::<u64>()) {
            let page = ShardsPage {
                stream: "s".parse().unwrap(),
                stream_id: StreamId(id),
                after: ShardId(shard),
                filter,
                version: StreamVersion { last: ShardId(!shard), listed_at: Timestamp::from_millis(!id) },
            };
            let sealer = Sealer::new(KEY);
            let text = sealer.seal(&page, Timestamp::default());
            prop_assert_eq!(sealer.open(&text, Timestamp::default()), Ok(page));
        }

        #[test]
        fn a_changed_token_is_forged(at in any::<prop::sample::Index>(), flip in 1u8..) {
            let sealer = Sealer::new(KEY);
            let now = Timestamp::from_millis(5);
            let mut bytes = STANDARD.decode_to_vec(sealer.seal(&example(), now)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let changed = STANDARD.encode_to_string(&bytes);
            prop_assert_eq!(sealer.open::<ShardIterator>(&changed, now), Err(OpenError::Forged));
        }

        #[test]
        fn garbage_is_forged(text in ".{0,600}", bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let sealer = Sealer::new(KEY);
            let now = Timestamp::default();
            prop_assert_eq!(sealer.open::<ShardIterator>(&text, now), Err(OpenError::Forged));
            let text = STANDARD.encode_to_string(&bytes);
            prop_assert_eq!(sealer.open::<StreamsPage>(&text, now), Err(OpenError::Forged));
        }
    }

    #[test]
    fn a_token_expires_after_five_minutes() {
        let clock = ManualClock::new(Timestamp::from_millis(1_000));
        let sealer = Sealer::new(KEY);
        let text = sealer.seal(&example(), clock.now());
        clock.advance(LIFETIME);
        assert_eq!(sealer.open(&text, clock.now()), Ok(example()));
        clock.advance(Duration::from_millis(1));
        let issued = Timestamp::from_millis(1_000);
        let expired = Err(OpenError::Expired { issued });
        assert_eq!(sealer.open::<ShardIterator>(&text, clock.now()), expired);
    }

    #[test]
    fn a_truncated_token_is_forged() {
        let sealer = Sealer::new(KEY);
        let text = sealer.seal(&example(), Timestamp::default());
        for length in 0..text.len() {
            let cut = sealer.open::<ShardIterator>(&text[..length], Timestamp::default());
            assert_eq!(cut, Err(OpenError::Forged), "{length}");
        }
    }

    #[test]
    fn a_token_of_another_key_or_another_kind_is_forged() {
        let (sealer, now) = (Sealer::new(KEY), Timestamp::default());
        let text = sealer.seal(&example(), now);
        let other = Sealer::new(TokenKey::new([8; 32]));
        assert_eq!(other.open::<ShardIterator>(&text, now), Err(OpenError::Forged));
        assert_eq!(sealer.open::<StreamsPage>(&text, now), Err(OpenError::Forged));
    }

    #[test]
    fn two_tokens_of_the_same_position_are_different() {
        let (sealer, now) = (Sealer::new(KEY), Timestamp::default());
        assert_ne!(sealer.seal(&example(), now), sealer.seal(&example(), now));
    }
}
