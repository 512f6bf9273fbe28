/// Bytes of a query. The parameter of the API has at most 5,120 characters.
pub const LONGEST_QUERY: usize = 8 * 1024;

/// Why a query does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// More than [`LONGEST_QUERY`] bytes.
    #[error("query has {0} bytes, at most {LONGEST_QUERY}")]
    TooLong(usize),
    /// Too many operators, keywords, paths or brackets inside of brackets.
    #[error("query has too many operators or is nested too deeply")]
    TooComplex,
    /// Not jq.
    #[error("query has a syntax error near {0:?}")]
    Syntax(String),
    /// It names something that does not exist or is not allowed.
    #[error("query has an undefined or refused {kind}: {name}")]
    Undefined {
        /// `filter`, `variable`, `label` or `module`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It imports a module.
    #[error("query cannot use modules")]
    Module,
}
