//! Secret access keys and session tokens, encrypted so that only nodes of the cluster can read them.
//!
//! Shape of the sealed bytes: version (1) | nonce (12) | AES-256-GCM ciphertext and tag (16). For a secret access
//! key, the access key id is the associated data. So the sealed secret of one access key does not open under the id
//! of another one.
//!
//! Secrets and tokens have keys of their own, both derived from the cluster key with HKDF-SHA-256. So a sealed secret
//! is never a valid session token, and the other way round.

use std::fmt;

use anabranch_types::Timestamp;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{constant_time, hkdf};
use zeroize::Zeroizing;

/// The 256-bit secret that all nodes of a cluster share (`token-key` in the configuration). `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClusterKey([u8; 32]);

impl ClusterKey {
    /// Makes a key of `bytes`, which must come from a good random source.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bytes. Never log them.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

/// The secret of an access key. `Debug` does not show it, and the memory is wiped when the value is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the secret over.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The secret in plain.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    /// Takes the same time wherever the first difference is, so the time tells an attacker nothing.
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Secret {}

/// Encrypts and decrypts secret access keys and session tokens, with one derived key for each of the two.
pub struct SecretSealer {
    secrets: LessSafeKey,
    sessions: LessSafeKey,
}

/// First byte of all sealed bytes. Another derived key or another shape gets another version.
pub(crate) const VERSION: u8 = 1;

impl SecretSealer {
    /// Derives the two keys from `cluster_key`, which is `token-key` in the configuration.
    pub fn new(cluster_key: &[u8; 32]) -> Self {
        let secrets = derived(cluster_key, b"anabranch secret access keys 1");
        let sessions = derived(cluster_key, b"anabranch session tokens 1");
        Self { secrets, sessions }
    }

    /// Seals the secret of the access key `key_id`. The caller draws a random `nonce` for each call: a nonce that is
    /// used twice breaks AES-GCM.
    pub fn seal(&self, key_id: &str, secret: &str, nonce: [u8; NONCE_LEN]) -> Vec<u8> {
        seal(&self.secrets, key_id.as_bytes(), secret.as_bytes(), nonce)
    }

    /// Opens what [`Self::seal`] wrote for the same key id and under the same cluster key. `None` for anything else.
    pub fn open(&self, key_id: &str, sealed: &[u8]) -> Option<Secret> {
        open(&self.secrets, key_id.as_bytes(), sealed).map(Secret)
    }

    pub(crate) fn seal_token(&self, plain: &[u8], nonce: [u8; NONCE_LEN]) -> Vec<u8> {
        seal(&self.sessions, &[], plain, nonce)
    }

    pub(crate) fn open_token(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        open(&self.sessions, &[], sealed)
    }
}

impl fmt::Debug for SecretSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretSealer(..)")
    }
}

fn derived(cluster_key: &[u8; 32], label: &[u8]) -> LessSafeKey {
    let mut key = Zeroizing::new([0; 32]);
    let pseudo_random = hkdf::Salt::new(hkdf::HKDF_SHA256, b"anabranch").extract(cluster_key);
    let info = [label];
    let expanded = pseudo_random.expand(&info, hkdf::HKDF_SHA256);
    let expanded = expanded.expect("one hash is not too long for HKDF");
    expanded.fill(&mut *key).expect("the buffer has the length of one hash");
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).expect("an AES-256 key has 32 bytes"))
}

fn seal(key: &LessSafeKey, bound: &[u8], plain: &[u8], nonce: [u8; NONCE_LEN]) -> Vec<u8> {
    let mut sealed = vec![VERSION];
    sealed.extend_from_slice(&nonce);
    let mut text = plain.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    let done = key.seal_in_place_append_tag(nonce, Aad::from(bound), &mut text);
    done.expect("a few hundred bytes are not too long for AES-GCM");
    sealed.extend_from_slice(&text);
    sealed
}

fn open(key: &LessSafeKey, bound: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (&version, rest) = sealed.split_first()?;
    let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>()?;
    if version != VERSION {
        return None;
    }
    let mut text = Zeroizing::new(text.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key.open_in_place(nonce, Aad::from(bound), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

/// Decodes a time in a sealed token: milliseconds since 1970, big endian.
pub(crate) fn moment(bytes: [u8; 8]) -> Timestamp {
    Timestamp::from_millis(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    #[test]
    fn a_secret_opens_only_with_its_key_id_and_cluster_key() {
        let sealer = SecretSealer::new(&[7; 32]);
        let sealed = sealer.seal("AKIAEXAMPLE", SECRET, [1; 12]);
        let opened = sealer.open("AKIAEXAMPLE", &sealed).unwrap();
        assert_eq!(opened.as_bytes(), SECRET.as_bytes());
        assert_eq!(sealer.open("AKIAOTHER", &sealed), None);
        assert_eq!(SecretSealer::new(&[8; 32]).open("AKIAEXAMPLE", &sealed), None);
        assert_eq!(SecretSealer::new(&[7; 32]).open("AKIAEXAMPLE", &sealed), Some(opened));
    }

    #[test]
    fn damaged_secrets_do_not_open() {
        let sealer = SecretSealer::new(&[7; 32]);
        let sealed = sealer.seal("AKIAEXAMPLE", SECRET, [1; 12]);
        for place in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[place] ^= 1;
            assert_eq!(sealer.open("AKIAEXAMPLE", &damaged), None, "byte {place}");
            assert_eq!(sealer.open("AKIAEXAMPLE", &sealed[..place]), None, "first {place}");
        }
    }

    #[test]
    fn sealed_bytes_and_debug_output_contain_no_secret() {
        let sealer = SecretSealer::new(&[7; 32]);
        let sealed = sealer.seal("AKIAEXAMPLE", SECRET, [1; 12]);
        assert!(!sealed.windows(8).any(|window| SECRET.as_bytes().starts_with(window)));
        assert_eq!(format!("{:?} {sealer:?}", Secret::new(SECRET)), "Secret(..) SecretSealer(..)");
    }

    #[test]
    fn a_sealed_secret_is_not_a_session_token_and_vice_versa() {
        let sealer = SecretSealer::new(&[7; 32]);
        assert_eq!(sealer.open("", &sealer.seal_token(b"x", [1; 12])), None);
        assert!(sealer.open_token(&sealer.seal("", "x", [1; 12])).is_none());
    }

    /// Bytes that version 1 wrote. The catalog stores sealed secrets, so every later version has to open them.
    #[test]
    fn secrets_of_version_one_stay_readable() {
        let sealer = SecretSealer::new(&[7; 32]);
        let golden = "010101010101010101010101017eb32517416f2d3d8ae6a4c2485f6b38b604aa8c4e2d";
        let sealed: Vec<u8> = (0..golden.len() / 2)
            .map(|at| u8::from_str_radix(&golden[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        assert_eq!(sealer.seal("AKIAEXAMPLE", "secret", [1; 12]), sealed);
    }
}
