//! The stored form of a batch in an encrypted stream.
//!
//! ```text
//! producer, call indexes   in the clear, so replicas recognise retries without a key
//! field 4, sealed:         version (1 byte: 1) | number of the data key (4) | salt (16) | nonce counter (8)
//!                          | AES-256-GCM of the whole encoded batch | tag (16)
//! ```
//!
//! Numbers are little endian. The associated data are the stream, the shard and everything before the ciphertext. So
//! a batch opens only in its own shard and under its own producer.
//!
//! A sealer draws a random salt and derives its own key from the data key (HKDF-SHA-256). It counts nonces under that
//! key. So no pair of key and nonce is used twice, however many leaders and terms share a data key.

use std::sync::atomic::{AtomicU64, Ordering};

use anabranch_catalog::StreamId;
use anabranch_shard::Batch;
use anabranch_types::ShardId;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use bytes::{Bytes, BytesMut};

use crate::provider::DataKeySecret;

const VERSION: u8 = 1;
const SALT_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + 4 + SALT_BYTES + 8;
const TAG_BYTES: usize = 16;
const LABEL: &[u8] = b"anabranch sealed batch 1";

/// The salt of a sealer, drawn at random when the sealer is made.
pub(crate) type SealSalt = [u8; SALT_BYTES];

/// The shard that a batch belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) stream: StreamId,
    pub(crate) shard: ShardId,
}

/// Seals the batches of one shard under one data key. Lives on the shard's leader.
#[derive(Debug)]
pub struct BatchSealer {
    place: Place,
    number: u32,
    salt: SealSalt,
    key: LessSafeKey,
    next_nonce: AtomicU64,
    sealed_bytes: AtomicU64,
}

/// The part of a sealed batch that is in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u32,
    pub(crate) salt: SealSalt,
    counter: u64,
}

impl BatchSealer {
    pub(crate) fn new(place: Place, number: u32, secret: &DataKeySecret, salt: SealSalt) -> Self {
        let key = derive(secret, &salt);
        let (next_nonce, sealed_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { place, number, salt, key, next_nonce, sealed_bytes }
    }

    /// Number of the data key.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Number of plain bytes that this sealer has sealed.
    pub fn sealed_bytes(&self) -> u64 {
        self.sealed_bytes.load(Ordering::Relaxed)
    }

    /// Encrypts `batch` to the form that the log stores.
    pub fn seal(&self, batch: &Batch) -> Bytes {
        let counter = self.next_nonce.fetch_add(1, Ordering::Relaxed);
        let plain = batch.bytes();
        self.sealed_bytes.fetch_add(plain.len() as u64, Ordering::Relaxed);
        let head = batch.sealed_head(HEADER_BYTES + plain.len() + TAG_BYTES);
        let before = head.len() + HEADER_BYTES;
        let mut stored = BytesMut::with_capacity(before + plain.len() + TAG_BYTES);
        stored.extend_from_slice(&head);
        stored.extend_from_slice(&Header { number: self.number, salt: self.salt, counter }.bytes());
        stored.extend_from_slice(plain);
        let aad = associated(self.place, &stored[..before]);
        let (_, text) = stored.split_at_mut(before);
        let tag = self.key.seal_in_place_separate_tag(nonce(counter), aad, text);
        // AES-GCM fails only above 64 GiB of text. A batch is at most a thousandth of that.
        stored
            .extend_from_slice(tag.expect("a batch is far below the bound of the cipher").as_ref());
        stored.freeze()
    }
}

/// Opens the batches that one sealer has sealed.
#[derive(Debug)]
pub(crate) struct BatchOpener {
    place: Place,
    number: u32,
    salt: SealSalt,
    key: LessSafeKey,
}

impl BatchOpener {
    pub(crate) fn new(place: Place, header: Header, secret: &DataKeySecret) -> Self {
        let Header { number, salt, .. } = header;
        Self { place, number, salt, key: derive(secret, &salt) }
    }

    pub(crate) fn fits(&self, header: Header) -> bool {
        (self.number, self.salt) == (header.number, header.salt)
    }

    /// Decrypts a batch to its encoded form. `None` if the bytes are not the bytes that were sealed.
    pub(crate) fn open(&self, header: Header, head: &Bytes, sealed: &Bytes) -> Option<Bytes> {
        let (clear, text) = sealed.split_at_checked(HEADER_BYTES)?;
        let before = [head, clear].concat();
        let mut text = BytesMut::from(text);
        let aad = associated(self.place, &before);
        let plain_bytes = self.key.open_in_place(nonce(header.counter), aad, &mut text).ok()?.len();
        text.truncate(plain_bytes);
        Some(text.freeze())
    }
}

impl Header {
    fn bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = VERSION;
        bytes[1..5].copy_from_slice(&self.number.to_le_bytes());
        bytes[5..5 + SALT_BYTES].copy_from_slice(&self.salt);
        bytes[5 + SALT_BYTES..].copy_from_slice(&self.counter.to_le_bytes());
        bytes
    }

    /// The header of a sealed part. `None` if the part is too short or has another version.
    pub(crate) fn of(sealed: &[u8]) -> Option<Self> {
        let (version, rest) = sealed.split_first()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (counter, _) = rest.split_first_chunk()?;
        let (number, counter) = (u32::from_le_bytes(*number), u64::from_le_bytes(*counter));
        (*version == VERSION).then_some(Self { number, salt: *salt, counter })
    }
}

fn derive(secret: &DataKeySecret, salt: &SealSalt) -> LessSafeKey {
    let derived = Salt::new(HKDF_SHA256, salt).extract(secret.bytes());
    let expanded = derived.expand(&[LABEL], &AES_256_GCM);
    let key: UnboundKey = expanded.expect("32 bytes are within what HKDF expands").into();
    LessSafeKey::new(key)
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 8..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn associated(place: Place, before: &[u8]) -> Aad<Vec<u8>> {
    let mut data = Vec::with_capacity(LABEL.len() + 12 + before.len());
    data.extend_from_slice(LABEL);
    data.extend_from_slice(&place.stream.0.to_le_bytes());
    data.extend_from_slice(&place.shard.0.to_le_bytes());
    data.extend_from_slice(before);
    Aad::from(data)
}

#[cfg(test)]
mod tests {
    use anabranch_shard::{BatchBuilder, Producer};
    use proptest::prelude::*;

    use super::*;

    const PLACE: Place = Place { stream: StreamId(7), shard: ShardId(3) };

    fn secret() -> DataKeySecret {
        DataKeySecret::new([9; 32])
    }

    fn batch(data: &[u8]) -> Batch {
        let producer = Producer { id: Bytes::from_static(b"call"), sequence: 4 };
        let mut builder = BatchBuilder::new(Some(producer));
        builder.push(5, b"key", data);
        builder.finish().unwrap()
    }

    fn open(place: Place, stored: &Bytes) -> Option<Bytes> {
        let (head, sealed) = Batch::sealed_part(stored)?;
        let header = Header::of(&sealed)?;
        BatchOpener::new(place, header, &secret()).open(header, &head, &sealed)
    }

    proptest! {
        #[test]
        fn a_sealed_batch_opens_unchanged_and_shows_only_its_producer(
            data in proptest::collection::vec(any::<u8>(), 24..2000)
        ) {
            let (batch, sealer) = (batch(&data), BatchSealer::new(PLACE, 2, &secret(), [1; 16]));
            let stored = sealer.seal(&batch);
            prop_assert_eq!(open(PLACE, &stored), Some(batch.bytes().clone()));
            prop_assert_eq!(Batch::call_of(&stored), Batch::call_of(batch.bytes()));
            prop_assert!(!stored.windows(data.len()).any(|window| window == data));
            prop_assert!(Batch::parse(stored).is_err());
            prop_assert_eq!(sealer.sealed_bytes(), batch.bytes().len() as u64);
        }

        #[test]
        fn a_batch_with_a_changed_byte_does_not_open(place in any::<prop::sample::Index>(), by in 1u8..) {
            let sealer = BatchSealer::new(PLACE, 2, &secret(), [1; 16]);
            let mut stored = sealer.seal(&batch(b"data")).to_vec();
            let place = place.index(stored.len());
            stored[place] ^= by;
            prop_assert_eq!(open(PLACE, &stored.into()), None);
        }

        #[test]
        fn random_bytes_do_not_open(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(open(PLACE, &bytes.into()), None);
        }
    }

    #[test]
    fn a_batch_opens_in_its_own_shard_only() {
        let stored = BatchSealer::new(PLACE, 2, &secret(), [1; 16]).seal(&batch(b"data"));
        assert_eq!(open(Place { shard: ShardId(4), ..PLACE }, &stored), None);
        assert_eq!(open(Place { stream: StreamId(8), ..PLACE }, &stored), None);
        assert!(open(PLACE, &stored).is_some());
    }

    #[test]
    fn equal_batches_are_stored_differently() {
        let sealer = BatchSealer::new(PLACE, 2, &secret(), [1; 16]);
        assert_ne!(sealer.seal(&batch(b"data")), sealer.seal(&batch(b"data")));
    }

    #[test]
    fn golden_bytes_of_the_first_version() {
        let stored = BatchSealer::new(PLACE, 2, &secret(), [1; 16]).seal(&batch(b"data"));
        let hex: String = stored.iter().map(|byte| format!("{byte:02x}")).collect();
        // An independent implementation of HKDF and AES-GCM opens these bytes to the batch.
        let golden = "12080a0463616c6c10041a01052247010200000001010101010101010101010101010101\
                      0000000000000000f90f9ebb82ed5bec82a6feebbb9a95a7b86fbf5e2e90856d59c8a627\
                      408c296b4bf416590301306f8673";
        assert_eq!(hex, golden);
    }
}
