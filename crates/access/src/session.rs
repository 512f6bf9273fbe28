//! Temporary credentials that no node remembers: the token holds all that is to be known of them.
//!
//! Shape of what a token seals: expiry and creation of the user (8 each, milliseconds, big endian), then user, key id and secret, each behind its
//! length (2, big endian), then the beginning of the session (8, milliseconds, big endian). The token is base64 of that, sealed as
//! `secret.rs` says. Tokens of earlier versions end after the secret: they count as begun in 1970, so whoever denies sessions that
//! began before some moment denies them too.

use anabranch_types::{Timestamp, UserName};
use base64_simd::STANDARD;
use zeroize::Zeroizing;

use crate::secret::{Secret, SecretSealer, moment};

/// Credentials of a user that end by themselves. The user's policies hold for them, and they end with the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose they are.
    pub user: UserName,
    /// Which user of that name: when it was created. A session ends with its user, also if the name is given again.
    pub user_created: Timestamp,
    /// The access key id: `ASIA` and 16 of `[A-Z2-7]`.
    pub key_id: String,
    /// The secret access key.
    pub secret: Secret,
    /// When they were made.
    pub issued: Timestamp,
    /// From then on they are no longer good. Whoever opens a token compares it with a clock.
    pub expires: Timestamp,
}

/// Longest token that is looked at; one of the longest user has less than half of it.
const MAX_TOKEN_BYTES: usize = 1024;

impl SecretSealer {
    /// The session token (`X-Amz-Security-Token`) of a session. A `nonce` is drawn at random for each call.
    pub fn seal_session(&self, session: &Session, nonce: [u8; 12]) -> String {
        let mut plain = Zeroizing::new(Vec::new());
        for moment in [session.expires, session.user_created] {
            plain.extend_from_slice(&moment.as_millis().to_be_bytes());
        }
        let [user, key_id] = [session.user.as_str(), &session.key_id].map(str::as_bytes);
        for field in [user, key_id, session.secret.as_bytes()] {
            let length = u16::try_from(field.len()).expect("names, key ids and secrets are short");
            plain.extend_from_slice(&length.to_be_bytes());
            plain.extend_from_slice(field);
        }
        plain.extend_from_slice(&session.issued.as_millis().to_be_bytes());
        STANDARD.encode_to_string(self.seal_token(&plain, nonce))
    }

    /// Reads what [`Self::seal_session`] wrote under the same cluster key, expired or not; `None` for anything else.
    pub fn open_session(&self, token: &str) -> Option<Session> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let plain = self.open_token(&STANDARD.decode_to_vec(token).ok()?)?;
        let (expires, rest) = plain.split_first_chunk()?;
        let (user_created, mut rest) = rest.split_first_chunk()?;
        let [expires, user_created] = [expires, user_created].map(|millis| moment(*millis));
        let user = std::str::from_utf8(field(&mut rest)?).ok()?.parse().ok()?;
        let key_id = std::str::from_utf8(field(&mut rest)?).ok()?.to_owned();
        let secret = Secret::new(field(&mut rest)?);
        let issued = match rest.split_first_chunk() {
            Some((issued, [])) => moment(*issued),
            None if rest.is_empty() => Timestamp::default(),
            Some(_) | None => return None,
        };
        Some(Session { user, user_created, key_id, secret, issued, expires })
    }
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let (field, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *rest = after;
    Some(field)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn session(user: &str, secret: &str, expires: u64) -> Session {
        Session {
            user: user.parse().unwrap(),
            user_created: Timestamp::from_millis(3),
            key_id: "ASIAAAAABBBBCCCCDDDD".into(),
            secret: Secret::new(secret),
            issued: Timestamp::from_millis(4),
            expires: Timestamp::from_millis(expires),
        }
    }

    #[test]
    fn a_token_of_another_cluster_or_a_changed_one_does_not_open() {
        let sealer = SecretSealer::new(&[7; 32]);
        let token = sealer.seal_session(&session("a", "s", 1), [1; 12]);
        assert_eq!(SecretSealer::new(&[8; 32]).open_session(&token), None);
        for place in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(sealer.open_session(&changed), None, "character {place}");
        }
        assert_eq!(sealer.open_session(""), None);
        assert_eq!(sealer.open_session(&"A".repeat(2000)), None);
    }

    /// A token of the first version, made by other code.
    #[test]
    fn tokens_of_version_one_stay_readable() {
        let golden = concat!(
            "AQEBAQEBAQEBAQEBAZ+aUFvLA2S1bNPjpL64EsXNBR0PeyjYXuTbxSigTMP3UXLJRVFzNg",
            "yA0bT60kHoaelIgRXE04Bdq2HbdOaP76R8jbg=",
        );
        let session = Session { issued: Timestamp::default(), ..session("ann", "secret", 5) };
        assert_eq!(SecretSealer::new(&[7; 32]).open_session(golden), Some(session));
    }

    #[test]
    fn the_longest_user_has_a_token_that_opens() {
        let sealer = SecretSealer::new(&[7; 32]);
        let session = session(&"x".repeat(64), &"s".repeat(40), u64::MAX);
        let token = sealer.seal_session(&session, [1; 12]);
        assert!(token.len() < MAX_TOKEN_BYTES / 2, "{}", token.len());
        assert_eq!(sealer.open_session(&token), Some(session));
    }

    proptest! {
        #[test]
        fn sessions_read_what_they_wrote(
            user in "[A-Za-z0-9+=,.@_-]{1,64}", secret in "[A-Za-z0-9/+]{0,80}", expires: u64, nonce: [u8; 12],
        ) {
            let sealer = SecretSealer::new(&[7; 32]);
            let session = session(&user, &secret, expires);
            prop_assert_eq!(sealer.open_session(&sealer.seal_session(&session, nonce)), Some(session));
        }

        #[test]
        fn garbage_is_no_token(text in ".{0,200}") {
            prop_assert_eq!(SecretSealer::new(&[7; 32]).open_session(&text), None);
        }
    }
}
