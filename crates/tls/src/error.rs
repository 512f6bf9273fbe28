use std::path::PathBuf;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        error: std::io::Error,
    },
    /// The contents of a file are not usable.
    #[error("{path}: {reason}")]
    Unusable {
        /// Path of the file.
        path: PathBuf,
        /// The problem with the contents.
        reason: String,
    },
    /// A certificate cannot be made.
    #[error("{0}")]
    Issue(String),
}
