//! The stored form of commands.
//!
//! The bytes are on disk and are sent between nodes. So a tag is never reused, and the tests hold golden bytes. Keys
//! and values of a decoded command are slices of the entry. [`TableState::apply`](crate::TableState::apply) copies
//! what it keeps.
//!
//! Shape, little endian, with the bytes of each field in parentheses. A blob is its length (4) and its bytes; a list
//! is its number of items (4) and the items.
//!
//! ```text
//! Transact      1 (1), now in milliseconds (8), list of transactions
//! CreateSpace   2 (1), id (16), name: blob, UTF-8
//! DropSpace     3 (1), space (4)
//!
//! transaction   id (16), list of checks, list of puts, list of deletes
//! check         space (4), key: blob, expectation
//! put           space (4), key: blob, value: blob
//! delete        space (4), key: blob
//! expectation   Absent 1 (1) | Present 2 (1) | Version 3 (1), version (8) | Epoch 4 (1), at most (8)
//! ```

use anabranch_types::Timestamp;
use bytes::{BufMut, Bytes, BytesMut};

use crate::command::{Command, Expect, Transaction};
use crate::fields::{Fields, LENGTH_BYTES, Short, put_blob, put_length};
use crate::row::{Key, SpaceId, TransactionId, Version};

/// Why stored bytes are not a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// A tag that this version doesn't know.
    #[error("table command: unknown tag {0}")]
    UnknownTag(u8),
    /// A tag of an expectation that this version doesn't know.
    #[error("table command: unknown tag {0} of an expectation")]
    UnknownExpectation(u8),
    /// A field is missing, or is longer than the bytes that are left.
    #[error("table command: cut short at {field}")]
    Short {
        /// Name of the field.
        field: &'static str,
    },
    /// The name of a space is not UTF-8.
    #[error("table command: the name of a space is not UTF-8")]
    Name,
    /// There are bytes behind the command.
    #[error("table command: {bytes} bytes too many")]
    Trailing {
        /// Number of these bytes.
        bytes: usize,
    },
}

impl From<Short> for CommandError {
    fn from(Short(field): Short) -> Self {
        Self::Short { field }
    }
}

const TRANSACT: u8 = 1;
const CREATE_SPACE: u8 = 2;
const DROP_SPACE: u8 = 3;

const ABSENT: u8 = 1;
const PRESENT: u8 = 2;
const VERSION: u8 = 3;
const EPOCH: u8 = 4;

const TAG_BYTES: usize = 1;
const ID_BYTES: usize = 16;
const SPACE_BYTES: usize = 4;
const NUMBER_BYTES: usize = 8;
/// Bytes of a delete whose key is empty.
const LEAST_KEY_BYTES: usize = SPACE_BYTES + LENGTH_BYTES;
/// Bytes of a transaction without checks, puts and deletes.
const LEAST_TRANSACTION_BYTES: usize = ID_BYTES + 3 * LENGTH_BYTES;

impl Command {
    /// Number of bytes that [`Self::encode`] writes.
    pub fn encoded_bytes(&self) -> usize {
        match self {
            Self::Transact { transactions, .. } => {
                let transactions = transactions.iter().map(Transaction::encoded_bytes);
                TAG_BYTES + NUMBER_BYTES + LENGTH_BYTES + transactions.sum::<usize>()
            }
            Self::CreateSpace { name, .. } => TAG_BYTES + ID_BYTES + LENGTH_BYTES + name.len(),
            Self::DropSpace { .. } => TAG_BYTES + SPACE_BYTES,
        }
    }

    /// Whether the stored form `bytes` begins as that of [`Self::Transact`] does.
    pub fn is_transact(bytes: &[u8]) -> bool {
        bytes.first() == Some(&TRANSACT)
    }

    /// Appends the stored form to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Transact { transactions, now } => {
                out.put_u8(TRANSACT);
                out.put_u64_le(now.as_millis());
                put_length(out, transactions.len());
                transactions.iter().for_each(|transaction| transaction.encode(out));
            }
            Self::CreateSpace { id, name } => {
                out.put_u8(CREATE_SPACE);
                out.put_slice(&id.0);
                put_blob(out, name.as_bytes());
            }
            Self::DropSpace { space } => {
                out.put_u8(DROP_SPACE);
                out.put_u32_le(space.0);
            }
        }
    }

    /// Decodes the stored form. Keys and values are slices of `bytes`. The limits are not checked here.
    ///
    /// # Errors
    /// [`CommandError`] for unknown tags, missing bytes and bytes behind the command.
    pub fn decode(bytes: Bytes) -> Result<Self, CommandError> {
        let mut fields = Fields(bytes);
        let command = match fields.u8("tag")? {
            TRANSACT => {
                let now = Timestamp::from_millis(fields.u64("now")?);
                let count = fields.count("transactions", LEAST_TRANSACTION_BYTES)?;
                let transactions = list(count, || Transaction::decode(&mut fields))?;
                Self::Transact { transactions, now }
            }
            CREATE_SPACE => {
                let id = TransactionId(fields.id("id")?);
                let name = std::str::from_utf8(&fields.blob("name")?).map(str::to_owned);
                Self::CreateSpace { id, name: name.map_err(|_| CommandError::Name)? }
            }
            DROP_SPACE => Self::DropSpace { space: SpaceId(fields.u32("space")?) },
            unknown => return Err(CommandError::UnknownTag(unknown)),
        };
        match fields.remaining() {
            0 => Ok(command),
            bytes => Err(CommandError::Trailing { bytes }),
        }
    }
}

impl Transaction {
    /// Number of bytes of the transaction in its command.
    pub fn encoded_bytes(&self) -> usize {
        let key = |key: &Key| LEAST_KEY_BYTES + key.key.len();
        let checks = self.checks.iter().map(|(k, expect)| key(k) + expect.encoded_bytes());
        let puts = self.puts.iter().map(|(k, value)| key(k) + LENGTH_BYTES + value.len());
        let deletes = self.deletes.iter().map(key);
        LEAST_TRANSACTION_BYTES + checks.chain(puts).chain(deletes).sum::<usize>()
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.id.0);
        put_length(out, self.checks.len());
        for (key, expect) in &self.checks {
            key.encode(out);
            expect.encode(out);
        }
        put_length(out, self.puts.len());
        for (key, value) in &self.puts {
            key.encode(out);
            put_blob(out, value);
        }
        put_length(out, self.deletes.len());
        self.deletes.iter().for_each(|key| key.encode(out));
    }

    fn decode(fields: &mut Fields) -> Result<Self, CommandError> {
        let id = TransactionId(fields.id("id")?);
        let count = fields.count("checks", LEAST_KEY_BYTES + TAG_BYTES)?;
        let checks = list(count, || Ok((Key::decode(fields)?, Expect::decode(fields)?)))?;
        let count = fields.count("puts", LEAST_KEY_BYTES + LENGTH_BYTES)?;
        let puts = list(count, || Ok((Key::decode(fields)?, fields.blob("value")?)))?;
        let count = fields.count("deletes", LEAST_KEY_BYTES)?;
        let deletes = list(count, || Ok(Key::decode(fields)?))?;
        Ok(Self { id, checks, puts, deletes })
    }
}

impl Key {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.space.0);
        put_blob(out, &self.key);
    }

    fn decode(fields: &mut Fields) -> Result<Self, Short> {
        Ok(Self { space: SpaceId(fields.u32("space")?), key: fields.blob("key")? })
    }
}

impl Expect {
    fn encoded_bytes(self) -> usize {
        match self {
            Self::Absent | Self::Present => TAG_BYTES,
            Self::Version(_) | Self::Epoch { .. } => TAG_BYTES + NUMBER_BYTES,
        }
    }

    fn encode(self, out: &mut BytesMut) {
        match self {
            Self::Absent => out.put_u8(ABSENT),
            Self::Present => out.put_u8(PRESENT),
            Self::Version(version) => {
                out.put_u8(VERSION);
                out.put_u64_le(version.as_u64());
            }
            Self::Epoch { at_most } => {
                out.put_u8(EPOCH);
                out.put_u64_le(at_most);
            }
        }
    }

    fn decode(fields: &mut Fields) -> Result<Self, CommandError> {
        match fields.u8("expectation")? {
            ABSENT => Ok(Self::Absent),
            PRESENT => Ok(Self::Present),
            VERSION => Ok(Self::Version(Version::from_u64(fields.u64("version")?))),
            EPOCH => Ok(Self::Epoch { at_most: fields.u64("epoch")? }),
            unknown => Err(CommandError::UnknownExpectation(unknown)),
        }
    }
}

/// Reads `count` items. The bytes have room for them ([`Fields::count`]), so the allocation is in proportion to the
/// bytes.
fn list<T>(
    count: usize,
    mut item: impl FnMut() -> Result<T, CommandError>,
) -> Result<Vec<T>, CommandError> {
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(item()?);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn encoded(command: &Command) -> Bytes {
        let mut bytes = BytesMut::new();
        command.encode(&mut bytes);
        assert_eq!(bytes.len(), command.encoded_bytes());
        bytes.freeze()
    }

    fn key(space: u32, key: &'static [u8]) -> Key {
        Key { space: SpaceId(space), key: Bytes::from_static(key) }
    }

    fn example() -> Command {
        let transaction = Transaction {
            id: TransactionId(*b"transaction-id-1"),
            checks: vec![
                (key(1, b"a"), Expect::Absent),
                (key(1, b"b"), Expect::Present),
                (key(1, b"c"), Expect::Version(Version::new(0x0102, 3))),
                (key(1, b"d"), Expect::Epoch { at_most: 0x0405 }),
            ],
            puts: vec![(key(0x0607, b"put"), Bytes::from_static(b"value"))],
            deletes: vec![key(2, b"gone")],
        };
        let transactions = vec![transaction, Transaction::default()];
        Command::Transact { transactions, now: Timestamp::from_millis(0x0809) }
    }

    #[test]
    fn golden_bytes_of_transactions() {
        let golden: &[&[u8]] = &[
            b"\x01\x09\x08\0\0\0\0\0\0\x02\0\0\0",
            b"transaction-id-1\x04\0\0\0",
            b"\x01\0\0\0\x01\0\0\0a\x01",
            b"\x01\0\0\0\x01\0\0\0b\x02",
            b"\x01\0\0\0\x01\0\0\0c\x03\x03\x02\x01\0\0\0\0\0",
            b"\x01\0\0\0\x01\0\0\0d\x04\x05\x04\0\0\0\0\0\0",
            b"\x01\0\0\0\x07\x06\0\0\x03\0\0\0put\x05\0\0\0value",
            b"\x01\0\0\0\x02\0\0\0\x04\0\0\0gone",
            &[0; 28],
        ];
        assert_eq!(encoded(&example()), golden.concat());
        assert_eq!(Command::decode(encoded(&example())), Ok(example()));
    }

    #[test]
    fn golden_bytes_of_commands_about_spaces() {
        let create = Command::CreateSpace {
            id: TransactionId(*b"transaction-id-1"),
            name: "dynamodb/T".into(),
        };
        assert_eq!(encoded(&create), &b"\x02transaction-id-1\x0a\0\0\0dynamodb/T"[..]);
        assert_eq!(Command::decode(encoded(&create)), Ok(create));
        let drop = Command::DropSpace { space: SpaceId(0x0102) };
        assert_eq!(encoded(&drop), &b"\x03\x02\x01\0\0"[..]);
        assert_eq!(Command::decode(encoded(&drop)), Ok(drop));
    }

    #[test]
    fn errors_name_the_field() {
        let error = |bytes: &'static [u8]| Command::decode(Bytes::from_static(bytes)).unwrap_err();
        assert_eq!(error(b""), CommandError::Short { field: "tag" });
        assert_eq!(error(b"\x09"), CommandError::UnknownTag(9));
        assert_eq!(error(b"\x01\0"), CommandError::Short { field: "now" });
        let many = error(b"\x01\0\0\0\0\0\0\0\0\xff\xff\xff\xff");
        assert_eq!(many, CommandError::Short { field: "transactions" });
        assert_eq!(error(b"\x02transaction-id-1\x01\0\0\0\xff"), CommandError::Name);
        assert_eq!(error(b"\x03\0\0\0\0\0"), CommandError::Trailing { bytes: 1 });
        let mut bytes = BytesMut::from(&encoded(&example())[..]);
        bytes[42] = 9;
        assert_eq!(Command::decode(bytes.freeze()), Err(CommandError::UnknownExpectation(9)));
    }

    #[test]
    fn every_prefix_of_a_command_is_refused() {
        let bytes = encoded(&example());
        for end in 0..bytes.len() {
            let error = Command::decode(bytes.slice(..end)).unwrap_err();
            assert!(matches!(error, CommandError::Short { .. }), "{end}: {error}");
        }
    }

    fn keys() -> impl Strategy<Value = Key> {
        (any::<u32>(), vec(any::<u8>(), 0..20))
            .prop_map(|(space, key)| Key { space: SpaceId(space), key: key.into() })
    }

    fn expectations() -> impl Strategy<Value = Expect> {
        prop_oneof![
            Just(Expect::Absent),
            Just(Expect::Present),
            any::<u64>().prop_map(|version| Expect::Version(Version::from_u64(version))),
            any::<u64>().prop_map(|at_most| Expect::Epoch { at_most }),
        ]
    }

    fn transactions() -> impl Strategy<Value = Transaction> {
        let values = vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        (
            any::<[u8; 16]>(),
            vec((keys(), expectations()), 0..4),
            vec((keys(), values), 0..4),
            vec(keys(), 0..4),
        )
            .prop_map(|(id, checks, puts, deletes)| Transaction {
                id: TransactionId(id),
                checks,
                puts,
                deletes,
            })
    }

    fn commands() -> impl Strategy<Value = Command> {
        prop_oneof![
            4 => (vec(transactions(), 0..4), any::<u64>()).prop_map(|(transactions, now)| {
                Command::Transact { transactions, now: Timestamp::from_millis(now) }
            }),
            1 => (any::<[u8; 16]>(), ".{0,20}").prop_map(|(id, name)| {
                Command::CreateSpace { id: TransactionId(id), name }
            }),
            1 => any::<u32>().prop_map(|space| Command::DropSpace { space: SpaceId(space) }),
        ]
    }

    proptest! {
        #[test]
        fn commands_survive_the_round_trip(command in commands()) {
            prop_assert_eq!(Command::decode(encoded(&command)), Ok(command));
        }

        /// A command has one stored form only.
        #[test]
        fn mutated_bytes_are_refused_or_are_another_command(
            command in commands(),
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = BytesMut::from(&encoded(&command)[..]);
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            let bytes = bytes.freeze();
            if let Ok(decoded) = Command::decode(bytes.clone()) {
                prop_assert_eq!(encoded(&decoded), bytes);
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), tag in 0u8..5) {
            let _ = Command::decode(bytes.clone().into());
            let _ = Command::decode([&[tag][..], &bytes].concat().into());
        }
    }
}
