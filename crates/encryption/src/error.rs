use anabranch_types::KeyFault;

/// Why a master key could not be used, or what is stored can't be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KeyError {
    /// What is wrong, as users are told.
    pub fault: KeyFault,
    /// In words; names the key, never its bytes.
    pub message: String,
}

impl KeyError {
    /// An error of `fault`.
    pub fn new(fault: KeyFault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into() }
    }
}
