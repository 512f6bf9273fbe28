/// Why a master key could not be used: the errors of AWS KMS that Kinesis passes on.
///
/// Source: Kinesis API reference, errors of PutRecord, GetRecords and StartStreamEncryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyFault {
    /// Who asks may not use the key.
    AccessDenied,
    /// The key is disabled.
    Disabled,
    /// The key is in a state in which it can't be used, as one that is about to be deleted.
    InvalidState,
    /// There is no such key.
    NotFound,
    /// Nothing is configured that has keys.
    OptInRequired,
    /// The keys' holder takes no more calls for now, or doesn't answer.
    Throttled,
}

impl KeyFault {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::AccessDenied,
        Self::Disabled,
        Self::InvalidState,
        Self::NotFound,
        Self::OptInRequired,
        Self::Throttled,
    ];
}
