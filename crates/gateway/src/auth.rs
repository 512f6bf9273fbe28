//! Authentication: verifies the AWS signature (version 4) of a request and finds its user.
//!
//! If the gateway accepts any credentials, the signature must be present and well-formed but is not verified. If
//! authentication is required, the signature is verified with the secret of the access key. The catalog keeps that
//! secret sealed. The secret of temporary credentials is in the session token.
//!
//! Order of events: [`check_head`] checks the key before a large body is read. [`authenticate`] verifies the
//! signature once the body has arrived, because the signature covers the hash of the body.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anabranch_access::signature::{self, Request, Signature, SigningKey};
use anabranch_access::{Secret, SecretSealer};
use anabranch_client::View;
use anabranch_planted::{Bug, planted};
use anabranch_types::{LogLimiter, Timestamp, UserName};
use http::header::HOST;
use http::request::Parts;

use crate::cooperative::cooperatively;
use crate::error::Error;
use crate::identity::{Identities, Identity};
use crate::platform::Platform;
use crate::policy_cache::PolicyCache;
use crate::settings::TokenKey;

/// Largest number of cached signing keys. Each takes a few hundred bytes. A full cache is emptied.
const MAX_KEYS: usize = 4096;

/// How long [`Bug::KeepRevoked`] uses a version of the catalog.
const KEPT_FOR: Duration = Duration::from_secs(20);

/// The caller of a request. `None` if any credentials are accepted.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) Option<KnownCaller>);

/// A caller with a verified signature.
#[derive(Clone, Debug)]
pub(crate) struct KnownCaller {
    pub identity: Arc<Identity>,
    /// When the session of the caller began. `None` without temporary credentials.
    pub token_issued: Option<Timestamp>,
}

/// The client side of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Address of the client.
    pub address: IpAddr,
    /// Whether the connection uses TLS.
    pub is_secure: bool,
}

/// State for verifying signatures and evaluating policies.
#[derive(Debug)]
pub(crate) struct Authenticator {
    sealer: SecretSealer,
    keys: Mutex<HashMap<String, CachedKey>>,
    identities: Identities,
    log_limiter: LogLimiter,
    pub(crate) policies: PolicyCache,
    /// For [`Bug::KeepRevoked`]: a version of the catalog and when it was new.
    kept: Mutex<Option<(Instant, Arc<View>)>>,
}

/// A derived signing key and the sealed secret that it was derived from. Valid while the catalog or the client
/// presents the same sealed secret.
#[derive(Debug)]
struct CachedKey {
    sealed: Vec<u8>,
    key: Arc<SigningKey>,
}

/// The user that a request claims to be from, and the sealed secret that must have signed the request.
struct ClaimedIdentity<'a> {
    user: UserName,
    sealed: &'a [u8],
    /// The opened secret of a session. `None` for the secret of the catalog, which is opened only if no signing key
    /// is cached.
    secret: Option<Secret>,
    /// When the session began. `None` without a session.
    token_issued: Option<Timestamp>,
}

impl Authenticator {
    /// An authenticator that opens what was sealed with the key of the cluster.
    pub(crate) fn new(key: &TokenKey) -> Self {
        Self {
            sealer: SecretSealer::new(key.bytes()),
            keys: Mutex::default(),
            identities: Identities::default(),
            log_limiter: LogLimiter::default(),
            policies: PolicyCache::default(),
            kept: Mutex::default(),
        }
    }

    /// The version of the catalog of this node.
    fn view(&self, platform: &Platform) -> Arc<View> {
        let newest = platform.cluster.view();
        if !planted(Bug::KeepRevoked) {
            return newest;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = kept.take().filter(|(since, _)| since.elapsed() < KEPT_FOR);
        Arc::clone(&kept.insert(fresh.unwrap_or_else(|| (Instant::now(), newest))).1)
    }

    /// The user of that name with its policies. `None` if the user does not exist in this version of the catalog.
    pub(crate) fn identity(&self, view: &View, user: &UserName) -> Option<Arc<Identity>> {
        self.identities.of(view.catalog(), user)
    }

    /// Verifies the signature with this version of the catalog.
    fn verify<'a, H>(
        &self,
        view: &View,
        request: &Request<'a, H>,
        signature: &Signature<'a>,
        now: Timestamp,
    ) -> Result<KnownCaller, Error>
    where
        H: Iterator<Item = (&'a str, &'a [u8])> + Clone,
    {
        let claim = self.claim(view, signature, now)?;
        let identity = self.identity(view, &claim.user).ok_or(Error::UnknownKey)?;
        let known = KnownCaller { identity, token_issued: claim.token_issued };
        if let Some(key) = self.cached_key(signature, claim.sealed) {
            cooperatively(request.body.len(), || signature.verify(request, &key))?;
            return Ok(known);
        }
        let opened = || self.sealer.open(signature.key_id(), claim.sealed);
        let Some(secret) = claim.secret.or_else(opened) else {
            if self.log_limiter.is_due(Instant::now()) {
                tracing::error!("secret of an access key does not open: has token-key changed?");
            }
            return Err(Error::Internal);
        };
        let key = signature.signing_key(secret.as_bytes());
        cooperatively(request.body.len(), || signature.verify(request, &key))?;
        self.cache_key(signature, claim.sealed, key);
        Ok(known)
    }

    fn claim<'a>(
        &self,
        view: &'a View,
        signature: &'a Signature<'_>,
        now: Timestamp,
    ) -> Result<ClaimedIdentity<'a>, Error> {
        let Some(token) = signature.token() else {
            let known = view.catalog().access_key(signature.key_id());
            let (user, _, key) =
                known.filter(|(_, _, key)| key.enabled).ok_or(Error::UnknownKey)?;
            let sealed = &key.sealed_secret;
            return Ok(ClaimedIdentity {
                user: user.clone(),
                sealed,
                secret: None,
                token_issued: None,
            });
        };
        let session = self.sealer.open_session(token).ok_or(Error::UnknownKey)?;
        if session.key_id != signature.key_id() {
            return Err(Error::UnknownKey);
        }
        if session.expires <= now {
            return Err(Error::ExpiredToken);
        }
        // A user of the same name who was created after the session is another user.
        let known = view.catalog().users.get(&session.user);
        known.filter(|user| user.created == session.user_created).ok_or(Error::UnknownKey)?;
        let (user, secret) = (session.user, Some(session.secret));
        Ok(ClaimedIdentity {
            user,
            sealed: token.as_bytes(),
            secret,
            token_issued: Some(session.issued),
        })
    }

    fn cached_key(&self, signature: &Signature<'_>, sealed: &[u8]) -> Option<Arc<SigningKey>> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let known = keys.get(signature.credential()).filter(|known| known.sealed == sealed)?;
        Some(Arc::clone(&known.key))
    }

    /// Caches a signing key. Called only after a valid signature, so callers without a secret cannot empty the cache.
    fn cache_key(&self, signature: &Signature<'_>, sealed: &[u8], key: SigningKey) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MAX_KEYS {
            keys.clear();
        }
        let known = CachedKey { sealed: sealed.to_vec(), key: Arc::new(key) };
        keys.insert(signature.credential().to_owned(), known);
    }
}

/// Verifies the signature and finds the caller.
///
/// The key may have been created a moment ago through another gateway. So a key that this node does not know is
/// looked up in the newest version of the catalog. If that version cannot be had, the key counts as unknown.
///
/// # Errors
/// The errors of [`signature::Error`]; [`Error::UnknownKey`]; [`Error::ExpiredToken`].
pub(crate) async fn authenticate(
    platform: &Platform,
    authenticator: Option<&Authenticator>,
    parts: &Parts,
    signing: SigningNames<'_>,
    body: &[u8],
) -> Result<Caller, Error> {
    let headers = sent_headers(parts);
    let request = request(parts, &headers, body);
    let Some(authenticator) = authenticator else {
        return signature::require(&request).map(|()| Caller(None)).map_err(Error::from);
    };
    let now = platform.clock.now();
    let signature = Signature::parse(&request)?;
    signature.check(signing.expected(&signature), now)?;
    let known = newest_if_unknown(platform, authenticator, |view| {
        authenticator.verify(view, &request, &signature, now)
    });
    known.await.map(Some).map(Caller)
}

/// Checks that the head names a known key for this service and this time. The signature itself cannot be verified
/// before the body is here, because it covers the hash of the body.
///
/// # Errors
/// The errors of [`authenticate`].
pub(crate) async fn check_head(
    platform: &Platform,
    authenticator: Option<&Authenticator>,
    parts: &Parts,
    signing: SigningNames<'_>,
) -> Result<(), Error> {
    let headers = sent_headers(parts);
    let request = request(parts, &headers, &[]);
    let Some(authenticator) = authenticator else {
        return signature::require(&request).map_err(Error::from);
    };
    let now = platform.clock.now();
    let signature = Signature::parse(&request)?;
    signature.check(signing.expected(&signature), now)?;
    newest_if_unknown(platform, authenticator, |view| {
        authenticator.claim(view, &signature, now).map(drop)
    })
    .await
}

/// Checks that a signature names `service`, without verifying it. For a request whose service was found in its body,
/// after [`authenticate`].
///
/// # Errors
/// Those of [`signature::Error`].
pub(crate) fn check_service(
    platform: &Platform,
    authenticator: Option<&Authenticator>,
    parts: &Parts,
    service: &str,
) -> Result<(), Error> {
    if authenticator.is_none() {
        return Ok(());
    }
    let headers = sent_headers(parts);
    let signature = Signature::parse(&request(parts, &headers, &[]))?;
    signature.check(service, platform.clock.now()).map_err(Error::from)
}

/// Service names that the scope of a signature may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SigningNames<'a> {
    /// Name of the called service; `None` for an unknown service, and for a form, whose body is not read yet.
    pub called: Option<&'a str>,
    /// Names of all hosted services. A request for an unknown service may use any of them.
    pub hosted: &'a [&'static str],
}

impl<'a> SigningNames<'a> {
    /// The name that the scope of `signature` must have.
    fn expected(self, signature: &Signature<'_>) -> &'a str {
        let used = || self.hosted.iter().find(|name| **name == signature.service());
        let any = || used().or(self.hosted.first()).copied();
        self.called.or_else(any).unwrap_or_default()
    }
}

/// Calls `attempt` with the catalog version of this node. If that version does not know the key, calls it again with
/// the newest version.
async fn newest_if_unknown<T>(
    platform: &Platform,
    authenticator: &Authenticator,
    attempt: impl Fn(&View) -> Result<T, Error>,
) -> Result<T, Error> {
    let view = authenticator.view(platform);
    match attempt(&view) {
        Err(Error::UnknownKey) => {}
        known => return known,
    }
    let newest = platform.newest.view(&platform.cluster).await.ok_or(Error::UnknownKey)?;
    attempt(&newest)
}

fn request<'a>(
    parts: &'a Parts,
    headers: &'a [(&'a str, &'a [u8])],
    body: &'a [u8],
) -> Request<'a, impl Iterator<Item = (&'a str, &'a [u8])> + Clone> {
    Request {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: headers.iter().copied(),
        body,
    }
}

/// Names and values of the headers as they were sent.
fn sent_headers(parts: &Parts) -> Vec<(&str, &[u8])> {
    let headers = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    // HTTP/2 sends the host as a pseudo header. Signatures name it `host`.
    let authority = parts.uri.authority().filter(|_| !parts.headers.contains_key(HOST));
    headers.chain(authority.map(|authority| ("host", authority.as_str().as_bytes()))).collect()
}
