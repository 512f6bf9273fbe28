//! Iterators and paging tokens of services, sealed so that only gateways of the cluster can make them.
//!
//! Shape, before base64: version (1) | salt (15) | counter (8) | AES-256-GCM ciphertext and tag (16).
//! A gateway draws its salt once, when it starts, derives a key from the cluster's key and the salt,
//! and counts its tokens up, so no pair of key and nonce is ever used twice. The key version is
//! the first byte: a new key gets a new version, and old tokens die within five minutes.
//! What is sealed: a tag that says which kind, the time of issue, then the fields of [`Token`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::cipher::BlockCipherEncrypt;
use aes_gcm::aes::{Aes256, Block};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use anabranch_types::{Timestamp, limits};
use base64_simd::STANDARD;
use bytes::{Buf, BufMut};

use crate::settings::TokenKey;

/// Something that can be sealed.
pub trait Token: Sized {
    /// Tells the kinds of all services apart. Never reused: 1 to 6 belong to Kinesis.
    const KIND: u8;
    /// Writes the fields.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads what [`Self::write`] wrote; `None` for anything else.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

/// Why a token was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Not made by this cluster, or not for this use.
    Forged,
    /// Older than five minutes.
    Expired {
        /// When it was made.
        issued: Timestamp,
    },
}

/// Seals and opens tokens. Shared by all calls without a lock.
pub struct Sealer {
    key: TokenKey,
    salt: [u8; SALT_BYTES],
    own: Aes256Gcm,
    counter: AtomicU64,
}

const VERSION: u8 = 1;
const SALT_BYTES: usize = 15;
const COUNTER_BYTES: usize = 8;
const BLOCK_BYTES: usize = 16;
const HEAD_BYTES: usize = 1 + SALT_BYTES + COUNTER_BYTES;
/// Longest base64 text that [`Sealer::open`] looks at.
const MAX_TEXT_BYTES: usize = 1024;

/// How long a token lives.
pub const LIFETIME: Duration = Duration::from_secs(limits::SHARD_ITERATOR_LIFETIME_SECONDS);

impl Sealer {
    /// A sealer of its own salt.
    pub fn new(key: TokenKey) -> Self {
        let salt: [u8; SALT_BYTES] = rand::random();
        Self { key, salt, own: derive(&key, &salt), counter: AtomicU64::new(0) }
    }

    /// The token as base64 text of at most 512 characters.
    pub fn seal<T: Token>(&self, token: &T, now: Timestamp) -> String {
        let mut plain = Vec::with_capacity(192);
        plain.put_u8(T::KIND);
        plain.put_u64(now.as_millis());
        token.write(&mut plain);
        let counter = self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut sealed = Vec::with_capacity(HEAD_BYTES + plain.len() + 16);
        sealed.put_u8(VERSION);
        sealed.put_slice(&self.salt);
        sealed.put_slice(&counter);
        let payload = Payload { msg: &plain, aad: &[VERSION] };
        let encrypted = self.own.encrypt(&nonce(counter), payload);
        sealed.put_slice(&encrypted.expect("a token is far below the cipher's limit of 64 GiB"));
        STANDARD.encode_to_string(&sealed)
    }

    /// Opens what any gateway of the cluster sealed.
    ///
    /// # Errors
    /// [`OpenError`]: not genuine, or too old.
    pub fn open<T: Token>(&self, text: &str, now: Timestamp) -> Result<T, OpenError> {
        let (issued, token) = self.decrypt(text).ok_or(OpenError::Forged)?;
        if now.since(issued) > LIFETIME {
            return Err(OpenError::Expired { issued });
        }
        Ok(token)
    }

    fn decrypt<T: Token>(&self, text: &str) -> Option<(Timestamp, T)> {
        if text.len() > MAX_TEXT_BYTES {
            return None;
        }
        let sealed = STANDARD.decode_to_vec(text).ok()?;
        let (head, encrypted) = sealed.split_at_checked(HEAD_BYTES)?;
        let salt: [u8; SALT_BYTES] = head[1..=SALT_BYTES].try_into().ok()?;
        let counter: [u8; COUNTER_BYTES] = head[1 + SALT_BYTES..].try_into().ok()?;
        if head[0] != VERSION {
            return None;
        }
        let payload = Payload { msg: encrypted, aad: &[VERSION] };
        let plain = if salt == self.salt {
            self.own.decrypt(&nonce(counter), payload)
        } else {
            derive(&self.key, &salt).decrypt(&nonce(counter), payload)
        };
        let plain = plain.ok()?;
        let mut rest = &plain[..];
        let kind = rest.try_get_u8().ok()?;
        let issued = Timestamp::from_millis(rest.try_get_u64().ok()?);
        let token = if kind == T::KIND { T::read(&mut rest)? } else { return None };
        rest.is_empty().then_some((issued, token))
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(..)")
    }
}

/// The key of a salt.
fn derive(key: &TokenKey, salt: &[u8; SALT_BYTES]) -> Aes256Gcm {
    let mut derived = Key::<Aes256Gcm>::default();
    let blocks: [_; 2] = derived_blocks(key, salt);
    for (half, block) in derived.chunks_exact_mut(BLOCK_BYTES).zip(blocks) {
        half.copy_from_slice(&block);
    }
    Aes256Gcm::new(&derived)
}

/// Blocks of AES over the salt and a number, as a pseudorandom function.
pub fn derived_blocks<const BLOCKS: usize>(
    key: &TokenKey,
    salt: &[u8; SALT_BYTES],
) -> [[u8; BLOCK_BYTES]; BLOCKS] {
    let cipher = Aes256::new(key.bytes().into());
    let mut number = 0;
    [(); BLOCKS].map(|()| {
        number += 1;
        let mut block = Block::default();
        block[..SALT_BYTES].copy_from_slice(salt);
        block[SALT_BYTES] = number;
        cipher.encrypt_block(&mut block);
        block.into()
    })
}

fn nonce(counter: [u8; COUNTER_BYTES]) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut nonce = Nonce::default();
    nonce[4..].copy_from_slice(&counter);
    nonce
}
