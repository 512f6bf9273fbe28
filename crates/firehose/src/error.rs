//! Errors of the Firehose API. [`Error::wire`] is the only place with its AWS codes.

use anabranch_aws::constraints::Violations;
use anabranch_aws::fault::{Fault, Message};
use anabranch_client as client;
use anabranch_gateway::service::ServiceError;
use anabranch_types::KeyFault;
use http::StatusCode;
use serde_json::json;

/// The error of an operation. Its text is the message for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request breaks a constraint of the service model.
    #[error("{0}")]
    Validation(String),
    /// The request breaks another rule, or asks for what is not served here.
    #[error("{0}")]
    InvalidArgument(String),
    /// The delivery stream does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The state of the delivery stream does not allow the operation, or its name is taken.
    #[error("{0}")]
    InUse(String),
    /// The delivery stream has changed since the caller read it.
    #[error("{0}")]
    ConcurrentModification(String),
    /// A limit.
    #[error("{0}")]
    Limit(String),
    /// The master key can't be used.
    #[error("{message}")]
    Key {
        /// Kind of the fault.
        fault: KeyFault,
        /// Text that names the key.
        message: String,
    },
    /// The cluster can't take the call now. SDKs send it again.
    #[error("{0}")]
    Unavailable(String),
}

impl Error {
    /// HTTP status and AWS error code.
    ///
    /// Source: Firehose service model, the errors of each operation.
    pub const fn wire(&self) -> (StatusCode, &'static str) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        match self {
            Self::Validation(_) => (BAD, "ValidationException"),
            Self::InvalidArgument(_) => (BAD, "InvalidArgumentException"),
            Self::NotFound(_) => (BAD, "ResourceNotFoundException"),
            Self::InUse(_) => (BAD, "ResourceInUseException"),
            Self::ConcurrentModification(_) => (BAD, "ConcurrentModificationException"),
            Self::Limit(_) => (BAD, "LimitExceededException"),
            Self::Key { .. } => (BAD, "InvalidKMSResourceException"),
            Self::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException")
            }
        }
    }

    /// The error for a call that the cluster could not do.
    pub(crate) fn unavailable(error: &impl std::fmt::Display) -> Self {
        tracing::info!(%error, "firehose: a call failed");
        Self::Unavailable("Service unavailable. Slow down.".to_owned())
    }
}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Self {
        match error {
            client::Error::Key { fault, message } => Self::Key { fault, message },
            client::Error::Refused(refusal) => Self::InUse(refusal.to_string()),
            other @ (client::Error::NotFound
            | client::Error::Closed
            | client::Error::Frozen
            | client::Error::InUse
            | client::Error::Throttled(_)
            | client::Error::NoLeader
            | client::Error::Invalid(_)
            | client::Error::Unknown(_)) => Self::unavailable(&other),
        }
    }
}

/// `code` of an InvalidKMSResourceException. The service names the error of KMS.
const fn key_code(fault: KeyFault) -> &'static str {
    match fault {
        KeyFault::AccessDenied => "AccessDeniedException",
        KeyFault::Disabled => "DisabledException",
        KeyFault::InvalidState => "KMSInvalidStateException",
        KeyFault::NotFound => "NotFoundException",
        KeyFault::OptInRequired => "OptInRequired",
        KeyFault::Throttled => "ThrottlingException",
    }
}

impl From<client::Absent> for Error {
    fn from(error: client::Absent) -> Self {
        Self::unavailable(&error)
    }
}

impl From<Violations> for Error {
    fn from(Violations(text): Violations) -> Self {
        Self::Validation(text)
    }
}

impl ServiceError for Error {
    fn fault(&self) -> Fault {
        let (status, code) = self.wire();
        let message = Message::Text(self.to_string());
        // This error has a member of its own.
        let json = match self {
            Self::Key { fault, message } => {
                let body = json!({ "__type": code, "code": key_code(*fault), "message": message });
                Some(body.to_string())
            }
            Self::Validation(_)
            | Self::InvalidArgument(_)
            | Self::NotFound(_)
            | Self::InUse(_)
            | Self::ConcurrentModification(_)
            | Self::Limit(_)
            | Self::Unavailable(_) => None,
        };
        Fault { status, code, message, json, query: None }
    }

    /// An old version of the catalog may not have the table group or the internal stream yet.
    fn may_be_outdated(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }
}
