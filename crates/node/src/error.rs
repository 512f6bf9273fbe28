/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its log store didn't open.
    #[error("data directory: {0}")]
    Storage(#[from] anabranch_storage::Error),
    /// Its replica of the catalog didn't open.
    #[error("catalog: {0}")]
    Catalog(#[from] anabranch_replica::Error),
    /// It can't listen where it was told to.
    #[error("listen on {address}: {error}")]
    Listen {
        /// The address.
        address: String,
        /// The system's answer.
        error: std::io::Error,
    },
}
