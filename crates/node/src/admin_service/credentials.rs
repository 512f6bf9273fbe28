//! New access keys and sessions. Both are drawn at random, and the secret is in one response only. The catalog keeps
//! an access key's secret sealed. It keeps nothing of a session: the session token has all of it, sealed.

use anabranch_access::{Secret, SecretSealer, Session};
use anabranch_proto::admin as pb;
use anabranch_types::{Timestamp, UserName};
use base64_simd::STANDARD;
use tonic::Status;

/// A new access key: the response for its user, and the sealed secret for the catalog. Has no `Debug`, so that no log
/// shows either.
pub(super) struct NewAccessKey {
    pub(super) answer: pb::CreateAccessKeyResponse,
    pub(super) sealed_secret: Vec<u8>,
}

pub(super) fn access_key(sealer: &SecretSealer) -> Result<NewAccessKey, Status> {
    let (access_key_id, secret_access_key) = (key_id("AKIA")?, secret()?);
    let sealed_secret = sealer.seal(&access_key_id, &secret_access_key, random()?);
    let answer = pb::CreateAccessKeyResponse { access_key_id, secret_access_key };
    Ok(NewAccessKey { answer, sealed_secret })
}

/// Credentials of the user `user`, created at `user_created`. They are made at `issued` and valid until `expires`.
pub(super) fn session(
    sealer: &SecretSealer,
    user: UserName,
    user_created: Timestamp,
    issued: Timestamp,
    expires: Timestamp,
) -> Result<pb::CreateSessionResponse, Status> {
    let (key_id, secret_access_key) = (key_id("ASIA")?, secret()?);
    let secret = Secret::new(secret_access_key.as_bytes());
    let session = Session { user, user_created, key_id, secret, issued, expires };
    Ok(pb::CreateSessionResponse {
        session_token: sealer.seal_session(&session, random()?),
        access_key_id: session.key_id,
        secret_access_key,
        expires_millis: expires.as_millis(),
    })
}

/// `prefix` and 16 characters of `[A-Z2-7]`: 80 random bits.
fn key_id(prefix: &str) -> Result<String, Status> {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte % 32)]);
    Ok(prefix.chars().chain(random::<16>()?.map(letter)).collect())
}

/// 40 characters of base64, 240 random bits.
fn secret() -> Result<String, Status> {
    Ok(STANDARD.encode_to_string(random::<30>()?))
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], Status> {
    let mut bytes = [0; BYTES];
    let filled = aws_lc_rs::rand::fill(&mut bytes);
    filled.map_err(|_| Status::unavailable("the system gives no random numbers"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_key_id(id: &str, prefix: &str) -> bool {
        let letters = id.strip_prefix(prefix).unwrap_or_default();
        let allowed = |letter: char| letter.is_ascii_uppercase() || ('2'..='7').contains(&letter);
        letters.len() == 16 && letters.chars().all(allowed)
    }

    #[test]
    fn a_new_key_has_the_shape_of_the_services_and_its_secret_is_kept_sealed() {
        let sealer = SecretSealer::new(&[7; 32]);
        let [one, other] = [(); 2].map(|()| access_key(&sealer).unwrap());
        let (id, secret) = (&one.answer.access_key_id, &one.answer.secret_access_key);
        assert!(is_key_id(id, "AKIA"), "{id}");
        assert_eq!(secret.len(), 40);
        assert_ne!(*id, other.answer.access_key_id);
        assert_ne!(*secret, other.answer.secret_access_key);
        assert_ne!(
            one.sealed_secret[..13],
            other.sealed_secret[..13],
            "a nonce is never used twice"
        );
        let opened = sealer.open(id, &one.sealed_secret).unwrap();
        assert_eq!(opened.as_bytes(), secret.as_bytes());
    }

    #[test]
    fn a_token_holds_the_session() {
        let sealer = SecretSealer::new(&[7; 32]);
        let user: UserName = "ann".parse().unwrap();
        let [user_created, issued, expires] = [3, 5, 9].map(Timestamp::from_millis);
        let answer = session(&sealer, user.clone(), user_created, issued, expires).unwrap();
        assert!(is_key_id(&answer.access_key_id, "ASIA"), "{}", answer.access_key_id);
        let opened = sealer.open_session(&answer.session_token).unwrap();
        let secret = Secret::new(answer.secret_access_key.as_bytes());
        let key_id = answer.access_key_id;
        assert_eq!(opened, Session { user, user_created, key_id, secret, issued, expires });
        assert_eq!(answer.expires_millis, 9);
    }
}
