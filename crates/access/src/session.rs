//! Temporary credentials. No node stores them: the session token contains all that a node has to know, encrypted.
//!
//! Shape of the plain token: expiry (8) | creation time of the user (8) | user | key id | secret | start of the
//! session (8). Times are milliseconds since 1970, big endian. User, key id and secret each follow their length (2,
//! big endian). The token is base64 of that text, sealed as `secret.rs` describes.
//!
//! Tokens of earlier versions end after the secret. They count as issued in 1970. So a policy that denies sessions
//! from before some time (`aws:TokenIssueTime`) denies them too.

use anabranch_types::{Timestamp, UserName};
use base64_simd::STANDARD;
use zeroize::Zeroizing;

use crate::secret::{Secret, SecretSealer, moment};

/// Temporary credentials of a user. The user's policies apply to them. They become invalid when they expire or when
/// the user is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Name of the user.
    pub user: UserName,
    /// When the user was created. A session of a deleted user stays invalid when a new user gets the same name.
    pub user_created: Timestamp,
    /// Access key id: `ASIA` and 16 of `[A-Z2-7]`.
    pub key_id: String,
    /// Secret access key, with which the client signs.
    pub secret: Secret,
    /// When the session was issued.
    pub issued: Timestamp,
    /// When the session expires. The caller of `open_session` compares it with a clock.
    pub expires: Timestamp,
}

/// Longest token that is decoded. The token of a user with the longest name has less than half of it.
const MAX_TOKEN_BYTES: usize = 1024;

impl SecretSealer {
    /// The session token (`X-Amz-Security-Token`) of a session. The caller draws a random `nonce` for each call.
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

    /// Decodes what [`Self::seal_session`] wrote under the same cluster key, also if it has expired. `None` for
    /// anything else.
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
    fn a_changed_token_and_a_token_of_another_cluster_do_not_open() {
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

    /// A token of version 1, made by another implementation.
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
        fn a_sealed_session_opens_to_the_same_session(
            user in "[A-Za-z0-9+=,.@_-]{1,64}", secret in "[A-Za-z0-9/+]{0,80}", expires: u64, nonce: [u8; 12],
        ) {
            let sealer = SecretSealer::new(&[7; 32]);
            let session = session(&user, &secret, expires);
            prop_assert_eq!(sealer.open_session(&sealer.seal_session(&session, nonce)), Some(session));
        }

        #[test]
        fn random_text_is_not_a_token(text in ".{0,200}") {
            prop_assert_eq!(SecretSealer::new(&[7; 32]).open_session(&text), None);
        }
    }
}
