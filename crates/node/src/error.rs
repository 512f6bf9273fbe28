/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log store could not be opened.
    #[error("data directory: {0}")]
    Storage(#[from] anabranch_storage::Error),
    /// The node's replica of the catalog could not be opened.
    #[error("catalog: {0}")]
    Catalog(#[from] anabranch_replica::Error),
    /// The node can't listen on its address.
    #[error("listen on {address}: {error}")]
    Listen {
        /// Address that was asked for.
        address: String,
        /// Error of the operating system.
        error: std::io::Error,
    },
}
