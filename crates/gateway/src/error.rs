//! Errors with which the gateway itself refuses a request, and their AWS codes. Services have error types of their
//! own.

use anabranch_access::signature;
use anabranch_aws::constraints::Violations;
use anabranch_aws::fault::{Fault, Message};
use anabranch_aws::wire::DecodeError;
use http::StatusCode;

/// A refusal that is the same for each service. Its text is the message for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The body is absent, or is not JSON or CBOR.
    #[error("The request body is not valid")]
    Malformed,
    /// A member has the wrong type, or the body has an unknown encoding.
    #[error("{0}")]
    Serialization(String),
    /// Members violate constraints of the service model.
    #[error("{0}")]
    Validation(String),
    /// The request names no operation, or an unknown one.
    #[error("Unknown operation")]
    UnknownOperation,
    /// A form names an action that no hosted service has in that version.
    #[error("Could not find operation {action} for version {version}")]
    UnknownAction {
        /// The action as the client wrote it.
        action: String,
        /// The version as the client wrote it.
        version: String,
    },
    /// The method is not POST.
    #[error("Unable to determine service/operation name to be authorized")]
    NotPost,
    /// The request has no signature.
    #[error("Missing Authentication Token")]
    MissingAuthentication,
    /// The request has only a part of a signature.
    #[error("{0}")]
    IncompleteSignature(String),
    /// The signature does not match the request, its time is off, or its scope names another service.
    #[error("{0}")]
    InvalidSignature(String),
    /// The access key or the session is unknown, or disabled.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The session has ended.
    #[error("The security token included in the request is expired")]
    ExpiredToken,
    /// No policy allows the call, or one denies it.
    #[error("{0}")]
    AccessDenied(String),
    /// The request has two signatures.
    #[error(
        "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."
    )]
    TwoSignatures,
    /// The body is above the limit.
    #[error("Request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    #[error("The request body was not received within the time limit.")]
    BodyTimeout,
    /// A byte budget is used up. Services have their own codes for it, see [`crate::Service::throttled`].
    #[error("{TOO_MUCH_IN_FLIGHT}")]
    Throttled,
    /// The node has just started, and its copy of the catalog may be old.
    #[error("The service is starting. Try again later.")]
    Starting,
    /// The catalog did not respond in time, or there is a bug.
    #[error("Internal service failure.")]
    Internal,
}

/// Message for a client whose call finds a byte budget used up.
pub const TOO_MUCH_IN_FLIGHT: &str = "Rate exceeded: too many bytes in flight. Try again later.";

impl Error {
    /// Code of [`Self::UnknownAction`].
    pub(crate) const UNKNOWN_ACTION: &str = "InvalidAction";

    /// The fault for the client. Apart from the families of codes in `metrics.rs`, no other place of the gateway names
    /// AWS codes.
    ///
    /// Source: Kinesis API reference, common errors.
    pub fn fault(&self) -> Fault {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        let (status, code) = match self {
            Self::Malformed | Self::Serialization(_) => (BAD, "SerializationException"),
            Self::Validation(_) => (BAD, "ValidationException"),
            Self::UnknownOperation => (BAD, "UnknownOperationException"),
            Self::UnknownAction { .. } => (BAD, Self::UNKNOWN_ACTION),
            Self::NotPost => (StatusCode::FORBIDDEN, "AccessDeniedException"),
            Self::AccessDenied(_) => (BAD, "AccessDeniedException"),
            Self::UnknownKey => (BAD, "UnrecognizedClientException"),
            Self::ExpiredToken => (BAD, "ExpiredTokenException"),
            Self::MissingAuthentication => (BAD, "MissingAuthenticationTokenException"),
            Self::IncompleteSignature(_) => (BAD, "IncompleteSignatureException"),
            Self::TwoSignatures | Self::InvalidSignature(_) => (BAD, "InvalidSignatureException"),
            Self::TooLarge { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException")
            }
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException"),
            Self::Throttled => (BAD, "LimitExceededException"),
            // SDKs retry every 5xx.
            Self::Starting => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailureException"),
        };
        let message = match self {
            // AWS sends no text for a request that it cannot read.
            Self::Malformed => Message::Absent("The request body is not valid"),
            Self::UnknownOperation => Message::Absent("Unknown operation"),
            // AWS spells this member with a capital letter.
            Self::Serialization(text) => Message::Capitalized(text.clone()),
            Self::Validation(_)
            | Self::UnknownAction { .. }
            | Self::NotPost
            | Self::MissingAuthentication
            | Self::IncompleteSignature(_)
            | Self::InvalidSignature(_)
            | Self::UnknownKey
            | Self::ExpiredToken
            | Self::AccessDenied(_)
            | Self::TwoSignatures
            | Self::TooLarge { .. }
            | Self::BodyTimeout
            | Self::Throttled
            | Self::Starting
            | Self::Internal => Message::Text(self.to_string()),
        };
        Fault { status, code, message, json: None, query: Some(self.in_query()) }
    }

    /// Status and code in the query protocol.
    ///
    /// Source: STS API reference, common errors.
    const fn in_query(&self) -> (StatusCode, &'static str) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        const DENIED: StatusCode = StatusCode::FORBIDDEN;
        match self {
            Self::Malformed | Self::Serialization(_) => (BAD, "MalformedInput"),
            Self::Validation(_) => (BAD, "ValidationError"),
            Self::UnknownOperation | Self::UnknownAction { .. } => (BAD, "InvalidAction"),
            Self::NotPost | Self::AccessDenied(_) => (DENIED, "AccessDenied"),
            Self::UnknownKey => (DENIED, "InvalidClientTokenId"),
            Self::ExpiredToken => (DENIED, "ExpiredToken"),
            Self::MissingAuthentication => (DENIED, "MissingAuthenticationToken"),
            Self::IncompleteSignature(_) => (BAD, "IncompleteSignature"),
            Self::TwoSignatures | Self::InvalidSignature(_) => (DENIED, "SignatureDoesNotMatch"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "RequestTimeout"),
            Self::Throttled => (BAD, "Throttling"),
            Self::Starting => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure"),
        }
    }
}

impl From<signature::Error> for Error {
    fn from(error: signature::Error) -> Self {
        match error {
            signature::Error::Missing => Self::MissingAuthentication,
            signature::Error::Two => Self::TwoSignatures,
            signature::Error::Incomplete(message) => Self::IncompleteSignature(message),
            signature::Error::Invalid(message) => Self::InvalidSignature(message),
        }
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed(_) => Self::Malformed,
            DecodeError::Type(message) => Self::Serialization(message),
            DecodeError::TooMany(what) => {
                Self::Validation(format!("1 validation error detected: {what}"))
            }
        }
    }
}

impl From<Violations> for Error {
    fn from(Violations(text): Violations) -> Self {
        Self::Validation(text)
    }
}
