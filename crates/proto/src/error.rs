/// Reason why a message cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not a message of this type.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// A required field, which the text names, is absent.
    #[error("{0}: missing")]
    Missing(&'static str),
    /// The value of a field is not allowed.
    #[error("{field}: {rule}")]
    Invalid {
        /// Name of the field.
        field: &'static str,
        /// Rule that the value breaks.
        rule: String,
    },
}

impl From<prost::DecodeError> for Error {
    fn from(error: prost::DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}
