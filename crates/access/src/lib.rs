//! Who may do what: signatures of requests and policies, pure.
