//! Errors of the DynamoDB API. [`Error::wire`] is the only place with its AWS codes.
//!
//! An error is answered in JSON 1.0. The member `__type` carries a namespace, and two errors have members of their
//! own: `Item` and `CancellationReasons`. Texts that AWS defines are kept byte for byte.

use anabranch_aws::constraints::Violations;
use anabranch_aws::fault::{Fault, Message};
use anabranch_aws::wire::{Format, Writer};
use http::StatusCode;

use crate::number::NumberFault;
use crate::value::Attributes;
use crate::value::json::{self, InvalidValue};
use crate::value::stored::Damaged;

/// The error of an operation. Its text is the message for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request breaks a rule of the API, or it uses a feature that this service does not have.
    #[error("{0}")]
    Validation(String),
    /// The condition of a write is not met.
    #[error("The conditional request failed")]
    ConditionFailed {
        /// The item as it is, if the request asked for it and the item exists.
        item: Option<Attributes>,
    },
    /// The table or index does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The table exists already, or its state does not allow the operation.
    #[error("{0}")]
    InUse(String),
    /// A limit of the cluster.
    #[error("{0}")]
    Limit(String),
    /// An entry of a transaction is refused.
    #[error(
        "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
        .0.iter().map(|reason| reason.code).collect::<Vec<_>>().join(", ")
    )]
    TransactionCancelled(Vec<CancellationReason>),
    /// A token of a client came with another transaction before.
    #[error("Request token was already used for a different transaction")]
    TokenMismatch,
    /// The cluster accepts no more for now.
    #[error("{0}")]
    Throughput(String),
    /// The outcome is unknown, or there is a bug. The cause goes to the log, never to the client.
    #[error("Internal server error")]
    Internal {
        /// The cause.
        cause: String,
    },
}

/// Why an entry of a transaction is refused. An entry that is not refused has code `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancellationReason {
    /// `None`, `ConditionalCheckFailed`, `ValidationError`, …
    pub code: &'static str,
    /// Text for the client.
    pub message: Option<String>,
    /// The item as it is, if the entry asked for it.
    pub item: Option<Attributes>,
}

/// Namespace of most errors.
const NAMESPACE: &str = "com.amazonaws.dynamodb.v20120810";
/// Namespace of errors that AWS raises before DynamoDB sees the request.
const VALIDATION_NAMESPACE: &str = "com.amazon.coral.validate";

impl Error {
    /// HTTP status and AWS error code.
    ///
    /// Source: DynamoDB API reference, the errors of each operation.
    pub const fn wire(&self) -> (StatusCode, &'static str) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        match self {
            Self::Validation(_) => (BAD, "ValidationException"),
            Self::ConditionFailed { .. } => (BAD, "ConditionalCheckFailedException"),
            Self::NotFound(_) => (BAD, "ResourceNotFoundException"),
            Self::InUse(_) => (BAD, "ResourceInUseException"),
            Self::Limit(_) => (BAD, "LimitExceededException"),
            Self::TransactionCancelled(_) => (BAD, "TransactionCanceledException"),
            Self::TokenMismatch => (BAD, "IdempotentParameterMismatchException"),
            Self::Throughput(_) => (BAD, "ProvisionedThroughputExceededException"),
            Self::Internal { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
        }
    }

    /// The fault for the client.
    pub fn fault(&self) -> Fault {
        let (status, code) = self.wire();
        let mut writer = Writer::new(Format::Json, 128);
        self.write(&mut writer);
        let json = String::from_utf8(writer.finish()).ok();
        Fault { status, code, message: self.message(), json, query: None }
    }

    fn message(&self) -> Message {
        match self {
            Self::TransactionCancelled(_) | Self::TokenMismatch => {
                Message::Capitalized(self.to_string())
            }
            Self::Validation(_)
            | Self::ConditionFailed { .. }
            | Self::NotFound(_)
            | Self::InUse(_)
            | Self::Limit(_)
            | Self::Throughput(_)
            | Self::Internal { .. } => Message::Text(self.to_string()),
        }
    }

    /// Writes the body: type, message, and the members that only this error has.
    pub fn write(&self, w: &mut Writer) {
        let (_, code) = self.wire();
        let namespace =
            if matches!(self, Self::Validation(_)) { VALIDATION_NAMESPACE } else { NAMESPACE };
        w.structure(|w| {
            w.member("__type").plain(format_args!("{namespace}#{code}"));
            if let Self::TransactionCancelled(reasons) = self {
                w.member("CancellationReasons")
                    .list(|w| reasons.iter().for_each(|reason| reason.write(w)));
            }
            if let Self::ConditionFailed { item: Some(item) } = self {
                json::write_attributes(w.member("Item"), item);
            }
            match self.message() {
                Message::Text(text) => w.member("message").text(&text),
                Message::Capitalized(text) => w.member("Message").text(&text),
                Message::Absent(_) => {}
            }
        });
    }

    /// The error for a feature that this service does not have. KCL uses none of them.
    pub(crate) fn unsupported(feature: impl std::fmt::Display) -> Self {
        Self::Validation(format!("{feature} is not supported by this endpoint"))
    }

    /// A `ValidationException` that begins as many of AWS do.
    pub(crate) fn parameters(text: impl std::fmt::Display) -> Self {
        Self::Validation(format!("One or more parameter values were invalid: {text}"))
    }
}

impl CancellationReason {
    /// The reason of an entry that is not refused.
    pub const NONE: Self = Self { code: "None", message: None, item: None };

    /// The reason for an entry that is refused with an error. `None` if the error is not one of a single entry.
    pub(crate) fn of(error: Error) -> Option<Self> {
        let message = Some(error.to_string());
        match error {
            Error::ConditionFailed { item } => {
                Some(Self { code: "ConditionalCheckFailed", message, item })
            }
            Error::Validation(_) => Some(Self { code: "ValidationError", message, item: None }),
            Error::NotFound(_)
            | Error::InUse(_)
            | Error::Limit(_)
            | Error::TransactionCancelled(_)
            | Error::TokenMismatch
            | Error::Throughput(_)
            | Error::Internal { .. } => None,
        }
    }

    fn write(&self, w: &mut Writer) {
        w.structure(|w| {
            w.member("Code").text(self.code);
            if let Some(item) = &self.item {
                json::write_attributes(w.member("Item"), item);
            }
            if let Some(message) = &self.message {
                w.member("Message").text(message);
            }
        });
    }
}

impl From<Violations> for Error {
    fn from(Violations(text): Violations) -> Self {
        Self::Validation(text)
    }
}

impl From<InvalidValue> for Error {
    fn from(invalid: InvalidValue) -> Self {
        Self::Validation(invalid.to_string())
    }
}

impl From<NumberFault> for Error {
    fn from(fault: NumberFault) -> Self {
        Self::Validation(fault.to_string())
    }
}

impl From<Damaged> for Error {
    fn from(damaged: Damaged) -> Self {
        Self::Internal { cause: damaged.to_string() }
    }
}
