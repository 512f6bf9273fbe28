//! Seals and opens iterators and paging tokens. Only gateways of the cluster can make one.
//!
//! A sealed token, before base64:
//!
//! ```text
//!   version (1) | salt (15) | counter (8) | AES-256-GCM ciphertext | tag (16)
//! ```
//!
//! The plain text is: kind (1), time of issue (8), fields of the [`Token`]. A gateway draws a random salt when it
//! starts. It derives its own key from the key of the cluster and the salt, and counts its tokens up. The counter is
//! the nonce, so no pair of key and nonce is used twice. The version belongs to the key of the cluster: a new key
//! needs a new version. Old tokens expire within five minutes anyway.

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

/// A kind of token.
pub trait Token: Sized {
    /// Number of the kind, unique among all services and never reused. Numbers 1 to 6 belong to Kinesis.
    const KIND: u8;
    /// Appends the fields.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads the fields that [`Self::write`] wrote. `None` for other bytes.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

/// The reason why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The token was not made by this cluster, or it is of another kind.
    Forged,
    /// The token is older than five minutes.
    Expired {
        /// When the token was made.
        issued: Timestamp,
    },
}

/// Seals and opens tokens. All calls share it without a lock.
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
/// [`Sealer::open`] refuses longer base64 texts unread.
const MAX_TEXT_BYTES: usize = 1024;

/// How long a token is valid.
pub const LIFETIME: Duration = Duration::from_secs(limits::SHARD_ITERATOR_LIFETIME_SECONDS);

impl Sealer {
    /// A sealer with a new random salt.
    pub fn new(key: TokenKey) -> Self {
        let salt: [u8; SALT_BYTES] = rand::random();
        Self { key, salt, own: derive(&key, &salt), counter: AtomicU64::new(0) }
    }

    /// Seals a token. Returns base64 text of at most 512 characters.
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

    /// Opens a token that any gateway of the cluster sealed.
    ///
    /// # Errors
    /// [`OpenError`] if the token is forged or too old.
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

/// Derives the key that belongs to a salt.
fn derive(key: &TokenKey, salt: &[u8; SALT_BYTES]) -> Aes256Gcm {
    let mut derived = Key::<Aes256Gcm>::default();
    let blocks: [_; 2] = derived_blocks(key, salt);
    for (half, block) in derived.chunks_exact_mut(BLOCK_BYTES).zip(blocks) {
        half.copy_from_slice(&block);
    }
    Aes256Gcm::new(&derived)
}

/// A pseudorandom function: AES over the salt and a block number.
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
