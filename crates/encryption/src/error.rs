use anabranch_types::KeyFault;

/// Why a master key cannot be used, or why stored bytes cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KeyError {
    /// Kind of the fault, which selects the error that users see.
    pub fault: KeyFault,
    /// Text for users. It names the key, and never contains key bytes.
    pub message: String,
}

impl KeyError {
    /// Makes an error of kind `fault`.
    pub fn new(fault: KeyFault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into() }
    }
}
