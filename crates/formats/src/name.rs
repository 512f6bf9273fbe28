//! Names of objects. A name is a function of the batch, so a second attempt writes the same keys.
//!
//! ```text
//! SHA-256(delivery stream, configuration version, ranges, prefix, kind, attempt) = NameHash
//!     NameHash::uuid             the UUID at the end of the name, version 8
//!     NameHash::random_string    one value for each use of !{firehose:random-string} in the prefix
//! evaluated prefix + stream-version-yyyy-MM-dd-HH-mm-ss-uuid + extension = key of the object
//! ```
//!
//! The ranges of a batch do not name a pipeline, so the name is the same when shards move to another pipeline.
//!
//! The prefix in the hash is not the evaluated one, because its random strings come from the hash. It is
//! [`Prefix::partition`](crate::Prefix::partition): the prefix with the partition keys of its records filled in.

use anabranch_types::{SequenceNumber, ShardId, Timestamp};
use sha2::{Digest, Sha256};
use uuid::{Uuid, Variant, Version};

use crate::error_type::ErrorType;
use crate::prefix::Zone;

/// Length of the value of `!{firehose:random-string}`, in characters.
pub const RANDOM_STRING_CHARACTERS: usize = 11;

/// Begins every hash. A change of the encoding below must change it.
const ENCODING: &[u8] = b"anabranch object name 1";

/// The records that an object comes from.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Id of the delivery stream. A new delivery stream under an old name has another id.
    pub delivery_stream: &'a str,
    /// Version of the configuration that the batch was made with, from 1.
    pub configuration_version: u64,
    /// Ranges of the batch, in any order.
    pub ranges: &'a [ShardRange],
    /// [`Prefix::partition`](crate::Prefix::partition) of the object's records.
    pub prefix: &'a str,
    /// Content of the object.
    pub kind: ObjectKind,
    /// Digest of the object's records, if an earlier attempt of the same batch gave other records. The object must
    /// then have another name, because the object of the earlier attempt may exist. `None` for a first attempt.
    pub attempt: Option<&'a [u8; 32]>,
}

/// Records of one shard that a batch contains. Both ends are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardRange {
    /// The shard.
    pub shard: ShardId,
    /// The first record.
    pub first: SequenceNumber,
    /// The last record.
    pub last: SequenceNumber,
}

/// Content of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// Records for the destination.
    Data,
    /// Records as they were before all stages (`S3BackupMode`).
    SourceCopy,
    /// Lines about records that failed.
    Error(ErrorType),
}

/// The hash from which the name of an object and the random strings of its prefix are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NameHash([u8; 32]);

impl Identity<'_> {
    /// Hashes the identity. Every part is preceded by its length, so no two identities have the same encoding.
    pub fn hash(&self) -> NameHash {
        let mut ranges = self.ranges.to_vec();
        ranges.sort_unstable();
        let mut parts = Parts::new();
        parts.text(self.delivery_stream);
        parts.number(self.configuration_version);
        parts.number(ranges.len() as u64);
        for range in ranges {
            parts.text(&range.shard.to_string());
            parts.text(&range.first.to_string());
            parts.text(&range.last.to_string());
        }
        parts.text(self.prefix);
        parts.text(self.kind.as_str());
        parts.bytes(self.attempt.map_or(&[], |digest| digest.as_slice()));
        parts.hash()
    }
}

impl ObjectKind {
    /// Stable text of the kind. No two kinds have the same one.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::SourceCopy => "source",
            Self::Error(error_type) => error_type.as_str(),
        }
    }
}

impl NameHash {
    /// UUID of version 8 (RFC 9562, section 5.8): the first 16 bytes of the hash, except the bits of version and
    /// variant.
    pub fn uuid(&self) -> Uuid {
        let first = self.0.first_chunk().expect("a hash has 32 bytes");
        let mut builder = uuid::Builder::from_bytes(*first);
        builder.set_variant(Variant::RFC4122).set_version(Version::Custom);
        builder.into_uuid()
    }

    /// Value of the use number `index` of `!{firehose:random-string}`, from 0: 11 characters of `0-9a-z`.
    pub fn random_string(&self, index: u32) -> String {
        let mut parts = Parts::new();
        parts.bytes(&self.0);
        parts.text("random-string");
        parts.number(u64::from(index));
        let NameHash(bytes) = parts.hash();
        let mut number = u64::from_be_bytes(*bytes.first_chunk().expect("a hash has 32 bytes"));
        let mut digits = [b'0'; RANDOM_STRING_CHARACTERS];
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize];
            number /= 36;
        }
        digits.iter().map(|digit| char::from(*digit)).collect()
    }
}

/// Name of an object, which the evaluated prefix precedes: `<stream>-<version>-yyyy-MM-dd-HH-mm-ss-<uuid><extension>`.
/// `instant` is the arrival of the object's oldest record. The date is in UTC, also with a CustomTimeZone.
///
/// Source: Amazon Data Firehose Developer Guide, Amazon S3 object name format.
pub fn object_name(
    stream: &str,
    configuration_version: u64,
    instant: Timestamp,
    uuid: Uuid,
    extension: &str,
) -> String {
    let date = Zone::UTC.at(instant);
    let date = date.strftime("%Y-%m-%d-%H-%M-%S");
    format!("{stream}-{configuration_version}-{date}-{uuid}{extension}")
}

/// Input of a hash, as parts with lengths.
struct Parts(Sha256);

impl Parts {
    fn new() -> Self {
        let mut parts = Self(Sha256::new());
        parts.bytes(ENCODING);
        parts
    }

    fn bytes(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    fn text(&mut self, part: &str) {
        self.bytes(part.as_bytes());
    }

    fn number(&mut self, part: u64) {
        self.bytes(&part.to_be_bytes());
    }

    fn hash(self) -> NameHash {
        NameHash(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::tests::sequence;

    fn range(shard: u32, first: u64, last: u64) -> ShardRange {
        ShardRange { shard: ShardId(shard), first: sequence(first), last: sequence(last) }
    }

    fn identity(ranges: &[ShardRange]) -> Identity<'_> {
        Identity {
            delivery_stream: "orders/5",
            configuration_version: 3,
            ranges,
            prefix: "orders/",
            kind: ObjectKind::Data,
            attempt: None,
        }
    }

    #[test]
    fn the_name_of_a_batch_never_changes() {
        // Python's hashlib gave these values, by the encoding that `Identity::hash` describes.
        let ranges = [range(0, 1, 9), range(1, 4, 4)];
        let hash = identity(&ranges).hash();
        assert_eq!(hash.uuid().to_string(), "c71ce6be-ab4f-87b3-85f3-d3b4e5bbc39a");
        assert_eq!(hash.random_string(0), "1y4g3dmu85o");
        assert_eq!(hash.random_string(1), "h5plw9fl7ga");
        let name =
            object_name("orders", 3, Timestamp::from_millis(1_700_000_100_250), hash.uuid(), ".gz");
        assert_eq!(name, "orders-3-2023-11-14-22-15-00-c71ce6be-ab4f-87b3-85f3-d3b4e5bbc39a.gz");
    }

    #[test]
    fn each_part_of_the_identity_changes_the_name() {
        let ranges = [range(0, 1, 9), range(1, 4, 4)];
        let other_ranges = [range(0, 1, 9), range(1, 4, 5)];
        let other_shard = [range(0, 1, 9), range(2, 4, 4)];
        let base = identity(&ranges);
        let failed = ObjectKind::Error(ErrorType::ProcessingFailed);
        let hashes = [
            base,
            Identity { delivery_stream: "orders/6", ..base },
            Identity { configuration_version: 4, ..base },
            Identity { ranges: &other_ranges, ..base },
            Identity { ranges: &other_shard, ..base },
            Identity { ranges: &ranges[..1], ..base },
            Identity { prefix: "orders", ..base },
            Identity { kind: ObjectKind::SourceCopy, ..base },
            Identity { kind: failed, ..base },
            Identity { attempt: Some(&[0; 32]), ..base },
            Identity { attempt: Some(&[1; 32]), ..base },
        ]
        .map(|identity| identity.hash());
        for (at, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..at].contains(hash), "{at}");
        }
    }

    #[test]
    fn text_does_not_move_between_parts() {
        let shifted = Identity { delivery_stream: "orders/5o", prefix: "rders/", ..identity(&[]) };
        assert_ne!(identity(&[]).hash(), shifted.hash());
    }

    #[test]
    fn the_order_of_ranges_does_not_matter() {
        let [a, b, c] = [range(0, 1, 9), range(1, 4, 4), range(1, 6, 7)];
        assert_eq!(identity(&[a, b, c]).hash(), identity(&[c, a, b]).hash());
    }

    proptest! {
        #[test]
        fn uuids_and_random_strings_are_well_formed(bytes: [u8; 32], index: u32) {
            let hash = NameHash(bytes);
            prop_assert_eq!(hash.uuid().get_version_num(), 8);
            prop_assert_eq!(hash.uuid().get_variant(), Variant::RFC4122);
            let text = hash.random_string(index);
            prop_assert_eq!(text.len(), RANDOM_STRING_CHARACTERS);
            prop_assert!(text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()));
            prop_assert_ne!(text, hash.random_string(index ^ 1));
        }
    }
}
