//! Master keys in a service with the API of AWS KMS: AWS itself, or whatever speaks its JSON protocol.
//!
//! Source: AWS KMS API reference, GenerateDataKey, Decrypt and their errors. Requests are signed with the credentials
//! that the environment gives as every AWS SDK takes them: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
//! `AWS_SESSION_TOKEN`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anabranch_access::signature::{self, Credentials, Signer};
use anabranch_types::{Clock, KeyFault, SystemClock};
use base64_simd::STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::error::KeyError;
use crate::provider::{DataKeySecret, KeyContext, KeyProvider, NewDataKey};

const CONTENT: &str = "application/x-amz-json-1.1";
const DEADLINE: Duration = Duration::from_secs(5);
/// Far more than an answer has.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Master keys behind the API of AWS KMS.
pub struct Kms {
    endpoint: Uri,
    host: String,
    signer: Signer,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Kms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kms").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Why such a service can't be used at all; names the setting and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KmsError {
    /// Not a URL of a host.
    #[error("kms-endpoint: {0} must be http:// or https:// and a host")]
    Endpoint(String),
    /// No credentials.
    #[error("kms-endpoint: {0} is not set in the environment")]
    Credentials(&'static str),
    /// No certificates to trust.
    #[error("kms-endpoint: no trusted certificates are installed: {0}")]
    Certificates(String),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GenerateDataKey<'a> {
    key_id: &'a str,
    key_spec: &'a str,
    encryption_context: BTreeMap<&'a str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypt {
    ciphertext_blob: String,
    encryption_context: BTreeMap<&'static str, String>,
}

/// What either operation answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Made {
    plaintext: String,
    #[serde(default)]
    ciphertext_blob: String,
}

#[derive(Default, Deserialize)]
struct Failure {
    #[serde(default, rename = "__type")]
    kind: String,
    #[serde(default, alias = "Message")]
    message: String,
}

impl Kms {
    /// The service at `endpoint`, a URL; `region` stands in signatures.
    ///
    /// # Errors
    /// [`KmsError`].
    pub fn new(endpoint: &str, region: &str) -> Result<Self, KmsError> {
        let malformed = || KmsError::Endpoint(endpoint.to_owned());
        let uri: Uri = endpoint.parse().map_err(|_| malformed())?;
        let host = uri.authority().ok_or_else(malformed)?.to_string();
        let tls = match uri.scheme_str() {
            Some("https") => HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(provider())
                .map_err(|error| KmsError::Certificates(error.to_string()))?,
            // Nothing is trusted, because nothing is asked.
            Some("http") => HttpsConnectorBuilder::new().with_tls_config(trusts_nobody()),
            _ => return Err(malformed()),
        };
        let connector = tls.https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let signer = Signer::new(credentials()?, region, "kms");
        let clock = Arc::new(SystemClock);
        Ok(Self { endpoint: uri, host, signer, client, clock })
    }

    async fn call(&self, operation: &str, body: &impl Serialize) -> Result<Made, KeyError> {
        let body = serde_json::to_vec(body).map_err(|_| unusable("The request has no form."))?;
        let answered = timeout(DEADLINE, self.send(operation, body.into())).await;
        let unreachable =
            || KeyError::new(KeyFault::Throttled, "The key management service doesn't answer.");
        let (status, answer) = answered.map_err(|_elapsed| unreachable())??;
        if status.is_success() {
            return serde_json::from_slice(&answer)
                .map_err(|_| unusable("The key management service answered something else."));
        }
        Err(failure(status, &answer))
    }

    async fn send(&self, operation: &str, body: Bytes) -> Result<(StatusCode, Bytes), KeyError> {
        let unreachable = |error: &dyn fmt::Display| {
            tracing::warn!(%error, "key management service");
            KeyError::new(KeyFault::Throttled, "The key management service can't be reached.")
        };
        let target = format!("TrentService.{operation}");
        let headers = [("host", &*self.host), ("content-type", CONTENT), ("x-amz-target", &target)];
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        let to_sign =
            signature::Request { method: "POST", path: "/", query: "", headers, body: &body };
        let signed = self.signer.sign(&to_sign, self.clock.now());
        let mut request = Request::post(&self.endpoint)
            .header(HOST, HeaderValue::from_str(&self.host).map_err(|e| unreachable(&e))?)
            .header(CONTENT_TYPE, CONTENT)
            .header("x-amz-target", target)
            .header("x-amz-date", signed.date)
            .header("authorization", signed.authorization);
        if let Some(token) = signed.token {
            request = request.header("x-amz-security-token", token);
        }
        let request = request.body(Full::new(body)).map_err(|error| unreachable(&error))?;
        let answer = self.client.request(request).await.map_err(|error| unreachable(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        Ok((status, body.map_err(|error| unreachable(&error))?.to_bytes()))
    }
}

impl KeyProvider for Kms {
    fn new_data_key<'a>(
        &'a self,
        master_key: &'a str,
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<NewDataKey, KeyError>> {
        let encryption_context = context.pairs().into_iter().collect();
        let request =
            GenerateDataKey { key_id: master_key, key_spec: "AES_256", encryption_context };
        Box::pin(async move {
            let made = self.call("GenerateDataKey", &request).await?;
            let secret = secret(&made)?;
            let wrapped = STANDARD.decode_to_vec(made.ciphertext_blob.as_bytes());
            let wrapped = wrapped.map_err(|_| unusable("The wrapped data key has no form."))?;
            Ok(NewDataKey { secret, wrapped })
        })
    }

    fn unwrap_data_key<'a>(
        &'a self,
        _master_key: &'a str,
        wrapped: &'a [u8],
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<DataKeySecret, KeyError>> {
        // The blob names its master key: an alias may point to another one by now.
        let request = Decrypt {
            ciphertext_blob: STANDARD.encode_to_string(wrapped),
            encryption_context: context.pairs().into_iter().collect(),
        };
        Box::pin(async move { secret(&self.call("Decrypt", &request).await?) })
    }
}

fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

fn trusts_nobody() -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has what the default versions need")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

fn credentials() -> Result<Credentials, KmsError> {
    let variable =
        |name: &'static str| std::env::var(name).map_err(|_| KmsError::Credentials(name));
    Ok(Credentials {
        key_id: variable("AWS_ACCESS_KEY_ID")?,
        secret: variable("AWS_SECRET_ACCESS_KEY")?,
        token: std::env::var("AWS_SESSION_TOKEN").ok(),
    })
}

fn secret(made: &Made) -> Result<DataKeySecret, KeyError> {
    let wrong = || unusable("The data key doesn't have 32 bytes.");
    let bytes = STANDARD.decode_to_vec(made.plaintext.as_bytes()).map_err(|_| wrong())?;
    Ok(DataKeySecret::new(bytes.try_into().map_err(|_| wrong())?))
}

fn unusable(message: &str) -> KeyError {
    KeyError::new(KeyFault::InvalidState, message)
}

/// What an error of the service means to users of Kinesis.
fn failure(status: StatusCode, answer: &[u8]) -> KeyError {
    let Failure { kind, message } = serde_json::from_slice(answer).unwrap_or_default();
    let kind = kind.rsplit('#').next().unwrap_or_default();
    let fault = match kind {
        "NotFoundException" | "ValidationException" => KeyFault::NotFound,
        "DisabledException" => KeyFault::Disabled,
        "AccessDeniedException"
        | "ExpiredTokenException"
        | "IncompleteSignatureException"
        | "InvalidSignatureException"
        | "MissingAuthenticationTokenException"
        | "UnrecognizedClientException" => KeyFault::AccessDenied,
        "OptInRequired" | "SubscriptionRequiredException" => KeyFault::OptInRequired,
        "DependencyTimeoutException"
        | "KeyUnavailableException"
        | "KMSInternalException"
        | "LimitExceededException"
        | "ThrottlingException" => KeyFault::Throttled,
        _ if status.is_server_error() => KeyFault::Throttled,
        _ => KeyFault::InvalidState,
    };
    let message = if message.is_empty() { format!("{kind} ({status})") } else { message };
    KeyError::new(fault, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_service_are_those_that_kinesis_passes_on() {
        let fault = |status, body: &str| failure(status, body.as_bytes()).fault;
        let bad = StatusCode::BAD_REQUEST;
        let named = |kind: &str| fault(bad, &format!(r#"{{"__type":"{kind}","message":"m"}}"#));
        assert_eq!(named("NotFoundException"), KeyFault::NotFound);
        assert_eq!(named("com.amazonaws.kms#DisabledException"), KeyFault::Disabled);
        assert_eq!(named("KMSInvalidStateException"), KeyFault::InvalidState);
        assert_eq!(named("AccessDeniedException"), KeyFault::AccessDenied);
        assert_eq!(named("ThrottlingException"), KeyFault::Throttled);
        assert_eq!(fault(StatusCode::BAD_GATEWAY, "<html>"), KeyFault::Throttled);
        assert_eq!(fault(bad, "<html>"), KeyFault::InvalidState);
        let error =
            failure(bad, br#"{"__type":"DisabledException","message":"key k is disabled"}"#);
        assert_eq!(error.message, "key k is disabled");
    }
}
