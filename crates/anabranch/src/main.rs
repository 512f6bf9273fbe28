//! The binary `anabranch`. Everything is in the library of this crate.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    anabranch::run(env!("CARGO_BIN_NAME")).await
}
