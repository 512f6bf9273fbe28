#![allow(missing_docs)]
#[path = "../../anabranch/src/bench/floor.rs"]
mod floor;
#[path = "../../anabranch/src/bench/log.rs"]
mod log;
use clap::Parser;
#[derive(Parser)]
enum What {
    Log(log::Args),
    Floor(floor::Args),
}
fn main() -> anyhow::Result<()> {
    match What::parse() {
        What::Log(a) => log::run(a),
        What::Floor(a) => floor::run(a),
    }
}
