/// Why a master key cannot be used. Each value is one of the AWS KMS errors that Kinesis passes on.
///
/// Source: Kinesis API reference, errors of PutRecord, GetRecords and StartStreamEncryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyFault {
    /// The caller of the key service is not allowed to use the key.
    AccessDenied,
    /// The key is disabled.
    Disabled,
    /// The state of the key forbids its use, for example if it is going to be deleted.
    InvalidState,
    /// The key does not exist.
    NotFound,
    /// The node has no key provider.
    OptInRequired,
    /// The key service throttles, or does not respond. A later try may succeed.
    Throttled,
}

impl KeyFault {
    /// All values.
    pub const ALL: [Self; 6] = [
        Self::AccessDenied,
        Self::Disabled,
        Self::InvalidState,
        Self::NotFound,
        Self::OptInRequired,
        Self::Throttled,
    ];
}
