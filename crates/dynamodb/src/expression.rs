//! Expressions: the small languages of DynamoDB for conditions, updates, keys and projections.
//!
//! ```text
//! text -> lexer.rs -> tokens -> parser.rs -> path.rs, condition.rs, update.rs, projection.rs
//!                                  |                            key_condition.rs: a condition on the key, as a range
//!                                  +-- placeholders.rs: #name and :value are resolved at once, and count as used
//! ```
//!
//! Parsing needs no item, and evaluation cannot fail for a condition. The parameters of the older style (`Expected`,
//! `AttributeUpdates`, `KeyConditions`) become the same conditions and updates (`crate::legacy`).
//!
//! Invariant: an expression has at most 4,096 bytes and is nested at most 64 levels deep, so no text of a client can
//! exhaust the stack.

pub mod condition;
pub mod key_condition;
mod lexer;
mod parser;
pub mod path;
pub mod placeholders;
pub mod projection;
pub mod update;

pub use condition::Condition;
pub use key_condition::KeyCondition;
pub use path::Path;
pub use placeholders::Placeholders;
pub use projection::Projection;
pub use update::Update;

#[cfg(test)]
mod tests;
