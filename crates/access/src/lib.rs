//! Who may do what: signatures of requests and policies, pure.

mod secret;
mod session;

pub use secret::{Secret, SecretSealer};
pub use session::Session;
