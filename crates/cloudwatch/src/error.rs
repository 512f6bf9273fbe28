//! Errors of the CloudWatch API. [`Error::wire`] is the only place with its AWS codes.

use anabranch_aws::fault::{Fault, Message};
use anabranch_gateway::service::ServiceError;
use http::StatusCode;

/// The error of an operation. Its text is the message for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A parameter has a value that it must not have.
    #[error("{0}")]
    Value(String),
    /// A parameter is absent.
    #[error("{0}")]
    Missing(String),
    /// Two parameters cannot come together.
    #[error("The parameters {0} and {1} are mutually exclusive and you have specified both.")]
    Exclusive(String, String),
    /// CloudWatch has the operation, this service does not.
    #[error("{0} is not supported by this endpoint")]
    UnsupportedOperation(&'static str),
    /// CloudWatch has the parameter, this service does not.
    #[error("The parameter {0} is not supported by this endpoint.")]
    UnsupportedParameter(&'static str),
    /// A byte budget of the gateway is used up.
    #[error("{0}")]
    Throttled(String),
}

impl Error {
    /// HTTP status, AWS error code, and code in the query protocol.
    ///
    /// Source: CloudWatch service model, the errors of PutMetricData.
    pub const fn wire(&self) -> (StatusCode, &'static str, &'static str) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        match self {
            Self::Value(_) | Self::UnsupportedParameter(_) => {
                (BAD, "InvalidParameterValueException", "InvalidParameterValue")
            }
            Self::Missing(_) => (BAD, "MissingRequiredParameterException", "MissingParameter"),
            Self::Exclusive(..) => {
                (BAD, "InvalidParameterCombinationException", "InvalidParameterCombination")
            }
            Self::UnsupportedOperation(_) => (BAD, "UnknownOperationException", "InvalidAction"),
            Self::Throttled(_) => (BAD, "ThrottlingException", "Throttling"),
        }
    }

    /// The error for an absent parameter.
    pub(crate) fn required(path: impl std::fmt::Display) -> Self {
        Self::Missing(format!("The parameter {path} is required."))
    }

    /// The error for a value that no sentence of its own describes.
    pub(crate) fn invalid(value: impl std::fmt::Display, path: impl std::fmt::Display) -> Self {
        Self::Value(format!("The value {value} for parameter {path} is invalid."))
    }
}

impl ServiceError for Error {
    fn fault(&self) -> Fault {
        let (status, code, query) = self.wire();
        let message = Message::Text(self.to_string());
        Fault { status, code, message, json: None, query: Some((status, query)) }
    }

    fn may_be_outdated(&self) -> bool {
        false
    }
}
