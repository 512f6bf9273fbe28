//! Master keys in AWS KMS, or in another service with its JSON protocol.
//!
//! `new_data_key` is the operation GenerateDataKey, `unwrap_data_key` is Decrypt. Both pass stream and stream id as
//! the encryption context, so KMS refuses to unwrap a data key for another stream. Each call has five seconds.
//! Nothing is retried here: `Keyring` decides about that.
//!
//! Requests are signed with the credentials in the environment, as in every AWS SDK: `AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
//!
//! Source: AWS KMS API reference, GenerateDataKey, Decrypt and their errors.

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
/// Far more than any response of these operations has.
const MAX_RESPONSE_BYTES: usize = 64 << 10;

/// A client of AWS KMS.
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

/// Why the settings or the environment do not allow to use KMS. The text names the setting and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KmsError {
    /// The endpoint is not a URL with a host.
    #[error("kms-endpoint: {0} must be http:// or https:// and a host")]
    Endpoint(String),
    /// A variable with credentials is missing in the environment.
    #[error("kms-endpoint: {0} is not set in the environment")]
    Credentials(&'static str),
    /// The system has no trusted certificates.
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

/// Response of both operations. Decrypt has no `CiphertextBlob`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DataKeyResponse {
    plaintext: String,
    #[serde(default)]
    ciphertext_blob: String,
}

#[derive(Default, Deserialize)]
struct ErrorResponse {
    #[serde(default, rename = "__type")]
    kind: String,
    #[serde(default, alias = "Message")]
    message: String,
}

impl Kms {
    /// A client of the service at the URL `endpoint`. Requests are signed for `region`.
    ///
    /// # Errors
    /// [`KmsError`] if the endpoint is malformed, or if credentials or trusted certificates are missing.
    pub fn new(endpoint: &str, region: &str) -> Result<Self, KmsError> {
        let malformed = || KmsError::Endpoint(endpoint.to_owned());
        let uri: Uri = endpoint.parse().map_err(|_| malformed())?;
        let host = uri.authority().ok_or_else(malformed)?.to_string();
        let tls = match uri.scheme_str() {
            Some("https") => HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(provider())
                .map_err(|error| KmsError::Certificates(error.to_string()))?,
            // No certificate is trusted: http has none to check.
            Some("http") => HttpsConnectorBuilder::new().with_tls_config(tls_without_roots()),
            _ => return Err(malformed()),
        };
        let connector = tls.https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let signer = Signer::new(credentials()?, region, "kms");
        let clock = Arc::new(SystemClock);
        Ok(Self { endpoint: uri, host, signer, client, clock })
    }

    async fn call(
        &self,
        operation: &str,
        body: &impl Serialize,
    ) -> Result<DataKeyResponse, KeyError> {
        let body =
            serde_json::to_vec(body).map_err(|_| unusable("The request can't be encoded."))?;
        let responded = timeout(DEADLINE, self.send(operation, body.into())).await;
        let unreachable =
            || KeyError::new(KeyFault::Throttled, "The key management service doesn't respond.");
        let (status, body) = responded.map_err(|_elapsed| unreachable())??;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|_| unusable("The key management service sent an unexpected response."));
        }
        Err(failure(status, &body))
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
        let response = self.client.request(request).await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_RESPONSE_BYTES).collect().await;
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
            let wrapped =
                wrapped.map_err(|_| unusable("The wrapped data key isn't valid base64."))?;
            Ok(NewDataKey { secret, wrapped })
        })
    }

    fn unwrap_data_key<'a>(
        &'a self,
        _master_key: &'a str,
        wrapped: &'a [u8],
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<DataKeySecret, KeyError>> {
        // The wrapped key itself names its master key. `_master_key` may be an alias that points to another key by
        // now.
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

fn tls_without_roots() -> rustls::ClientConfig {
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

fn secret(made: &DataKeyResponse) -> Result<DataKeySecret, KeyError> {
    let wrong = || unusable("The data key doesn't have 32 bytes.");
    let bytes = STANDARD.decode_to_vec(made.plaintext.as_bytes()).map_err(|_| wrong())?;
    Ok(DataKeySecret::new(bytes.try_into().map_err(|_| wrong())?))
}

fn unusable(message: &str) -> KeyError {
    KeyError::new(KeyFault::InvalidState, message)
}

/// Translates an error of KMS to the fault that users of Kinesis see.
fn failure(status: StatusCode, body: &[u8]) -> KeyError {
    let ErrorResponse { kind, message } = serde_json::from_slice(body).unwrap_or_default();
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
    fn errors_of_kms_become_the_faults_that_kinesis_reports() {
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
