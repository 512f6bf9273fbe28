//! Who may do what: signatures of requests and policies, pure.

mod secret;
mod session;

pub use secret::{ClusterKey, Secret, SecretSealer};
pub use session::Session;
