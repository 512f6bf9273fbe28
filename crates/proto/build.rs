//! Generates code from `/proto` with protox, so `protoc` need not be installed.

use std::error::Error;

const FILES: [&str; 9] = [
    "anabranch/v1/log.proto",
    "anabranch/replica/v1/replica.proto",
    "anabranch/node/v1/node.proto",
    "anabranch/catalog/v1/catalog.proto",
    "anabranch/admin/v1/admin.proto",
    "anabranch/table/v1/table.proto",
    "anabranch/job/v1/job.proto",
    "anabranch/function/v1/function.proto",
    "anabranch/consumer/v1/consumer.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = "proto";
    println!("cargo::rerun-if-changed={root}");
    let descriptors = protox::compile(FILES, [root])?;
    let services = tonic_prost_build::configure().codec_path("crate::codec::Codec");
    services.bytes(".").compile_fds(descriptors)?;
    Ok(())
}
