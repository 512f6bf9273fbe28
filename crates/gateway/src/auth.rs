//! Who calls: the signature of a request, version 4.
//!
//! Where any credentials are accepted it is only taken apart. Where authentication is required it is verified with the
//! secret that the catalog keeps, sealed, or that the session token carries.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anabranch_access::signature::{self, Request, Signature, SigningKey};
use anabranch_access::{Secret, SecretSealer};
use anabranch_client::View;
use anabranch_types::{Complaints, Timestamp, UserName};
use http::header::HOST;
use http::request::Parts;

use crate::cooperative::cooperatively;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::identity::{Identities, Identity};
use crate::platform::Platform;
use crate::policy_cache::PolicyCache;
use crate::settings::TokenKey;

/// Keys that are kept; each has a few hundred bytes.
const MAX_KEYS: usize = 4096;

/// Who calls; nobody in particular where any credentials are accepted.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) Option<Known>);

/// A caller that is known.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub identity: Arc<Identity>,
    /// When its session began, if it calls with temporary credentials.
    pub token_issued: Option<Timestamp>,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The other end of the connection.
    pub address: IpAddr,
    /// Whether the connection is encrypted.
    pub is_secure: bool,
}

/// What it takes to know callers.
#[derive(Debug)]
pub(crate) struct Authenticator {
    sealer: SecretSealer,
    keys: Mutex<HashMap<String, KnownKey>>,
    identities: Identities,
    complaints: Complaints,
    pub(crate) policies: PolicyCache,
}

/// A derived key, and what it was derived of: good for as long as the catalog or the client says the same.
#[derive(Debug)]
struct KnownKey {
    sealed: Vec<u8>,
    key: Arc<SigningKey>,
}

/// Whose request it may be, and the sealed secret that it must be signed with.
struct Claim<'a> {
    user: UserName,
    sealed: &'a [u8],
    /// That of a session, which has been opened already.
    secret: Option<Secret>,
    /// When the session began.
    token_issued: Option<Timestamp>,
}

impl Authenticator {
    /// Reads what is sealed with the cluster's key.
    pub(crate) fn new(key: &TokenKey) -> Self {
        Self {
            sealer: SecretSealer::new(key.bytes()),
            keys: Mutex::default(),
            identities: Identities::default(),
            complaints: Complaints::default(),
            policies: PolicyCache::default(),
        }
    }

    /// The user of that name, if it is still there, with what it may do.
    pub(crate) fn identity(&self, view: &View, user: &UserName) -> Option<Arc<Identity>> {
        self.identities.of(view.catalog(), user)
    }

    /// Who signed the request, by this version of the catalog.
    fn verify<'a, H>(
        &self,
        view: &View,
        request: &Request<'a, H>,
        signature: &Signature<'a>,
        now: Timestamp,
    ) -> Result<Known, Error>
    where
        H: Iterator<Item = (&'a str, &'a [u8])> + Clone,
    {
        let claim = self.claim(view, signature, now)?;
        let identity = self.identity(view, &claim.user).ok_or(Error::UnknownKey)?;
        let known = Known { identity, token_issued: claim.token_issued };
        if let Some(key) = self.known_key(signature, claim.sealed) {
            cooperatively(request.body.len(), || signature.verify(request, &key))?;
            return Ok(known);
        }
        let opened = || self.sealer.open(signature.key_id(), claim.sealed);
        let Some(secret) = claim.secret.or_else(opened) else {
            if self.complaints.is_due(Instant::now()) {
                tracing::error!("secret of an access key does not open: has token-key changed?");
            }
            return Err(Error::Internal);
        };
        let key = signature.signing_key(secret.as_bytes());
        cooperatively(request.body.len(), || signature.verify(request, &key))?;
        self.keep_key(signature, claim.sealed, key);
        Ok(known)
    }

    fn claim<'a>(
        &self,
        view: &'a View,
        signature: &'a Signature<'_>,
        now: Timestamp,
    ) -> Result<Claim<'a>, Error> {
        let Some(token) = signature.token() else {
            let known = view.catalog().access_key(signature.key_id());
            let (user, _, key) =
                known.filter(|(_, _, key)| key.enabled).ok_or(Error::UnknownKey)?;
            let sealed = &key.sealed_secret;
            return Ok(Claim { user: user.clone(), sealed, secret: None, token_issued: None });
        };
        let session = self.sealer.open_session(token).ok_or(Error::UnknownKey)?;
        if session.key_id != signature.key_id() {
            return Err(Error::UnknownKey);
        }
        if session.expires <= now {
            return Err(Error::ExpiredToken);
        }
        // A user of the same name who was created later is somebody else.
        let known = view.catalog().users.get(&session.user);
        known.filter(|user| user.created == session.user_created).ok_or(Error::UnknownKey)?;
        let (user, secret) = (session.user, Some(session.secret));
        Ok(Claim { user, sealed: token.as_bytes(), secret, token_issued: Some(session.issued) })
    }

    fn known_key(&self, signature: &Signature<'_>, sealed: &[u8]) -> Option<Arc<SigningKey>> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let known = keys.get(signature.credential()).filter(|known| known.sealed == sealed)?;
        Some(Arc::clone(&known.key))
    }

    /// Only of those who had the secret: others can't push them out.
    fn keep_key(&self, signature: &Signature<'_>, sealed: &[u8], key: SigningKey) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MAX_KEYS {
            keys.clear();
        }
        let known = KnownKey { sealed: sealed.to_vec(), key: Arc::new(key) };
        keys.insert(signature.credential().to_owned(), known);
    }
}

/// Who calls.
///
/// A key that isn't known may have been made a moment ago: then the newest version of the catalog is asked. If that can't
/// be had, it isn't known.
///
/// # Errors
/// Those of [`signature::Error`], [`Error::UnknownKey`], [`Error::ExpiredToken`].
pub(crate) async fn authenticate(
    gateway: &Gateway,
    parts: &Parts,
    signing: Option<&str>,
    body: &[u8],
) -> Result<Caller, Error> {
    let headers = sent_headers(parts);
    let request = request(parts, &headers, body);
    let Some(authenticator) = &gateway.authenticator else {
        return signature::require(&request).map(|()| Caller(None)).map_err(Error::from);
    };
    let now = gateway.platform.clock.now();
    let signature = Signature::parse(&request)?;
    signature.check(gateway.signing_name(signing, &signature), now)?;
    let known = newest_if_unknown(&gateway.platform, |view| {
        authenticator.verify(view, &request, &signature, now)
    });
    known.await.map(Some).map(Caller)
}

/// Whether the head names a key that is known, for this service and this time: nothing more can be told before the body
/// is there, for its hash is signed.
///
/// # Errors
/// Those of [`authenticate`].
pub(crate) async fn check_head(
    gateway: &Gateway,
    parts: &Parts,
    signing: Option<&str>,
) -> Result<(), Error> {
    let headers = sent_headers(parts);
    let request = request(parts, &headers, &[]);
    let Some(authenticator) = &gateway.authenticator else {
        return signature::require(&request).map_err(Error::from);
    };
    let now = gateway.platform.clock.now();
    let signature = Signature::parse(&request)?;
    signature.check(gateway.signing_name(signing, &signature), now)?;
    newest_if_unknown(&gateway.platform, |view| {
        authenticator.claim(view, &signature, now).map(drop)
    })
    .await
}

impl Gateway {
    /// The service name that a signature must have in its scope: that of the called service. A request for an unknown
    /// service may name any hosted one.
    fn signing_name<'a>(&'a self, called: Option<&'a str>, signature: &Signature<'_>) -> &'a str {
        let mut hosted = self.services.iter().map(|service| service.names().signing);
        let any = || hosted.clone().find(|name| *name == signature.service());
        called.or_else(any).or_else(|| hosted.next()).unwrap_or_default()
    }
}

/// What `ask` says of the version of the catalog that is here, or of the newest one where that knows no such key.
async fn newest_if_unknown<T>(
    platform: &Platform,
    ask: impl Fn(&View) -> Result<T, Error>,
) -> Result<T, Error> {
    let view = platform.cluster.view();
    match ask(&view) {
        Err(Error::UnknownKey) => {}
        known => return known,
    }
    let newest = platform.newest.view(&platform.cluster).await.ok_or(Error::UnknownKey)?;
    ask(&newest)
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

/// Names and values of what was sent.
fn sent_headers(parts: &Parts) -> Vec<(&str, &[u8])> {
    let headers = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    // HTTP/2 says in its own way which host is meant.
    let authority = parts.uri.authority().filter(|_| !parts.headers.contains_key(HOST));
    headers.chain(authority.map(|authority| ("host", authority.as_str().as_bytes()))).collect()
}
