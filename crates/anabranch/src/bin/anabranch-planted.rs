//! The binary `anabranch-planted`: the same program as `anabranch`, with the bugs of `crates/planted`. Only the chaos
//! harness and tests run it.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    anabranch::run(env!("CARGO_BIN_NAME")).await
}
