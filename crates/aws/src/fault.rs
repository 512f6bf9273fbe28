//! Errors as clients of an AWS API see them.

use http::StatusCode;

/// An error response before a protocol encodes it. A service makes one from its own error type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// HTTP status.
    pub status: StatusCode,
    /// AWS error code, such as `ResourceNotFoundException`. Source: the API reference of the service.
    pub code: &'static str,
    /// Text for the client. Never holds internal causes: those go to the log.
    pub message: Message,
    /// The whole body in the JSON protocols, for an error that has more members than code and message. `None` for all
    /// others: the protocol writes the body.
    pub json: Option<String>,
    /// Status and code in the query protocol, where they differ from `status` and `code`. A service that has the query
    /// protocol besides others names this code in a header of the others, too.
    pub query: Option<(StatusCode, &'static str)>,
}

impl Fault {
    /// Status and code in the query protocol.
    pub(crate) fn in_query(&self) -> (StatusCode, &'static str) {
        self.query.unwrap_or((self.status, self.code))
    }
}

/// The text of a fault, and the name of its member in JSON and CBOR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Member `message`: most codes.
    Text(String),
    /// Member `Message`: a SerializationException that names the wrong member.
    Capitalized(String),
    /// No member: AWS sends only the code for a body that it cannot read and for an unknown operation.
    Absent(&'static str),
}

impl Message {
    /// The text for the client. For [`Message::Absent`] it is the text for protocols in which a message is mandatory.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Capitalized(text) => text,
            Self::Absent(text) => text,
        }
    }

    /// Name of the member in JSON and CBOR. `None`: the member is left out.
    pub(crate) const fn member(&self) -> Option<&'static str> {
        match self {
            Self::Text(_) => Some("message"),
            Self::Capitalized(_) => Some("Message"),
            Self::Absent(_) => None,
        }
    }
}
